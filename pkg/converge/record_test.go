package converge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/release"
)

// What a release that was cut short had begun to do to the database is in its
// record, and decides whether code that runs already has to migrate it again.
func TestWhatACutOffReleaseDidToTheDatabase(t *testing.T) {
	t.Parallel()
	ended := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		record  release.Record
		says    string
		swapped bool
	}{
		"nothing":          {release.Record{Outcome: release.Interrupted}, "", false},
		"a migration":      {release.Record{Migrations: []release.Migration{{Service: "api", Before: "41", Exit: -1}}}, "; the migration of api had begun, the database was at revision 41", false},
		"one that ended":   {release.Record{Migrations: []release.Migration{{Service: "api", Ended: ended}}}, "", false},
		"a way back":       {release.Record{Outcome: release.Started, RestoresDatabase: "b1"}, "; it was bringing the database back to backup b1", true},
		"one taken back":   {release.Record{Outcome: release.Failed, RestoresDatabase: "b1"}, "; it was bringing the database back to backup b1", false},
		"one refused":      {release.Record{Outcome: release.Refused, RestoresDatabase: "b1"}, "; it was bringing the database back to backup b1", false},
		"one that is over": {release.Record{Outcome: release.Verified, RestoresDatabase: "b1"}, "; it was bringing the database back to backup b1", false},
	} {
		assert.Equal(t, c.says, unended(&c.record), name)
		assert.Equal(t, c.swapped, (&facts{newest: &c.record}).swapped(), name)
	}
	assert.False(t, (&facts{}).swapped())
}

// What runs is what was verified last, unless a later release may have touched it.
func TestSettled(t *testing.T) {
	t.Parallel()
	verified, refused := release.Record{Outcome: release.Verified}, release.Record{Outcome: release.Refused}
	old := release.Record{Outcome: release.Failed} // what a record of schema 2 calls a refused one
	rolled := release.Record{Outcome: release.Failed, Steps: []release.Step{{Name: "start"}}}
	for name, c := range map[string]struct {
		records []release.Record
		want    bool
	}{
		"nothing released":        {nil, false},
		"verified":                {[]release.Record{rolled, verified}, true},
		"refused after it":        {[]release.Record{verified, refused, refused}, true},
		"refused before schema 3": {[]release.Record{verified, old, refused}, true},
		"only refused":            {[]release.Record{refused}, false},
		"failed in the middle":    {[]release.Record{verified, rolled}, false},
		"cut short":               {[]release.Record{verified, {Outcome: release.Interrupted}}, false},
		"refused after a cut":     {[]release.Record{verified, {Outcome: release.Started}, refused}, false},
		"migrated":                {[]release.Record{verified, {Outcome: release.Failed, Migrations: []release.Migration{{}}}}, false},
	} {
		assert.Equal(t, c.want, settled(c.records, nil), name)
	}
	numbered := []release.Record{{Number: 1, Outcome: release.Verified}, {Number: 3, Outcome: release.Failed}}
	assert.False(t, settled(numbered, []release.Damage{{Number: 2}}), "what the damaged one did is not known")
	assert.True(t, settled(numbered[:1], []release.Damage{{Number: 0}}), "one before it says nothing")
}
