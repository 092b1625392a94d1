package target

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// Backups keeps the dumps of a project's databases that run on a node. They are made
// by that node's engine and stay there: a restore needs them there, and gigabytes take
// long through the manager.
func (t *Target) Backups(ctx context.Context, n *Node, project string) (*backup.Store, error) {
	out, err := n.Host.Run(ctx, []string{"sh", "-c", `echo "$(id -u):$(id -g)"`}, nil)
	if err != nil {
		return nil, fmt.Errorf("ask %s who its user is: %w", n, err)
	}
	files, err := n.Host.Files(ctx)
	if err != nil {
		return nil, fmt.Errorf("the backups on %s: %w", n, err)
	}
	state, err := t.stateDir(ctx, n)
	if err != nil {
		return nil, err
	}
	s := &backup.Store{
		Project: project, Node: n.Name, Dir: path.Join(state, project, "backups"), Metrics: path.Join(state, "metrics"),
		User: strings.TrimSpace(string(out.Stdout)), Files: files, Engine: t.SteadyOn(n), Sink: t.Sink, Dial: t.vault,
	}
	if n.Name != "" {
		s.Announce = func(ctx context.Context) error {
			return t.shelves(project).add(ctx, shelf{ID: n.ID, Node: n.Name, Address: n.Address, StateDir: state})
		}
	}
	return s, nil
}

// Home is the node that a service's database runs on, the host where it does not run.
func (t *Target) Home(ctx context.Context, on Sight, project, service string) (*Node, error) {
	seen, err := on.Observe(ctx, project)
	if err != nil {
		return nil, err
	}
	if u := serving(seen, service); u.ID != "" {
		return on.At(ctx, u.ID)
	}
	return t.Here(), nil
}

// serving is a unit of a service that serves, an empty one where none does.
func serving(seen stack.Observed, service string) (found stack.Unit) {
	for _, u := range seen.Units[service] {
		if !u.OneOff && u.Serving() {
			found = u
		}
	}
	return found
}

// vault is the host that copies of backups go to.
type vault struct {
	*host.Files
	host *host.Host
}

// vault connects to it: from here, since the host itself is to hold no key to its
// own backups.
func (t *Target) vault(ctx context.Context, address string) (backup.Vault, error) {
	config := t.Vault
	config.Address = address
	h, err := host.Dial(ctx, config)
	if err != nil {
		return nil, err
	}
	files, err := h.Files(ctx)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return &vault{files, h}, nil
}

// Close ends the connection.
func (v *vault) Close() error { return v.host.Close() }

// Sum counts a file's SHA-256 where it is.
func (v *vault) Sum(ctx context.Context, name string) (string, error) {
	out, err := v.host.Run(ctx, []string{"sha256sum", name}, nil)
	if err != nil {
		return "", err
	}
	sum, _, _ := strings.Cut(string(out.Stdout), " ")
	if out.Exit != 0 || len(sum) != 64 {
		return "", fmt.Errorf("sha256sum ended with %d: %s", out.Exit, strings.TrimSpace(string(out.Stderr)))
	}
	return sum, nil
}

// Database is a running database and the node that it runs on.
type Database struct {
	backup.Source
	Node *Node
}

// ErrStopped is why there is nothing to ask of a database.
var ErrStopped = errors.New("its database does not run")

// Databases are the running databases of a stack that ask for backups, in the
// stack's order, with the release that serves. One that does not run is refused:
// it can be neither dumped nor restored. So is one on a node that cannot be reached. Those
// of the services in but are left out.
func (t *Target) Databases(ctx context.Context, on Where, st *stack.Stack, seen stack.Observed, serves release.Record, but ...string) ([]Database, error) {
	var out []Database
	for _, name := range st.Order {
		if st.Services[name].Ext.Backups == nil || slices.Contains(but, name) {
			continue
		}
		db, err := t.Database(ctx, on, st, seen, serves, name)
		if err != nil {
			return nil, err
		}
		out = append(out, db)
	}
	return out, nil
}

// Database is one of Databases, that of a service which asks for backups: for what others that
// do not run are not to keep anybody from.
func (t *Target) Database(ctx context.Context, on Where, st *stack.Stack, seen stack.Observed, serves release.Record, service string) (Database, error) {
	db, err := t.database(ctx, on, service, *st.Services[service].Ext.Backups, serving(seen, service), ", so it can be neither dumped nor restored")
	db.Release, db.Version = serves.Number, serves.Version
	return db, err
}

// Running is one database of a stack, for what cannot wait until it is well, or until
// others are: a unit that serves, or one that only runs.
func (t *Target) Running(ctx context.Context, on Where, st *stack.Stack, seen stack.Observed, service string) (Database, error) {
	u := serving(seen, service)
	for _, other := range seen.Units[service] {
		if u.ID == "" && !other.OneOff && other.State == stack.Running {
			u = other
		}
	}
	return t.database(ctx, on, service, *st.Services[service].Ext.Backups, u, "")
}

// database is what is to be known of one by its unit; an empty unit is refused, so says
// what that keeps from being done.
func (t *Target) database(ctx context.Context, on Where, service string, o stack.Backups, u stack.Unit, so string) (Database, error) {
	if u.ID == "" {
		return Database{}, fault.New(fault.Refused, "service "+service, "see what it is with shiksha status", "%w%s", ErrStopped, so)
	}
	n, err := on.At(ctx, u.ID)
	if err != nil {
		return Database{}, err
	}
	if u.ImageID == "" {
		// A Swarm's manager does not know it of a task; the container does.
		there, err := t.SteadyOn(n).Inspect(ctx, u.ID)
		if err != nil {
			return Database{}, err
		}
		u.ImageID = there.ImageID
	}
	return Database{backup.Source{Service: service, Unit: u, Options: o}, n}, nil
}
