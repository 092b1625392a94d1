package target

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Of several that need one node a single one connects at a time, so that the others find
// its connection; a node that hangs holds up nobody who needs another one, nor longer than
// who waits has time.
func TestConnecting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		to, begun := &Target{}, time.Now()
		var all sync.WaitGroup
		for _, address := range []string{"one:22", "one:22", "one:22", "two:22"} {
			all.Go(func() {
				done, err := to.connecting(t.Context(), address)
				if assert.NoError(t, err) {
					defer done()
				}
				time.Sleep(time.Second)
			})
		}
		all.Wait()
		assert.Equal(t, 3*time.Second, time.Since(begun))

		_, err := to.connecting(t.Context(), "one:22")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = to.Beyond(ctx, Node{Name: "one", Address: "one:22"})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		assert.ErrorContains(t, err, "connect to node one")
	})
}
