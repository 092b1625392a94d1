package deploy

import (
	"context"
	"errors"
	"io/fs"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/release"
)

// fakeAway is a host that lists no folder.
type fakeAway struct{ fakeState }

func (fakeAway) List(context.Context, string) ([]fs.FileInfo, error) { return nil, errors.New("away") }

// What was the last release is read before the lock is waited for, and not by who does not
// wait; that it cannot be read ends nothing.
func TestWhatADeploySawBeforeItWaited(t *testing.T) {
	t.Parallel()
	files, waits := fakeState{}, Options{LockWait: time.Minute}
	assert.Equal(t, &release.Record{}, waits.seen(t.Context(), files, "/state", "shop"), "nothing was released yet")
	l, err := release.Open(t.Context(), files, "/state", "shop")
	require.NoError(t, err)
	require.NoError(t, l.Append(t.Context(), &release.Record{Version: "v1", Outcome: release.Verified}))
	require.NoError(t, l.Append(t.Context(), &release.Record{Version: "v2", Outcome: release.Refused}))
	seen := waits.seen(t.Context(), files, "/state", "shop")
	require.NotNil(t, seen)
	assert.Equal(t, "v1", seen.Version)
	assert.Nil(t, Options{}.seen(t.Context(), files, "/state", "shop"))
	assert.Nil(t, waits.seen(t.Context(), fakeAway{files}, "/state", "shop"))
}
