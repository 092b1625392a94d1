package stack_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	sdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/stack"
)

// loaded reads a stack from a Compose file, as a deploy does.
func loaded(t *testing.T, text, variables string) *stack.Stack {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(text), 0o600))
	s, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", EnvFile: []byte(variables), StateDir: "/var/lib/shiksha"})
	require.NoError(t, err)
	return s
}

// everything is the stack that uses every feature.
func everything(t *testing.T) *stack.Stack {
	t.Helper()
	s, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: "../compose/testdata/everything", StateDir: "/var/lib/shiksha",
		EnvFile: []byte("VERSION=1.2.3\nREGION=eu-west\nDB_PASSWORD='s3cr3t-pa$$word'\n")})
	require.NoError(t, err)
	return s
}

// pinned pins every service to an image of its own.
func pinned(t *testing.T, s *stack.Stack) *stack.Stack {
	t.Helper()
	images := map[string]string{}
	for name := range s.Services {
		images[name] = "registry.example/" + name + "@sha256:" + strings.Repeat("a", 64)
	}
	require.NoError(t, s.Pin(images))
	return s
}

func hashes(s *stack.Stack) map[string]string {
	all := map[string]string{}
	for name, service := range s.Services {
		all[name] = service.Hash
	}
	return all
}

func TestPin(t *testing.T) {
	t.Parallel()
	s := loaded(t, "services: {a: {image: a}, b: {image: b}}\n", "")
	assert.EqualError(t, s.Pin(map[string]string{"a": "a@sha256:1"}), "services.b: no image is known for service b")
	assert.Empty(t, s.Services["a"].Pinned, "nothing is pinned by half")
	require.NoError(t, s.Pin(map[string]string{"a": "a@sha256:1", "b": "sha256:2"}))
	assert.Equal(t, "sha256:2", s.Project.Services["b"].Image)
	assert.Equal(t, "b", s.Services["b"].Image)
	hash, err := sdk.ServiceHash(s.Project.Services["a"])
	require.NoError(t, err)
	assert.Equal(t, hash, s.Services["a"].Hash)
	before := s.Services["a"].Hash
	require.NoError(t, s.Pin(map[string]string{"a": "a@sha256:3", "b": "sha256:2"}))
	assert.NotEqual(t, before, s.Services["a"].Hash)
}

// beside is where a database runs, and a command of it.
var beside = stack.Observed{Units: map[string][]stack.Unit{"db": {{ID: "4567", Name: "shop-db-2"}, {ID: "0123", Name: "shop-db-1"}, {ID: "89ab", Name: "run", OneOff: true}}}}

func TestResolvedHash(t *testing.T) {
	t.Parallel()
	s := pinned(t, everything(t))
	got, err := s.ResolvedHash("sidecar", beside)
	require.NoError(t, err)
	c := s.Project.Services["sidecar"]
	c.NetworkMode, c.Pid, c.VolumesFrom = "container:0123", "container:0123", []string{"0123"}
	want, err := sdk.ServiceHash(c)
	require.NoError(t, err)
	assert.Equal(t, want, got)
	assert.Equal(t, []string{"db:ro"}, s.Project.Services["sidecar"].VolumesFrom, "the model stays")
	got, err = s.ResolvedHash("api", beside)
	require.NoError(t, err)
	assert.Equal(t, s.Services["api"].Hash, got)
}

// The container that volumes_from names itself is hashed by Compose without the word before it.
func TestPinOfAForeignContainersVolumes(t *testing.T) {
	t.Parallel()
	s := loaded(t, "services: {a: {image: a, volumes_from: [\"container:legacy:ro\"]}}\n", "")
	require.NoError(t, s.Pin(map[string]string{"a": "a@sha256:1"}))
	c := s.Project.Services["a"]
	assert.Equal(t, []string{"container:legacy:ro"}, c.VolumesFrom, "the model stays")
	c.VolumesFrom = []string{"legacy"}
	want, err := sdk.ServiceHash(c)
	require.NoError(t, err)
	assert.Equal(t, want, s.Services["a"].Hash)
	_, err = s.Seal()
	require.NoError(t, err)
}

// A look at what runs says what a unit of a service that shares would have for its hash: that
// is of the container it shares with, and no part of what is brought back.
func TestSealAfterACompare(t *testing.T) {
	t.Parallel()
	s := pinned(t, everything(t))
	before, err := s.Seal()
	require.NoError(t, err)
	s.Services["sidecar"].Made, err = s.ResolvedHash("sidecar", beside)
	require.NoError(t, err)
	after, err := s.Seal()
	require.NoError(t, err)
	assert.Equal(t, string(before), string(after))
}

func TestSealRoundTrip(t *testing.T) {
	t.Parallel()
	s := pinned(t, everything(t))
	s.URL = "https://shop.example.org"
	data, err := s.Seal()
	require.NoError(t, err)
	back, err := stack.Unseal(data)
	require.NoError(t, err)
	assert.Equal(t, s.Name, back.Name)
	assert.Equal(t, s.Dir, back.Dir)
	assert.Equal(t, s.URL, back.URL)
	assert.Equal(t, s.Order, back.Order)
	assert.Equal(t, s.Warnings, back.Warnings)
	for name, service := range s.Services {
		want := *service
		want.Files = slices.Clone(want.Files)
		for i := range want.Files {
			want.Files[i].Source = ""
			want.Files[i].Entries = slices.Clone(want.Files[i].Entries)
			for j := range want.Files[i].Entries {
				want.Files[i].Entries[j].Source = ""
			}
		}
		assert.Equal(t, &want, back.Services[name])
		assert.Equal(t, s.Project.Services[name].CustomLabels, back.Project.Services[name].CustomLabels)
		assert.Equal(t, s.Project.Services[name].DependsOn, back.Project.Services[name].DependsOn)
		assert.Equal(t, s.Project.Services[name].Scale, back.Project.Services[name].Scale)
	}
	assert.Equal(t, s.Project.Environment, back.Project.Environment)
	assert.Equal(t, s.Project.WorkingDir, back.Project.WorkingDir)
	assert.Equal(t, "s3cr3t-pa$$word", back.Project.Secrets["db-password"].Content)
	assert.Equal(t, s.Project.Configs["inline"].Content, back.Project.Configs["inline"].Content)
	again, err := back.Seal()
	require.NoError(t, err)
	assert.JSONEq(t, string(data), string(again))
	// Released again under other images it is as good as a loaded one.
	pinned(t, back)
	assert.Equal(t, hashes(s), hashes(back))
}

func TestSealRefuses(t *testing.T) {
	t.Parallel()
	_, err := everything(t).Seal()
	assert.ErrorContains(t, err, "not pinned")
	data, err := pinned(t, everything(t)).Seal()
	require.NoError(t, err)
	for name, broken := range map[string]string{
		"torn":          string(data[:len(data)/2]),
		"empty":         "",
		"null":          "null",
		"other format":  strings.Replace(string(data), `"version":2`, `"version":0`, 1),
		"newer format":  strings.Replace(string(data), `"version":2`, `"version":3`, 1),
		"edited":        strings.Replace(string(data), `LOG_LEVEL: info`, `LOG_LEVEL: debug`, 1),
		"lost services": strings.Replace(string(data), `services:\n`, `services: {}\nx-services:\n`, 1),
		"bad name":      strings.Replace(string(data), `"name":"everything"`, `"name":"../x"`, 1),
	} {
		_, err := stack.Unseal([]byte(broken))
		assert.Error(t, err, name)
		if name == "newer format" {
			assert.ErrorContains(t, err, "written by a newer version of shiksha (format 3, this one knows 2): use that version, or a newer one")
		}
	}
}

// A host keeps what an older program sealed, and it is brought back.
func TestUnsealOfAnOlderFormat(t *testing.T) {
	t.Parallel()
	data, err := pinned(t, everything(t)).Seal()
	require.NoError(t, err)
	old := strings.Replace(string(data), `"version":2`, `"version":1`, 1)
	require.Contains(t, old, `"version":1,`)
	require.NotEqual(t, string(data), old)
	back, err := stack.Unseal([]byte(old))
	require.NoError(t, err)
	again, err := back.Seal()
	require.NoError(t, err)
	assert.JSONEq(t, string(data), string(again))
}

func TestRedacted(t *testing.T) {
	t.Parallel()
	s := loaded(t, "services:\n  postgres:\n    image: postgres:16\n    command: [--password, 'x-${PASS}-y', '${SHORT}']\n    environment: {PLAIN: literal-value, URL: 'pg://${PASS}'}\n    labels: ['${PASS}=1', 'via=${PASS}', 'kind=${KIND}']\n    secrets: [s]\n    configs: [c]\nsecrets: {s: {environment: PASS}}\nconfigs: {c: {content: 'pass=${PASS}'}}\n",
		"PASS=hunter2-hunter2\nSHORT=abc\nKIND=postgres\n")
	data, err := pinned(t, s).Redacted()
	require.NoError(t, err)
	assert.NotContains(t, string(data), "hunter2")
	assert.NotContains(t, string(data), "literal-value")
	assert.NotContains(t, string(data), "pass=")
	var model struct {
		Services map[string]struct {
			Command     []string
			Environment map[string]string
			Labels      map[string]string
		}
	}
	require.NoError(t, json.Unmarshal(data, &model))
	got := model.Services["postgres"]
	assert.Equal(t, []string{"--password", "x-***-y", "abc"}, got.Command)
	assert.Equal(t, map[string]string{"PLAIN": "***", "URL": "***"}, got.Environment)
	assert.Equal(t, "***", got.Labels["via"])
	assert.Equal(t, "1", got.Labels["***"])
	assert.Equal(t, "hunter2-hunter2", s.Project.Secrets["s"].Content, "the stack itself is not changed")
}

func TestEnvironmentHashes(t *testing.T) {
	t.Parallel()
	s := loaded(t, "services: {a: {image: a, environment: {X: v, Y: v}}, b: {image: b}}\n", "")
	h := s.EnvironmentHashes([]byte("key"))
	assert.Len(t, h["a"]["X"], 16)
	assert.NotEqual(t, h["a"]["X"], h["a"]["Y"], "the same value under two names does not show")
	assert.NotEqual(t, h["a"]["X"], s.EnvironmentHashes([]byte("other"))["a"]["X"])
	assert.Equal(t, h, s.EnvironmentHashes([]byte("key")))
	assert.Empty(t, h["b"])
}

func TestGoBackRollsAsRollbackConfigSays(t *testing.T) {
	t.Parallel()
	svc := &stack.Service{
		Update:   stack.Update{Parallelism: 1, Order: stack.StopFirst, Monitor: stack.DefaultMonitor, FailureAction: stack.Continue},
		Rollback: stack.Update{Parallelism: 3, Order: stack.StartFirst, FailureAction: stack.Pause},
	}
	(&stack.Stack{Services: map[string]*stack.Service{"api": svc}}).GoBack()
	assert.Equal(t, stack.Update{Parallelism: 3, Order: stack.StartFirst, FailureAction: stack.Continue}, svc.Update)
}

// Who stands in the file without being in the stack is sealed with it; a stack that an older
// program sealed has none and comes back all the same.
func TestSealKeepsWhatIsInactive(t *testing.T) {
	t.Parallel()
	s := pinned(t, loaded(t, "services: {api: {image: api}, vllm: {image: vllm, profiles: [gpu]}}\n", ""))
	data, err := s.Seal()
	require.NoError(t, err)
	back, err := stack.Unseal(data)
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"vllm": {"gpu"}}, back.Inactive)
	var older map[string]any
	require.NoError(t, json.Unmarshal(data, &older))
	delete(older, "inactive")
	data, err = json.Marshal(older)
	require.NoError(t, err)
	back, err = stack.Unseal(data)
	require.NoError(t, err)
	assert.Empty(t, back.Inactive)
	assert.Equal(t, s.Order, back.Order)
}
