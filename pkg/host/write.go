package host

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/pkg/sftp"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
)

// Write replaces a file as a whole: whoever reads it finds the old content or
// the new, also after a crash. It goes through a file of the same directory
// whose name starts with a dot and ends in ".tmp"; a killed Write leaves that
// behind.
func (f *Files) Write(ctx context.Context, name string, data []byte, perm fs.FileMode) error {
	temporary := path.Join(path.Dir(name), "."+path.Base(name)+"."+rand.Text()[:8]+".tmp")
	_, err := on(ctx, f, "writing", name, func(c *sftp.Client) (nothing, error) {
		err := writeNew(ctx, c, temporary, data, perm)
		if err == nil {
			err = ctx.Err() // nobody waits any more: do not replace behind their back
		}
		if err == nil {
			err = replace(c, temporary, name)
		}
		if err != nil {
			_ = c.Remove(temporary)
			return nothing{}, err
		}
		return nothing{}, syncDir(c, path.Dir(name))
	})
	return f.whyNot(ctx, name, len(data), err)
}

// writeNew writes a file that nobody has seen yet. The permissions come first,
// so that a secret is never readable, not even for a moment.
func writeNew(ctx context.Context, c *sftp.Client, name string, data []byte, perm fs.FileMode) error {
	file, err := c.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		return err
	}
	if err = file.Chmod(perm & 0o700); err == nil {
		err = pour(ctx, file, data)
	}
	if err == nil {
		err = file.Chmod(perm)
	}
	if err == nil {
		err = syncFile(file)
	}
	return errors.Join(err, file.Close())
}

// overwriteLimit is how long an Overwrite may take; a connection that is lost ends it
// before.
const overwriteLimit = 10 * time.Minute

// Overwrite replaces the content and the permissions of an existing file within the
// same inode, for files that a container has mounted by themselves. It is not atomic.
// What the old content takes on the disk is kept until the new one is there: where that
// does not fit, the old one still does.
func (f *Files) Overwrite(ctx context.Context, name string, data []byte, perm fs.FileMode) error {
	if ctx.Err() != nil {
		return fmt.Errorf("overwriting %s on %s: %w", name, f.host, context.Cause(ctx))
	}
	// Once begun it is finished, and waited for: half a file serves nobody, and whoever
	// puts the old content back must not meet the new one on its way.
	last, done := grace.Last(ctx, overwriteLimit)
	defer done()
	_, err := on(last, f, "overwriting", name, func(c *sftp.Client) (nothing, error) {
		file, err := c.OpenFile(name, os.O_WRONLY)
		if errors.Is(err, fs.ErrPermission) && c.Chmod(name, perm|0o200) == nil {
			file, err = c.OpenFile(name, os.O_WRONLY) // its owner may not write into it
		}
		if err != nil {
			return nothing{}, err
		}
		if err = pour(context.WithoutCancel(ctx), file, data); err == nil {
			err = file.Truncate(int64(len(data)))
		}
		if err == nil {
			err = file.Chmod(perm)
		}
		if err == nil {
			err = syncFile(file)
		}
		return nothing{}, errors.Join(err, file.Close())
	})
	return f.whyNot(ctx, name, len(data), err)
}

// pour writes in pieces, so that a ctx that ended stops a long upload.
func pour(ctx context.Context, w io.Writer, data []byte) error {
	const piece = 1 << 20
	for len(data) > 0 {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		n := min(piece, len(data))
		if _, err := w.Write(data[:n]); err != nil {
			return err
		}
		data = data[n:]
	}
	return nil
}

func syncFile(file *sftp.File) error {
	err := file.Sync()
	var status *sftp.StatusError
	if errors.As(err, &status) && status.FxCode() == sftp.ErrSSHFxOpUnsupported {
		return nil // a server without fsync@openssh.com: nothing more can be done
	}
	return err
}

// syncDir makes a rename durable. OpenSSH opens directories like files; a server
// that does not leaves the matter to its file system.
func syncDir(c *sftp.Client, dir string) error {
	handle, err := c.Open(dir)
	if err != nil {
		return nil
	}
	defer handle.Close()
	_ = syncFile(handle)
	return nil
}

// Create opens a file for writing, made or emptied, with the given permissions.
// What was written is durable once Close has returned nil.
func (f *Files) Create(ctx context.Context, name string, perm fs.FileMode) (io.WriteCloser, error) {
	return onLate(ctx, f, "creating", name, func(c *sftp.Client) (io.WriteCloser, error) {
		file, err := c.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC)
		if err != nil {
			return nil, err
		}
		if err := file.Chmod(perm); err != nil {
			return nil, errors.Join(err, file.Close())
		}
		return durable{file}, nil
	}, func(late io.WriteCloser) { _ = late.Close() })
}

type durable struct{ *sftp.File }

func (d durable) Close() error { return errors.Join(syncFile(d.File), d.File.Close()) }

// whyNot gives a failed write its reason: SFTP says no more than "failure" for a
// full disk.
func (f *Files) whyNot(ctx context.Context, name string, size int, err error) error {
	var status *sftp.StatusError
	if err == nil || !errors.As(err, &status) || status.FxCode() != sftp.ErrSSHFxFailure {
		return err
	}
	bytes, inodes, freeErr := f.Free(ctx, path.Dir(name))
	if freeErr != nil || (bytes > uint64(size) && inodes > 0) {
		return err
	}
	return fault.New(fault.Refused, f.host.String(), "make room there (docker system df shows what the engine holds)",
		"the disk of %s is full: %d bytes and %d inodes are free: %w", path.Dir(name), bytes, inodes, err)
}

// Free tells how many bytes and inodes the user can still use on the file system
// of dir (or of its nearest parent that exists). A file system that counts no
// inodes has math.MaxUint64 of them.
func (f *Files) Free(ctx context.Context, dir string) (bytes, inodes uint64, err error) {
	type free struct {
		bytes, inodes uint64
		known         bool
	}
	got, err := on(ctx, f, "measuring", dir, func(c *sftp.Client) (free, error) {
		for {
			_, err := c.Stat(dir)
			if err == nil {
				break
			}
			if !errors.Is(err, fs.ErrNotExist) || dir == "/" {
				return free{}, err
			}
			dir = path.Dir(dir)
		}
		if _, ok := c.HasExtension("statvfs@openssh.com"); !ok {
			return free{}, nil
		}
		vfs, err := c.StatVFS(dir)
		if err != nil {
			return free{}, err
		}
		return free{vfs.Frsize * vfs.Bavail, countable(vfs.Files, vfs.Favail), true}, nil
	})
	if err != nil || got.known {
		return got.bytes, got.inodes, err
	}
	return f.freeByDF(ctx, dir)
}

func countable(total, available uint64) uint64 {
	if total == 0 {
		return math.MaxUint64
	}
	return available
}

// freeByDF asks df, for servers without OpenSSH's statvfs.
func (f *Files) freeByDF(ctx context.Context, dir string) (bytes, inodes uint64, err error) {
	out, err := f.host.Run(ctx, []string{"df", "-Pk", dir}, nil)
	if err != nil {
		return 0, 0, err
	}
	_, kilobytes, err := parseDF(string(out.Stdout))
	if err != nil {
		return 0, 0, fmt.Errorf("measuring %s on %s: %w (%s)", dir, f.host, err, strings.TrimSpace(string(out.Stderr)))
	}
	if out, err = f.host.Run(ctx, []string{"df", "-Pi", dir}, nil); err != nil {
		return 0, 0, err
	}
	total, available, err := parseDF(string(out.Stdout))
	if err != nil { // busybox may know no -i: bytes are what matters most
		total, available = 0, 0
	}
	return kilobytes * 1024, countable(total, available), nil
}

// parseDF gives the second and fourth column of df's one line: total and
// available.
func parseDF(text string) (total, available uint64, err error) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	fields := strings.Fields(lines[len(lines)-1])
	if len(lines) < 2 || len(fields) < 4 {
		return 0, 0, fmt.Errorf("df printed %q", text)
	}
	if total, err = dfNumber(fields[1]); err == nil {
		available, err = dfNumber(fields[3])
	}
	return total, available, err
}

func dfNumber(text string) (uint64, error) {
	if text == "-" {
		return 0, nil
	}
	return strconv.ParseUint(text, 10, 64)
}
