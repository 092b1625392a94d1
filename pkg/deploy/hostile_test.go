package deploy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
)

// canary stands in files outside the workspace and in the process's environment: what
// a stranger's pull request tries to read is in no plan, no finding and no error.
const canary = "c4n4ry-of-the-runner"

// A pull request of a fork gets a plan, and its Compose file is hostile input:
// nothing outside the workspace is read, and no secret is filled in.
func TestHostilePullRequests(t *testing.T) {
	outside := t.TempDir()
	for _, name := range []string{"secret.env", "secret.txt", "compose.yaml", "Dockerfile"} {
		require.NoError(t, os.WriteFile(filepath.Join(outside, name), []byte("CANARY="+canary+"\nservices: {x: {image: \""+canary+"\"}}\n"), 0o600))
	}
	for _, name := range []string{"GITHUB_TOKEN", "INPUT_SSH-KEY", "ACTIONS_RUNTIME_TOKEN", "AWS_SECRET_ACCESS_KEY"} {
		t.Setenv(name, canary)
	}
	const head = "services:\n  a:\n    image: example/a:v1\n"
	const flow = "on: push\njobs: {a: {runs-on: ubuntu-latest, steps: [{uses: docker/build-push-action@v6, with: {context: link}}]}}\n"
	for name, c := range map[string]struct {
		compose string
		links   map[string]string
		files   map[string]string
		refused bool
	}{
		"include":                {compose: "include: [" + outside + "/compose.yaml]\n" + head, refused: true},
		"include above":          {compose: "include: [../" + filepath.Base(outside) + "/compose.yaml]\n" + head, refused: true},
		"include through a link": {compose: "include: [link/compose.yaml]\n" + head, links: map[string]string{"link": outside}, refused: true},
		"include of git":         {compose: "include: [\"https://github.com/a/b.git\"]\n" + head, refused: true},
		"include's env_file":     {compose: "include: [{path: more.yaml, env_file: " + outside + "/secret.env}]\n" + head, files: map[string]string{"more.yaml": head}, refused: true},
		"extends":                {compose: head + "    extends: {file: " + outside + "/compose.yaml, service: x}\n", refused: true},
		"env_file":               {compose: head + "    env_file: " + outside + "/secret.env\n", refused: true},
		"env_file link":          {compose: head + "    env_file: link.env\n", links: map[string]string{"link.env": outside + "/secret.env"}, refused: true},
		"label_file":             {compose: head + "    label_file: " + outside + "/secret.env\n", refused: true},
		"config":                 {compose: head + "    configs: [c]\nconfigs: {c: {file: " + outside + "/secret.txt}}\n", refused: true},
		"secret link":            {compose: head + "    secrets: [s]\nsecrets: {s: {file: link}}\n", links: map[string]string{"link": outside + "/secret.txt"}, refused: true},
		"bind link":              {compose: head + "    volumes: [\"./link:/x\"]\n", links: map[string]string{"link": outside}, refused: true},
		"bind of a home":         {compose: head + "    volumes: [\"~/.ssh:/x\"]\n", refused: true},
		"the process's secrets":  {compose: head + "    environment: {A: \"${GITHUB_TOKEN:-none}\", B: \"${ACTIONS_RUNTIME_TOKEN-none}\", AWS_SECRET_ACCESS_KEY: }\n    labels: {c: \"${AWS_SECRET_ACCESS_KEY:-none}\"}\n"},
		"a secret that must be":  {compose: head + "    environment: {A: \"${GITHUB_TOKEN:?}\"}\n", refused: true},
		"a secret by name":       {compose: head + "    secrets: [s]\nsecrets: {s: {environment: GITHUB_TOKEN}}\n", refused: true},
		"a link for .env":        {compose: head + "    environment: {A: \"${CANARY:-none}\"}\n", links: map[string]string{".env": outside + "/secret.env"}},
		"a linked workflow":      {compose: head, links: map[string]string{".github": outside}},
		"a linked build":         {compose: head, links: map[string]string{"link": outside}, files: map[string]string{".github/workflows/a.yml": flow}},
		"a build context":        {compose: head + "    build: {context: " + outside + ", additional_contexts: {x: " + outside + "}}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for file, text := range c.files {
				require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, file)), 0o755))
				require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600))
			}
			require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(c.compose), 0o600))
			for link, target := range c.links {
				require.NoError(t, os.Symlink(target, filepath.Join(dir, link)))
			}
			var log strings.Builder
			var heard event.Recorder
			result, err := Run(t.Context(), Options{Workspace: dir, Project: "shop", Asked: converge.Asked{DryRun: true}}, &heard)
			assert.Equal(t, c.refused, err != nil, "%v", err)
			for _, e := range heard.Events() {
				log.WriteString(e.Text + e.Output + "\n")
			}
			said, marshalError := json.Marshal(result)
			require.NoError(t, marshalError)
			if err != nil {
				log.WriteString(err.Error())
			}
			assert.NotContains(t, log.String()+string(said), canary)
			if st, err := (Options{Workspace: dir, Project: "shop"}).load(t.Context(), "/var/lib/shiksha"); err == nil {
				model, err := st.Project.MarshalYAML()
				require.NoError(t, err)
				assert.NotContains(t, string(model), canary, "nor in what would be deployed")
			}
		})
	}
}
