package main

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/rhysd/actionlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
)

// documents are what users copy from.
func documents(t *testing.T) []string {
	t.Helper()
	files := []string{"README.md"}
	for _, pattern := range []string{"actions/*/README.md", "docs/*.md", "examples/*/README.md", "examples/*/docs/*.md"} {
		found, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, found...)
	}
	return files
}

// step is a step of a workflow that uses an action.
type step struct {
	Uses string
	With map[string]string
}

// steps finds the steps in a piece of YAML, however deep.
func steps(n *yaml.Node) (list []step) {
	var s step
	if n.Kind == yaml.MappingNode && n.Decode(&s) == nil && s.Uses != "" {
		list = append(list, s)
	}
	for _, child := range n.Content {
		list = append(list, steps(child)...)
	}
	return list
}

var (
	yamlBlock = regexp.MustCompile("(?ms)^( *)```yaml\n(.*?)^ *```")
	ourAction = regexp.MustCompile(`^shiksha/actions(?:/actions)?(?:/([a-z]+))?@`)
)

// What the documents show can be copied: whole workflows pass actionlint, and every
// step gives our actions inputs that they have, and those that they need.
func TestDocumentsShowWhatWorks(t *testing.T) {
	t.Parallel()
	whole, ours := 0, map[string]int{}
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, block := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			content := strings.ReplaceAll("\n"+block[2], "\n"+block[1], "\n")
			var doc yaml.Node
			require.NoError(t, yaml.Unmarshal([]byte(content), &doc), "%s:\n%s", file, content)
			for _, s := range steps(&doc) {
				if found := ourAction.FindStringSubmatch(s.Uses); found != nil {
					ours[found[1]]++
					assertInputs(t, file, found[1], s.With)
				}
			}
			if strings.Contains(content, "\njobs:") && strings.Contains(content, "\non:") {
				whole++
				lint(t, file, content)
				assertNothingIsPassedOver(t, file, content)
			}
		}
	}
	assert.GreaterOrEqual(t, whole, 12)
	for action, least := range map[string]int{"": 1, "build": 3, "deploy": 3, "verify": 3, "rollback": 3} {
		assert.GreaterOrEqual(t, ours[action], least, "worked examples of %q", action)
	}
}

// The examples' workflows give our actions inputs that they have, and those that they need.
func TestExampleWorkflowsUseInputsThatAreThere(t *testing.T) {
	t.Parallel()
	ours := 0
	for _, pattern := range []string{"examples/*/workflows/*.yml", "examples/*/.github/workflows/*.yml"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			var doc yaml.Node
			require.NoError(t, yaml.Unmarshal(text, &doc), file)
			for _, s := range steps(&doc) {
				if found := ourAction.FindStringSubmatch(s.Uses); found != nil {
					ours++
					assertInputs(t, file, found[1], s.With)
				}
			}
		}
	}
	assert.GreaterOrEqual(t, ours, 4)
}

// assertNothingIsPassedOver finds a step with our action whose failure leaves its job
// green: only a later step that fails for it makes somebody hear.
func assertNothingIsPassedOver(t *testing.T, file, content string) {
	t.Helper()
	var w struct {
		Jobs map[string]struct {
			Steps []struct {
				ID, Uses, If, Run string
				Continue          bool `yaml:"continue-on-error"`
			}
		}
	}
	require.NoError(t, yaml.Unmarshal([]byte(content), &w), file)
	for name, job := range w.Jobs {
		for i, s := range job.Steps {
			if !s.Continue || !ourAction.MatchString(s.Uses) {
				continue
			}
			told := false
			for _, later := range job.Steps[i+1:] {
				told = told || later.If == "always() && steps."+s.ID+".outcome == 'failure'" && strings.HasSuffix(strings.TrimSpace(later.Run), "exit 1")
			}
			assert.True(t, told, "%s: the job %s is green whatever %s finds", file, name, s.Uses)
		}
	}
}

// whatGitHubKeeps is a variable or a secret that a workflow reads.
var whatGitHubKeeps = regexp.MustCompile(`\b(?:vars|secrets)\.([A-Z_]+)`)

// What the examples' workflows read of GitHub stands in their documents: one that nobody
// sets is empty, and nothing says so.
func TestExampleWorkflowsReadWhatTheirDocumentsName(t *testing.T) {
	t.Parallel()
	read := 0
	files, err := filepath.Glob("examples/*/workflows/*.yml")
	require.NoError(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		pages, err := filepath.Glob(filepath.Join(filepath.Dir(file), "..", "docs", "*.md"))
		require.NoError(t, err)
		var named strings.Builder
		for _, page := range pages {
			text, err := os.ReadFile(page)
			require.NoError(t, err)
			named.Write(text)
		}
		for _, name := range whatGitHubKeeps.FindAllStringSubmatch(string(text), -1) {
			read++
			assert.True(t, strings.Contains(named.String(), "`"+name[1]+"`"), "%s reads %s, which its documents do not name", file, name[0])
		}
	}
	assert.Greater(t, read, 8)
}

func assertInputs(t *testing.T, file, action string, given map[string]string) {
	t.Helper()
	path := "action.yml"
	if action != "" {
		path = filepath.Join("actions", action, "action.yml")
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err, file)
	var declared struct {
		Inputs map[string]struct{ Required bool }
	}
	require.NoError(t, yaml.Unmarshal(text, &declared))
	for name := range given {
		assert.Contains(t, declared.Inputs, name, "%s: %q has no such input", file, action)
	}
	for name, input := range declared.Inputs {
		if input.Required {
			assert.Contains(t, given, name, "%s: %q needs it", file, action)
		}
	}
}

func lint(t *testing.T, file, content string) {
	t.Helper()
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	require.NoError(t, err)
	found, err := linter.Lint(file, []byte(content), nil)
	require.NoError(t, err)
	for _, wrong := range found {
		if strings.Contains(wrong.Message, "could not read reusable workflow") {
			continue // it is another block of the document
		}
		if wrong.Message == `unexpected key "queue" for "concurrency" section. expected one of "cancel-in-progress", "group"` {
			continue // GitHub has it since May 2026, actionlint not yet
		}
		t.Errorf("%s: %s in line %d of\n%s", file, wrong.Message, wrong.Line, content)
	}
}

var (
	ourCommand = regexp.MustCompile(`(?m)^ *(?:\$ )?shiksha ((?:[a-z]|--).*)$`)
	continued  = regexp.MustCompile(`\\\n\s*`)
	quoted     = regexp.MustCompile(`"[^"]*"|'[^']*'`)
	remark     = regexp.MustCompile(`\s+#.*$`)
)

// Commands that documents and help texts show have the flags that the program has.
func TestCommandsThatAreShownParse(t *testing.T) {
	t.Parallel()
	texts := map[string]string{"shiksha --help": about}
	for _, file := range documents(t) {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		texts[file] = string(text)
	}
	parser := func() *inputs.Parser {
		p, err := inputs.NewParser(&commands{}, inputs.Source{ReadFile: os.ReadFile}, io.Discard, io.Discard, func(int) {}, kong.Name("shiksha"))
		require.NoError(t, err)
		return p
	}
	for _, node := range parser().Model().Children {
		texts["shiksha "+node.Name+" --help"] = node.Detail
	}
	seen := 0
	for where, text := range texts {
		for _, found := range ourCommand.FindAllStringSubmatch(continued.ReplaceAllString(text, " "), -1) {
			args := strings.Fields(quoted.ReplaceAllString(remark.ReplaceAllString(found[1], ""), "words"))
			if args[0] == "--help" || strings.Contains(found[1], "...") {
				continue
			}
			seen++
			// What the command needs besides, and files that are not here, is another matter.
			if _, err := parser().Parse(args); err != nil {
				assert.NotRegexp(t, `unknown flag|unexpected argument|expected one of|is none of`, err.Error(), "%s: shiksha %s", where, found[1])
			}
		}
	}
	assert.Greater(t, seen, 30)
}

// The stack that the README shows to whoever writes an own one is whole: with the
// files and variables it names, nothing of it refuses a release.
func TestTheReadmesStackIsWhole(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(text), "\n## Your own stack\n")
	require.True(t, found)
	folder := t.TempDir()
	for language, file := range map[string]string{"yaml": "compose.yaml", "nginx": "nginx.conf"} {
		block := regexp.MustCompile("(?ms)^( *)```" + language + "\n(.*?)^ *```").FindStringSubmatch(section)
		require.NotNil(t, block, file)
		content := strings.ReplaceAll("\n"+block[2], "\n"+block[1], "\n")
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600))
	}
	seen, project, err := deploy.Preflight(t.Context(), deploy.Options{
		Workspace: folder, Environment: map[string]string{"VERSION": "v1"}, EnvFile: []byte("POSTGRES_PASSWORD=kq7Zr2mWc9Xb4TnLpa\n"),
	}, event.Discard)
	require.NoError(t, err)
	assert.Equal(t, "shop", project, "--project shop of the commands below it")
	for _, r := range seen.Results {
		assert.NotEqual(t, check.Fail, r.Outcome, "%s: %s", r.Name, r.Found)
	}
}
