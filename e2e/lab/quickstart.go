package lab

import (
	"archive/tar"
	"bytes"
	"context"
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
	if release.WarmUp == "" {
		release.WarmUp = "0s"
	}
	l.say("building %s %s", ref, release.Behaviour)
	_, err = l.docker(ctx, bytes.NewReader(content), "build", "--quiet", "--force-rm", "--tag", ref,
		"--build-arg", "VERSION="+release.Version, "--build-arg", "BEHAVIOUR="+release.Behaviour,
		"--build-arg", "WARMUP="+release.WarmUp, "-")
	if err != nil {
		return err
	}
	l.atClose(func(ctx context.Context) error {
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
	l.mu.Lock()
	once, found := l.built[pkg]
	if !found {
		once = sync.OnceValue(func() error { return l.compile(ctx, output, pkg) })
		l.built[pkg] = once
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
