package rollout_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
)

// gates is a proxy that can be told of new files.
func gates(reload stack.Reload) *stack.Stack {
	st := shop(stack.StartFirst, 0)
	st.Services["gateway"].Ext.Reload = &reload
	return st
}

func TestReload(t *testing.T) {
	t.Parallel()
	step := plan.Step{Service: "gateway", Action: plan.Reload, Replicas: 1, Good: []string{"gateway-9"}, Files: []string{"/etc/nginx/nginx.conf"}}
	for name, c := range map[string]struct {
		how   stack.Reload
		edit  func(h *fakeHost)
		want  string
		fails string
	}{
		"nginx tells itself when it is done": {how: stack.Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"}, want: `
			swap
			exec gateway-9 nginx -t
			reload
			confirm gateway`},
		"any other gets a signal from inside and is watched": {how: stack.Reload{Signal: "SIGHUP"}, want: `
			swap
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP
			confirm gateway`},
		"files that do not pass are taken back and the old ones loaded": {how: stack.Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"},
			edit:  func(h *fakeHost) { h.fail["exec"] = errBroken },
			fails: `the new files do not pass "nginx -t" in gateway-9: broken on purpose`, want: `
			swap
			exec gateway-9 nginx -t
			swap back
			exec gateway-9 nginx -t
			reload`},
		"a swap that fails reloads nothing": {how: stack.Reload{Signal: "HUP"},
			edit: func(h *fakeHost) { h.fail["swap"] = errBroken }, fails: "put the new files in place: broken on purpose", want: `
			swap`},
		"a process that cannot be signalled keeps the old files": {how: stack.Reload{Signal: "HUP"},
			edit:  func(h *fakeHost) { h.fail["exec"] = errBroken },
			fails: "reload gateway-9: send HUP to its first process: broken on purpose", want: `
			swap
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP
			swap back
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP`},
		"one that dies of it gets the old files back": {how: stack.Reload{Signal: "HUP"},
			edit: func(h *fakeHost) {
				h.onLook = func(u *stack.Unit, n int) {
					if n == 2 {
						u.Restarts = 1
					}
				}
			},
			fails: "restarted 1 times", want: `
			swap
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP
			swap back
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP`},
		"one that once crashed by itself is not ill for that": {how: stack.Reload{Signal: "HUP"},
			edit: func(h *fakeHost) { h.units["gateway-9"].Restarts, h.units["gateway-9"].OOMKilled = 2, true }, want: `
			swap
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP
			confirm gateway`},
		"one that dies of it again does not pass for its past": {how: stack.Reload{Signal: "HUP"},
			edit: func(h *fakeHost) {
				h.onLook = func(u *stack.Unit, n int) { u.Restarts = min(n, 2) }
			},
			fails: "restarted 2 times", want: `
			swap
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP
			swap back
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP`},
		"a swap back that fails is told with what it was for": {how: stack.Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"},
			edit:  func(h *fakeHost) { h.fail["exec"], h.fail["swap back"] = errBroken, errors.New("disk gone") },
			fails: "put the old files back: disk gone", want: `
			swap
			exec gateway-9 nginx -t
			swap back`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h, st := oldShop(), gates(c.how)
			st.Services["gateway"].Update.Monitor = 300 * time.Millisecond
			if c.edit != nil {
				c.edit(h)
			}
			_, err := follow(t, h, st, nil, step)
			if c.fails == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.fails)
			}
			assert.Equal(t, lines(c.want), h.log)
		})
	}
}

// Units that stay read the new files too, and before anything is added to them.
func TestReload_UnitsThatStayWhileOthersComeAndGo(t *testing.T) {
	t.Parallel()
	h := oldShop()
	h.units["gateway-8"] = new(unit("gateway", 8, "same"))
	files := []string{"/etc/nginx/nginx.conf"}
	_, err := follow(t, h, gates(stack.Reload{Signal: "HUP"}), nil,
		plan.Step{Service: "gateway", Action: plan.Scale, Replicas: 2, Batch: 1, Good: []string{"gateway-9"}, Files: files},
		plan.Step{Service: "gateway", Action: plan.Scale, Replicas: 1, Good: []string{"gateway-8", "gateway-9"}, Files: files})
	require.NoError(t, err)
	assert.Equal(t, lines(`
		swap
		exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP
		confirm gateway
		create gateway 1
		start gateway-101
		confirm gateway
		swap
		exec gateway-8 sh -c kill -s "$1" 1 shiksha HUP
		exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP
		confirm gateway
		stop gateway-9
		remove gateway-9
		confirm gateway`), h.log)

	h = oldShop()
	h.fail["exec"] = errBroken
	_, err = follow(t, h, gates(stack.Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"}), nil,
		plan.Step{Service: "gateway", Action: plan.Scale, Replicas: 2, Batch: 1, Good: []string{"gateway-9"}, Files: files})
	require.ErrorContains(t, err, "the new files do not pass")
	assert.Equal(t, lines(`
		swap
		exec gateway-9 nginx -t
		swap back
		exec gateway-9 nginx -t
		reload`), h.log, "nothing was made")
}

// A cancelled run has seconds: the old files go back and are told to every unit, and
// nobody is watched; what it then still has to do is to record how it ended.
func TestReload_CancelledWhileItIsWatched(t *testing.T) {
	t.Parallel()
	step := plan.Step{Service: "gateway", Action: plan.Reload, Replicas: 2, Good: []string{"gateway-8", "gateway-9"}, Files: []string{"/etc/nginx/nginx.conf"}}
	for name, c := range map[string]struct {
		at   time.Duration
		ill  bool // of the new files, so that the way back is under way already
		want string
	}{
		"the new files": {at: 2 * time.Second, want: `
			swap
			exec gateway-8 sh -c kill -s "$1" 1 shiksha HUP`},
		"the new files, at the second unit": {at: 8 * time.Second, want: `
			swap
			exec gateway-8 sh -c kill -s "$1" 1 shiksha HUP
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP`},
		"the old files": {at: 2 * time.Second, ill: true, want: `
			swap
			exec gateway-8 sh -c kill -s "$1" 1 shiksha HUP`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				h, st := oldShop(), gates(stack.Reload{Signal: "HUP"})
				h.units["gateway-8"] = new(unit("gateway", 8, "same"))
				st.Services["gateway"].Update.Monitor = 5 * time.Second
				if c.ill {
					h.onLook = func(u *stack.Unit, n int) { u.Restarts = min(n, 2) / 2 }
				}
				ctx, cancel := context.WithCancel(t.Context())
				ctx = grace.Watch(ctx)
				time.AfterFunc(c.at, cancel)
				began := time.Now()
				_, err := followUntil(ctx, h, st, nil, step)
				assert.Less(t, time.Since(began)-c.at, time.Second)
				assert.Equal(t, fault.Interrupted, fault.Of(err))
				assert.Equal(t, lines(c.want+`
			swap back
			exec gateway-8 sh -c kill -s "$1" 1 shiksha HUP
			exec gateway-9 sh -c kill -s "$1" 1 shiksha HUP`), h.log)
			})
		})
	}
}

// What a test of new files says is told and recorded without secrets: it quotes the files.
func TestReload_ATestThatFailsPrintsNoSecret(t *testing.T) {
	t.Parallel()
	h, st := oldShop(), gates(stack.Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"})
	st.Services["gateway"].FileSecrets = []string{"new-one"}
	st.Follows([]string{"old-one"})
	h.fail["exec"] = errors.New("unknown directive new-one after old-one")
	_, err := follow(t, h, st, nil,
		plan.Step{Service: "gateway", Action: plan.Reload, Replicas: 1, Good: []string{"gateway-9"}, Files: []string{"/etc/nginx/nginx.conf"}})
	require.ErrorContains(t, err, "unknown directive *** after ***")
	assert.NotContains(t, err.Error(), "-one")
}

// What hangs then ends with the time for acts, not with the process.
func TestReload_CancelledAndTheWayBackHangs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		h, st := oldShop(), gates(stack.Reload{Signal: "HUP"})
		st.Services["gateway"].Update.Monitor = time.Minute
		ctx, cancel := context.WithCancel(t.Context())
		ctx = grace.Watch(ctx)
		time.AfterFunc(time.Second, cancel)
		began := time.Now()
		_, err := followUntil(ctx, h, st, func(r *rollout.Rollout) { r.Live = stuckLive{h} },
			plan.Step{Service: "gateway", Action: plan.Reload, Replicas: 1, Good: []string{"gateway-9"}, Files: []string{"/etc/nginx/nginx.conf"}})
		require.ErrorContains(t, err, "put the old files back")
		assert.Equal(t, time.Second+grace.Acts, time.Since(began))
	})
}

// stuckLive is a connection that says nothing any more once files go back.
type stuckLive struct{ *fakeHost }

func (stuckLive) Swap(context.Context, *stack.Service) (func(context.Context) error, error) {
	return func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }, nil
}
