package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// What got stuck while it brought a database back may have left the older one: nothing of the
// newer code is started by hand then.
func TestStuckWithADatabaseBroughtBack(t *testing.T) {
	t.Parallel()
	stuck := &Past{Number: 14, Version: "v1", Outcome: "stuck", Restores: 11, RestoredDatabase: true, Failure: "verify: 1 of 3 checks failed"}
	s := &Status{Release: &Past{Number: 13, Serves: true}, Newest: stuck}
	assert.Equal(t, []string{"release 14 (v1) is stuck: verify: 1 of 3 checks failed; see that the database runs (start that by hand if it does not), " +
		"then run the same rollback again, or release a version that works; start nothing else by hand: its code may be newer than the database"}, s.Remarks())
}

// Back over a migration goes who says that the schema was served with, but where the older code can
// be asked: accepted is not checked.
func TestBackOverAMigrationIsNamedWhole(t *testing.T) {
	t.Parallel()
	const whole = "go back: shiksha rollback --release 12 (with --accept-schema where it has no x-shiksha.migrate.compatible: it served with this schema already)"
	served, half := &Past{Number: 12, Serves: true, Migrated: true}, &Past{Number: 13, Version: "v2", Outcome: "interrupted"}
	s := &Status{Release: served, Newest: half}
	assert.Equal(t, []string{"release 13 (v2) was interrupted; run the same again, it heals what is half done, or " + whole}, s.Remarks())
	half.Refused = true
	assert.Equal(t, []string{"release 13 (v2) was interrupted; the same again would be refused again: " + whole + ", or release a version that works"}, s.Remarks())
	h := &History{Project: "shop", Host: "h", Releases: []Past{*half, *served}}
	assert.Contains(t, h.Text(), whole)
}

// Nobody is sent to a release that cannot be brought back.
func TestNobodyIsSentBackToALostRelease(t *testing.T) {
	t.Parallel()
	lost := &Past{Number: 4, Outcome: "verified", Serves: true, Migrated: true, Lost: true, Lacks: "cannot be restored: it is damaged"}
	free := false
	for outcome, ended := range map[string]string{"started": "was cut off, no run holds the lock any more: ", "interrupted": "was interrupted; "} {
		half := &Past{Number: 5, Outcome: outcome}
		if outcome == "started" {
			half.Standing = "cut off"
		}
		for _, refused := range []bool{false, true} {
			half.Refused = refused
			then := "run the same again, it heals what is half done"
			if refused {
				then = "the same again would be refused again: release a version that works"
			}
			s := &Status{Release: lost, Newest: half, Lock: &Lock{Held: &free}}
			assert.Equal(t, []string{"release 5 " + ended + then}, s.Remarks())
			h := &History{Releases: []Past{*half, *lost}, Lock: s.Lock}
			assert.NotContains(t, h.Text(), "shiksha rollback")
		}
	}
}
