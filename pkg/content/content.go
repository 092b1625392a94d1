// Package content keeps the files of releases on the host under their content's
// name: a file is uploaded once, a container changes only when the content does,
// and every kept release can be brought back without the workspace.
package content

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/stack"
)

// parallel is how many files are looked at or sent at once over the one
// connection.
const parallel = 8

// Files is what the store needs of the host's file system. Write replaces a file
// atomically; Overwrite keeps its inode, which a bind mount of a single file needs.
type Files interface {
	Read(ctx context.Context, path string) ([]byte, error)
	Write(ctx context.Context, path string, data []byte, perm fs.FileMode) error
	Overwrite(ctx context.Context, path string, data []byte, perm fs.FileMode) error
	MkdirAll(ctx context.Context, path string, perm fs.FileMode) error
	Rename(ctx context.Context, from, to string) error
	RemoveAll(ctx context.Context, path string) error
	List(ctx context.Context, dir string) ([]fs.FileInfo, error)
	Exists(ctx context.Context, path string) (bool, error)
}

// Store is the content store of one project on one host.
type Store struct {
	files Files
	root  string // <state>/<project>

	mu      sync.Mutex
	applied map[string]map[string]string // service -> target -> sum; read once
}

// New opens the store below root, the project's folder in the state folder.
func New(files Files, root string) *Store {
	return &Store{files: files, root: root, applied: map[string]map[string]string{}}
}

// Kept is where the content of a file is kept under its sum: the mounted path
// itself, except for live files, which are copied from here.
func (s *Store) Kept(f stack.File) string {
	if !f.Live {
		return f.HostPath
	}
	if f.Dir {
		return path.Join(s.root, "files", f.Sum)
	}
	return path.Join(s.root, "files", f.Sum, path.Base(f.HostPath))
}

// Missing lists the files whose content the host does not have yet.
func (s *Store) Missing(ctx context.Context, files []stack.File) ([]stack.File, error) {
	missing := make([]bool, len(files))
	eg, ctx := errgroup.WithContext(ctx)
	eg.SetLimit(parallel)
	for i, f := range files {
		eg.Go(func() error {
			there, err := s.files.Exists(ctx, s.Kept(f))
			missing[i] = !there
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, fmt.Errorf("look for files on the host: %w", err)
	}
	var out []stack.File
	seen := map[string]bool{}
	for i, f := range files {
		if missing[i] && !seen[s.Kept(f)] {
			out = append(out, f)
			seen[s.Kept(f)] = true
		}
	}
	return out, nil
}

// Upload sends the content of the given files. A directory appears whole or not
// at all: it is written beside its place and renamed.
func (s *Store) Upload(ctx context.Context, files []stack.File) error {
	for _, f := range files {
		if err := s.upload(ctx, f); err != nil {
			return fmt.Errorf("upload %s of %s: %w", f.Source, f.Service, err)
		}
	}
	return nil
}

func (s *Store) upload(ctx context.Context, f stack.File) error {
	to := s.Kept(f)
	if err := s.files.MkdirAll(ctx, path.Dir(to), 0o700); err != nil {
		return err
	}
	if !f.Dir {
		return s.send(ctx, f.Entries[0], to)
	}
	part := to + ".part"
	if err := s.files.RemoveAll(ctx, part); err != nil {
		return err
	}
	if err := s.files.MkdirAll(ctx, part, 0o755); err != nil {
		return err
	}
	for _, e := range f.Entries {
		if err := s.files.MkdirAll(ctx, path.Dir(path.Join(part, e.Path)), 0o755); err != nil {
			return err
		}
		if err := s.send(ctx, e, path.Join(part, e.Path)); err != nil {
			return err
		}
	}
	return s.files.Rename(ctx, part, to)
}

// send writes one file after checking that it still is what was planned.
func (s *Store) send(ctx context.Context, e stack.Entry, to string) error {
	data := e.Content
	if data == nil {
		var err error
		if data, err = os.ReadFile(e.Source); err != nil {
			return err
		}
	}
	if got := sum(data); got != e.Sum {
		return fmt.Errorf("%s changed while it was being released", e.Source)
	}
	return s.files.Write(ctx, to, data, fs.FileMode(e.Mode))
}

func sum(data []byte) string {
	h := sha256.Sum256(data)
	return hex.EncodeToString(h[:])
}

// Prune removes kept content that neither a release nor a container refers to.
// keep holds sums; mounted holds host paths that existing containers mount.
func (s *Store) Prune(ctx context.Context, keep map[string]bool, mounted []string) error {
	dir := path.Join(s.root, "files")
	infos, err := s.files.List(ctx, dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // a stack without files
	}
	if err != nil {
		return err
	}
	inUse := map[string]bool{}
	for _, m := range mounted {
		for p := m; p != "/" && p != "."; p = path.Dir(p) {
			inUse[p] = true
		}
	}
	for _, fi := range infos {
		if p := path.Join(dir, fi.Name()); !keep[fi.Name()] && !inUse[p] {
			if err := s.files.RemoveAll(ctx, p); err != nil {
				return fmt.Errorf("prune: %w", err)
			}
		}
	}
	return nil
}
