package target

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// Backups keeps the dumps of a project's databases.
func (t *Target) Backups(ctx context.Context, on Where, project string) (*backup.Store, error) {
	out, err := t.Host.Run(ctx, []string{"sh", "-c", `echo "$(id -u):$(id -g)"`}, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the host who its user is: %w", err)
	}
	return &backup.Store{
		Project: project, Dir: path.Join(t.Root(project), "backups"), Metrics: path.Join(t.StateDir, "metrics"),
		User: strings.TrimSpace(string(out.Stdout)), Files: t.Files, Engine: t.Steady(on), Sink: t.Sink, Dial: t.vault,
	}, nil
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

// Databases are the running databases of a stack that ask for backups, in the
// stack's order, with the release that serves. One that does not run is refused:
// what it holds cannot be dumped. So is one on another node of a Swarm: dumps are made
// and kept on the host that we speak to.
func (t *Target) Databases(ctx context.Context, on Where, st *stack.Stack, seen stack.Observed, serving release.Record) ([]backup.Source, error) {
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
		if e, err := on.At(ctx, source.Unit.ID); err != nil || e != t.Engine {
			return nil, fault.New(fault.Refused, "service "+name, "keep it on the manager that releases go to: deploy: {placement: {constraints: [node.hostname==...]}}",
				"its database runs on node %s, and dumps are made on %s", source.Unit.Node, t.Host)
		}
		if source.Unit.ImageID == "" {
			// A Swarm's manager does not know it of a task; the container does.
			u, err := t.Steady(on).Inspect(ctx, source.Unit.ID)
			if err != nil {
				return nil, err
			}
			source.Unit.ImageID = u.ImageID
		}
		out = append(out, source)
	}
	return out, nil
}
