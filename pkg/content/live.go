package content

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	"github.com/shiksha/actions/pkg/stack"
)

// snapshot is the content of a live file before a swap, by path below its
// HostPath ("" for a single file); nil where it did not exist.
type snapshot map[string][]byte

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
			same = equal(have, f.Entries)
		}
		if !same {
			out = append(out, f.Target)
		}
	}
	return out, nil
}

// equal compares the live content with the wanted entries by their sums.
func equal(have snapshot, want []stack.Entry) bool {
	if len(have) != len(want) {
		return false
	}
	for _, e := range want {
		data, ok := have[e.Path]
		if !ok || sum(data) != e.Sum {
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
		if equal(old, f.Entries) && len(f.Entries) > 0 {
			continue
		}
		next := snapshot{}
		for _, e := range f.Entries {
			data, err := s.files.Read(ctx, path.Join(s.Kept(f), e.Path))
			if err != nil {
				return nil, fmt.Errorf("read the kept content of %s: %w", f.Target, err)
			}
			next[e.Path] = data
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
		return s.putFile(ctx, f.HostPath, want[""])
	}
	if err := s.files.MkdirAll(ctx, f.HostPath, 0o755); err != nil {
		return err
	}
	have, err := s.read(ctx, f)
	if err != nil {
		return err
	}
	for name, data := range want {
		if bytes.Equal(have[name], data) && have[name] != nil {
			continue
		}
		to := path.Join(f.HostPath, name)
		if err := s.files.MkdirAll(ctx, path.Dir(to), 0o755); err != nil {
			return err
		}
		if err := s.files.Write(ctx, to, data, mode(f, name)); err != nil {
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

func mode(f stack.File, name string) fs.FileMode {
	i := slices.IndexFunc(f.Entries, func(e stack.Entry) bool { return e.Path == name })
	if i < 0 {
		return 0o644
	}
	return fs.FileMode(f.Entries[i].Mode)
}

func (s *Store) putFile(ctx context.Context, p string, data []byte) error {
	there, err := s.files.Exists(ctx, p)
	if err != nil {
		return err
	}
	if there {
		return s.files.Overwrite(ctx, p, data)
	}
	if err := s.files.MkdirAll(ctx, path.Dir(p), 0o755); err != nil {
		return err
	}
	return s.files.Write(ctx, p, data, 0o644)
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
	out[""], err = s.files.Read(ctx, f.HostPath)
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
		if out[name], err = s.files.Read(ctx, path.Join(root, name)); err != nil {
			return err
		}
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
