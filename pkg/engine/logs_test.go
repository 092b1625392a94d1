package engine

import (
	"bytes"
	"context"
	"io"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeTalkative is an engine with one unit that has written more than any test should.
type fakeTalkative struct {
	client.APIClient
	said string
}

func (f *fakeTalkative) ContainerInspect(context.Context, string, client.ContainerInspectOptions) (client.ContainerInspectResult, error) {
	return client.ContainerInspectResult{Container: container.InspectResponse{Config: &container.Config{Tty: true}}}, nil
}

func (f *fakeTalkative) ContainerLogs(context.Context, string, client.ContainerLogsOptions) (client.ContainerLogsResult, error) {
	return io.NopCloser(strings.NewReader(f.said)), nil
}

// Every line of a log is given, however long the log is; of a line that is too long its
// beginning, and that it is one.
func TestLogs_Lines(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 1023) + "\n"
	much := strings.Repeat("y", longestLine)
	for name, c := range map[string]struct {
		said string
		want map[string]int
		cut  int
	}{
		"nothing":            {"", map[string]int{}, 0},
		"lines":              {"a\nb\r\n\nc", map[string]int{"a": 1, "b": 1, "": 1, "c": 1}, 0},
		"more than memory":   {"PANIC\n" + strings.Repeat(line, 70_000), map[string]int{"PANIC": 1, line[:1023]: 70_000}, 0},
		"one line that fits": {much + "\nz", map[string]int{much: 1, "z": 1}, 0},
		"one that does not":  {much + "y\nz", map[string]int{much: 1, "z": 1}, 1},
		"one without an end": {much + much + "y", map[string]int{much: 1}, 1},
	} {
		e, err := New(&fakeTalkative{APIClient: daemon, said: c.said}, event.Discard)
		require.NoError(t, err)
		got, cuts := map[string]int{}, 0
		require.NoError(t, e.Logs(t.Context(), "0123456789abcdef", time.Time{}, func(line string, cut bool) {
			got[line]++
			if cut {
				cuts++
			}
		}))
		assert.Equal(t, c.cut, cuts, name)
		assert.True(t, maps.Equal(c.want, got), "%s: %d lines of %d", name, len(got), len(c.want))
	}
}

// What is kept of a log does not grow with it.
func TestEnding(t *testing.T) {
	t.Parallel()
	e, all := ending{most: 10}, ""
	for i := range 100 {
		part := strings.Repeat(string(rune('a'+i%26)), 1+i%7)
		n, err := e.Write([]byte(part))
		require.NoError(t, err)
		assert.Equal(t, len(part), n)
		all += part
		assert.True(t, bytes.HasSuffix([]byte(all), e.last()))
		assert.Len(t, e.last(), min(10, len(all)))
		assert.LessOrEqual(t, len(e.kept), 20)
	}
}

// What a task answers is told apart from what it logs beside it.
func TestATasksAnswerAndItsLog(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	ended, err := e.RunImage(t.Context(), "enginetest-answer", stack.Task{Name: "current", Image: imageV1, Command: []string{"/unit", "fail", "3"}})
	require.NoError(t, err)
	assert.Equal(t, 3, ended.Exit)
	assert.Equal(t, "out\n", ended.Printed)
	assert.Contains(t, ended.Output, "out\n")
	assert.Contains(t, ended.Output, "err\n")
}
