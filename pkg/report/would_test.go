package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A plan that brings a database back is never one of nothing.
func TestHeadlineOfAPlan(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]Release{
		"nothing to change": {},
		"2 services would change; this was a plan, nothing was changed":                                               {Changed: []string{"api", "worker"}},
		"the database would go back to backup db-1; this was a plan, nothing was changed":                             {RestoresDatabase: "db-1"},
		"the database would go back to backup db-1 and 2 services would change; this was a plan, nothing was changed": {RestoresDatabase: "db-1", Changed: []string{"api", "worker"}},
	} {
		r.DryRun, r.Outcome = true, "planned"
		assert.Equal(t, want, r.Sentence())
	}
}
