package act

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

// workflow is what the rules below look at.
type workflow struct {
	On          yaml.Node
	Permissions *map[string]string
	Concurrency struct {
		Group  string
		Cancel string `yaml:"cancel-in-progress"`
	}
	Jobs map[string]struct {
		Permissions *map[string]string
		Timeout     int `yaml:"timeout-minutes"`
		Uses        string
		Steps       []struct {
			Uses, Run string
			With      map[string]string
		}
	}
}

func workflows(t *testing.T) map[string]workflow {
	t.Helper()
	files, err := filepath.Glob(root + "/.github/workflows/*.yml")
	require.NoError(t, err)
	examples, err := filepath.Glob(root + "/examples/*/workflows/*.yml")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	files = append(append(files, examples...), filepath.Join(root, example))
	all := map[string]workflow{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var w workflow
		require.NoError(t, yaml.Unmarshal(text, &w), file)
		require.NotEmpty(t, w.Jobs, file)
		assert.NotContains(t, string(text), "pull_request_target", file)
		name, err := filepath.Rel(root, file)
		require.NoError(t, err)
		all[name] = w
	}
	for _, name := range []string{"test", "build", "deploy-staging", "deploy-production", "rollback", "release"} {
		require.Contains(t, all, ".github/workflows/"+name+".yml")
	}
	return all
}

// Every workflow passes actionlint, those that users copy and those of these tests
// as well; and so does every action, which actionlint looks at where one uses it.
func TestActionlintPasses(t *testing.T) {
	t.Parallel()
	seen := 0
	for _, pattern := range []string{".github/workflows/*.yml", "examples/*/.github/workflows/*.yml", "examples/*/workflows/*.yml", "e2e/act/testdata/*.yml"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, files, pattern)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Empty(t, lint(t, rootOf(file), string(text)), file)
			seen++
		}
	}
	assert.Greater(t, seen, 12)
	for _, action := range []string{"", "build", "deploy", "verify", "rollback"} {
		assert.Empty(t, lint(t, root, using(t, action)), action)
	}
	assert.Len(t, lint(t, root, using(t, "deploy", "hots")), 1, "it does look at the actions")
}

// using is a workflow whose one step uses an action of this repository with the
// inputs it needs, and some more.
func using(t *testing.T, verb string, given ...string) string {
	t.Helper()
	folder := "./"
	if verb != "" {
		folder += "actions/" + verb
	}
	for input, required := range declared(t, verb) {
		if required {
			given = append(given, input)
		}
	}
	step := "      - uses: " + folder + "\n"
	if len(given) > 0 {
		step += "        with: {" + strings.Join(given, ": x, ") + ": x}\n"
	}
	return "on: push\njobs:\n  one:\n    runs-on: ubuntu-latest\n    steps:\n" + step
}

// rootOf is the repository that a workflow is in; those of an example are of another
// one, which is not there.
func rootOf(file string) string {
	if strings.Contains(file, "/examples/") {
		return ""
	}
	return root
}

// lint gives what actionlint says of a workflow of the repository in a folder.
func lint(t *testing.T, repository, text string) (said []string) {
	t.Helper()
	var project *actionlint.Project
	if repository != "" {
		var err error
		project, err = actionlint.NewProject(repository)
		require.NoError(t, err)
	}
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	require.NoError(t, err)
	found, err := linter.Lint(filepath.Join(repository, ".github", "workflows", "one.yml"), []byte(text), project)
	require.NoError(t, err)
	for _, wrong := range found {
		if strings.Contains(wrong.Message, `unexpected key "queue" for "concurrency" section`) {
			continue // GitHub has it, actionlint not yet
		}
		said = append(said, wrong.Error())
	}
	return said
}

var (
	pin     = regexp.MustCompile(`^[A-Za-z0-9._/-]+@[0-9a-f]{40}$`)
	githubs = regexp.MustCompile(`^(actions|github)/[a-z/-]+@v\d+$`)
)

// Rights are given job by job, every job ends some time, others' actions are
// pinned, and no text of an event becomes shell.
func TestWorkflowsAreCareful(t *testing.T) {
	t.Parallel()
	for name, w := range workflows(t) {
		if assert.NotNil(t, w.Permissions, "%s gives its jobs the repository's default rights", name) {
			assert.Empty(t, *w.Permissions, name)
		}
		for id, job := range w.Jobs {
			assert.NotNil(t, job.Permissions, "%s: %s says no permissions", name, id)
			if job.Uses != "" {
				assert.True(t, strings.HasPrefix(job.Uses, "./"), "%s: %s", name, job.Uses)
				continue
			}
			assert.Positive(t, job.Timeout, "%s: %s has no timeout-minutes", name, id)
			for _, step := range job.Steps {
				assert.NotContains(t, step.Run, "${{", "%s: %s: give values to a script in env", name, id)
				own := strings.HasPrefix(step.Uses, "shiksha/actions/") || strings.HasPrefix(step.Uses, "./")
				// An example names GitHub's own by their version, as its readers do.
				own = own || strings.HasPrefix(name, "examples/") && githubs.MatchString(step.Uses)
				if step.Uses != "" && !own {
					assert.Regexp(t, pin, step.Uses, name)
				}
			}
		}
	}
}

// Other workflows may call each of them, but the one that publishes.
func TestWorkflowsCanBeCalled(t *testing.T) {
	t.Parallel()
	for name, w := range workflows(t) {
		if !strings.HasPrefix(name, ".github/") || strings.HasSuffix(name, "/release.yml") {
			continue
		}
		var triggers map[string]any
		require.NoError(t, w.On.Decode(&triggers), name)
		assert.Contains(t, triggers, "workflow_call", name)
	}
}

// Releases never overlap and never cancel each other; a rollback is one of them.
func TestReleasesWaitForEachOther(t *testing.T) {
	t.Parallel()
	all := workflows(t)
	for _, name := range []string{"deploy-staging", "deploy-production", "rollback", "release"} {
		w := all[".github/workflows/"+name+".yml"]
		assert.NotEmpty(t, w.Concurrency.Group, name)
		assert.NotContains(t, w.Concurrency.Group, "${{", "%s: every run is in the same group", name)
		assert.Equal(t, "false", w.Concurrency.Cancel, name)
	}
	assert.Equal(t, all[".github/workflows/deploy-production.yml"].Concurrency.Group, all[".github/workflows/rollback.yml"].Concurrency.Group)
}

// The workflows of the users' kind stay thin: what is decided lives in the actions.
func TestWorkflowsAreThin(t *testing.T) {
	t.Parallel()
	lines := 0
	for _, name := range []string{"test", "build", "deploy-staging", "deploy-production"} {
		text, err := os.ReadFile(root + "/.github/workflows/" + name + ".yml")
		require.NoError(t, err)
		lines += strings.Count(string(text), "\n")
	}
	assert.Less(t, lines, 160)
}

// ownAction matches an action of this repository, by either of its addresses.
var ownAction = regexp.MustCompile(`^(?:\./actions/|shiksha/actions/(?:actions/)?)([a-z]+)(?:@.*)?$`)

// A workflow that gives an action an input it does not have, or forgets one that
// it needs, is found here: for actions of a repository actionlint does not look.
func TestWorkflowsGiveTheActionsTheirInputs(t *testing.T) {
	t.Parallel()
	looked := 0
	for name, w := range workflows(t) {
		for _, job := range w.Jobs {
			for _, step := range job.Steps {
				action := ownAction.FindStringSubmatch(step.Uses)
				if action == nil {
					continue
				}
				inputs := declared(t, action[1])
				looked++
				for given := range step.With {
					assert.Contains(t, inputs, given, "%s: %s has no such input", name, step.Uses)
				}
				for input, required := range inputs {
					if required {
						assert.Contains(t, step.With, input, "%s: %s needs it", name, step.Uses)
					}
				}
			}
		}
	}
	assert.GreaterOrEqual(t, looked, 5)
}

// declared gives the inputs of an action, and whether each is required.
func declared(t *testing.T, verb string) (inputs map[string]bool) {
	t.Helper()
	folder := root
	if verb != "" {
		folder = filepath.Join(root, "actions", verb)
	}
	text, err := os.ReadFile(filepath.Join(folder, "action.yml"))
	require.NoError(t, err)
	var action struct {
		Inputs map[string]struct{ Required bool }
	}
	require.NoError(t, yaml.Unmarshal(text, &action))
	inputs = map[string]bool{}
	for name, input := range action.Inputs {
		inputs[name] = input.Required
	}
	return inputs
}

// The root Dockerfile is built by act as well, whose builder knows no BuildKit.
func TestDockerfileNeedsNoBuildKit(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(root + "/Dockerfile")
	require.NoError(t, err)
	for line := range strings.Lines(string(text)) {
		assert.NotRegexp(t, `^\s*#\s*syntax=`, line)
		assert.NotRegexp(t, `^(RUN|COPY|ADD)\s.*(--mount|--link|--chmod|<<)`, line)
	}
}

// What the documentation shows is what is tested: the samples name the same
// secrets and variables as the workflow that they are for.
func TestSamplesFitTheExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(root, example))
	require.NoError(t, err)
	for kind, file := range map[string]string{"secrets": "secrets.yaml", "vars": "vars.yaml"} {
		sample, err := os.ReadFile(filepath.Join(root, "examples/act", file))
		require.NoError(t, err)
		var values map[string]string
		require.NoError(t, yaml.Unmarshal(sample, &values))
		used := map[string]bool{}
		for _, found := range regexp.MustCompile(kind+`\.([A-Z_]+)`).FindAllStringSubmatch(string(text), -1) {
			used[found[1]] = true
			assert.Contains(t, values, found[1], file)
		}
		for name := range values {
			assert.True(t, used[name], "%s: %s is used by nothing", file, name)
		}
	}
}
