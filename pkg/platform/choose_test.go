package platform

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/swarm"
	"github.com/shiksha/actions/pkg/target"
)

// A Swarm that cannot be asked is not taken for none, whatever is asked for. A worker may
// be released on as a host of its own.
func TestChooseWhereTheSwarmDoesNotAnswer(t *testing.T) {
	t.Parallel()
	silent := errors.New("ask the engine about its Swarm: EOF")
	for _, wanted := range []string{Auto, Compose, Swarm} {
		_, err := choose(t.Context(), &target.Target{}, nil, silent, wanted, "shop")
		require.ErrorIs(t, err, silent, wanted)
		assert.Equal(t, fault.Refused, fault.Of(err), wanted)
		on, err := choose(t.Context(), &target.Target{}, nil, swarm.ErrWorker, wanted, "shop")
		if wanted == Swarm {
			require.ErrorIs(t, err, swarm.ErrWorker)
			continue
		}
		require.NoError(t, err, wanted)
		assert.Equal(t, Compose, on.Name())
	}
}
