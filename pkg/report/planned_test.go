package report

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

// The headline of a plan is all that many read of it: that it would be refused stands there.
func TestSentence_OfAPlan(t *testing.T) {
	t.Parallel()
	two, refused := []string{"api", "web"}, []string{"volume data is defined differently\non the host", "another"}
	for name, c := range map[string]struct {
		r    Release
		want string
	}{
		"changes":                  {Release{Changed: two}, "2 services would change; this was a plan, nothing was changed"},
		"nothing":                  {Release{}, "nothing to change"},
		"migrates and no more":     {Release{Migrations: []string{"api"}}, "a database would be migrated; this was a plan, nothing was changed"},
		"refused":                  {Release{Changed: two, Refusals: refused}, "2 services would change, and a release would be refused: volume data is defined differently on the host"},
		"refused, nothing to do":   {Release{Refusals: refused}, "nothing to change, and a release would be refused: volume data is defined differently on the host"},
		"a database goes back":     {Release{RestoresDatabase: "db-1"}, "the database would go back to backup db-1; this was a plan, nothing was changed"},
		"and services are stopped": {Release{RestoresDatabase: "db-1", Changed: two}, "the database would go back to backup db-1 and 2 services would change; this was a plan, nothing was changed"},
		"at length":                {Release{Refusals: []string{strings.Repeat("a", 500)}}, "nothing to change, and a release would be refused: " + strings.Repeat("a", 160) + " ..."},
	} {
		c.r.DryRun, c.r.Outcome = true, "planned"
		assert.Equal(t, c.want, c.r.Sentence(), name)
	}
}
