// Package backup keeps dumps of PostgreSQL databases on their host: it takes them,
// proves them, forgets old ones and brings one back. What it calls a backup was
// dumped to its end and read back whole; nothing less gets a manifest.
package backup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// Files are the host's files. Write replaces a file as a whole or not at all.
type Files interface {
	Read(ctx context.Context, path string) ([]byte, error)
	Write(ctx context.Context, path string, data []byte, perm fs.FileMode) error
	List(ctx context.Context, dir string) ([]fs.FileInfo, error)
	MkdirAll(ctx context.Context, path string, perm fs.FileMode) error
	Remove(ctx context.Context, path string) error
	Open(ctx context.Context, path string) (io.ReadCloser, error)
	Create(ctx context.Context, path string, perm fs.FileMode) (io.WriteCloser, error)
	Rename(ctx context.Context, from, to string) error
}

// Engine runs the database's own tools on the host.
type Engine interface {
	RunImage(ctx context.Context, project string, t stack.Task) (stack.Ended, error)
	StartImage(ctx context.Context, project string, t stack.Task) (string, error)
	Discard(ctx context.Context, id string)
	Exec(ctx context.Context, id string, argv []string, stdin []byte) (stdout, stderr string, exit int, err error)
	Inspect(ctx context.Context, id string) (stack.Unit, error)
	// ClearTasks ends what an interrupted run left at work.
	ClearTasks(ctx context.Context, project string) error
}

// Store is the backups of one project on one host.
type Store struct {
	Project string
	// Node is what a Swarm calls that host, "" for the one that releases go to.
	Node string
	// Announce tells the host that releases go to that there will be backups here; nil
	// where this is it.
	Announce func(ctx context.Context) error
	// Dir is the project's folder for backups, Metrics the folder for the textfile
	// of node_exporter.
	Dir, Metrics string
	// User is "uid:gid" of who owns Dir: the tools run as them.
	User   string
	Files  Files
	Engine Engine
	Sink   event.Sink
	// Dial opens the host that copies go to, by its address (user@host:port).
	Dial func(ctx context.Context, address string) (Vault, error)
}

// Backup is the manifest of one dump (<id>.json beside <id>.dump).
type Backup struct {
	Schema   int    `json:"schema"`
	ID       string `json:"id"`
	Project  string `json:"project"`
	Service  string `json:"service"`
	Database string `json:"database"`
	// Release and Version are of what served when it was taken.
	Release int       `json:"release,omitempty"`
	Version string    `json:"version,omitempty"`
	Taken   time.Time `json:"taken"`
	Seconds float64   `json:"seconds"`
	Bytes   int64     `json:"bytes"`
	// DatabaseBytes is what the database took of its disk then; 0 where it is not known.
	DatabaseBytes int64  `json:"database_bytes,omitempty"`
	SHA256        string `json:"sha256"`
	Server        string `json:"server"`
	// Rows counts the rows in the dump by table.
	Rows map[string]int64 `json:"rows"`
	// Roles are those that the dump names: owners, and whom grants and policies are for.
	Roles []string `json:"roles,omitempty"`
	// Others are the databases of the server that it has not: a backup is of one.
	Others []string `json:"others,omitempty"`
	// Proven is when a restore into a throwaway server gave the same counts.
	Proven time.Time `json:"proven,omitzero"`
	// Copied is when a copy of it was read back whole, CopiedTo where that is.
	Copied   time.Time `json:"copied,omitzero"`
	CopiedTo string    `json:"copied_to,omitempty"`
	// Node is the node of a Swarm that has it, "" for the host that releases go to; it
	// is not stored.
	Node string `json:"node,omitempty"`
	// Away is set for one that only its copy is left of; it is not stored.
	Away bool `json:"away,omitempty"`
	// Lost says what is wrong with the dump's file; it is not stored.
	Lost string `json:"lost,omitempty"`
}

// schema is the version of the manifest's format. It is raised with every field added: an
// older program that copies or proves a backup writes its manifest anew, without the field.
const schema = 2

// Total is the number of rows in the dump.
func (b Backup) Total() (n int64) {
	for _, rows := range b.Rows {
		n += rows
	}
	return n
}

// Source is a running database and how it is dumped.
type Source struct {
	Service string
	Unit    stack.Unit
	Options stack.Backups
	// Release and Version are of what serves.
	Release int
	Version string
	// Spare lets no older backup or copy go: how long the options keep them may be outdated.
	Spare bool
}

func (s *Store) dump(id string) string     { return path.Join(s.Dir, id+".dump") }
func (s *Store) manifest(id string) string { return path.Join(s.Dir, id+".json") }

// List gives the backups, the newest first. One whose dump is gone or has another
// size is in the list with what is wrong in Lost.
func (s *Store) List(ctx context.Context) ([]Backup, error) {
	infos, err := s.Files.List(ctx, s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list the backups: %w", err)
	}
	sizes := map[string]int64{}
	for _, info := range infos {
		sizes[info.Name()] = info.Size()
	}
	var all []Backup
	for _, info := range infos {
		id, ok := strings.CutSuffix(info.Name(), ".json")
		if !ok {
			continue
		}
		b, err := s.read(ctx, id)
		if err != nil {
			s.say(event.Warning, "the manifest of backup %s cannot be used: %v", id, err)
			continue
		}
		if size, there := sizes[id+".dump"]; !there {
			b.Lost = "its file is gone"
		} else if size != b.Bytes {
			b.Lost = fmt.Sprintf("its file has %d bytes, not %d", size, b.Bytes)
		}
		b.Node = s.Node
		all = append(all, b)
	}
	slices.SortFunc(all, func(a, b Backup) int { return b.Taken.Compare(a.Taken) })
	return all, nil
}

func (s *Store) read(ctx context.Context, id string) (Backup, error) {
	data, err := s.Files.Read(ctx, s.manifest(id))
	if err != nil {
		return Backup{}, err
	}
	var b Backup
	if err := json.Unmarshal(data, &b); err != nil {
		return Backup{}, err
	}
	if b.Schema > schema {
		return Backup{}, fmt.Errorf("written by a newer version of shiksha (format %d, this one knows %d): use that version, or a newer one", b.Schema, schema)
	}
	if b.Schema < 1 || b.ID != id {
		return Backup{}, fmt.Errorf("it is of backup %q in format %d", b.ID, b.Schema)
	}
	return b, nil
}

func (s *Store) write(ctx context.Context, b Backup) error {
	b.Lost, b.Away, b.Node = "", false, ""
	data, err := json.MarshalIndent(b, "", "  ")
	if err != nil {
		return err
	}
	return s.Files.Write(ctx, s.manifest(b.ID), append(data, '\n'), 0o600)
}

func (s *Store) say(level event.Level, format string, args ...any) {
	s.Sink.Emit(event.Event{Time: time.Now(), Level: level, Phase: "backup", Text: fmt.Sprintf(format, args...)})
}
