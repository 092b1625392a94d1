package backups

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

// A dump that failed is a refusal; one that was told to stop was interrupted, although
// the store calls it a refusal too.
func TestWhatATakeEndedWith(t *testing.T) {
	t.Parallel()
	refused := fault.New(fault.Refused, "", "mend it", "no backup of shop was made")
	require.NoError(t, ended(t.Context(), nil))
	assert.Equal(t, fault.Refused, fault.Of(ended(t.Context(), refused)))
	assert.Equal(t, fault.Refused, fault.Of(ended(t.Context(), errors.New("no engine"))))
	assert.Equal(t, fault.Failed, fault.Of(ended(t.Context(), fault.New(fault.Failed, "", "", "backup 7 is not proven"))))

	stopped, stop := context.WithCancel(t.Context())
	stop()
	assert.Equal(t, fault.Interrupted, fault.Of(ended(stopped, refused)))
	assert.EqualError(t, ended(stopped, refused), refused.Error())
	require.NoError(t, ended(stopped, nil), "what was done was done")
}
