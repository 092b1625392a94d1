package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/docker/buildx/bake"
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
	for name, c := range map[string]struct{ event, ref, version, tag, of, image string }{
		"pull request": {"pull_request", "refs/pull/7/merge", "", commit, "shiksha/actions", "ghcr.io/shiksha/actions"},
		"push":         {"push", "refs/heads/main", "", commit, "shiksha/actions", "ghcr.io/shiksha/actions"},
		"release":      {"push", "refs/tags/release-v1.2.3", "v1.2.3", "v1.2.3", "shiksha/actions", "ghcr.io/shiksha/actions"},
		"fork":         {"push", "refs/tags/release-v1.2.3", "v1.2.3", "v1.2.3", "Meera/deploying", "ghcr.io/meera/deploying"},
	} {
		t.Run(name, func(t *testing.T) {
			push := "true"
			if c.event == "pull_request" {
				push = "false"
			}
			with := ofTheWorkflow(t, map[string]string{
				"github.event_name != 'pull_request'": push, "inputs.version || github.sha": c.tag, "inputs.version": c.version,
				"github.actor": "meera", "github.token": "t", "github.repository": c.of,
			})
			variable, repository, _ := strings.Cut(with["env-file"], "=")
			r, err := prepared(t, Options{
				Workspace: root, BakeFile: with["bake-file"], Platforms: strings.Split(with["platforms"], ","), Push: with["push"] == "true",
				Tags: []string{with["tags"]}, Environment: map[string]string{"VERSION": with["version"], variable: repository},
				Registry: Login{Registry: with["registry"], Username: with["registry-username"], Password: with["registry-password"]},
				Git:      Git{Ref: c.ref, Commit: commit}, Provenance: with["provenance"], SBOM: with["sbom"],
			})
			require.NoError(t, err)
			require.Len(t, r.plan.targets, 1)
			assert.Equal(t, []string{c.image + ":" + c.tag}, r.plan.targets[0].tags)
			assert.Equal(t, "VERSION="+c.version, with["build-args"])
			r.result.Targets = []Target{{Digest: "sha256:built"}}
			r.finish()
			want := map[string]string{"actions": c.image + "@sha256:built"}
			if push == "false" {
				want = map[string]string{}
			}
			assert.Equal(t, want, r.result.Images, "the workflow's output is the image of actions")
		})
	}
}

// What is pushed beside the services is no image of a deploy, which knows only the
// services of the Compose file; where there is none, nothing else could be meant.
func TestABakeTargetThatIsNoService(t *testing.T) {
	t.Setenv("BUILDX_BAKE_DISABLE_VARS_ENV_LOOKUP", "1")
	dir := workspace(t, shop, map[string]string{"docker-bake.hcl": `
group "default" { targets = ["api", "local", "tool", "jobs"] }
target "api" { context = "api" }
target "local" {
  context = "web"
  tags = ["ghcr.io/team/local:v1"]
}
target "tool" {
  context = "web"
  tags = ["ghcr.io/team/tool:v1"]
}
target "jobs" {
  context = "web"
  tags = ["postgres:16"]
}
`})
	var notes []string
	images := func() map[string]string {
		r, err := prepared(t, Options{Workspace: dir, BakeFile: "docker-bake.hcl", Push: true})
		require.NoError(t, err)
		for _, target := range r.plan.targets {
			r.result.Targets = append(r.result.Targets, Target{Name: target.name, Services: target.services, Digest: "sha256:" + target.name})
		}
		r.finish()
		notes = r.result.Notes
		return r.result.Images
	}
	assert.Equal(t, map[string]string{
		"api": "ghcr.io/team/shop/api@sha256:api", "worker": "ghcr.io/team/shop/api@sha256:api",
		"local": "ghcr.io/team/local@sha256:local", "db": "docker.io/library/postgres@sha256:jobs",
	}, images())
	require.Len(t, notes, 1)
	assert.Contains(t, notes[0], "tool: it is pushed, but no deploy runs it")

	require.NoError(t, os.Remove(filepath.Join(dir, "compose.yaml")))
	bake := filepath.Join(dir, "docker-bake.hcl")
	text, err := os.ReadFile(bake)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(bake, []byte(strings.Replace(string(text), `"api", "local", "tool", "jobs"`, `"tool"`, 1)), 0o600))
	assert.Equal(t, map[string]string{"tool": "ghcr.io/team/tool@sha256:tool"}, images())
	assert.Empty(t, notes)
}

// A target without a tag and a service without an image share no name: neither is the
// other's.
func TestAnUntaggedTargetIsNoServicesImage(t *testing.T) {
	t.Parallel()
	services := map[string]string{"api": "", "jobs": "", "web": "ghcr.io/team/web"}
	for name, want := range map[string][]string{"api": {"api"}, "tool": nil} {
		spec := &bake.Target{Name: name}
		target := &target{name: name, spec: spec}
		target.deployed(services, map[string]*bake.Target{name: spec})
		assert.Equal(t, want, target.services, name)
	}
}
