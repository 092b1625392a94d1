package converge

import (
	"context"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeFolder lists what fakeFiles hold.
type fakeFolder struct{ fakeFiles }

func (f fakeFolder) List(_ context.Context, dir string) (infos []fs.FileInfo, err error) {
	files := fstest.MapFS{}
	for name, data := range f.fakeFiles {
		files[strings.TrimPrefix(name, "/")] = &fstest.MapFile{Data: data}
	}
	entries, err := fs.ReadDir(files, strings.TrimPrefix(dir, "/"))
	for _, e := range entries {
		info, _ := e.Info()
		infos = append(infos, info)
	}
	return infos, err
}

// A rollback takes away what the releases that it undoes made, and nothing else that bears
// the project's name: no ledger could bring it back.
func TestARollbackTakesAwayOnlyWhatTheUndoneReleasesMade(t *testing.T) {
	t.Parallel()
	files := fakeFolder{fakeFiles{}}
	d := begun(t, files, &release.Record{Outcome: release.Verified, Services: services("api", "surge", "legacy", "create")})
	for _, r := range []release.Record{
		{Outcome: release.Verified, Services: services("api", "surge")}, // the one to go back to
		{Outcome: release.Verified, Services: services("api", "surge", "beat", "create")},
		{Outcome: release.Failed, Services: services("api", "surge", "paused", "create", "missed", "stop-first"),
			Steps: []release.Step{{Name: "surge", Service: "api"}, {Name: "create", Service: "paused"}}},
		{Outcome: release.Refused, Services: services("refused", "create")},
		{Outcome: release.Interrupted, Services: services("cut", "create", "known", "unchanged")},
	} {
		require.NoError(t, d.ledger.Append(t.Context(), &r))
	}
	assert.Nil(t, d.made(t.Context()), "a deploy asks for nothing")

	d.opts.Back = &Back{Restores: 2}
	assert.Equal(t, []string{"api", "beat", "cut", "paused"}, d.made(t.Context()))
	d.opts.Back = &Back{Restores: 3}
	assert.Equal(t, []string{"api", "cut", "paused"}, d.made(t.Context()))

	// What a damaged record had its sealed stack says, where that is whole.
	damaged := database(t, "postgres@sha256:"+strings.Repeat("1", 64), "[]")
	sealed, err := damaged.Seal()
	require.NoError(t, err)
	require.NoError(t, d.ledger.WriteSealed(t.Context(), 6, sealed))
	files.fakeFiles["/state/shop/releases/6.json"] = []byte("{")
	require.NoError(t, d.ledger.Reload(t.Context()))
	assert.Equal(t, []string{"api", "db", "old", "paused"}, d.made(t.Context()))
}

// services are those of a record, each with what the release was to do.
func services(pairs ...string) map[string]release.ServiceRecord {
	out := map[string]release.ServiceRecord{}
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = release.ServiceRecord{Action: pairs[i+1]}
	}
	return out
}

// What was found reaches the plan.
func TestARollbackPlansWithWhatWasMade(t *testing.T) {
	t.Parallel()
	unit := func(name string) []stack.Unit { return []stack.Unit{{ID: name, Service: name, State: stack.Running}} }
	f := &facts{stack: &stack.Stack{Name: "shop"}, made: []string{"beat"},
		observed: stack.Observed{Units: map[string][]stack.Unit{"beat": unit("beat"), "postgres": unit("postgres")}}}
	p := plan.Make(f.input(Options{Back: &Back{}, RemoveOrphans: true}, nil))
	assert.Equal(t, plan.Remove, p.Step("beat").Action)
	assert.Equal(t, plan.Keep, p.Step("postgres").Action)
}
