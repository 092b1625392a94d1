package target

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/event"
)

// shelves is what the host remembers of the nodes that keep backups of a project: a
// database may have moved since, and its older backups did not move with it.
type shelves struct {
	files backup.Files
	dir   string
}

// shelf is one of those nodes.
type shelf struct {
	ID       string `json:"id"`
	Node     string `json:"node"`
	Address  string `json:"address"`
	StateDir string `json:"state_dir"`
}

func (t *Target) shelves(project string) shelves { return shelves{t.Files, t.Root(project)} }

func (s shelves) file() string { return path.Join(s.dir, "backup-nodes.json") }

// all lists them in the order in which they came.
func (s shelves) all(ctx context.Context) (known []shelf, err error) {
	data, err := s.files.Read(ctx, s.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &known)
	}
	if err != nil {
		return nil, fmt.Errorf("which nodes have backups (%s): %w", s.file(), err)
	}
	return known, nil
}

// add remembers one; the caller holds the project's lock.
func (s shelves) add(ctx context.Context, one shelf) error {
	known, err := s.all(ctx)
	if err != nil {
		return err
	}
	switch i := slices.IndexFunc(known, func(k shelf) bool { return k.ID == one.ID }); {
	case i < 0:
		known = append(known, one)
	case known[i] == one:
		return nil
	default:
		known[i] = one
	}
	data, err := json.MarshalIndent(known, "", "  ")
	if err != nil {
		return err
	}
	return errors.Join(s.files.MkdirAll(ctx, s.dir, 0o755), s.files.Write(ctx, s.file(), append(data, '\n'), 0o600))
}

// Stores are all places that have backups of a project: the host, then other nodes of
// its Swarm. One of those that cannot be reached is a warning.
func (t *Target) Stores(ctx context.Context, project string) ([]*backup.Store, error) {
	here, err := t.Backups(ctx, t.Here(), project)
	if err != nil {
		return nil, err
	}
	out := []*backup.Store{here}
	known, err := t.shelves(project).all(ctx)
	if err != nil {
		return nil, err
	}
	for _, k := range known {
		n, err := t.Beyond(ctx, Node{ID: k.ID, Name: k.Node, Address: k.Address, StateDir: k.StateDir})
		var store *backup.Store
		if err == nil {
			store, err = t.Backups(ctx, n, project)
		}
		if err != nil {
			t.Say(event.Warning, "backup", "", "what node %s has is not known: it cannot be reached through the manager: %v; where it is gone for good, take it out of %s on the host",
				k.Node, err, t.shelves(project).file())
			continue
		}
		out = append(out, store)
	}
	return out, nil
}
