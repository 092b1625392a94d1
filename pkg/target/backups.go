package target

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// Backups keeps the dumps of a project's databases.
func (t *Target) Backups(ctx context.Context, project string) (*backup.Store, error) {
	out, err := t.Host.Run(ctx, []string{"sh", "-c", `echo "$(id -u):$(id -g)"`}, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the host who its user is: %w", err)
	}
	return &backup.Store{
		Project: project, Dir: path.Join(t.Root(project), "backups"), Metrics: path.Join(t.StateDir, "metrics"),
		User: strings.TrimSpace(string(out.Stdout)), Files: t.Files, Engine: t.Steady(), Sink: t.Sink,
	}, nil
}

// Databases are the running databases of a stack that ask for backups, in the
// stack's order, with the release that serves. One that does not run is refused:
// what it holds cannot be dumped.
func Databases(st *stack.Stack, seen stack.Observed, serving release.Record) ([]backup.Source, error) {
	var out []backup.Source
	for _, name := range st.Order {
		o := st.Services[name].Ext.Backups
		if o == nil {
			continue
		}
		source := backup.Source{Service: name, Options: *o, Release: serving.Number, Version: serving.Version}
		for _, u := range seen.Units[name] {
			if !u.OneOff && u.Serving() {
				source.Unit = u
			}
		}
		if source.Unit.ID == "" {
			return nil, fault.New(fault.Refused, "service "+name, "see what it is with shiksha status", "its database does not run, so it cannot be dumped")
		}
		out = append(out, source)
	}
	return out, nil
}
