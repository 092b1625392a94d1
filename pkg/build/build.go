// Package build is the verb that makes a stack's images: it reads the targets
// from the Compose file (or a bake file), builds all of them at once with
// BuildKit through the buildx library, pushes what the Compose file names, and
// gives each image by its digest, as a deploy takes it.
package build

import (
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	dockerconfig "github.com/docker/cli/cli/config"
	"github.com/sirupsen/logrus"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// Result is what a build made; it is never nil, also after a failure.
type Result struct {
	// Builder says which builder was used, Why the reason that it was.
	Builder, Why string
	// Commit is the one that was built, empty where none is known.
	Commit string
	// Targets are in the order of their names.
	Targets []Target
	// Images are all services by what a deploy should run: repository@digest. It
	// holds services without `build:` too that use the image of one that has it.
	Images         map[string]string
	Started, Ended time.Time
	// Notes are things worth telling that stopped nothing.
	Notes []string
	// Written are the paths on this machine that exporters and caches were told to write
	// to, also those of a build that failed.
	Written []string
}

// Services are all services that run one of the images, sorted.
func (r *Result) Services() []string {
	var all []string
	for _, t := range r.Targets {
		all = append(all, t.Services...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// Target is one image.
type Target struct {
	Name string
	// Services run it: its own, and those that only name its image.
	Services []string
	// Digest is the digest of the index (or of the manifest, for an image of one
	// platform without attestations); empty where nothing was exported.
	Digest string
	// Kept is set where the registry had the same images for every platform: the
	// digest is the one it had, so that nothing looks changed.
	Kept bool
	// Tags are the full references that were pushed or loaded.
	Tags      []string
	Platforms []Platform
	// Steps counts the instructions but FROM, for all platforms; Cached those that
	// did not have to run.
	Steps, Cached int
	// Took is from the first step's start to the end of the export.
	Took time.Duration
	// Warnings are what the check of the Dockerfile found.
	Warnings int
	// Metadata is what BuildKit answered.
	Metadata map[string]string
}

// Platform is one platform of an image.
type Platform struct {
	Name, Digest string
	// Size is the compressed size in bytes, 0 where it is not known.
	Size int64
}

// run is one build under way.
type run struct {
	o       Options
	sink    event.Sink
	result  *Result
	plan    *plan
	builder *chosen
	// anewed is set when the builder was chosen a second time.
	anewed bool
	// dir holds what the libraries write; it goes with the run.
	dir string
}

// Run builds. Everything about the inputs is checked before anything is built.
func Run(ctx context.Context, o Options, sink event.Sink) (*Result, error) {
	if sink == nil {
		sink = event.Discard
	}
	r := &run{o: o, sink: sink, result: &Result{Started: time.Now()}}
	defer func() { r.result.Ended = time.Now() }()
	if err := r.prepare(ctx); err != nil {
		return r.result, err
	}
	release, err := r.isolate()
	if err != nil {
		return r.result, err
	}
	defer release()
	if r.builder, err = choose(ctx, r); err != nil {
		return r.result, err
	}
	// A builder that this run started goes also when the run was cancelled.
	defer func() { r.builder.leave(context.WithoutCancel(ctx), r) }()
	if err := r.fits(ctx); err != nil {
		return r.result, err
	}
	before, err := r.checked(ctx)
	if err != nil {
		return r.result, err
	}
	if err := r.solve(ctx, before); err != nil {
		return r.result, err
	}
	r.finish()
	return r.result, nil
}

// prepare reads and checks everything that needs no builder.
func (r *run) prepare(ctx context.Context) (err error) {
	r.say(event.Info, "load", "", "reading %s", r.o.files())
	if err := r.o.check(); err != nil {
		return err
	}
	if r.plan, err = load(ctx, r); err != nil {
		return err
	}
	if err := r.plan.withoutPolicies(r.o.Workspace); err != nil {
		return err
	}
	for _, t := range r.plan.targets {
		for _, secret := range t.secrets {
			if r.o.Protect != nil {
				r.o.Protect(string(secret))
			}
		}
	}
	r.registryTags(ctx)
	if err := r.plan.name(r); err != nil {
		return err
	}
	for _, t := range r.plan.targets {
		r.say(event.Info, "load", t.name, "%s", t.describe())
	}
	return nil
}

var quiet sync.Once

// isolate gives the libraries a folder of their own to write to, and nothing of
// the account's Docker configuration. Their log is process-wide; what matters of
// it comes as progress or as an error too.
func (r *run) isolate() (release func(), err error) {
	quiet.Do(func() { logrus.SetOutput(io.Discard) })
	// The image of the actions has no /tmp, and on GitHub nothing is mounted there. The
	// library writes to it as well: a Dockerfile that is in the Compose file, say.
	err = os.MkdirAll(os.TempDir(), 0o777|os.ModeSticky)
	if err == nil {
		r.dir, err = os.MkdirTemp("", "shiksha-build-")
	}
	if err != nil {
		return nil, fault.New(fault.Failed, "", "let TMPDIR name a folder that can be written", "cannot make a folder for the build: %w", err)
	}
	dockerconfig.SetDir(r.dir)
	// One name for one workspace: a builder that stays knows which files it has.
	_ = os.WriteFile(filepath.Join(r.dir, ".buildNodeID"), []byte(short(r.o.Workspace)), 0o600)
	return func() { _ = os.RemoveAll(r.dir) }, nil
}

// finish fills in what a deploy takes.
func (r *run) finish() {
	r.result.Images = map[string]string{}
	for i, t := range r.plan.targets {
		built := r.result.Targets[i]
		if !r.o.Push || built.Digest == "" || t.linked {
			continue
		}
		for _, service := range t.services {
			r.result.Images[service] = t.repository() + "@" + built.Digest
		}
	}
}

// say tells one thing.
func (r *run) say(level event.Level, phase, target, format string, args ...any) {
	r.sink.Emit(event.Event{Time: time.Now(), Level: level, Phase: phase, Service: target, Text: sprintf(format, args...)})
}

// note tells one thing and keeps it for the report.
func (r *run) note(phase, target, format string, args ...any) {
	text := sprintf(format, args...)
	r.say(event.Notice, phase, target, "%s", text)
	if target != "" {
		text = target + ": " + text
	}
	r.result.Notes = append(r.result.Notes, text)
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
