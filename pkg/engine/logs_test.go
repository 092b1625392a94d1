package engine

import (
	"bytes"
	"context"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
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

// Of a log that is too large its end is given, from the beginning of a line, and that
// it is an end.
func TestLogs_Cut(t *testing.T) {
	t.Parallel()
	line := strings.Repeat("x", 1023) + "\n"
	for name, c := range map[string]struct {
		said, want string
		cut        bool
	}{
		"whole":           {"a\nb\n", "a\nb\n", false},
		"just whole":      {strings.Repeat(line, 4096), strings.Repeat(line, 4096), false},
		"one byte more":   {"!" + strings.Repeat(line, 4096), strings.Repeat(line, 4095), true},
		"much more":       {"PANIC\n" + strings.Repeat(line, 20_000), strings.Repeat(line, 4095), true},
		"one line, ended": {strings.Repeat("y", logBytes) + "\n", strings.Repeat("y", logBytes-1) + "\n", true},
		"one line of all": {strings.Repeat("y", logBytes+1), strings.Repeat("y", logBytes), true},
	} {
		e, err := New(&fakeTalkative{APIClient: daemon, said: c.said}, event.Discard)
		require.NoError(t, err)
		text, cut, err := e.Logs(t.Context(), "0123456789abcdef", time.Time{})
		require.NoError(t, err)
		assert.Equal(t, c.cut, cut, name)
		assert.True(t, c.want == text, "%s: %d bytes, not %d", name, len(text), len(c.want))
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
		assert.Equal(t, len(all) > 10, e.cut)
		assert.LessOrEqual(t, len(e.kept), 20)
	}
}
