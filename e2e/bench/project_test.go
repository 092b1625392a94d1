package main

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/stack"
)

// The measured change is the API's alone: whatever the quickstart becomes, the
// release from one version to the other must not touch anything else.
func TestChangesOnlyTheAPI(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS("../../examples/quickstart")))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bench.yaml"), []byte(changes), 0o600))
	load := func(version string) *stack.Stack {
		s, err := compose.Load(t.Context(), compose.LoadOptions{
			Workspace: dir, Files: []string{"compose.yaml", "bench.yaml"}, Project: "bench", StateDir: "/state",
			Environment: map[string]string{"VERSION": version, "REGISTRY": "localhost:5000", "PORT": "8080"},
		})
		require.NoError(t, err)
		return s
	}
	one, other := load(oneVersion), load(otherVersion)
	require.NotEmpty(t, one.Order)
	for _, name := range one.Order {
		if name == "api" {
			assert.NotEqual(t, one.Services[name].Image, other.Services[name].Image)
			assert.Zero(t, one.Services[name].Update.Monitor)
			continue
		}
		assert.Equal(t, one.Services[name].Image, other.Services[name].Image, name)
	}
	assert.Equal(t, 3, one.Services["api"].Replicas)
	assert.Equal(t, 3, one.Services["api"].Update.Parallelism)
}

func TestSleeperStack(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(sleeperStack("localhost:5000/bench/sleeper:1", 150)), 0o600))
	s, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "bench-150", StateDir: "/state"})
	require.NoError(t, err)
	assert.Len(t, s.Services, 150)
	assert.Zero(t, s.Services["s150"].Update.Monitor)
}

func TestReleasesGoBackAndForth(t *testing.T) {
	t.Parallel()
	p := project{version: oneVersion}
	var seen []string
	for _, failure := range []error{nil, errors.New("not healthy"), nil, nil} {
		_, err := p.release(func() (measured, error) {
			seen = append(seen, p.version)
			return measured{}, failure
		})
		require.ErrorIs(t, err, failure)
	}
	assert.Equal(t, []string{otherVersion, oneVersion, oneVersion, otherVersion}, seen)
}
