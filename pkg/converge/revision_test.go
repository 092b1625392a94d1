package converge

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/release"
)

// What a service says of its revision is compared as a whole: tools that say a line for
// each application or branch have the same last line before and after.
func TestRevisionsAreComparedWhole(t *testing.T) {
	t.Parallel()
	m := release.Migration{}
	m.Before, m.BeforeSum = at("orders\n [ ] 0002_drop\nusers\n [X] 0003_last")
	m.After, m.AfterSum = at("orders\n [X] 0002_drop\nusers\n [X] 0003_last")
	assert.Equal(t, "[X] 0003_last", m.After[1:])
	assert.False(t, m.Nothing())
	assert.False(t, m.FoundAs(release.Migration{Before: m.After, BeforeSum: m.AfterSum}))
	m.AfterSum = m.BeforeSum
	assert.True(t, m.Nothing())
	older := release.Migration{Before: "2", After: "2"}
	assert.True(t, older.Nothing(), "an older record has no sums")
	last, sum := at("")
	assert.Empty(t, last+sum)
	assert.False(t, release.Migration{}.Nothing(), "nobody said")
}
