package deploy

import (
	"context"
	"sort"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
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
	// Newest is the outcome of the newest release where it differs.
	Newest   string          `json:"newest,omitempty"`
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
	// Lacks says by number what a rollback to a release would lack.
	Lacks map[int]string `json:"lacks,omitempty"`
}

// Status looks at the host without changing anything.
func Status(ctx context.Context, o Options, sink event.Sink) (*StatusResult, error) {
	t, on, l, err := openLedger(ctx, o, sink)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	seen, err := on.Observe(ctx, o.Project)
	if err != nil {
		return nil, err
	}
	out := &StatusResult{Project: o.Project, Host: t.Host.String()}
	verified, any := l.LatestVerified()
	newest, _ := l.Latest()
	if any {
		out.Release, out.Version, out.Since = verified.Number, verified.Version, verified.Ended
	}
	if newest.Number != verified.Number {
		out.Newest = string(newest.Outcome)
	}
	out.Services = statuses(closer(ctx, t.SteadyOn(t.Here()), seen), verified)
	return out, nil
}

// eyes look at one unit closely.
type eyes interface {
	Inspect(ctx context.Context, id string) (stack.Unit, error)
}

// closer looks into every unit: since when it runs, how often it was started again and
// how it ended is in no list of containers. One that is gone by then stays as it was
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
	names, jobs := map[string]bool{}, verified.Jobs()
	for n := range seen.Units {
		names[n] = true
	}
	for n := range verified.Services {
		names[n] = true
	}
	var out []ServiceStatus
	for n := range names {
		wanted := verified.Services[n]
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
	all := l.All()
	out := &HistoryResult{Project: o.Project, Host: t.Host.String()}
	for i := len(all) - 1; i >= 0; i-- {
		out.Releases = append(out.Releases, all[i])
	}
	if out.Lacks, err = restorable(ctx, t, on, l, all); err != nil {
		return nil, err
	}
	return out, nil
}

// openLedger connects and opens the ledger of the project that is asked about, and
// finds what the project runs on.
func openLedger(ctx context.Context, o Options, sink event.Sink) (t *target.Target, on platform.Platform, l *release.Ledger, err error) {
	if o.Project == "" {
		return nil, nil, nil, fault.New(fault.Input, "project", "for example: --project shop", "which project on the host is not said")
	}
	if err = o.check(); err != nil {
		return nil, nil, nil, err
	}
	t, err = target.Open(ctx, o.Host, o.StateDir, sink)
	if err != nil {
		return nil, nil, nil, err
	}
	l, err = t.Ledger(ctx, o.Project)
	if err == nil {
		on, err = platform.Choose(ctx, t, o.Engine, "", o.Project)
	}
	if err != nil {
		t.Close()
		return nil, nil, nil, err
	}
	return t, on, l, nil
}
