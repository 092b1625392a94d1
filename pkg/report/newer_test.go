package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a newer version wrote is told beside what can be read of the time before, which is then
// not what serves now, and of which nothing is to be mended.
func TestWhatANewerVersionWrote(t *testing.T) {
	t.Parallel()
	const newer = "release 13 of shop was written by a newer version of shiksha (schema 4, this one knows 3)"
	yes := true
	cut, served := Past{Number: 12, Outcome: "started", Standing: "cut off"}, Past{Number: 11, Version: "v1", Outcome: "verified", Started: start, Serves: true}
	s := Status{Project: "shop", Host: "h", Release: &served, Newest: &cut, Unfinished: &cut, Newer: newer, Lock: &Lock{Held: &yes, Holder: "ada"}}
	assert.Equal(t, []string{newer + ", and is not judged here: look with that version, or a newer one", "the lock is held by ada: a run is under way"}, s.Remarks())
	data, err := s.JSON()
	require.NoError(t, err)
	assert.Contains(t, string(data), `"newer":"release 13 of shop`)
	h := History{Project: "shop", Host: "h", Newer: newer, Releases: []Past{served}}
	assert.Contains(t, h.Text(), "\n* last verified that can be read; "+newer+", and is not judged here")
	assert.NotContains(t, h.Text(), "serves now")
	data, err = h.JSON()
	require.NoError(t, err)
	assert.Contains(t, string(data), `"newer":"release 13 of shop`)
	h.Releases = nil
	assert.Equal(t, "shop on h\n"+newer+", and is not judged here: look with that version, or a newer one\n", h.Text())
	s.Release, s.Newest = nil, nil
	assert.NotContains(t, s.Text(start), "nothing was released")
}
