// Package lab makes the real parts that the demo and the end-to-end tests act
// on: a Docker Engine, a registry, base images, a host that is reached by
// OpenSSH, and the quickstart's releases. It sets a fresh Debian or Ubuntu
// machine up by itself, says each thing it does, and takes away at the end what
// it started.
package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"
)

// Socket is where the engine of this machine listens.
const Socket = "/var/run/docker.sock"

// Options says how to prepare a lab. The zero value is the usual one.
type Options struct {
	// Out gets one line for each thing that is done; nil keeps silent.
	Out io.Writer
	// Root is the folder of the repository; empty finds it above the working
	// directory.
	Root string
	// RegistryPort is the registry's port on 127.0.0.1. 0 takes 5000, or a free
	// one where that is taken.
	RegistryPort int
	// Keep leaves running what was started.
	Keep bool
	// Rebuild makes the base images again although they are there.
	Rebuild bool
}

// Lab is a prepared machine. Its methods may be used at the same time.
type Lab struct {
	// Root is the folder of the repository, Dir the one in it for everything
	// that is made on the way (git does not see it).
	Root, Dir string
	// Registry is where images are pushed to, for example "localhost:5000".
	Registry string

	options Options
	mu      sync.Mutex
	undo    []func(context.Context) error
	built   map[string]func() error
}

// Prepare makes the machine ready: packages, engine, registry, base images.
// What is there already is used as it is. It must run as root. Two of them at
// once wait for each other. Close takes everything away again; after an error
// nothing is left running.
func Prepare(ctx context.Context, options Options) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, errors.New("the lab starts a Docker Engine and an SSH server: run it as root, for example with sudo")
	}
	if options.Out == nil {
		options.Out = io.Discard
	}
	root, err := findRoot(options.Root)
	if err != nil {
		return nil, err
	}
	l := &Lab{Root: root, Dir: filepath.Join(root, ".lab"), options: options, built: map[string]func() error{}}
	if err := os.MkdirAll(l.Dir, 0o755); err != nil {
		return nil, err
	}
	if err := l.prepare(ctx); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

func (l *Lab) prepare(ctx context.Context) error {
	unlock, err := lockFile(ctx, filepath.Join(os.TempDir(), "shiksha-lab.lock"), syscall.LOCK_EX)
	if err != nil {
		return fmt.Errorf("waiting for another lab to prepare this machine: %w", err)
	}
	defer unlock()
	steps := []func(context.Context) error{l.ensurePackages, l.ensureEngine, l.ensureRegistry, l.ensureImages}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// Close stops and removes what this lab started, the last first, unless it was
// told to keep it.
func (l *Lab) Close() error {
	l.mu.Lock()
	undo := l.undo
	l.undo = nil
	l.mu.Unlock()
	if l.options.Keep {
		return nil
	}
	// Whoever cancelled still wants the machine back as it was.
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var errs []error
	for _, step := range slices.Backward(undo) {
		errs = append(errs, step(ctx))
	}
	return errors.Join(errs...)
}

// AtClose remembers what to take away at the end, the last first.
func (l *Lab) AtClose(step func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.undo = append(l.undo, step)
}

// say prints one line about what is done next.
func (l *Lab) say(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = fmt.Fprintf(l.options.Out, "lab: "+format+"\n", args...)
}

// findRoot gives the nearest folder with a go.mod, from dir upwards.
func findRoot(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	for at := dir; ; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at, nil
		}
		if at == filepath.Dir(at) {
			return "", fmt.Errorf("no go.mod in %s or above it: start from inside the repository", dir)
		}
	}
}

// lockFile takes a lock that ends with this process at the latest.
func lockFile(ctx context.Context, path string, how int) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(file.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, file.Close())
		}
		if !pause(ctx, 100*time.Millisecond) {
			return nil, errors.Join(ctx.Err(), file.Close())
		}
	}
}

// pause waits and says whether it was allowed to wait to the end.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
