package gateway_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// task starts a unit as a Swarm's DNS has it: under the names of its service.
func (l *lab) task(name string) string {
	_, addr := l.run(name, "--network-alias", "api", "--network-alias", "tasks.api", backendImage, name)
	l.answers("http://" + addr + ":8000/")
	return addr
}

// standIns counts the processes that stand in.
func (l *lab) standIns() int {
	out := docker(l.t, "exec", l.unit.ID, "sh", "-c", `for p in /proc/[0-9]*; do tr '\0' ' ' <"$p/cmdline" 2>/dev/null; echo; done | grep -c 'tasks[.]api' || true`)
	return strings.Count(out, "1") + strings.Count(out, "2")
}

// Whoever pinned a unit was killed, and the unit goes by itself: the gateway follows
// DNS, and goes on with that.
func TestStandInTakesOver(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	old := l.task("old")
	g := l.start()
	require.NoError(t, g.Set(t.Context(), "api", []string{old}))
	require.NoError(t, g.StandIn(t.Context(), "api", "tasks.api", time.Minute))
	for _, step := range [][2]string{{"new", "old"}, {"newer", "new"}} {
		l.task(step[0])
		l.remove(step[1])
		assert.Eventually(t, func() bool {
			body, err := fetch(t.Context(), l.url, 2*time.Second)
			return err == nil && strings.Contains(body, step[0])
		},
			15*time.Second, 100*time.Millisecond, "%s serves", step[0])
		assert.NotContains(t, l.hosts(), "shiksha:api")
	}
}

// As long as the pins are true it does nothing, and it ends when they are taken out.
func TestStandInEnds(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	addr := l.task("old")
	g := l.start()
	require.NoError(t, g.Set(t.Context(), "api", []string{addr}))
	require.NoError(t, g.StandIn(t.Context(), "api", "tasks.api", time.Minute))
	time.Sleep(5 * time.Second) // longer than it would wait to take over
	assert.Contains(t, l.hosts(), addr+" api # shiksha:api")
	assert.Positive(t, l.standIns())
	require.NoError(t, g.Clear(t.Context(), "api"))
	assert.Eventually(t, func() bool { return l.standIns() == 0 }, 10*time.Second, 200*time.Millisecond)
}
