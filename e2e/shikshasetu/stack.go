// Package shikshasetu releases the production stack of examples/shikshasetu on
// real parts: `make e2e-shikshasetu`.
package shikshasetu

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/shiksha/actions/e2e/lab"
)

// Files are the Compose files of a release in the lab, the later ones on top.
const Files = "docker-compose.production.yml,docker-compose.exporters.yml,docker-compose.lab.yml"

// Model is the language model's own name in the lab: it says what is loaded. The API
// asks for it by the name that the Compose file gives each.
const Model = "stand-in-for-vllm"

// edgeAndData is how many of Images the edge, the application and its data need; they
// are the first.
const edgeAndData = 4

// Images are the images that the stack takes from elsewhere, and how they are
// made where no registry can be reached.
func Images(root string) []lab.Image {
	folder := func(name string) string { return filepath.Join(root, "e2e", "shikshasetu", "images", name) }
	images := []lab.Image{
		{Ref: "postgres:15.20", Folder: filepath.Join(root, "e2e", "lab", "images", "postgres")},
		{Ref: "python:3.11-slim-bookworm", Folder: folder("python")},
	}
	for _, name := range []string{"redis:7.0.15", "nginx:1.22.1", "prometheus:v2.42.0", "alertmanager:v0.25.0"} {
		short, _, _ := strings.Cut(name, ":")
		if strings.Contains(name, ":v") {
			name = "prom/" + name
		}
		images = append(images, lab.Image{Ref: name, Folder: folder(short)})
	}
	for name, ref := range map[string]string{
		"node": "prom/node-exporter:v1.5.0", "blackbox": "prom/blackbox-exporter:v0.23.0",
		"redis": "oliver006/redis_exporter:v1.45.0-alpine", "postgres": "quay.io/prometheuscommunity/postgres-exporter:v0.11.1",
	} {
		images = append(images, lab.Image{Ref: ref, Folder: folder("exporter"), Args: []string{"EXPORTER=" + name}})
	}
	return images
}

// Change turns the example's sources into those of another release.
type Change struct {
	// File is below the example's folder. Old must be in it; an empty Old removes
	// the file.
	File, Old, New string
}

// First makes the release before the second migration: the column of the second
// is in none of it.
var First = []Change{
	{File: "backend/migrations/versions/0002_standards_language.py"},
	{File: "backend/backend/models.py", Old: `    language = Column(String(8), nullable=True, server_default="en")` + "\n"},
	{File: "backend/backend/routes.py", Old: `, "description", "language")`, New: `, "description")`},
}

// Bad makes a release that never becomes healthy.
var Bad = []Change{{File: "backend/backend/health.py", Old: `healthy = connected == "connected"`, New: "healthy = False"}}

// Parts are the images of a release.
var Parts = []string{"backend", "backup", "frontend"}

// Publish builds parts of a release with the example's own Dockerfiles and pushes them.
func Publish(ctx context.Context, l *lab.Lab, version string, changes []Change, parts ...string) error {
	dir, err := os.MkdirTemp("", "shikshasetu-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.CopyFS(dir, os.DirFS(Example(l))); err != nil {
		return err
	}
	for _, change := range changes {
		if err := change.apply(dir); err != nil {
			return err
		}
	}
	for _, part := range parts {
		ref := l.Registry + "/" + part + ":" + version
		args := []string{"build", "--quiet", "--force-rm", "--network", "host", "--build-arg", "VERSION=" + version, "--tag", ref}
		folder := part
		if part != "frontend" {
			folder, args = "backend", append(args, "--target", part)
		}
		if _, err := l.Docker(ctx, append(args, filepath.Join(dir, folder))...); err != nil {
			return err
		}
		if _, err := l.Docker(ctx, "push", "--quiet", ref); err != nil {
			return err
		}
	}
	return nil
}

func (c Change) apply(dir string) error {
	path := filepath.Join(dir, c.File)
	if c.Old == "" {
		return os.Remove(path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(text), c.Old, c.New, 1)
	if changed == string(text) {
		return fmt.Errorf("%s does not have %q any more: mend the change", c.File, c.Old)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}

// Example is the folder of the example in the repository.
func Example(l *lab.Lab) string { return filepath.Join(l.Root, "examples", "shikshasetu") }

// StandIns builds and pushes what stands in for parts that cannot be had.
func StandIns(ctx context.Context, l *lab.Lab) error {
	folder := filepath.Join(l.Root, "e2e", "shikshasetu", "standins")
	for _, name := range []string{"vllm", "grafana", "celery"} {
		content := filepath.Join(folder, name)
		if name != "celery" {
			dir, err := goContext(ctx, folder, name)
			if err != nil {
				return err
			}
			defer func() { _ = os.RemoveAll(dir) }()
			content = dir
		}
		ref := l.Registry + "/stand-in-" + name + ":lab"
		if _, err := l.Docker(ctx, "build", "--quiet", "--force-rm", "--network", "host", "--tag", ref, content); err != nil {
			return err
		}
		if _, err := l.Docker(ctx, "push", "--quiet", ref); err != nil {
			return err
		}
	}
	return nil
}

// goContext is a build context with the Dockerfile of the stand-ins and one of
// them compiled.
func goContext(ctx context.Context, folder, name string) (string, error) {
	dir, err := os.MkdirTemp("", "stand-in-")
	if err != nil {
		return "", err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", filepath.Join(dir, "stand-in"), "./"+name)
	cmd.Dir, cmd.Env = folder, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("compiling the stand-in %s: %w\n%s", name, err, out)
	}
	recipe, err := os.ReadFile(filepath.Join(folder, "Dockerfile"))
	if err != nil {
		return "", err
	}
	return dir, os.WriteFile(filepath.Join(dir, "Dockerfile"), recipe, 0o644)
}
