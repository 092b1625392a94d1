package converge

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeServer is a unit whose server has a database or not, and dumps it.
type fakeServer struct {
	backup.Engine
	has          string
	asked, dumps int
	// comes is what the server answers before it takes connections, by pg_isready.
	comes []int
	order []string
	// lacks is why a dump ends without one.
	lacks error
}

func (*fakeServer) Inspect(context.Context, string) (stack.Unit, error) { return stack.Unit{}, nil }
func (*fakeServer) ClearTasks(context.Context, string) error            { return nil }
func (f *fakeServer) Exec(_ context.Context, _ string, argv []string, _ []byte) (string, string, int, error) {
	if strings.Contains(strings.Join(argv, " "), "pg_isready") {
		exit := 0
		if len(f.comes) > 0 {
			exit, f.comes = f.comes[0], f.comes[1:]
		}
		f.order = append(f.order, fmt.Sprint(exit))
		return "", "", exit, nil
	}
	if strings.Contains(strings.Join(argv, " "), "pg_database_size") {
		return "", "how large it is nobody knows", 1, nil
	}
	f.asked++
	f.order = append(f.order, "ask")
	return f.has + "\n1\n", "", 0, nil
}
func (f *fakeServer) RunImage(_ context.Context, _ string, t stack.Task) (stack.Ended, error) {
	f.dumps++
	f.order = append(f.order, "dump")
	if f.lacks != nil {
		return stack.Ended{}, f.lacks
	}
	final := t.Command[len(t.Command)-1]
	return stack.Ended{}, errors.Join(os.WriteFile(final, []byte("dump"), 0o600), os.WriteFile(final+".rows", []byte("1\torders\n"), 0o600),
		os.WriteFile(final+".sum", []byte(strings.Repeat("0", 64)+"\n4\npg_dump 15\n"), 0o600))
}

// The database that is to be dumped may be what the first migration makes: a server that
// a release has brought up is asked. One that ran before is dumped, or the release ends.
func TestADatabaseThatItsFirstMigrationMakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		action              plan.Action
		has                 string
		asked, dumps, warns int
	}{
		"it is not there":        {plan.Create, "0", 1, 0, 1},
		"it is there":            {plan.Create, "1", 1, 1, 0},
		"its server ran before":  {plan.StopFirst, "0", 0, 1, 0},
		"its server was waiting": {plan.Gate, "0", 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			told, server, dir := &event.Recorder{}, &fakeServer{has: c.has}, t.TempDir()
			store := &backup.Store{Project: "shop", Dir: filepath.Join(dir, "backups"), Metrics: filepath.Join(dir, "metrics"), Files: disk.Files{},
				Engine: server, Sink: told}
			d := &transition{Target: &target.Target{Sink: told}, record: &release.Record{}, facts: &facts{}, plan: &plan.Plan{Steps: []plan.Step{{Service: "db", Action: c.action}}}}
			require.NoError(t, d.dump(t.Context(), store, backup.Source{Service: "db", Options: stack.Backups{Database: "shop"}}))
			warns := 0
			for _, e := range told.Events() {
				if e.Level == event.Warning {
					warns++
					assert.Contains(t, e.Text, "database shop of db: there is no such database yet")
				}
			}
			assert.Equal(t, []int{c.asked, c.dumps, c.warns}, []int{server.asked, server.dumps, warns})
			assert.Len(t, d.record.Backups, c.dumps)
		})
	}
}

// A database that the last verified release had is not what a migration makes, also where
// its server was down and the release has brought it up: it is dumped, or the release ends.
func TestADatabaseThatRanBeforeIsNotTakenForAbsent(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		verified     *release.Record
		asked, dumps int
	}{
		"the release before had it":     {&release.Record{Services: map[string]release.ServiceRecord{"db": {Hash: "db"}}}, 0, 1},
		"the release before had it not": {&release.Record{Services: map[string]release.ServiceRecord{"api": {Hash: "api"}}}, 1, 0},
		"no release was verified":       {nil, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, dir := &fakeServer{has: "0", lacks: errors.New("pg_dump: database \"shop\" does not exist")}, t.TempDir()
			store := &backup.Store{Project: "shop", Dir: filepath.Join(dir, "backups"), Metrics: filepath.Join(dir, "metrics"), Files: disk.Files{},
				Engine: server, Sink: event.Discard}
			d := &transition{Target: &target.Target{Sink: event.Discard}, record: &release.Record{}, facts: &facts{verified: c.verified},
				plan: &plan.Plan{Steps: []plan.Step{{Service: "db", Action: plan.Create}}}}
			err := d.dump(t.Context(), store, backup.Source{Service: "db", Options: stack.Backups{Database: "shop"}})
			assert.Equal(t, []int{c.asked, c.dumps}, []int{server.asked, server.dumps})
			assert.Equal(t, c.dumps > 0, errors.Is(err, server.lacks), "%v", err)
		})
	}
}

// What the first migration makes may be missing also where the run that brought its server up
// was cut off before it: that one is asked, and one that was there before is not.
func TestADatabaseOfARunThatWasCutOff(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		acted, verified string // the hash that the last run that changed something had, and the last verified one
		created         time.Time
		asked           int
	}{
		"it made the unit":             {"db", "", began.Add(time.Minute), 1},
		"it found the unit":            {"db", "", began.Add(-time.Minute), 0},
		"it was to be another":         {"other", "", began.Add(time.Minute), 0},
		"no run changed anything":      {"", "", began.Add(time.Minute), 0},
		"a verified release had it":    {"db", "db", began.Add(time.Minute), 0},
		"had another by the same name": {"db", "other", began.Add(time.Minute), 0},
	} {
		for _, step := range []*plan.Step{nil, {Service: "db", Action: plan.Gate}} {
			server, dir := &fakeServer{has: "0"}, t.TempDir()
			store := &backup.Store{Project: "shop", Dir: filepath.Join(dir, "backups"), Metrics: filepath.Join(dir, "metrics"), Files: disk.Files{},
				Engine: server, Sink: event.Discard}
			of := func(hash string) *release.Record {
				if hash == "" {
					return nil
				}
				return &release.Record{Started: began, Services: map[string]release.ServiceRecord{"db": {Hash: hash}}}
			}
			d := &transition{Target: &target.Target{Sink: event.Discard}, record: &release.Record{}, plan: &plan.Plan{},
				facts: &facts{verified: of(c.verified)}}
			if r := of(c.acted); r != nil { // a run after it had no part in that
				d.facts.since = []release.Record{*r, {Started: began.Add(time.Hour), Services: r.Services}}
				d.facts.acted = &d.facts.since[1]
			}
			if step != nil {
				d.plan.Steps = append(d.plan.Steps, *step)
			}
			from := backup.Source{Service: "db", Unit: stack.Unit{Service: "db", Hash: "db", Created: c.created}, Options: stack.Backups{Database: "shop"}}
			require.NoError(t, d.dump(t.Context(), store, from))
			assert.Equal(t, []int{c.asked, 1 - c.asked}, []int{server.asked, server.dumps}, name)
		}
	}
}

// A server that was brought up a moment ago takes no connections while it sets itself up or
// recovers, and without a healthcheck nobody has waited for that: it is dumped after.
func TestADatabaseIsDumpedOnceItListens(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		step  plan.Step
		comes []int
		want  string
	}{
		"it sets itself up":             {plan.Step{Action: plan.Create}, []int{2, 2}, "2 2 0 ask dump"},
		"it recovers":                   {plan.Step{Action: plan.Gate, Starting: true}, []int{1}, "1 0 dump"},
		"it listens":                    {plan.Step{Action: plan.Create}, nil, "0 ask dump"},
		"it never does":                 {plan.Step{Action: plan.Create}, []int{2, 2, 2, 2, 2, 2, 2}, "2 2 2 2 2 ask dump"},
		"its image has no pg_isready":   {plan.Step{Action: plan.Create}, []int{127}, "127 ask dump"},
		"pg_isready does not know that": {plan.Step{Action: plan.Create}, []int{3}, "3 ask dump"},
		"it ran before":                 {plan.Step{Action: plan.StopFirst}, []int{2}, "dump"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				server := &fakeServer{has: "1", comes: c.comes}
				store := &backup.Store{Project: "shop", Dir: filepath.Join(dir, "backups"), Metrics: filepath.Join(dir, "metrics"), Files: disk.Files{},
					Engine: server, Sink: event.Discard}
				c.step.Service = "db"
				d := &transition{Target: &target.Target{Sink: event.Discard}, record: &release.Record{}, facts: &facts{}, plan: &plan.Plan{Steps: []plan.Step{c.step}},
					opts: Options{Asked: Asked{WaitTimeout: 3500 * time.Millisecond}}}
				require.NoError(t, d.dump(t.Context(), store, backup.Source{Service: "db", Options: stack.Backups{Database: "shop", Timeout: time.Minute}}))
				assert.Equal(t, c.want, strings.Join(server.order, " "))
			})
		})
	}
	stopped, cancel := context.WithCancel(t.Context())
	cancel()
	server := &fakeServer{comes: []int{2}}
	err := (&backup.Store{Engine: server, Sink: event.Discard}).Await(stopped, backup.Source{Service: "db"}, time.Minute)
	require.ErrorIs(t, err, context.Canceled)
}
