package grace

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// wait tells how long a context lasts.
func wait(ctx context.Context) time.Duration {
	began := time.Now()
	<-ctx.Done()
	return time.Since(began)
}

// However many acts a cancelled run has, and however long each of them hangs, all
// of them end by the same moment.
func TestActsShareOneDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ctx = Watch(ctx)
		cancel()
		began := time.Now()
		for _, limit := range []time.Duration{4 * time.Second, 4 * time.Second, 10 * time.Second} {
			last, done := Last(ctx, limit)
			<-last.Done()
			done()
		}
		assert.Equal(t, Acts, time.Since(began))
		last, done := Last(ctx, time.Minute)
		defer done()
		assert.ErrorContains(t, cause(last), "are over", "what comes later does not begin")
		assert.Equal(t, Acts, time.Since(began))
	})
}

// cause waits for the end of a context and tells why it came.
func cause(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// An act that was begun before the cancellation has its own limit until then.
func TestActsOfARunThatGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		watched := Watch(ctx)
		last, done := Last(watched, time.Minute)
		defer done()
		assert.Equal(t, time.Minute, wait(last), "nobody cancelled it")

		last, done = Last(watched, time.Minute)
		defer done()
		time.AfterFunc(10*time.Second, cancel)
		assert.Equal(t, 10*time.Second+Acts, wait(last), "the same deadline counts from the cancellation")
	})
}

// Nobody watches a context of a test or a program that has no runner.
func TestActsOfAContextThatNobodyWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		last, done := Last(ctx, time.Minute)
		defer done()
		assert.Equal(t, time.Minute, wait(last))
	})
}

// The parts fit into the whole, and the whole into what a runner gives.
func TestPartsFit(t *testing.T) {
	assert.Less(t, Acts+Words, Whole)
	assert.Less(t, Whole, 7*time.Second)
}

func TestPause(t *testing.T) {
	t.Parallel()
	require.NoError(t, Pause(t.Context(), time.Millisecond))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("stopped")
	cancel(why)
	began := time.Now()
	require.ErrorIs(t, Pause(ctx, time.Hour), why)
	require.Less(t, time.Since(began), time.Minute)
}
