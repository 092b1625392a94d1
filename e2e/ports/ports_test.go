package ports

import (
	"net"
	"strconv"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFree_GivesNoneTwiceAndNoneThatIsTaken(t *testing.T) {
	t.Parallel()
	seen := map[int]bool{}
	for range 50 {
		port, err := Free()
		require.NoError(t, err)
		assert.False(t, seen[port], "%d was given before", port)
		seen[port] = true
		taken, err := net.Listen("tcp", ":"+strconv.Itoa(port+1))
		if err == nil {
			next, err := Free()
			require.NoError(t, err)
			assert.NotEqual(t, port+1, next, "somebody listens there")
			require.NoError(t, taken.Close())
		}
	}
}
