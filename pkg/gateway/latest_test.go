package gateway

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeWorkers is a container whose nginx has given processes, each look the next of
// them: a worker that outlives its drain to the moment is nothing to have on demand. Those
// that are ended are gone from the looks after that.
type fakeWorkers struct {
	sights []string
	ended  []string
	// held is what heldScript prints, "" where connections cannot be counted.
	held string
}

func (f *fakeWorkers) Exec(_ context.Context, _ string, argv []string, _ []byte) (string, string, int, error) {
	switch script := argv[2]; {
	case script == endScript:
		f.ended = append(f.ended, strings.Join(argv[4:], " "))
		for n, sight := range f.sights {
			var left []string
			for line := range strings.Lines(sight) {
				if pid, _, _ := strings.Cut(line, " "); !slices.Contains(argv[5:], pid) {
					left = append(left, line)
				}
			}
			f.sights[n] = strings.Join(left, "")
		}
		return "shiksha-end 0\n", "", 0, nil
	case script == uidScript && f.held != "":
		return "101\n", "", 0, nil
	case script == heldScript:
		return f.held, "", 0, nil
	case strings.Contains(script, lookScript):
		out := f.sights[0]
		f.sights = f.sights[min(1, len(f.sights)-1):]
		return out, "", 0, nil
	}
	return "", "", 1, nil // connections cannot be counted
}

func (*fakeWorkers) Inspect(context.Context, string) (stack.Unit, error) {
	return stack.Unit{State: stack.Running, StartedAt: time.Unix(1, 0)}, nil
}

func (*fakeWorkers) Tail(context.Context, string, int) (string, error) { return "", nil }

func TestLatest(t *testing.T) {
	t.Parallel()
	master := stat(7, 1, "100") + "\tyes\tnginx: master process nginx"
	leaving := stat(21, 7, "300") + "\tyes\tnginx: worker process is shutting down"
	serving := stat(30, 7, "400") + "\tyes\tnginx: worker process"
	both, after := sightOf(master, leaving, serving), sightOf(master, serving)
	for name, c := range map[string]struct {
		sights []string
		kept   int
	}{
		"none is on its way out":                  {sights: []string{after}},
		"one goes within the budget":              {sights: []string{both, both, after}},
		"one stays, and has others' requests too": {sights: []string{both}, kept: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeWorkers{sights: c.sights}
			g := New(f, stack.Unit{ID: "x", Service: "nginx"}, event.Discard)
			gen, err := g.Latest(t.Context())
			require.NoError(t, err)
			left, end, err := g.Drained(t.Context(), gen, 20*time.Millisecond)
			require.NoError(t, err)
			assert.Equal(t, Left{Kept: c.kept}, left)
			assert.Equal(t, "30@400", end.Workers)
			assert.Empty(t, f.ended, "nobody is ended")
		})
	}
}
