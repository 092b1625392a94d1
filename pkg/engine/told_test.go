package engine

import (
	"context"
	"io"
	"iter"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeSlow is an engine whose one container ends, and whose pull says each of its messages,
// after a while: no real one is slow when a test asks it to be.
type fakeSlow struct {
	client.APIClient
	ends  time.Time
	pulls []said
}

// said is a message of a pull, and how long nothing more comes then.
type said struct {
	jsonstream.Message
	pause time.Duration
}

func (f *fakeSlow) ContainerCreate(context.Context, client.ContainerCreateOptions) (client.ContainerCreateResult, error) {
	return client.ContainerCreateResult{ID: "0123456789abcdef"}, nil
}

func (f *fakeSlow) ContainerStart(context.Context, string, client.ContainerStartOptions) (client.ContainerStartResult, error) {
	return client.ContainerStartResult{}, nil
}

func (f *fakeSlow) ContainerRemove(context.Context, string, client.ContainerRemoveOptions) (client.ContainerRemoveResult, error) {
	return client.ContainerRemoveResult{}, nil
}

func (f *fakeSlow) ContainerInspect(context.Context, string, client.ContainerInspectOptions) (client.ContainerInspectResult, error) {
	state := container.StateRunning
	if time.Now().After(f.ends) {
		state = container.StateExited
	}
	return client.ContainerInspectResult{Container: container.InspectResponse{State: &container.State{Status: state}}}, nil
}

func (f *fakeSlow) ContainerLogs(context.Context, string, client.ContainerLogsOptions) (client.ContainerLogsResult, error) {
	return io.NopCloser(strings.NewReader("")), nil
}

func (f *fakeSlow) ImageInspect(context.Context, string, ...client.ImageInspectOption) (client.ImageInspectResult, error) {
	return client.ImageInspectResult{}, errdefs.ErrNotFound
}

func (f *fakeSlow) ImagePull(context.Context, string, client.ImagePullOptions) (client.ImagePullResponse, error) {
	return fakeSlowStream{pulls: f.pulls}, nil
}

type fakeSlowStream struct {
	client.ImagePullResponse
	pulls []said
}

func (fakeSlowStream) Close() error { return nil }

func (s fakeSlowStream) JSONMessages(context.Context) iter.Seq2[jsonstream.Message, error] {
	return func(yield func(jsonstream.Message, error) bool) {
		for _, m := range s.pulls {
			if !yield(m.Message, nil) {
				return
			}
			time.Sleep(m.pause)
		}
	}
}

// everybody gives what is told to who wants no details.
func everybody(rec *event.Recorder) (texts []string) {
	for _, e := range rec.Events() {
		if e.Level > event.Debug {
			texts = append(texts, e.Text)
		}
	}
	return texts
}

// A migration may take an hour: who watches it is told that it goes on, and how long it may.
func TestATaskThatTakesLongIsTold(t *testing.T) {
	t.Parallel()
	for took, c := range map[time.Duration]struct {
		limit time.Duration
		want  []string
	}{
		29 * time.Second: {time.Hour, nil},
		65 * time.Second: {time.Hour, []string{"migrate is running, 30s so far, at most 1h0m0s", "migrate is running, 1m0s so far, at most 1h0m0s"}},
		31 * time.Second: {0, []string{"migrate is running, 30s so far"}},
	} {
		synctest.Test(t, func(t *testing.T) {
			rec, ctx := &event.Recorder{}, t.Context()
			e, err := New(&fakeSlow{ends: time.Now().Add(took)}, rec)
			require.NoError(t, err)
			if c.limit > 0 {
				limited, cancel := context.WithTimeout(ctx, c.limit)
				defer cancel()
				ctx = limited
			}
			_, err = e.RunImage(ctx, "shop", stack.Task{Name: "migrate", Image: "x", Command: []string{"up"}})
			require.NoError(t, err)
			assert.Equal(t, c.want, everybody(rec))
		})
	}
}

// An engine says nothing while it unpacks, or while a registry hangs.
func TestAPullThatSaysNothingIsTold(t *testing.T) {
	t.Parallel()
	const ref = "registry.test/model@sha256:" + digest0
	layer := func(id, status string, got int64) jsonstream.Message {
		m := jsonstream.Message{ID: id, Status: status}
		if got > 0 {
			m.Progress = &jsonstream.Progress{Current: got * 1e6, Total: 12e6}
		}
		return m
	}
	for name, c := range map[string]struct {
		pulls []said
		want  []string
	}{
		"fast": {pulls: []said{{layer("a", "Downloading", 12), 5 * time.Second}, {layer("a", "Extracting", 6), 5 * time.Second}}},
		"unpacks": {
			[]said{{layer("a", "Downloading", 8), 2 * time.Second}, {layer("a", "Download complete", 0), 28 * time.Second}, {layer("a", "Extracting", 6), 33 * time.Second}, {layer("a", "Pull complete", 0), 0}},
			[]string{"unpacking " + ref + ": 12.0 of 12.0 MB in 1 layers are here, 30s so far", "unpacking " + ref + ": 12.0 of 12.0 MB in 1 layers are here, 1m0s so far"},
		},
		"stalls": {
			[]said{{layer("a", "Downloading", 8), 2 * time.Second}, {layer("b", "Downloading", 3), 33 * time.Second}},
			[]string{"pulling " + ref + ": 11.0 of 24.0 MB in 2 layers are here, 30s so far"},
		},
		"begins late": {
			[]said{{jsonstream.Message{ID: "v1", Status: "Pulling from model"}, 31 * time.Second}},
			[]string{"pulling " + ref + ": nothing has come yet, 30s so far"},
		},
		"is told already": {
			[]said{{layer("a", "Downloading", 1), 25 * time.Second}, {layer("a", "Downloading", 8), 8 * time.Second}},
			[]string{"pulling " + ref + ": 8.0 of 12.0 MB in 1 layers so far"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				rec := &event.Recorder{}
				e, err := New(&fakeSlow{pulls: c.pulls}, rec)
				require.NoError(t, err)
				require.NoError(t, e.Pull(t.Context(), ref, "", Auth{}))
				assert.Equal(t, c.want, everybody(rec))
			})
		})
	}
}
