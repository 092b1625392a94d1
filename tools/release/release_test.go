package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

const image = "ghcr.io/shiksha/actions@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// The tree of this repository: the actions, on the image, and nothing else.
func TestTreeOfThisRepository(t *testing.T) {
	t.Parallel()
	out := filepath.Join(t.TempDir(), "tree")
	var listed strings.Builder
	require.NoError(t, run([]string{"tree", "-root", "../..", "-image", image, "-out", out}, &listed))

	actions, err := filepath.Glob("../../actions/*/action.yml")
	require.NoError(t, err)
	require.NotEmpty(t, actions)
	want := []string{"LICENSE", "README.md", "action.yml"}
	for _, file := range actions {
		verb := filepath.Base(filepath.Dir(file))
		want = append(want, verb+"/README.md", verb+"/action.yml")
	}
	slices.Sort(want)
	files := filesBelow(t, out)
	assert.Equal(t, want, files)
	assert.Equal(t, strings.Join(want, "\n")+"\n", listed.String())

	for _, name := range files {
		text, err := os.ReadFile(filepath.Join(out, name))
		require.NoError(t, err)
		switch filepath.Base(name) {
		case "action.yml":
			assertRunsOn(t, name, text, image)
		case "README.md":
			assertLinks(t, out, name, string(text))
		}
	}
}

func filesBelow(t *testing.T, dir string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			name, _ := filepath.Rel(dir, path)
			files = append(files, name)
		}
		return err
	}))
	slices.Sort(files)
	return files
}

// assertRunsOn looks at an action.yml as the runner does.
func assertRunsOn(t *testing.T, name string, text []byte, image string) {
	t.Helper()
	var action struct {
		Name   string
		Inputs map[string]any
		Runs   struct {
			Using, Image string
			Args         []string
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &action), name)
	assert.NotEmpty(t, action.Name, name)
	assert.NotEmpty(t, action.Inputs, name)
	assert.Equal(t, "docker", action.Runs.Using, name)
	assert.Equal(t, "docker://"+image, action.Runs.Image, name)
	require.Len(t, action.Runs.Args, 1, name)
	if verb := filepath.Dir(name); verb != "." {
		assert.Equal(t, verb, action.Runs.Args[0], name)
	}
}

var anyLink = regexp.MustCompile(`\]\(([^)#\s]+)`)

// assertLinks follows a document's links: within the tree, or to a file that the
// repository has.
func assertLinks(t *testing.T, out, name, text string) {
	t.Helper()
	for _, found := range anyLink.FindAllStringSubmatch(text, -1) {
		target := found[1]
		if inside, ok := strings.CutPrefix(target, repository); ok {
			_, err := os.Stat(filepath.Join("../..", inside))
			assert.NoError(t, err, "%s: %s", name, target)
			continue
		}
		if !strings.Contains(target, "://") {
			_, err := os.Stat(filepath.Join(out, filepath.Dir(name), target))
			assert.NoError(t, err, "%s: %s", name, target)
		}
	}
}

func TestTreeRefuses(t *testing.T) {
	t.Parallel()
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o600))
	tests := map[string]struct {
		tree Tree
		want string
	}{
		"a tag":              {Tree{Image: "ghcr.io/shiksha/actions:v1", Out: "x"}, "with its digest"},
		"half a digest":      {Tree{Image: "ghcr.io/shiksha/actions@sha256:0123", Out: "x"}, "with its digest"},
		"a line too much":    {Tree{Image: image + "\n  args: [x]", Out: "x"}, "with its digest"},
		"no folder":          {Tree{Image: image}, "-out"},
		"a folder in use":    {Tree{Image: image, Out: full}, "something in it"},
		"another repository": {Tree{Image: image, Out: "x", Root: full}, "-root"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := test.tree.Write()
			assert.ErrorContains(t, err, test.want)
		})
	}
	assert.NoDirExists(t, "x")
}

// An action that landed without being built from the root Dockerfile must not be
// published as it is.
func TestEachActionIsOnTheRootDockerfile(t *testing.T) {
	t.Parallel()
	for text, good := range map[string]bool{
		"runs:\n  using: docker\n  image: Dockerfile\n":                            true,
		"runs:\n  using: docker\n  image: '../../Dockerfile'\n":                    true,
		"runs:\n  using: docker\n  image: docker://alpine:3\n":                     false,
		"runs:\n  using: docker\n  image: Dockerfile\n  image: ../../Dockerfile\n": false,
		"runs:\n  using: node24\n  main: index.js\n":                               false,
	} {
		_, err := Tree{Image: image}.onImage(text)
		assert.Equal(t, good, err == nil, text)
	}
}

func TestRelink(t *testing.T) {
	t.Parallel()
	moved := map[string]string{"README.md": "README.md", "actions/deploy/README.md": "deploy/README.md", "LICENSE": "LICENSE"}
	for text, want := range map[string]string{
		"[x](../../README.md#security)":   "[x](../README.md#security)",
		"[x](../verify/README.md)":        "[x](" + repository + "actions/verify/README.md)",
		"[x](#inputs) [y](https://a.b/c)": "[x](#inputs) [y](https://a.b/c)",
		"![x](../../docs/a.png)":          "![x](" + pictures + "docs/a.png)",
		"[![x](../../a.png)](../../A.md)": "[![x](" + pictures + "a.png)](" + repository + "A.md)",
	} {
		assert.Equal(t, want, relink(text, "actions/deploy/README.md", "deploy/README.md", moved))
	}
	assert.Equal(t, "[x](deploy/README.md#a) [L](LICENSE)",
		relink("[x](actions/deploy/README.md#a) [L](LICENSE)", "README.md", "README.md", moved))
}

func TestNotes(t *testing.T) {
	t.Parallel()
	changes := fstest.MapFS{
		"changes/unreleased/later.md": {Data: []byte("- later\n")},
		"changes/v1.2.3/two.md":       {Data: []byte("- two, see [it](../../docs/a.md)\n")},
		"changes/v1.2.3/one.md":       {Data: []byte("\n- one\n")},
		"changes/v1.2.3/empty.md":     {},
		"changes/v1.2.3/notes.txt":    {Data: []byte("not a change")},
		"changes/v1.2.1/empty.md":     {Data: []byte(" \n")},
	}
	got, err := Notes(changes, "v1.2.3")
	require.NoError(t, err)
	assert.Equal(t, "- one\n- two, see [it]("+repository+"docs/a.md)\n", got)
	for _, of := range []string{"v1.2.1", "v1.2", "v9.9.9", "unreleased", "../unreleased"} {
		_, err := Notes(changes, of)
		assert.Error(t, err, of)
	}
	var out strings.Builder
	assert.ErrorContains(t, run([]string{"notes"}, &out), "usage")
}
