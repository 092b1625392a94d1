// Package peers builds the tools that Shiksha is compared with or tried with, from
// pinned modules, into the user's cache: once for each version, outside the
// repository. The product needs none of them.
package peers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// tool is a program that can be built from source.
type tool struct {
	name            string // of the program
	folder          string // it lies in, below the one of this version
	module, version string
	sum             string // of the module's content, as go.sum has it
	main            string // folder of the program in the module
	stamp           string // variable that holds the version it tells
}

var compose = tool{
	name:    "docker-compose",
	folder:  "cli-plugins",
	module:  "github.com/docker/compose/v5",
	version: "v5.6.0",
	sum:     "h1:WCDEV0D1CtZLyPdklHdEjFBnCStosBYkfsD3tvM/ITU=",
	main:    "./cmd",
	stamp:   "github.com/docker/compose/v5/internal.Version",
}

var act = tool{
	name:    "act",
	folder:  "bin",
	module:  "github.com/nektos/act",
	version: "v0.2.89",
	sum:     "h1:d9oFeJ6jUkaVExuG+XzAaMPDqoDrNHaGeiRb8IU+N5w=",
	main:    ".",
	stamp:   "main.version",
}

var buildx = tool{
	name:    "docker-buildx",
	folder:  "cli-plugins",
	module:  "github.com/docker/buildx",
	version: "v0.38.0",
	sum:     "h1:LKfznm3wgm0hYaQDkiuoK9hyDS1GU/GChnXYsBr3A00=",
	main:    "./cmd/buildx",
	stamp:   "github.com/docker/buildx/version.Version",
}

var buildkitd = tool{
	name:    "buildkitd",
	folder:  "bin",
	module:  "github.com/moby/buildkit",
	version: "v0.34.2",
	sum:     "h1:fXgOe79JW5zJNDumRtwTemOklLX66otQokObUXuiGJo=",
	main:    "./cmd/buildkitd",
	stamp:   "github.com/moby/buildkit/version.Version",
}

var buildctl = tool{
	name:    "buildctl",
	folder:  "bin",
	module:  buildkitd.module,
	version: buildkitd.version,
	sum:     buildkitd.sum,
	main:    "./cmd/buildctl",
	stamp:   buildkitd.stamp,
}

// Buildctl makes BuildKit's command line be there and gives the path of the program.
func Buildctl(ctx context.Context, out io.Writer) (program string, err error) {
	folder, err := buildctl.cached(ctx, out)
	return filepath.Join(folder, buildctl.folder, buildctl.name), err
}

// Buildx makes the buildx plugin be there, as Compose does the Compose plugin.
func Buildx(ctx context.Context, out io.Writer) (dockerConfig string, err error) {
	return buildx.cached(ctx, out)
}

// Buildkitd makes BuildKit's daemon be there and gives the path of the program.
func Buildkitd(ctx context.Context, out io.Writer) (program string, err error) {
	folder, err := buildkitd.cached(ctx, out)
	return filepath.Join(folder, buildkitd.folder, buildkitd.name), err
}

// HasBuildkitd tells whether BuildKit's daemon is there already.
func HasBuildkitd() bool {
	cache, err := os.UserCacheDir()
	if err != nil {
		return false
	}
	_, err = os.Stat(buildkitd.program(filepath.Join(cache, cacheFolder)))
	return err == nil
}

// Compose makes the Docker Compose plugin be there and gives a folder for
// DOCKER_CONFIG with which `docker compose` finds it. The first time takes some
// minutes and is said on out; nil keeps silent.
func Compose(ctx context.Context, out io.Writer) (dockerConfig string, err error) {
	return compose.cached(ctx, out)
}

// Act makes the program act, which runs GitHub's workflows, be there and gives its
// path. The first time takes some minutes and is said on out; nil keeps silent.
func Act(ctx context.Context, out io.Writer) (program string, err error) {
	folder, err := act.cached(ctx, out)
	return filepath.Join(folder, act.folder, act.name), err
}

// cached is ensure in the user's cache.
func (p tool) cached(ctx context.Context, out io.Writer) (folder string, err error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("where to keep %s: %w", p.name, err)
	}
	return p.ensure(ctx, filepath.Join(cache, cacheFolder), out)
}

// cacheFolder is ours in the user's cache.
const cacheFolder = "shiksha-peers"

// program is where the tool lies.
func (p tool) program(cache string) string {
	return filepath.Join(cache, p.name+"-"+p.version, p.folder, p.name)
}

// ensure builds the tool where the cache lacks it, and gives the folder of this
// version. Two at once wait for each other.
func (p tool) ensure(ctx context.Context, cache string, out io.Writer) (folder string, err error) {
	folder = filepath.Join(cache, p.name+"-"+p.version)
	program := p.program(cache)
	if err := os.MkdirAll(filepath.Dir(program), 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(folder, "building"))
	if err != nil {
		return "", fmt.Errorf("waiting for another build of %s: %w", p.name, err)
	}
	defer unlock()
	if _, err := os.Stat(program); err == nil {
		return folder, nil
	}
	if out == nil {
		out = io.Discard
	}
	_, _ = fmt.Fprintf(out, "peers: building %s %s from its module (some minutes, the first time only)\n", p.name, p.version)
	return folder, p.build(ctx, program)
}

// build compiles the program to a name of its own and renames it, so that a
// build that was cut short leaves nothing that looks finished.
func (p tool) build(ctx context.Context, program string) error {
	source, err := p.download(ctx)
	if err != nil {
		return err
	}
	fresh := program + ".new"
	defer func() { _ = os.Remove(fresh) }()
	// In the module's own folder: its go.mod excludes versions, which `go install
	// module@version` refuses, and our go.mod would change what it is built with.
	_, err = run(ctx, source, "build", "-mod=readonly", "-buildvcs=false", "-trimpath",
		"-ldflags", "-s -w -X "+p.stamp+"="+p.version, "-o", fresh, p.main)
	if err != nil {
		return err
	}
	return os.Rename(fresh, program)
}

// download gives the folder of the module's source, once its content is what was
// pinned.
func (p tool) download(ctx context.Context) (dir string, err error) {
	// Outside of any module, so that no go.mod is read or changed.
	out, err := run(ctx, os.TempDir(), "mod", "download", "-json", p.module+"@"+p.version)
	if err != nil {
		return "", err
	}
	var got struct{ Dir, Sum string }
	if err := json.Unmarshal(out, &got); err != nil {
		return "", fmt.Errorf("reading what go mod download says of %s: %w", p.module, err)
	}
	if got.Sum != p.sum {
		return "", fmt.Errorf("%s %s is not what was pinned: its sum is %s, not %s", p.module, p.version, got.Sum, p.sum)
	}
	return got.Dir, nil
}

// run runs the go command in dir and gives what it printed.
func run(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off", "CGO_ENABLED=0", "PWD="+dir)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("go %s: %w\n%s%s", args[0], err, words.Bytes(), out.Bytes())
	}
	return out.Bytes(), nil
}

// lock takes a lock that ends with this process at the latest.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = file.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, errors.Join(err, file.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), file.Close())
		case <-time.After(100 * time.Millisecond):
		}
	}
}
