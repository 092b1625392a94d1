package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/peers"
)

// buildFiles are a stack of two services that are built, each with steps that run.
var buildFiles = map[string]string{
	"compose.yaml": `services:
  api: {build: ./api, image: "${REPOSITORY}/api:${VERSION}"}
  web: {build: ./web, image: "${REPOSITORY}/web:${VERSION}"}
`,
	"api/Dockerfile": "FROM busybox:1\nWORKDIR /app\nRUN uname -m > machine\nCOPY main.txt .\nRUN sha256sum main.txt > sum\n",
	"api/main.txt":   "one\n",
	"web/Dockerfile": "FROM busybox:1\nCOPY index.html /web/\nRUN uname -m > /web/machine\n",
	"web/index.html": "<p>one</p>\n",
}

// workshop is what both sides build with: one BuildKit, one repository of files.
type workshop struct {
	*bench
	builder *lab.Builder
	dir     string
	buildx  string // DOCKER_CONFIG that has the plugin
	commit  string
	// warm is set once ours has built, steps what it has of them; baked once bake has.
	warm, baked bool
	steps       int
}

const buildPlatforms = "linux/amd64,linux/arm64"

// builds measures a build that finds every step cached.
func builds(ctx context.Context, b *bench) (rows []row, err error) {
	w, err := b.workshop(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, w.builder.Stop(context.WithoutCancel(ctx))) }()
	runs, err := b.rounds(ctx, "build, every step cached", w.build, w.bake)
	if err != nil {
		return nil, err
	}
	return []row{{Name: "build for 2 platforms, all cached", Unit: "ms", Ours: column(runs[0], took), Against: "docker buildx bake",
		Theirs: column(runs[1], took), Target: target{Of: "ratio", Limit: 1.2}}}, nil
}

func (b *bench) workshop(ctx context.Context) (*workshop, error) {
	w := &workshop{bench: b, dir: filepath.Join(b.dir, "build")}
	mirror := &lab.Registry{Address: b.lab.Registry}
	err := b.lab.PushBusybox(ctx, mirror)
	if err != nil {
		return nil, err
	}
	if w.buildx, err = peers.Buildx(ctx, b.say); err != nil {
		return nil, err
	}
	if w.builder, err = b.lab.StartBuilder(ctx, mirror, nil); err != nil {
		return nil, err
	}
	if err := w.write(); err != nil {
		return nil, err
	}
	_, _, err = w.buildxRun(ctx, "create", "--name", "bench", "--driver", "remote", w.builder.Address)
	return w, err
}

// write makes a checkout, as builds are of one.
func (w *workshop) write() error {
	for name, text := range buildFiles {
		path := filepath.Join(w.dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644)); err != nil {
			return err
		}
	}
	repository, err := git.PlainInit(w.dir, false)
	if err != nil {
		return err
	}
	tree, err := repository.Worktree()
	if err != nil {
		return err
	}
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	if err := tree.AddWithOptions(&git.AddOptions{All: true}); err != nil {
		return err
	}
	hash, err := tree.Commit("build", &git.CommitOptions{Author: &object.Signature{Name: "bench", Email: "bench@example.org", When: at}})
	if err != nil {
		return err
	}
	w.commit = hash.String()
	vars := "REPOSITORY=" + w.repository("ours") + "\n"
	return errors.Join(os.WriteFile(filepath.Join(w.dir, varsFile), []byte(vars), 0o644), w.override(at))
}

func (w *workshop) repository(side string) string { return w.lab.Registry + "/bench-" + side }

// overrideFile tells bake what `shiksha build` does by itself: the tags of the
// commit, its time in the image, provenance, and the cache beside the image.
const overrideFile = "docker-bake.override.json"

func (w *workshop) override(commit time.Time) error {
	targets := map[string]any{}
	for _, name := range []string{"api", "web"} {
		repository := w.repository("theirs") + "/" + name
		cache := "type=registry,ref=" + repository + ":buildcache-" + name
		targets[name] = map[string]any{
			"platforms":  strings.Split(buildPlatforms, ","),
			"tags":       []string{repository + ":v1", repository + ":master", repository + ":sha-" + w.commit[:7]},
			"args":       map[string]string{"SOURCE_DATE_EPOCH": strconv.FormatInt(commit.Unix(), 10)},
			"output":     []string{"type=image,push=true,oci-mediatypes=true,rewrite-timestamp=true"},
			"attest":     []string{"type=provenance,mode=min"},
			"cache-from": []string{cache},
			"cache-to":   []string{cache + ",mode=max,image-manifest=true,oci-mediatypes=true,ignore-error=true"},
		}
	}
	data, err := json.Marshal(map[string]any{"target": targets})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(w.dir, overrideFile), data, 0o644)
}

// build runs `shiksha build --push` and makes sure that it built all, and after the
// first time nothing again.
func (w *workshop) build(ctx context.Context) (measured, error) {
	cmd, err := w.lab.Command(ctx, w.dir, nil, "build", "--builder", w.builder.Address, "--push", "--platforms", buildPlatforms,
		"--env-file", varsFile, "--version", "v1", "--json")
	if err != nil {
		return measured{}, err
	}
	result, m, err := w.measure(ctx, cmd)
	if err != nil {
		return m, err
	}
	var told struct {
		Targets []struct {
			Name          string
			Tags          []string
			Steps, Cached int
		}
	}
	if err := json.Unmarshal([]byte(result.Stdout), &told); err != nil {
		return m, fmt.Errorf("reading the report of shiksha build: %w", err)
	}
	if len(told.Targets) != 2 {
		return m, fmt.Errorf("shiksha build tells of %d images, not of 2", len(told.Targets))
	}
	w.steps = 0
	for _, t := range told.Targets {
		w.steps += t.Steps
		if t.Steps == 0 || len(t.Tags) != 3 || t.Cached != t.Steps && w.warm {
			return m, fmt.Errorf("%s: %d of %d steps cached, pushed as %v", t.Name, t.Cached, t.Steps, t.Tags)
		}
	}
	w.warm = true
	return m, nil
}

// bake runs `docker buildx bake --push` on the same files, and makes sure that its
// steps are cached too after the first time.
func (w *workshop) bake(ctx context.Context) (measured, error) {
	words, m, err := w.buildxRun(ctx, "bake", "--builder", "bench", "--file", "compose.yaml", "--file", overrideFile, "--progress", "plain")
	if cached := strings.Count(words, " CACHED\n"); err == nil && w.baked && cached < w.steps {
		err = fmt.Errorf("docker buildx bake has %d steps cached, not %d:\n%s", cached, w.steps, words)
	}
	w.baked = true
	return m, err
}

func (w *workshop) buildxRun(ctx context.Context, args ...string) (words string, m measured, err error) {
	cmd := exec.CommandContext(ctx, "docker", append([]string{"buildx"}, args...)...)
	cmd.Dir = w.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.bench.dir, "DOCKER_CONFIG=" + w.buildx, "BUILDX_CONFIG=" + filepath.Join(w.bench.dir, "buildx"),
		"DOCKER_HOST=unix://" + lab.Socket, "VERSION=v1", "REPOSITORY=" + w.repository("theirs")}
	result, m, err := w.measure(ctx, cmd)
	return result.Stderr, m, err
}
