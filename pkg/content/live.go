package content

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"

	"github.com/shiksha/actions/pkg/stack"
)

// snapshot is a live file before a swap, by path below its HostPath ("" for a
// single file); one that did not exist is not in it.
type snapshot map[string]kept

// kept is one file of a snapshot.
type kept struct {
	data []byte
	mode fs.FileMode
}

func (k kept) equal(other kept) bool { return k.mode == other.mode && bytes.Equal(k.data, other.data) }

// runs are the bits of a mode that make a script one. The others a unit may have changed
// itself, in a file that it mounts.
const runs, every = 0o111, fs.ModePerm

// Changed lists the mount targets of a service's live files whose content on the
// host is not the wanted one, or was never confirmed to be in use.
func (s *Store) Changed(ctx context.Context, svc *stack.Service) ([]string, error) {
	applied, err := s.confirmed(ctx, svc.Name)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, f := range svc.Files {
		if !f.Live {
			continue
		}
		same := applied[f.Target] == f.Sum
		if same {
			have, err := s.read(ctx, f)
			if err != nil {
				return nil, fmt.Errorf("read %s on the host: %w", f.HostPath, err)
			}
			same = equal(have, f.Entries, runs)
		}
		if !same {
			out = append(out, f.Target)
		}
	}
	return out, nil
}

// equal compares the live content with the wanted entries by their sums and by some bits
// of their modes.
func equal(have snapshot, want []stack.Entry, bits fs.FileMode) bool {
	if len(have) != len(want) {
		return false
	}
	for _, e := range want {
		is, ok := have[e.Path]
		if !ok || sum(is.data) != e.Sum || is.mode&bits != fs.FileMode(e.Mode)&bits {
			return false
		}
	}
	return true
}

// Swap puts the wanted content of a service's live files in place, taken from
// the store, and gives the way back. A single file keeps its inode, because that
// is what is mounted; in a directory each file is replaced by a rename.
func (s *Store) Swap(ctx context.Context, svc *stack.Service) (func(context.Context) error, error) {
	before := map[string]snapshot{}
	undo := func(ctx context.Context) error {
		var errs []error
		for _, f := range svc.Files {
			if old, ok := before[f.Target]; ok {
				errs = append(errs, s.put(ctx, f, old))
			}
		}
		return errors.Join(errs...)
	}
	for _, f := range svc.Files {
		if !f.Live {
			continue
		}
		old, err := s.read(ctx, f)
		if err != nil {
			return nil, err
		}
		// An empty folder may not be there yet, and is mounted all the same.
		if equal(old, f.Entries, every) && len(f.Entries) > 0 {
			continue
		}
		next := snapshot{}
		for _, e := range f.Entries {
			data, err := s.files.Read(ctx, path.Join(s.Kept(f), e.Path))
			if err != nil {
				return nil, fmt.Errorf("read the kept content of %s: %w", f.Target, err)
			}
			next[e.Path] = kept{data, fs.FileMode(e.Mode)}
		}
		before[f.Target] = old
		if err := s.put(ctx, f, next); err != nil {
			return nil, errors.Join(err, undo(context.WithoutCancel(ctx)))
		}
	}
	return undo, nil
}

// put makes the live content of a file equal to a snapshot.
func (s *Store) put(ctx context.Context, f stack.File, want snapshot) error {
	if !f.Dir {
		return s.putFile(ctx, f, want)
	}
	if err := s.files.MkdirAll(ctx, f.HostPath, 0o755); err != nil {
		return err
	}
	have, err := s.read(ctx, f)
	if err != nil {
		return err
	}
	for name, file := range want {
		if is, ok := have[name]; ok && is.equal(file) {
			continue
		}
		to := path.Join(f.HostPath, name)
		if err := s.files.MkdirAll(ctx, path.Dir(to), 0o755); err != nil {
			return err
		}
		if err := s.files.Write(ctx, to, file.data, file.mode); err != nil {
			return err
		}
	}
	for name := range have {
		if _, keep := want[name]; !keep {
			if err := s.files.RemoveAll(ctx, path.Join(f.HostPath, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// putFile keeps the inode of a file that is there. One that did not exist before is
// emptied and not removed: a unit may have it mounted.
func (s *Store) putFile(ctx context.Context, f stack.File, want snapshot) error {
	have, err := s.read(ctx, f)
	if err != nil {
		return err
	}
	is, there := have[""]
	file, wanted := want[""]
	switch {
	case !there && !wanted:
		return nil
	case !there:
		if err := s.files.MkdirAll(ctx, path.Dir(f.HostPath), 0o755); err != nil {
			return err
		}
		return s.files.Write(ctx, f.HostPath, file.data, file.mode)
	case !wanted:
		file.mode = is.mode
	}
	if is.equal(file) {
		return nil
	}
	return s.files.Overwrite(ctx, f.HostPath, file.data, file.mode)
}

// read gives the live content of a file as it is on the host now.
func (s *Store) read(ctx context.Context, f stack.File) (snapshot, error) {
	out := snapshot{}
	there, err := s.files.Exists(ctx, f.HostPath)
	if err != nil || !there {
		return out, err
	}
	if f.Dir {
		return out, s.walk(ctx, f.HostPath, "", out)
	}
	beside, err := s.files.List(ctx, path.Dir(f.HostPath))
	if err != nil {
		return out, err
	}
	data, err := s.files.Read(ctx, f.HostPath)
	for _, fi := range beside {
		if fi.Name() == path.Base(f.HostPath) {
			out[""] = kept{data, fi.Mode().Perm()}
		}
	}
	return out, err
}

func (s *Store) walk(ctx context.Context, root, below string, out snapshot) error {
	infos, err := s.files.List(ctx, path.Join(root, below))
	if err != nil {
		return err
	}
	for _, fi := range infos {
		name := path.Join(below, fi.Name())
		if fi.IsDir() {
			if err := s.walk(ctx, root, name, out); err != nil {
				return err
			}
			continue
		}
		data, err := s.files.Read(ctx, path.Join(root, name))
		if err != nil {
			return err
		}
		out[name] = kept{data, fi.Mode().Perm()}
	}
	return nil
}

// Confirm records that the running units of a service use its live files as they
// are wanted.
func (s *Store) Confirm(ctx context.Context, svc *stack.Service) error {
	sums := map[string]string{}
	for _, f := range svc.Files {
		if f.Live {
			sums[f.Target] = f.Sum
		}
	}
	data, err := json.Marshal(sums)
	if err != nil {
		return err
	}
	if err := s.files.Write(ctx, s.confirmation(svc.Name), data, 0o600); err != nil {
		return fmt.Errorf("record the reloaded files of %s: %w", svc.Name, err)
	}
	s.mu.Lock()
	s.applied[svc.Name] = sums
	s.mu.Unlock()
	return nil
}

func (s *Store) confirmation(service string) string {
	return path.Join(s.root, "live", service+".json")
}

func (s *Store) confirmed(ctx context.Context, service string) (map[string]string, error) {
	s.mu.Lock()
	sums, ok := s.applied[service]
	s.mu.Unlock()
	if ok {
		return sums, nil
	}
	p := s.confirmation(service)
	there, err := s.files.Exists(ctx, p)
	if err != nil || !there {
		return nil, err
	}
	data, err := s.files.Read(ctx, p)
	if err != nil {
		return nil, err
	}
	// A torn record only means that the files are handed over once more.
	if json.Unmarshal(data, &sums) != nil {
		return nil, nil
	}
	return sums, nil
}
