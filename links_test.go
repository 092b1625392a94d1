package main

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A link that leads nowhere is found before a reader does: in the repository's own
// documents, and in those that a version's tag has, where they lie elsewhere.
func TestEveryLinkLeadsSomewhere(t *testing.T) {
	t.Parallel()
	tree := filepath.Join(t.TempDir(), "tree")
	write := exec.CommandContext(t.Context(), "go", "run", "./tools/release", "tree", "-out", tree,
		"-image", "ghcr.io/shiksha/actions@sha256:"+strings.Repeat("0", 64))
	told, err := write.CombinedOutput()
	require.NoError(t, err, "%s", told)
	for root, least := range map[string]int{".": 80, tree: 30} {
		seen := 0
		for _, page := range pages(t, root) {
			for _, target := range links(t, page) {
				seen++
				assert.Empty(t, astray(page, target), "%s: %s", page, target)
			}
		}
		assert.Greater(t, seen, least, root)
	}
}

// The test above can fail.
func TestALinkAstrayIsTold(t *testing.T) {
	t.Parallel()
	for target, want := range map[string]string{
		"docs/security.md": "", "docs/security.md#secrets": "", "#exit-codes": "", "https://example.org/x": "",
		ownPages + "docs/summary.png":          "a page, not the picture",
		ownPages + "docs/act.md#set-it-up":     "",
		ownPages + "docs/act.md#set-it-down":   "no such heading",
		ownPictures + "docs/summary.png":       "",
		"docs/databases.md":                    "no such file",
		"docs/security.md#secret":              "no such heading",
		"/docs/security.md":                    "not relative",
		"actions/deploy/README.md#first-steps": "no such heading",
	} {
		assert.Equal(t, want, astray("README.md", target), target)
	}
}

const (
	ownPages    = "https://github.com/shiksha/actions/blob/main/"
	ownPictures = "https://github.com/shiksha/actions/raw/main/"
)

// astray says what is wrong with a link of a page; "" is nothing. Of other sites it
// knows nothing.
func astray(page, target string) string {
	name, anchor, _ := strings.Cut(target, "#")
	switch {
	case strings.HasPrefix(name, ownPages) && strings.HasSuffix(name, ".png"):
		return "a page, not the picture"
	case strings.HasPrefix(name, ownPages):
		name = strings.TrimPrefix(name, ownPages)
	case strings.HasPrefix(name, ownPictures):
		name = strings.TrimPrefix(name, ownPictures)
	case strings.Contains(name, "://"), strings.HasPrefix(name, "mailto:"):
		return ""
	case strings.HasPrefix(name, "/"):
		return "not relative"
	case name == "":
		name = page
	default:
		name = filepath.Dir(page) + "/" + name
	}
	if _, err := os.Stat(name); err != nil {
		return "no such file"
	}
	if text, err := os.ReadFile(name); anchor != "" && (err != nil || !anchors(string(text))[anchor]) {
		return "no such heading"
	}
	return ""
}

// pages are the documents below a folder; what tests compare with is none.
func pages(t *testing.T, root string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		hidden := strings.HasPrefix(entry.Name(), ".") && path != root
		if entry.IsDir() && (hidden || entry.Name() == "testdata" || entry.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			files = append(files, path)
		}
		return err
	}))
	require.NotEmpty(t, files, root)
	return files
}

var (
	fenced  = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	inlined = regexp.MustCompile("`[^`\n]*`")
	leading = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ +(.+)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N} _-]`)
)

func links(t *testing.T, page string) (targets []string) {
	t.Helper()
	text, err := os.ReadFile(page)
	require.NoError(t, err)
	prose := inlined.ReplaceAllString(fenced.ReplaceAllString(string(text), ""), "code")
	for _, found := range leading.FindAllStringSubmatch(prose, -1) {
		targets = append(targets, found[1])
	}
	return targets
}

// anchors are the names that GitHub gives to a page's headings.
func anchors(text string) map[string]bool {
	names := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(text, ""), -1) {
		names[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(strings.TrimSpace(found[1])), ""), " ", "-")] = true
	}
	return names
}
