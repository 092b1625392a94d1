package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/ports"
)

// project is a Compose project that one side keeps on the host.
type project struct {
	name, dir string
	files     []string
	version   string   // of the quickstart's API
	vars      []string // NAME=value for the Compose file, the version apart
	port      int
}

// The releases of the quickstart: the same program under two names, which takes
// two seconds until it is healthy.
const (
	oneVersion   = "bench-a"
	otherVersion = "bench-b"
	warmUp       = "2s"
)

// release lets f bring the other version up; when it fails, the one from before
// serves on.
func (p *project) release(f func() (measured, error)) (measured, error) {
	was := p.version
	p.version = oneVersion
	if was == oneVersion {
		p.version = otherVersion
	}
	m, err := f()
	if err != nil {
		p.version = was
	}
	return m, err
}

func (p *project) url() string { return fmt.Sprintf("http://127.0.0.1:%d/", p.port) }

// varsFile has the variables of a project, in its folder.
const varsFile = "bench.env"

// changes is laid over the quickstart: only the API changes with the version, and
// nothing is observed after it became healthy, as Compose observes nothing.
const changes = `services:
  api:
    deploy:
      update_config:
        monitor: 0s
  worker:
    image: ${REGISTRY}/quickstart/api:` + oneVersion + `
`

// quickstarts brings both copies of the quickstart up, once.
func (b *bench) quickstarts(ctx context.Context) error {
	if b.theirs != nil {
		return nil
	}
	for _, version := range []string{oneVersion, otherVersion} {
		if _, err := b.lab.Publish(ctx, lab.Release{Version: version, WarmUp: warmUp}); err != nil {
			return err
		}
	}
	ours, err := b.quickstart(ctx, "bench-ours")
	if err != nil {
		return err
	}
	theirs, err := b.quickstart(ctx, "bench-theirs")
	if err != nil {
		return err
	}
	b.tell("bringing the quickstart up, twice")
	if _, err := b.deploy(ctx, ours, verified); err != nil {
		return err
	}
	if _, err := b.up(ctx, theirs, plainSSH, "--wait"); err != nil {
		return err
	}
	b.ours, b.theirs = ours, theirs
	return nil
}

// quickstart writes a copy of the quickstart's files with a port of its own.
func (b *bench) quickstart(ctx context.Context, name string) (*project, error) {
	if err := b.fresh(ctx, name); err != nil {
		return nil, err
	}
	port, err := ports.Free()
	if err != nil {
		return nil, err
	}
	p := &project{
		name: name, dir: filepath.Join(b.dir, name), files: []string{"compose.yaml", "bench.yaml"}, version: oneVersion, port: port,
		vars: []string{"REGISTRY=" + b.lab.Registry, fmt.Sprintf("PORT=%d", port)},
	}
	if err := os.CopyFS(p.dir, os.DirFS(b.lab.QuickstartDir())); err != nil {
		return nil, err
	}
	vars := strings.Join(p.vars, "\n") + "\n"
	if err := os.WriteFile(filepath.Join(p.dir, varsFile), []byte(vars), 0o644); err != nil {
		return nil, err
	}
	return p, os.WriteFile(filepath.Join(p.dir, "bench.yaml"), []byte(changes), 0o644)
}

// sleepers writes a stack of so many services that do nothing.
func (b *bench) sleepers(ctx context.Context, image string, services int) (*project, error) {
	name := fmt.Sprintf("bench-%d", services)
	if err := b.fresh(ctx, name); err != nil {
		return nil, err
	}
	p := &project{name: name, dir: filepath.Join(b.dir, name), files: []string{"compose.yaml"}}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, err
	}
	return p, os.WriteFile(filepath.Join(p.dir, "compose.yaml"), []byte(sleeperStack(image, services)), 0o644)
}

func sleeperStack(image string, services int) string {
	var out strings.Builder
	out.WriteString("services:\n")
	for n := range services {
		fmt.Fprintf(&out, `  s%03d:
    image: %s
    environment: {NUMBER: "%d", LEVEL: info, REGION: north}
    stop_grace_period: 2s
    deploy:
      update_config: {monitor: 0s}
`, n+1, image, n+1)
	}
	return out.String()
}

// publishSleeper makes the image of the sleepers.
func (b *bench) publishSleeper(ctx context.Context) (ref string, err error) {
	folder := filepath.Join(b.dir, "sleeper")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	if err := b.compile(ctx, filepath.Join(folder, "sleeper"), "./e2e/bench/sleeper"); err != nil {
		return "", err
	}
	recipe := "FROM scratch\nCOPY sleeper /sleeper\nUSER 65534:65534\nENTRYPOINT [\"/sleeper\"]\n"
	if err := os.WriteFile(filepath.Join(folder, "Dockerfile"), []byte(recipe), 0o644); err != nil {
		return "", err
	}
	ref = b.lab.Registry + "/bench/sleeper:1"
	b.images = append(b.images, ref)
	if _, err := b.lab.Docker(ctx, "build", "--quiet", "--force-rm", "--tag", ref, folder); err != nil {
		return "", err
	}
	_, err = b.lab.Docker(ctx, "push", "--quiet", ref)
	return ref, err
}
