package converge

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// What a job wrote between a backup and the way back to it is gone: it has it to do again,
// in whichever release comes next. What it did before the backup is in it.
func TestJobsWhoseWorkWentWithADatabase(t *testing.T) {
	t.Parallel()
	const id = "postgres-20260301T090000Z"
	taken := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	back := taken.Add(time.Hour)
	for name, c := range map[string]struct {
		backup  string
		outcome release.Outcome
		made    time.Time
		service string
		lost    bool
	}{
		"made after the backup":           {id, release.Verified, taken.Add(time.Minute), "migrate", true},
		"in the same second":              {id, release.Verified, taken, "migrate", true},
		"the way back was cut off":        {id, release.Interrupted, taken.Add(time.Minute), "migrate", true},
		"it got stuck":                    {id, release.Stuck, taken.Add(time.Minute), "migrate", true},
		"it failed, and was swapped back": {id, release.Failed, taken.Add(time.Minute), "migrate", false},
		"it was refused":                  {id, release.Refused, taken.Add(time.Minute), "migrate", false},
		"made before the backup":          {id, release.Verified, taken.Add(-time.Second), "migrate", false},
		"made since":                      {id, release.Verified, back.Add(time.Minute), "migrate", false},
		"no database came back":           {"", release.Verified, taken.Add(time.Minute), "migrate", false},
		"a backup of another name":        {"by-hand", release.Verified, taken.Add(time.Minute), "migrate", false},
		"no job":                          {id, release.Verified, taken.Add(time.Minute), "api", false},
		"not in the stack":                {id, release.Verified, taken.Add(time.Minute), "gone", false},
	} {
		ledger, err := release.Open(t.Context(), fakeFiles{}, "/state", "shop")
		require.NoError(t, err)
		for _, r := range []release.Record{
			{Outcome: release.Verified, Started: taken.Add(-time.Hour)},
			{Outcome: c.outcome, Started: back, RestoresDatabase: c.backup},
			{Outcome: release.Verified, Started: back.Add(time.Hour)},
		} {
			require.NoError(t, ledger.Append(t.Context(), &r))
		}
		unit := stack.Unit{ID: "1", Service: c.service, State: stack.Exited, Created: c.made}
		f := &facts{stack: &stack.Stack{Order: []string{"api", "migrate"}, Services: map[string]*stack.Service{"migrate": {Name: "migrate", Job: true}, "api": {Name: "api"}}},
			observed: stack.Observed{Units: map[string][]stack.Unit{c.service: {unit}}}}
		f.know(ledger)
		var want []string
		if c.lost {
			want = []string{"1"}
		}
		assert.Equal(t, want, f.input(Options{}, nil).Lost, name)
	}
}

// Of two databases one came back: what a job wrote to the other is still there, so that it has
// nothing to do again. Who may have written to either has.
func TestJobsOfAnotherDatabaseLostNothing(t *testing.T) {
	t.Parallel()
	taken := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	service := func(name string, on ...string) *stack.Service {
		svc := &stack.Service{Name: name, Job: true}
		for _, other := range on {
			svc.DependsOn = append(svc.DependsOn, stack.Dependency{Service: other})
		}
		return svc
	}
	for name, c := range map[string]struct {
		job    *stack.Service
		backup string
		lost   bool
	}{
		"it depends on what came back":        {service("import", "auth-db"), "auth-db-20260301T090000Z", true},
		"by way of a pooler":                  {service("import", "pooler"), "auth-db-20260301T090000Z", true},
		"on both":                             {service("import", "shopdb", "pooler"), "auth-db-20260301T090000Z", true},
		"on the other":                        {service("import", "shopdb"), "auth-db-20260301T090000Z", false},
		"on the other, and a cache":           {service("import", "cache", "shopdb"), "auth-db-20260301T090000Z", false},
		"the pooler is of the other":          {service("import", "pooler"), "shopdb-20260301T090000Z", false},
		"on none that is backed up":           {service("import", "cache"), "auth-db-20260301T090000Z", true},
		"on nothing":                          {service("import"), "auth-db-20260301T090000Z", true},
		"what came back has another name now": {service("import", "shopdb"), "db-20260301T090000Z", true},
	} {
		shop, auth := service("shopdb"), service("auth-db")
		shop.Job, auth.Job, shop.Ext.Backups, auth.Ext.Backups = false, false, &stack.Backups{}, &stack.Backups{}
		f := &facts{restores: []release.Record{{Number: 2, Started: taken.Add(time.Hour), RestoresDatabase: c.backup}},
			stack: &stack.Stack{Order: []string{"shopdb", "auth-db", "cache", "pooler", "import"}, Services: map[string]*stack.Service{
				"shopdb": shop, "auth-db": auth, "cache": service("cache"), "pooler": service("pooler", "auth-db"), "import": c.job}},
			observed: stack.Observed{Units: map[string][]stack.Unit{"import": {{ID: "1", Service: "import", State: stack.Exited, Created: taken.Add(time.Minute)}}}}}
		assert.Equal(t, c.lost, len(f.workLost()) > 0, name)
	}
}
