package swarm

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/api/types/system"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// fakeStarting is an engine that says what its part in a Swarm is, the last one for good.
type fakeStarting struct {
	client.APIClient
	says []swarm.Info
	err  error
}

func (f *fakeStarting) Info(context.Context, client.InfoOptions) (client.SystemInfoResult, error) {
	in := f.says[0]
	if len(f.says) > 1 {
		f.says = f.says[1:]
	}
	return client.SystemInfoResult{Info: system.Info{Swarm: in}}, f.err
}

// A manager whose engine has just started has a Swarm, although it does not know of it yet:
// taken for a single host it would start the stack a second time.
func TestFind(t *testing.T) {
	t.Parallel()
	is := func(state swarm.LocalNodeState) swarm.Info { return swarm.Info{LocalNodeState: state} }
	manager := swarm.Info{LocalNodeState: swarm.LocalNodeStateActive, ControlAvailable: true, NodeID: "n1"}
	ill := swarm.Info{LocalNodeState: swarm.LocalNodeStateError, Error: "its certificate has expired"}
	for name, c := range map[string]struct {
		says  []swarm.Info
		found bool
		err   string
		waits time.Duration
	}{
		"none":                 {[]swarm.Info{is(swarm.LocalNodeStateInactive)}, false, "", 0},
		"an engine without":    {[]swarm.Info{is("")}, false, "", 0},
		"a manager":            {[]swarm.Info{manager}, true, "", 0},
		"a worker":             {[]swarm.Info{is(swarm.LocalNodeStateActive)}, false, ErrWorker.Error(), 0},
		"coming up":            {[]swarm.Info{is(swarm.LocalNodeStatePending), is(swarm.LocalNodeStatePending), manager}, true, "", 2 * time.Second},
		"not coming up":        {[]swarm.Info{is(swarm.LocalNodeStatePending)}, false, "in a Swarm that is pending, so what runs there is not known", rejoins},
		"coming up, to none":   {[]swarm.Info{is(swarm.LocalNodeStatePending), is(swarm.LocalNodeStateInactive)}, false, "", time.Second},
		"locked":               {[]swarm.Info{is(swarm.LocalNodeStateLocked)}, false, "is locked", 0},
		"ill":                  {[]swarm.Info{ill}, false, "that is error, so what runs there is not known: its certificate has expired", rejoins},
		"cut off for a moment": {[]swarm.Info{ill, ill, manager}, true, "", 2 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				began := time.Now()
				found, err := Find(t.Context(), Host{API: &fakeStarting{says: c.says}, Sink: event.Discard})
				assert.Equal(t, c.found, found != nil)
				assert.InDelta(t, c.waits.Seconds(), time.Since(began).Seconds(), 1)
				if c.err == "" {
					require.NoError(t, err)
					return
				}
				require.ErrorContains(t, err, c.err)
				assert.Equal(t, fault.Refused, fault.Of(err))
				assert.NotEmpty(t, fault.Hint(err))
				assert.Equal(t, c.waits == rejoins, errors.Is(err, ErrLost), "a worker and what is locked are whole")
			})
		})
	}
	lost := errors.New("EOF")
	_, err := Find(t.Context(), Host{API: &fakeStarting{says: []swarm.Info{manager}, err: lost}, Sink: event.Discard})
	require.ErrorIs(t, err, lost)
}
