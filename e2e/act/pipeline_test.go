package act

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

const pipeline = ".github/workflows/pipeline.yml"

// building is a checkout whose Compose file builds the API, with a BuildKit that an
// action's container can reach.
func building(t *testing.T, f *lab.Fixture) *workspace {
	t.Helper()
	w := checkout(t, f, map[string]string{
		"e2e/act/testdata/pipeline.yml": pipeline, "examples/quickstart/compose.yaml": "compose.yaml",
		"examples/quickstart/nginx/nginx.conf": "nginx/nginx.conf", "examples/quickstart/api/Dockerfile": "api/Dockerfile",
	})
	text, err := os.ReadFile(filepath.Join(w.dir, "compose.yaml"))
	require.NoError(t, err)
	w.write("compose.yaml", strings.Replace(string(text), "  api:\n    <<: *api\n", "  api:\n    <<: *api\n    build: ./api\n", 1))
	require.NoError(t, f.QuickstartProgram(t.Context(), filepath.Join(w.dir, "api", "bin", "api")))
	b, err := f.StartBuilder(t.Context(), &lab.Registry{Address: f.Registry}, nil)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, b.Stop(context.WithoutCancel(t.Context()))) })
	vars, err := os.ReadFile(filepath.Join(w.dir, ".act", "vars.yaml"))
	require.NoError(t, err)
	w.write(".act/vars.yaml", string(vars)+fmt.Sprintf("BUILDER: %q\n", b.TCP))
	return w
}

// One step takes a commit to a verified release, of the very digest that it built;
// a dry run pushes and changes nothing; a build that fails deploys nothing.
func TestPipelineInOneStep(t *testing.T) {
	wanted(t)
	f := lab.New(t)
	w := building(t, f)

	first := w.run(pipeline, w.event("workflow_dispatch", version("v1")))
	require.Zero(t, first.exit, first.log)
	assert.Equal(t, "verified", first.outputs["outcome"])
	assert.Equal(t, "v1", lab.Serving(t.Context(), f.URL()))
	var images map[string]string
	require.NoError(t, json.Unmarshal([]byte(first.outputs["images"]), &images), first.outputs["images"])
	assert.Regexp(t, `/quickstart/api@sha256:[0-9a-f]{64}$`, images["api"])
	assert.Equal(t, images["api"], images["worker"], "what only names the image runs what was built")
	runs, err := f.Docker(t.Context(), "inspect", "--format", "{{.Config.Image}}", f.MustUnits()["api"][0])
	require.NoError(t, err)
	assert.Equal(t, images["api"], runs)
	assert.NotEmpty(t, first.outputs["passed"])
	assert.Equal(t, "0", first.outputs["failed"])
	assert.Contains(t, first.log, "told: verified, api is "+images["api"])
	units := f.MustUnits()

	event := version("v2")
	event["inputs"].(map[string]any)["dry-run"] = "true"
	planned := w.run(pipeline, w.event("workflow_dispatch", event))
	assert.Zero(t, planned.exit, planned.log)
	assert.Equal(t, "planned", planned.outputs["outcome"])
	assert.Equal(t, "{}", planned.outputs["images"])
	assert.Contains(t, planned.outputs["changed-services"], "api")
	assert.NotContains(t, planned.outputs["changed-services"], "postgres")

	w.write("api/Dockerfile", "FROM scratch\nCOPY bin/nothing /api\n")
	broken := w.run(pipeline, w.event("workflow_dispatch", version("v2")))
	assert.Equal(t, 1, broken.exit, broken.log)
	assert.Contains(t, broken.log, "exit with `FAILURE`: 1", "the action's exit code")
	assert.Equal(t, "failed", broken.outputs["outcome"])
	assert.Contains(t, broken.summary, "bin/nothing")
	assert.Contains(t, broken.log, "told: failed, api is null")
	assert.Equal(t, units, f.MustUnits(), "neither the plan nor the failed build touched anything")
	noSecrets(t, f, first, planned, broken)
}
