package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"
)

// ofTheWorkflow are the inputs that the workflow build gives to the action build, with
// a value in the place of each expression.
func ofTheWorkflow(t *testing.T, values map[string]string) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../../.github/workflows/build.yml")
	require.NoError(t, err)
	for expression, value := range values {
		text = []byte(strings.ReplaceAll(string(text), "${{ "+expression+" }}", value))
	}
	var workflow struct {
		Jobs map[string]struct {
			Steps []struct {
				Uses string
				With map[string]string
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &workflow))
	for _, step := range workflow.Jobs["image"].Steps {
		if step.Uses == "./actions/build" {
			for name, value := range step.With {
				assert.NotContains(t, value, "${{", name)
			}
			return step.With
		}
	}
	t.Fatal("the workflow build does not build")
	return nil
}

// The image of the actions is built by this repository's own bake file and workflow: on
// a pull request, on a push and for a release, each under one name.
func TestTheWorkflowBuildsTheActions(t *testing.T) {
	t.Setenv("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "1")
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	const commit = "0123456789abcdef0123456789abcdef01234567"
	for name, c := range map[string]struct{ event, ref, version, tag string }{
		"pull request": {"pull_request", "refs/pull/7/merge", "", commit},
		"push":         {"push", "refs/heads/main", "", commit},
		"release":      {"push", "refs/tags/release-v1.2.3", "v1.2.3", "v1.2.3"},
	} {
		t.Run(name, func(t *testing.T) {
			push := "true"
			if c.event == "pull_request" {
				push = "false"
			}
			with := ofTheWorkflow(t, map[string]string{
				"github.event_name != 'pull_request'": push, "inputs.version || github.sha": c.tag, "inputs.version": c.version,
				"github.actor": "meera", "github.token": "t",
			})
			r, err := prepared(t, Options{
				Workspace: root, BakeFile: with["bake-file"], Platforms: strings.Split(with["platforms"], ","), Push: with["push"] == "true",
				Tags: []string{with["tags"]}, Environment: map[string]string{"VERSION": with["version"]},
				Registry: Login{Registry: with["registry"], Username: with["registry-username"], Password: with["registry-password"]},
				Git:      Git{Ref: c.ref, Commit: commit}, Provenance: with["provenance"], SBOM: with["sbom"],
			})
			require.NoError(t, err)
			require.Len(t, r.plan.targets, 1)
			assert.Equal(t, []string{"ghcr.io/shiksha/actions:" + c.tag}, r.plan.targets[0].tags)
			assert.Equal(t, "VERSION="+c.version, with["build-args"])
			r.result.Targets = []Target{{Digest: "sha256:built"}}
			r.finish()
			want := map[string]string{"actions": "ghcr.io/shiksha/actions@sha256:built"}
			if push == "false" {
				want = map[string]string{}
			}
			assert.Equal(t, want, r.result.Images, "the workflow's output is the image of actions")
		})
	}
}
