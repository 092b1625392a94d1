package host

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/pkg/sftp"

	"github.com/shiksha/actions/pkg/fault"
)

// Files is the host's file system over SFTP, on the same connection. Paths are
// absolute and clean. Errors match fs.ErrNotExist and fs.ErrPermission where
// that is what is wrong. It is safe for concurrent use and survives reconnects.
type Files struct{ host *Host }

// Files gives the host's file system, and an error when the host has no SFTP.
func (h *Host) Files(ctx context.Context) (*Files, error) {
	l, err := h.use(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := l.sftp(ctx); err != nil {
		return nil, h.explainSession(err)
	}
	return h.filesHub, nil
}

// sftp gives the link's one SFTP client; it is made when first needed, and anew
// when the server's side of it ended.
func (l *link) sftp(ctx context.Context) (*sftp.Client, error) {
	l.filesMu.Lock()
	defer l.filesMu.Unlock()
	if l.files != nil {
		return l.files, nil
	}
	channel, requests, err := l.open(ctx, "session", nil)
	if err != nil {
		return nil, err
	}
	s, err := startSession(ctx, l, channel, requests, "subsystem", "sftp")
	if err != nil {
		return nil, err
	}
	c, err := await(ctx, l, "while starting sftp", func() (*sftp.Client, error) {
		return sftp.NewClientPipe(s.channel, s.channel, sftp.UseConcurrentWrites(true))
	}, nil)
	if err != nil {
		go channel.Close()
		if IsConnectionLost(err) || ctx.Err() != nil {
			return nil, err // sshd refused nothing
		}
		return nil, fault.New(fault.Refused, l.name, fault.Shell+"; where it does, see the Subsystem sftp line of its sshd_config (internal-sftp needs no shell)",
			"sftp does not start: %w", err)
	}
	l.files = c
	go func() {
		<-s.over
		l.filesMu.Lock()
		defer l.filesMu.Unlock()
		if l.files == c {
			l.files = nil
		}
	}()
	return c, nil
}

// on runs one operation on a path, without waiting longer than ctx.
func on[T any](ctx context.Context, f *Files, doing, name string, run func(*sftp.Client) (T, error)) (T, error) {
	return onLate(ctx, f, doing, name, run, nil)
}

func onLate[T any](ctx context.Context, f *Files, doing, name string, run func(*sftp.Client) (T, error), discard func(T)) (T, error) {
	var zero T
	if err := checkPath(name); err != nil {
		return zero, err
	}
	for try := 1; ; try++ {
		l, err := f.host.use(ctx)
		if err != nil {
			return zero, err
		}
		// Inside await, since it may wait for somebody else who opens it.
		c, err := await(ctx, l, "while starting sftp", func() (*sftp.Client, error) { return l.sftp(ctx) }, nil)
		if IsConnectionLost(err) && try == 1 {
			continue // nothing was asked of the host yet
		}
		if err != nil {
			return zero, f.host.explainSession(err)
		}
		value, err := await(ctx, l, doing+" "+name, func() (T, error) { return run(c) }, discard)
		if err != nil && !IsConnectionLost(err) && ctx.Err() == nil {
			err = fmt.Errorf("%s %s on %s: %w", doing, name, f.host, err)
		}
		return value, err
	}
}

func checkPath(name string) error {
	switch {
	case !path.IsAbs(name):
		return fmt.Errorf("%q is not an absolute path on the host", name)
	case strings.ContainsRune(name, 0), path.Clean(name) != strings.TrimRight(name, "/") && name != "/":
		return fmt.Errorf("%q is not a clean path on the host", name)
	}
	return nil
}

type nothing = struct{}

// Read gives the content of a file.
func (f *Files) Read(ctx context.Context, name string) ([]byte, error) {
	return on(ctx, f, "reading", name, func(c *sftp.Client) ([]byte, error) {
		file, err := c.Open(name)
		if err != nil {
			return nil, err
		}
		defer file.Close()
		return readAll(file)
	})
}

// readAll is io.ReadAll in few round trips: SFTP takes one for each read, however much
// that asks for. A short answer is not taken for the end, only an empty one is.
func readAll(file io.ReaderAt) ([]byte, error) {
	data := make([]byte, 0, 256<<10)
	for {
		n, err := file.ReadAt(data[len(data):cap(data)], int64(len(data)))
		data = data[:len(data)+n]
		switch {
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case err != nil && n == 0:
			return bytes.Clone(data), nil // without the room that was made for more
		}
		if len(data) == cap(data) {
			data = slices.Grow(data, len(data))
		}
	}
}

// Open opens a file for reading.
func (f *Files) Open(ctx context.Context, name string) (io.ReadCloser, error) {
	return onLate(ctx, f, "opening", name, func(c *sftp.Client) (io.ReadCloser, error) {
		file, err := c.Open(name)
		if err != nil {
			return nil, err
		}
		return file, nil
	}, func(late io.ReadCloser) { _ = late.Close() })
}

// List gives the entries of a directory, links not followed.
func (f *Files) List(ctx context.Context, dir string) ([]os.FileInfo, error) {
	return on(ctx, f, "listing", dir, func(c *sftp.Client) ([]os.FileInfo, error) { return c.ReadDir(dir) })
}

// Stat tells about a file, links followed.
func (f *Files) Stat(ctx context.Context, name string) (os.FileInfo, error) {
	return on(ctx, f, "looking at", name, func(c *sftp.Client) (os.FileInfo, error) { return c.Stat(name) })
}

// Exists tells whether there is something of that name, a dangling link included.
func (f *Files) Exists(ctx context.Context, name string) (bool, error) {
	_, err := on(ctx, f, "looking for", name, func(c *sftp.Client) (os.FileInfo, error) { return c.Lstat(name) })
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// MkdirAll makes a directory and its missing parents, each with the given
// permissions whatever the user's umask; what exists is left as it is.
func (f *Files) MkdirAll(ctx context.Context, dir string, perm fs.FileMode) error {
	_, err := on(ctx, f, "making", dir, func(c *sftp.Client) (nothing, error) {
		return nothing{}, mkdirAll(c, path.Clean(dir), perm)
	})
	return err
}

func mkdirAll(c *sftp.Client, dir string, perm fs.FileMode) error {
	info, err := c.Stat(dir)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s is not a directory", dir)
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if err := mkdirAll(c, path.Dir(dir), perm); err != nil {
		return err
	}
	if err := c.Mkdir(dir); err != nil {
		if info, statErr := c.Stat(dir); statErr == nil && info.IsDir() {
			return nil // somebody else was faster
		}
		return err
	}
	return c.Chmod(dir, perm)
}

// Rename moves a file or directory; an existing file at the new name is replaced
// in the same instant (POSIX rename).
func (f *Files) Rename(ctx context.Context, from, to string) error {
	if err := checkPath(to); err != nil {
		return err
	}
	_, err := on(ctx, f, "renaming", from, func(c *sftp.Client) (nothing, error) {
		return nothing{}, replace(c, from, to)
	})
	return err
}

// replace renames over an existing file. Without OpenSSH's extension SFTP has no
// such rename, and a removal first would not be atomic.
func replace(c *sftp.Client, from, to string) error {
	if _, ok := c.HasExtension("posix-rename@openssh.com"); ok {
		return c.PosixRename(from, to)
	}
	return c.Rename(from, to)
}

// Remove removes a file or an empty directory.
func (f *Files) Remove(ctx context.Context, name string) error {
	_, err := on(ctx, f, "removing", name, func(c *sftp.Client) (nothing, error) { return nothing{}, c.Remove(name) })
	return err
}

// RemoveAll removes a file or a directory with what is in it, links themselves
// and not what they point to. What is not there is no error.
func (f *Files) RemoveAll(ctx context.Context, name string) error {
	if err := checkPath(name); err != nil {
		return err
	}
	if path.Dir(path.Clean(name)) == "/" {
		return fmt.Errorf("%q is too near the root to be removed with all that is in it", name)
	}
	_, err := on(ctx, f, "removing", name, func(c *sftp.Client) (nothing, error) {
		err := c.RemoveAll(name)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		}
		return nothing{}, err
	})
	return err
}
