package build

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
)

// An engine's own BuildKit unpacks what it exports, and before 0.34 it refuses to set the
// times of such an image: each push and load from a checkout failed at its end.
func TestAnOldBuildKitOfTheEngineIsNotGivenTimesToSet(t *testing.T) {
	t.Parallel()
	commit := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	const dated = `services: {api: {build: {context: ./api, args: {SOURCE_DATE_EPOCH: "1"}}, image: a}}`
	const plain = `services: {api: {build: ./api, image: a}}`
	for name, c := range map[string]struct {
		compose, version string
		at               time.Time
		push             bool
		kind, says       string
	}{
		"old":                     {plain, "v0.31.1", commit, true, "docker-container", "cannot give an image the time of its commit (its version is v0.31.1, and that takes v0.34.0)"},
		"old, the file's time":    {dated, "v0.33.0", time.Time{}, true, "docker-container", "its version is v0.33.0"},
		"before the release":      {plain, "v0.34.0-rc1", commit, true, "docker-container", "its version is v0.34.0-rc1"},
		"told as unknown":         {plain, "v0.0.0+unknown", commit, true, "docker-container", "its version is v0.0.0+unknown"},
		"not told":                {plain, "", commit, true, "docker-container", "its version is unknown"},
		"no version":              {plain, "master", commit, true, "docker-container", "its version is master"},
		"new":                     {plain, "v0.34.0", commit, true, "docker", "the engine's own BuildKit"},
		"newer, of a later state": {plain, "v0.35.2+0123456789ab", commit, true, "docker", "the engine's own BuildKit"},
		"old, and no time":        {plain, "v0.31.1", time.Time{}, true, "docker", "the engine's own BuildKit"},
		"old, and kept by nobody": {plain, "v0.31.1", commit, false, "docker", "the engine's own BuildKit"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeEngine{version: c.version, store: "overlayfs"}
			// A workspace that is no checkout: its time is the one given here.
			r, err := prepared(t, Options{Workspace: workspace(t, c.compose, nil), DockerHost: f.serve(t)})
			require.NoError(t, err)
			r.o.Git.Time, r.o.Push = c.at, c.push
			chosen, why, err := r.pick(t.Context())
			require.NoError(t, err)
			assert.Equal(t, c.kind, chosen.kind)
			assert.Contains(t, why, c.says)
		})
	}
}

// The engine answers 200 also to an image that it does not take, and says so in the
// answer: such a load was green, and the image from before had the name.
func TestAnImageThatTheEngineDoesNotTake(t *testing.T) {
	t.Parallel()
	const refusal = "{\"status\": \"Loading layer\", \"progressDetail\": {\"current\": 1}, \"id\": \"a\"}\n" +
		`{"errorDetail": {"message": "write /layer.tar: no space left on device"}, "error": "write /layer.tar: no space left on device"}`
	const wants = "the engine did not take the image: write /layer.tar: no space left on device"
	for name, c := range map[string]struct {
		reads        bool
		status       int
		answer, says string
	}{
		"taken":                    {true, http.StatusOK, `{"stream": "Loaded image: a:latest\n"}`, ""},
		"taken, without a word":    {true, http.StatusOK, "", ""},
		"refused when it was read": {true, http.StatusOK, refusal, wants},
		"refused on the way":       {false, http.StatusOK, refusal, wants},
		"refused by its status":    {false, http.StatusInternalServerError, `{"message": "write /layer.tar: no space left on device"}`, "no space left on device"},
		"cut off":                  {true, http.StatusOK, `{"status": "Loading`, "the engine did not take the image: unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeEngine{load: func(w http.ResponseWriter, q *http.Request) {
				if c.reads {
					_, _ = io.Copy(io.Discard, q.Body)
				}
				w.WriteHeader(c.status)
				_, _ = io.WriteString(w, c.answer)
			}}
			api, err := (&run{o: Options{DockerHost: f.serve(t)}}).engine(t.Context())
			require.NoError(t, err)
			done := make(chan error, 1)
			out, err := (&chosen{engine: api}).loader(t.Context(), done)(nil)
			require.NoError(t, err)
			block := bytes.Repeat([]byte("x"), 64<<10)
			for i := 0; err == nil && (!c.reads || i < 8); i++ {
				_, err = out.Write(block)
			}
			if !c.reads {
				require.ErrorContains(t, err, c.says, "BuildKit says what it could not write")
			}
			require.NoError(t, out.Close())
			if err = <-done; c.says == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, c.says)
				assert.Contains(t, hintFor(fmt.Sprint("failed to solve: ", err)), "look at the engine's disk")
			}
		})
	}
}

// onFake is a run with the builder in the container of a fake engine.
func onFake(t *testing.T, f *fakeEngine) (*run, *event.Recorder) {
	t.Helper()
	heard := &event.Recorder{}
	r, err := prepared(t, Options{Workspace: workspace(t, "services: {api: {build: ./api, image: a}}\n", nil), DockerHost: f.serve(t)})
	require.NoError(t, err)
	r.sink, r.dir = heard, t.TempDir()
	r.builder, err = choose(t.Context(), r)
	require.NoError(t, err)
	require.Equal(t, own, r.builder.node.Name)
	t.Cleanup(func() { r.builder.leave(context.Background(), r) })
	return r, heard
}

// The container of the builder has one name on a machine, and the build that started it
// takes it along, also from one that it cannot see at work yet.
func TestABuilderThatAnotherBuildTakesAlong(t *testing.T) {
	t.Parallel()
	for name, build := range map[string]func(*run) error{
		"while the Dockerfiles are checked": func(r *run) error { return r.check(t.Context()) },
		"while it builds":                   func(r *run) error { return r.solve(t.Context(), nil) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fakeEngine{version: "v0.34.2", container: true}
			r, heard := onFake(t, f)
			require.False(t, r.builder.started)
			f.dieNext()
			if err := build(r); err != nil {
				require.ErrorContains(t, err, buildsNothing)
			}
			assert.Equal(t, [2]int{1, 2}, f.counts())
			assert.True(t, r.builder.started, "it goes with this build")
			var said []string
			for _, e := range heard.Events() {
				said = append(said, e.Text)
			}
			assert.Contains(t, said, own+" went away, as it does with the build that had started it; building once more")

			f.dieNext()
			assert.ErrorContains(t, r.solve(t.Context(), nil), own+" went away while it built")
			assert.Equal(t, 1, f.counts()[0], "once")
		})
	}
}

// Where nobody took the builder away, the build ends as it did: what is there and does not
// answer has a log, and a container that was named is not ours to start.
func TestABuilderThatNobodyTookAlong(t *testing.T) {
	t.Parallel()
	f := &fakeEngine{version: "v0.34.2", container: true}
	r, _ := onFake(t, f)
	require.ErrorContains(t, r.solve(t.Context(), nil), buildsNothing)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	assert.False(t, r.anew(t.Context()), "it answers")
	f.remove()
	assert.False(t, r.anew(ctx), "cancelled")
	for name, c := range map[string]chosen{
		"started here": {node: r.builder.node, kind: r.builder.kind, started: true},
		"remote":       {node: r.builder.node, kind: "remote"},
	} {
		other := run{sink: event.Discard, builder: &c}
		assert.False(t, other.anew(t.Context()), name)
	}
	named := *r.builder
	named.node.Name = "builder"
	assert.False(t, (&run{sink: event.Discard, builder: &named}).anew(t.Context()))
	assert.Zero(t, f.counts()[0])

	broken := &fakeEngine{version: "v0.34.2", container: true}
	r, _ = onFake(t, broken)
	require.True(t, r.settled(t.Context(), time.Minute))
	broken.hang()
	assert.False(t, r.settled(t.Context(), 50*time.Millisecond))
	broken.remove()
	assert.True(t, r.settled(t.Context(), time.Minute))
}
