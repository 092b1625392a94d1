package event

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

// A wait is told every half minute while there is something to say, and not after it has ended.
func TestTell(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		told := &Recorder{}
		var state atomic.Value
		state.Store("api-1 is starting")
		stop := Tell(told, Event{Phase: "roll", Service: "api"}, func() (string, time.Duration) { return state.Load().(string), 8 * time.Minute })
		time.Sleep(29 * time.Second)
		synctest.Wait()
		assert.Empty(t, told.Events(), "what is short is not told")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		state.Store("")
		time.Sleep(time.Minute)
		synctest.Wait()
		state.Store("api-1 is running")
		stop()
		time.Sleep(time.Hour)
		events := told.Events()
		if assert.Len(t, events, 1) {
			assert.Equal(t, "api-1 is starting, 30s so far, at most 8m0s", events[0].Text)
			assert.Equal(t, []any{Info, "roll", "api"}, []any{events[0].Level, events[0].Phase, events[0].Service})
		}
	})
}
