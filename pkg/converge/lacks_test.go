package converge

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/release"
)

// A hotfix of what was gone back to lacks a migration that the database has: nothing is to
// be mended in it, and the backup would cost what was written since.
func TestAMigrationThatTheCodeLacks(t *testing.T) {
	t.Parallel()
	l, err := release.Open(t.Context(), disk.Files{}, t.TempDir(), "shop")
	require.NoError(t, err)
	var verified release.Record
	for _, r := range []release.Record{
		{Version: "v1"},
		{Version: "v2", Migrations: []release.Migration{{Service: "api", Before: "0001", After: "0002"}}},
		{Version: "v1", RollsBack: 2, Restores: 1},
	} {
		r.Outcome = release.Started
		require.NoError(t, l.Append(t.Context(), &r))
		r.Outcome = release.Verified
		require.NoError(t, l.Update(t.Context(), &r))
		verified = r
	}
	d := &transition{ledger: l, facts: &facts{verified: &verified}, record: &release.Record{Number: 4, Backups: []string{"postgres-1"}}}
	lost := release.Migration{Service: "api", Exit: 1, Output: "Can't locate revision identified by '0002'"}
	hint := d.afterFailure(lost)
	assert.Contains(t, hint, "release 2, revision 0002")
	assert.Contains(t, hint, "take the files of its migrations into this code")
	assert.NotContains(t, hint, "postgres-1")

	lost.Output = "boom"
	assert.Contains(t, d.afterFailure(lost), "postgres-1", "another failure is one of the migration")
}
