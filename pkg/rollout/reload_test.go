package rollout_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
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
