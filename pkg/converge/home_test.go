package converge

import (
	"context"
	"errors"
	"io/fs"
	"path"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// Another user has another state folder: an empty ledger and a lock of its own, for what a
// release with the first one made. What another tool made is taken over.
func TestAFirstReleaseOfWhatWasReleasedElsewhere(t *testing.T) {
	t.Parallel()
	away := errors.New("the connection is lost")
	for name, c := range map[string]struct {
		made    string
		oneOff  bool
		newest  *release.Record
		gone    bool
		seen    error
		refused bool
		warned  int
	}{
		"with another folder":                        {made: "/var/lib/shiksha", refused: true},
		"with a folder that this user may not see":   {made: "/root/state", seen: &fs.PathError{Err: fs.ErrPermission}, refused: true},
		"with a folder that is lost":                 {made: "/var/lib/shiksha", gone: true, warned: 1},
		"with this folder, whose ledger is lost":     {made: "/home/deploy/state"},
		"by Compose from a checkout":                 {},
		"a command of another release, still there":  {made: "/var/lib/shiksha", oneOff: true},
		"with another folder, and here long before":  {made: "/var/lib/shiksha", newest: &release.Record{}},
		"with a folder that cannot be looked at now": {made: "/var/lib/shiksha", seen: away},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ledger, err := release.Open(t.Context(), fakeFiles{}, "/home/deploy/state", "shop")
			require.NoError(t, err)
			if c.made != "" { // what tells a ledger is what a release writes
				kept := fakeFiles{}
				elsewhere, err := release.Open(t.Context(), kept, c.made, "shop")
				require.NoError(t, err)
				require.NoError(t, elsewhere.Append(t.Context(), &release.Record{}))
				assert.Contains(t, kept, path.Join(c.made, "shop/chain.json"))
			}
			var told event.Recorder
			units := map[string][]stack.Unit{"api": {{ID: "1", StateDir: c.made, OneOff: c.oneOff}}, "legacy": {{ID: "2"}}}
			d := &transition{Target: &target.Target{Sink: &told, StateDir: "/home/deploy/state/"}, ledger: ledger,
				facts: &facts{newest: c.newest, observed: stack.Observed{Units: units}}, opts: Options{Stack: &stack.Stack{Name: "shop"}}}
			err = d.atHome(t.Context(), func(_ context.Context, name string) (bool, error) {
				assert.Equal(t, c.made+"/shop/chain.json", name)
				return !c.gone, c.seen
			})
			assert.Len(t, told.Events(), c.warned)
			if !c.refused {
				if c.seen != nil {
					require.ErrorIs(t, err, c.seen)
					return
				}
				require.NoError(t, err)
				return
			}
			require.Equal(t, fault.Refused, fault.Of(err), "%v", err)
			assert.ErrorContains(t, err, "shop was released on this host with the state folder "+c.made+", and this run's is /home/deploy/state:")
			assert.Contains(t, fault.Hint(err), "give state-dir: "+c.made+";")
		})
	}
}
