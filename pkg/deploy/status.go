package deploy

import (
	"cmp"
	"context"
	"slices"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// StatusResult says what runs on a host and which release it belongs to.
type StatusResult struct {
	Project string `json:"project"`
	Host    string `json:"host"`
	// Release and Version are of the last verified release, 0 and "" before the
	// first one.
	Release int       `json:"release"`
	Version string    `json:"version"`
	Since   time.Time `json:"since"`
	// Newest is the newest release where it is not that one, nil where it is.
	Newest *release.Record `json:"newest,omitempty"`
	// Unfinished is the newest since then that left something to heal, where it is not
	// Newest.
	Unfinished *release.Record `json:"unfinished,omitempty"`
	// Migrated is set where releases after that one migrated the database with which it served.
	Migrated bool `json:"-"`
	// Lost is set where that one cannot be brought back. Nobody looks where it is the newest.
	Lost bool `json:"-"`
	// Newer says what a newer version of shiksha wrote, "" for nothing: none of the above is
	// about that.
	Newer string `json:"newer,omitempty"`
	// Lock is who holds the project's lock at the moment.
	Lock     release.Sight   `json:"-"`
	Services []ServiceStatus `json:"services"`
}

// ServiceStatus is one service as it runs. Foreign counts units that do not
// belong to the release (made by hand, or left by an interrupted one), Done those of a
// job that ended with 0, also a newer release's: no rollback runs a job again.
type ServiceStatus struct {
	Service string `json:"service"`
	Image   string `json:"image"`
	Wanted  int    `json:"wanted"`
	Serving int    `json:"serving"`
	Done    int    `json:"done"`
	Foreign int    `json:"foreign"`
	// Restarts is how often its units were started again since they were made, Since
	// when one that runs was started last.
	Restarts int       `json:"restarts"`
	Since    time.Time `json:"since"`
}

// HistoryResult lists the releases of a project on a host, newest first.
type HistoryResult struct {
	Project  string           `json:"project"`
	Host     string           `json:"host"`
	Releases []release.Record `json:"releases"`
	// Lock is who holds the project's lock at the moment.
	Lock release.Sight `json:"-"`
	// Lacks says by number what a rollback to a release would lack.
	Lacks map[int]string `json:"lacks,omitempty"`
	// Lost is set where the last verified one cannot be brought back at all.
	Lost bool `json:"-"`
	// Newer says what a newer version of shiksha wrote, "" for nothing: it is not among Releases.
	Newer string `json:"newer,omitempty"`
}

// Status looks at the host without changing anything.
func Status(ctx context.Context, o Options, sink event.Sink) (*StatusResult, error) {
	t, on, l, err := openLedger(ctx, o, sink)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	out := &StatusResult{Project: o.Project, Host: t.Host.String()}
	if out.Lock, err = lockOf(ctx, t, l, o.Project); err != nil {
		return nil, err
	}
	seen, err := on.Observe(ctx, o.Project)
	if err != nil {
		return nil, err
	}
	verified, any := l.LatestVerified()
	if any {
		out.Release, out.Version, out.Since = verified.Number, verified.Version, verified.Ended
	}
	out.Newest, out.Unfinished = since(verified, l.All())
	out.Migrated = release.MigratedSince(l.All(), verified.Number)
	if any && out.Newest != nil {
		if out.Lost, err = lost(ctx, l, verified.Number); err != nil {
			return nil, err
		}
	}
	out.Newer = newer(l)
	out.Services = statuses(closer(ctx, t.SteadyOn(t.Here()), seen), verified)
	return out, nil
}

// since gives the newest release after the last verified one, and the newest of those
// that left something to heal where it is another: one that was refused hides it.
func since(verified release.Record, all []release.Record) (newest, unfinished *release.Record) {
	for _, r := range slices.Backward(all) {
		switch {
		case r.Number <= verified.Number:
			return newest, nil
		case newest == nil:
			newest = &r
		case newest.Outcome.Clean() && !r.Outcome.Clean():
			return newest, &r
		}
	}
	return newest, nil
}

// eyes look at one unit closely.
type eyes interface {
	Inspect(ctx context.Context, id string) (stack.Unit, error)
}

// closer looks into every unit: since when it runs and how often it was started again is
// in no list of containers. One that is gone by then stays as it was
// listed. A Swarm makes a new task of what ended, and tells how it did.
func closer(ctx context.Context, e eyes, seen stack.Observed) stack.Observed {
	if seen.Scheduled {
		return seen
	}
	var eg errgroup.Group
	eg.SetLimit(looks)
	for _, units := range seen.Units {
		for i := range units {
			eg.Go(func() error {
				if u, err := e.Inspect(ctx, units[i].ID); err == nil {
					units[i] = u
				}
				return nil
			})
		}
	}
	_ = eg.Wait()
	return seen
}

// statuses compares what runs with what the release wants, by service name.
func statuses(seen stack.Observed, verified release.Record) []ServiceStatus {
	names, jobs, sharing := map[string]bool{}, verified.Jobs(), verified.Sharing()
	for n := range seen.Units {
		names[n] = true
	}
	for n := range verified.Services {
		names[n] = true
	}
	var out []ServiceStatus
	for n := range names {
		wanted := verified.Services[n]
		if sharing[n] {
			wanted.Hash = "" // its units have that of the container they share with
		}
		st := ServiceStatus{Service: n, Image: wanted.Image, Wanted: wanted.Replicas}
		for _, u := range seen.Units[n] {
			st.count(u, wanted.Hash, jobs[n])
		}
		out = append(out, st)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Service < out[j].Service })
	return out
}

func (s *ServiceStatus) count(u stack.Unit, hash string, job bool) {
	switch {
	case u.OneOff:
		return
	case job && !u.Up():
		if u.State == stack.Exited && u.ExitCode == 0 {
			s.Done++
		}
	case hash != "" && u.Hash != hash:
		s.Foreign++
	case u.Serving():
		s.Serving++
	}
	if s.Image == "" {
		s.Image = u.Image
	}
	s.Restarts += u.Restarts
	started := u.StartedAt
	if started.IsZero() {
		started = u.Created
	}
	if u.State == stack.Running && started.After(s.Since) {
		s.Since = started
	}
}

// History reads the ledger.
func History(ctx context.Context, o Options, sink event.Sink) (*HistoryResult, error) {
	t, on, l, err := openLedger(ctx, o, sink)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	out := &HistoryResult{Project: o.Project, Host: t.Host.String()}
	if out.Lock, err = lockOf(ctx, t, l, o.Project); err != nil {
		return nil, err
	}
	all := l.All()
	out.Newer = newer(l)
	for i := len(all) - 1; i >= 0; i-- {
		out.Releases = append(out.Releases, all[i])
	}
	if out.Lacks, err = restorable(ctx, t, on, l, all); err != nil {
		return nil, err
	}
	if verified, any := l.LatestVerified(); any {
		out.Lost, err = lost(ctx, l, verified.Number)
	}
	return out, err
}

// newer says what of a ledger a newer version of shiksha wrote, "" for nothing.
func newer(l *release.Ledger) string {
	if err := l.Newer(); err != nil {
		return err.Error()
	}
	return ""
}

// looker sees a project's lock.
type looker interface {
	LockOf(ctx context.Context, project string) release.Sight
}

// lockOf looks who holds the lock, and leaves the ledger as it was read after that where
// the newest release has none: a run gives its lock back after it has recorded how it
// ended, so one that ended between the two looks was not cut off.
func lockOf(ctx context.Context, t looker, l *release.Ledger, project string) (seen release.Sight, err error) {
	for range sights {
		before, _ := l.Latest()
		seen = t.LockOf(ctx, project)
		if seen.Of(before) != release.CutOff {
			return seen, nil
		}
		if err := l.Reload(ctx); err != nil {
			return seen, err
		}
		if after, _ := l.Latest(); after.Number == before.Number && after.Outcome == before.Outcome {
			return seen, nil
		}
	}
	// Releases come and go quicker than they can be looked at.
	return release.Sight{Hand: release.Unseen, Why: "the releases change while they are looked at"}, nil
}

// sights is how often the lock is looked at before that is given up.
const sights = 3

// openLedger connects and opens the ledger of the project that is asked about, and
// finds what the project runs on.
func openLedger(ctx context.Context, o Options, sink event.Sink) (t *target.Target, on platform.Platform, l *release.Ledger, err error) {
	if err = cmp.Or(release.CheckNamed(o.Project), o.check()); err != nil {
		return nil, nil, nil, err
	}
	t, err = target.Open(ctx, o.Host, o.StateDir, sink)
	if err != nil {
		return nil, nil, nil, err
	}
	l, err = t.AnyLedger(ctx, o.Project)
	if err == nil {
		on, err = platform.Choose(ctx, t, o.Engine, "", o.Project)
	}
	if err != nil {
		t.Close()
		return nil, nil, nil, err
	}
	return t, on, l, nil
}
