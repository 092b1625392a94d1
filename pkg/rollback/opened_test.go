package rollback

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/content"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// A release whose units this program would make otherwise cannot be restored, but says who
// depends on what, which address checks ask and whether its live files are there.
func TestWhatAReleaseThatIsMadeOtherwiseSays(t *testing.T) {
	t.Parallel()
	l, dir := ledger(t, release.Record{Version: "v1", Outcome: good}, release.Record{Version: "v2", Outcome: release.Interrupted,
		Services: map[string]release.ServiceRecord{"api": {}}})
	c := types.ServiceConfig{Name: "api"}
	c.Image = "api"
	live := stack.File{Service: "api", Target: "/etc/api", Sum: strings.Repeat("1", 64), Live: true, HostPath: filepath.Join(dir, "shop/live/api"),
		Entries: []stack.Entry{{Sum: strings.Repeat("2", 64)}}}
	st := &stack.Stack{Name: "shop", Dir: filepath.Join(dir, "shop"), Order: []string{"api"}, URL: "https://shop.example.org",
		Services: map[string]*stack.Service{"api": {Name: "api", Image: "api", DependsOn: []stack.Dependency{{Service: "shopdb"}}, Files: []stack.File{live},
			Ext: stack.Extension{Reload: &stack.Reload{Signal: "HUP"}}}},
		Project: &types.Project{Name: "shop", Services: types.Services{"api": c}}}
	require.NoError(t, st.Pin(map[string]string{"api": "api@sha256:" + strings.Repeat("1", 64)}))
	sealed, err := st.Seal()
	require.NoError(t, err)
	otherwise := strings.ReplaceAll(string(sealed), st.Services["api"].Hash, strings.Repeat("0", 64))
	require.NoError(t, l.WriteSealed(t.Context(), 1, []byte(otherwise)))

	assert.Equal(t, []string{"api"}, needing(t.Context(), l, depending(map[string][]string{"shopdb": nil}), "").above("shopdb"))
	asks := &stack.Stack{}
	Options{}.address(t.Context(), l, asks)
	assert.Equal(t, "https://shop.example.org", asks.URL)
	changed, err := altered(t.Context(), content.New(kept{}, st.Dir), fakeHost{}, l)
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"api": {"/etc/api"}}, changed)

	record, err := l.Get(1)
	require.NoError(t, err)
	_, err = restore(t.Context(), &target.Target{}, fakeHost{}, l, record)
	require.ErrorContains(t, err, "is made otherwise by this program")
	assert.Equal(t, fault.Refused, fault.Of(err))
}

// fakeSwarm adapts stacks as a Swarm does.
type fakeSwarm struct{ fakeHost }

func (fakeSwarm) Adapt(_ context.Context, st *stack.Stack) error {
	st.Scheduled = true
	return nil
}

// The stack that comes back is asked whether its code can read the schema, before the release
// that brings it back: it has to be what it is where it comes back to.
func TestTheStackThatComesBackIsAdapted(t *testing.T) {
	t.Parallel()
	l, dir := ledger(t, release.Record{Version: "v1", Outcome: good})
	c := types.ServiceConfig{Name: "api"}
	c.Image = "api"
	st := &stack.Stack{Name: "shop", Dir: filepath.Join(dir, "shop"), Order: []string{"api"}, Services: map[string]*stack.Service{"api": {Name: "api", Image: "api"}},
		Project: &types.Project{Name: "shop", Services: types.Services{"api": c}}}
	require.NoError(t, st.Pin(map[string]string{"api": "api@sha256:" + strings.Repeat("1", 64)}))
	sealed, err := st.Seal()
	require.NoError(t, err)
	require.NoError(t, l.WriteSealed(t.Context(), 1, sealed))
	record, err := l.Get(1)
	require.NoError(t, err)
	for _, c := range []struct {
		on        platform.Platform
		scheduled bool
	}{{fakeHost{}, false}, {fakeSwarm{}, true}} {
		back, err := restore(t.Context(), &target.Target{}, c.on, l, record)
		require.NoError(t, err)
		assert.Equal(t, c.scheduled, back.Scheduled)
	}
	_, err = restore(t.Context(), &target.Target{}, fakeHost{refuses: errors.New("it is of a Swarm")}, l, record)
	require.ErrorContains(t, err, "it is of a Swarm")
}
