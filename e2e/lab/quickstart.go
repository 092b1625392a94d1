package lab

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
)

// Release is a version of the quickstart's API. The zero value of everything but
// Version is a good release.
type Release struct {
	// Version is the image's tag and what the API says it is.
	Version string
	// Behaviour makes a bad release: "never-healthy" or "dies-late".
	Behaviour string
	// WarmUp is how long an instance takes until it is healthy, as Go writes
	// durations ("2s").
	WarmUp string
}

// QuickstartDir is the folder of the quickstart in the repository.
func (l *Lab) QuickstartDir() string { return filepath.Join(l.Root, "examples", "quickstart") }

// Publish builds the quickstart's API as the given release, with its own
// Dockerfile, and pushes it to the lab's registry. It gives the reference.
func (l *Lab) Publish(ctx context.Context, release Release) (ref string, err error) {
	ref = l.Registry + "/quickstart/api:" + release.Version
	if err := l.Build(ctx, ref, release); err != nil {
		return "", err
	}
	_, err = l.Docker(ctx, "push", "--quiet", ref)
	return ref, err
}

// PublishBuilt is Publish by `shiksha build`, with a BuildKit of this lab. The image
// goes to the registry and is nowhere else.
func (l *Lab) PublishBuilt(ctx context.Context, builder *Builder, release Release) (ref string, err error) {
	dir := filepath.Join(l.Dir, "quickstart")
	if err := l.once(dir, func() error { return l.writeBuild(ctx, dir) }); err != nil {
		return "", err
	}
	ref = l.Registry + "/quickstart/api:" + release.Version
	l.say("building %s %s with shiksha build", ref, release.Behaviour)
	vars := fmt.Sprintf("INPUT_ENV-FILE=REGISTRY=%s\nBEHAVIOUR=%s\nWARMUP=%s\n", l.Registry, release.Behaviour, cmp.Or(release.WarmUp, "0s"))
	cmd, err := l.Command(ctx, dir, []string{vars}, "build", "--builder", builder.Address, "--version", release.Version,
		"--push", "--tags", release.Version, "--cache", "none")
	if err != nil {
		return "", err
	}
	result, err := Wait(cmd, nil)
	if err == nil && result.Exit != 0 {
		err = fmt.Errorf("building %s: shiksha build ended with %d\n%s%s", ref, result.Exit, result.Stdout, result.Stderr)
	}
	return ref, err
}

// buildFile builds the quickstart's API. The quickstart's own Compose file names the
// image only: it is for people who have no need to build it.
const buildFile = `services:
  api:
    build:
      context: ./api
      args: { VERSION: "${VERSION}", BEHAVIOUR: "${BEHAVIOUR}", WARMUP: "${WARMUP}" }
    image: ${REGISTRY}/quickstart/api:${VERSION}
`

// writeBuild makes a folder that `shiksha build` builds.
func (l *Lab) writeBuild(ctx context.Context, dir string) error {
	binary := filepath.Join(dir, "api", "bin", "api")
	if err := l.goBuild(ctx, binary, "./examples/quickstart/api"); err != nil {
		return err
	}
	dockerfile, err := os.ReadFile(filepath.Join(l.QuickstartDir(), "api", "Dockerfile"))
	return errors.Join(err, os.WriteFile(filepath.Join(dir, "api", "Dockerfile"), dockerfile, 0o644),
		os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(buildFile), 0o644))
}

// Forget takes an image's name away from this machine, so that the next deploy
// has to pull it from the registry, as on a host of its own.
func (l *Lab) Forget(ctx context.Context, ref string) error {
	_, err := l.Docker(ctx, "rmi", "--no-prune", ref)
	return err
}

// Build builds the quickstart's API under the given reference, without a push.
func (l *Lab) Build(ctx context.Context, ref string, release Release) error {
	content, err := l.apiContext(ctx)
	if err != nil {
		return err
	}
	l.say("building %s %s", ref, release.Behaviour)
	_, err = l.docker(ctx, bytes.NewReader(content), "build", "--quiet", "--force-rm", "--tag", ref,
		"--build-arg", "VERSION="+release.Version, "--build-arg", "BEHAVIOUR="+release.Behaviour,
		"--build-arg", "WARMUP="+cmp.Or(release.WarmUp, "0s"), "-")
	if err != nil {
		return err
	}
	l.AtClose(func(ctx context.Context) error {
		_ = l.Forget(ctx, ref) // a unit may still use it, or it was forgotten before
		return nil
	})
	return nil
}

// apiContext is the API's build context as a tar: the Dockerfile and the binary,
// compiled once. It is sent as a stream, so that nothing is written among the
// sources.
func (l *Lab) apiContext(ctx context.Context) ([]byte, error) {
	binary := filepath.Join(l.Dir, "bin", "quickstart-api")
	if err := l.goBuild(ctx, binary, "./examples/quickstart/api"); err != nil {
		return nil, err
	}
	var content bytes.Buffer
	archive := tar.NewWriter(&content)
	for _, file := range []struct {
		name, path string
		mode       int64
	}{
		{"Dockerfile", filepath.Join(l.QuickstartDir(), "api", "Dockerfile"), 0o644},
		{"bin/api", binary, 0o755},
	} {
		data, err := os.ReadFile(file.path)
		if err != nil {
			return nil, err
		}
		// No times: the same content makes the same layer.
		if err := archive.WriteHeader(&tar.Header{Name: file.name, Mode: file.mode, Size: int64(len(data))}); err != nil {
			return nil, err
		}
		if _, err := archive.Write(data); err != nil {
			return nil, err
		}
	}
	return content.Bytes(), archive.Close()
}

// QuickstartProgram puts the program of the quickstart's API where its Dockerfile
// expects it.
func (l *Lab) QuickstartProgram(ctx context.Context, path string) error {
	binary := filepath.Join(l.Dir, "bin", "quickstart-api")
	if err := l.goBuild(ctx, binary, "./examples/quickstart/api"); err != nil {
		return err
	}
	data, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, data, 0o755)
}

// goBuild compiles a static binary, once for each lab.
func (l *Lab) goBuild(ctx context.Context, output, pkg string) error {
	return l.once(output, func() error { return l.compile(ctx, output, pkg) })
}

// once does something once for each lab; who comes meanwhile waits for it.
func (l *Lab) once(what string, do func() error) error {
	l.mu.Lock()
	once, found := l.built[what]
	if !found {
		once = sync.OnceValue(do)
		l.built[what] = once
	}
	l.mu.Unlock()
	return once()
}

func (l *Lab) compile(ctx context.Context, output, pkg string) error {
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return err
	}
	l.say("compiling %s", pkg)
	// To a name of its own first: another lab may be running the old one.
	fresh := fmt.Sprintf("%s.%d", output, os.Getpid())
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", fresh, pkg)
	cmd.Dir = l.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	var words bytes.Buffer
	cmd.Stdout, cmd.Stderr = io.Discard, &words
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compiling %s: %w\n%s", pkg, err, words.String())
	}
	return os.Rename(fresh, output)
}
