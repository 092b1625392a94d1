package swarmlab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// shared is the Swarm that all tests of a test binary use.
var shared struct {
	once  sync.Once
	swarm *Swarm
	err   error
}

// Shared is the Swarm of the test binary, made when the first test asks for it and
// taken away by lab.Main. Who stops a node starts it again.
func Shared(t *testing.T, f *lab.Fixture) *Swarm {
	t.Helper()
	shared.once.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		shared.swarm, shared.err = Start(ctx, f.Lab, Options{Name: fmt.Sprintf("e2e-%d", os.Getpid())})
	})
	require.NoError(t, shared.err)
	return shared.swarm
}

// On gives a fixture that acts on the Swarm as f acts on its host, with the same
// files: the manager is its host, the nodes' registry the one in its variables, and
// its port is the manager's. What it released is removed after the test.
func (s *Swarm) On(t *testing.T, f *lab.Fixture) *lab.Fixture {
	t.Helper()
	g := f.In(t)
	g.Host, g.IP, g.Dir = s.Manager.Host, s.Manager.Address, t.TempDir()
	require.NoError(t, os.CopyFS(g.Dir, os.DirFS(f.Dir)))
	env := fmt.Sprintf("REGISTRY=%s\nPORT=%d\n", s.Registry, g.Port)
	require.NoError(t, os.WriteFile(filepath.Join(g.Dir, lab.EnvFile), []byte(env), 0o600))
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := s.RemoveStack(ctx, g.Project); err != nil {
			t.Errorf("removing the project %s from the Swarm: %v", g.Project, err)
		}
	})
	return g
}
