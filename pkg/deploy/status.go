package deploy

import (
	"context"
	"sort"
	"time"

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
// belong to the release (made by hand, or left by an interrupted one).
type ServiceStatus struct {
	Service string    `json:"service"`
	Image   string    `json:"image"`
	Wanted  int       `json:"wanted"`
	Serving int       `json:"serving"`
	Foreign int       `json:"foreign"`
	Since   time.Time `json:"since"`
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
	wanted := map[string]release.ServiceRecord{}
	if any {
		out.Release, out.Version, out.Since, wanted = verified.Number, verified.Version, verified.Ended, verified.Services
	}
	if newest.Number != verified.Number {
		out.Newest = string(newest.Outcome)
	}
	out.Services = statuses(seen, wanted)
	return out, nil
}

// statuses compares what runs with what the release wants, by service name.
func statuses(seen stack.Observed, wanted map[string]release.ServiceRecord) []ServiceStatus {
	names := map[string]bool{}
	for n := range seen.Units {
		names[n] = true
	}
	for n := range wanted {
		names[n] = true
	}
	var out []ServiceStatus
	for n := range names {
		st := ServiceStatus{Service: n, Image: wanted[n].Image, Wanted: wanted[n].Replicas}
		for _, u := range seen.Units[n] {
			st.count(u, wanted[n].Hash)
		}
		out = append(out, st)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Service < out[j].Service })
	return out
}

func (s *ServiceStatus) count(u stack.Unit, hash string) {
	switch {
	case u.OneOff:
		return
	case hash != "" && u.Hash != hash:
		s.Foreign++
	case u.Serving():
		s.Serving++
	}
	if s.Image == "" {
		s.Image = u.Image
	}
	if u.Created.After(s.Since) {
		s.Since = u.Created
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
