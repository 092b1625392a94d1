package converge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeGround compares nothing.
type fakeGround struct{ backPlatform }

func (*fakeGround) Compare(context.Context, *stack.Stack, stack.Observed) (networks, volumes []string, err error) {
	return nil, nil, nil
}

// A job that has ended serves nobody, and is what its release made it all the same: of
// this one, or after a rollback of the newer one, since no way back runs it again.
func TestWhatRunsWhereAJobHasEnded(t *testing.T) {
	t.Parallel()
	st := workers(t)
	st.Services["video"].Job, st.Services["video"].Replicas = true, 1
	sealed, err := st.Seal()
	require.NoError(t, err)
	unit := func(name, hash string, state stack.State) stack.Unit {
		return stack.Unit{ID: name, Service: name, State: state, Hash: hash}
	}
	email, video := st.Services["email"].Hash, st.Services["video"].Hash
	for name, c := range map[string]struct {
		serving int
		job     []stack.Unit
		runs    bool
	}{
		"it has ended":           {2, []stack.Unit{unit("video", video, stack.Exited)}, true},
		"another has ended":      {2, []stack.Unit{unit("video", "other", stack.Exited)}, true},
		"somebody took it away":  {2, nil, true},
		"it is at work":          {2, []stack.Unit{unit("video", video, stack.Running)}, true},
		"another is at work":     {2, []stack.Unit{unit("video", "other", stack.Running)}, false},
		"a service is not whole": {1, []stack.Unit{unit("video", video, stack.Exited)}, false},
	} {
		seen := stack.Observed{Units: map[string][]stack.Unit{"video": c.job}}
		for range c.serving {
			seen.Units["email"] = append(seen.Units["email"], unit("email", email, stack.Running))
		}
		d := &transition{on: &fakeGround{}}
		assert.Equal(t, c.runs, d.isRunning(t.Context(), sealed, seen), name)
	}
}

// What a record says of a service tells a job, and who shares with another.
func TestPastKnowsJobs(t *testing.T) {
	t.Parallel()
	r := release.Record{Services: map[string]release.ServiceRecord{"api": {Hash: "a"}, "prepare": {Hash: "p"}, "proxy": {Hash: "s"}},
		Model: []byte(`{"services": {"proxy": {"network_mode": "service:api"}, "api": {"depends_on": {"prepare": {"condition": "service_completed_successfully"}}}}}`)}
	assert.Equal(t, []bool{false, true}, []bool{past(&r)["api"].Job, past(&r)["prepare"].Job})
	assert.Equal(t, []bool{false, true}, []bool{past(&r)["api"].Sharing, past(&r)["proxy"].Sharing})
}
