package build

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/docker/buildx/build"
	"github.com/docker/buildx/builder"
	"github.com/docker/buildx/util/confutil"
	"github.com/moby/buildkit/frontend/subrequests/lint"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/moby/buildkit/solver/pb"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// checked has the Dockerfiles checked, and meanwhile asks the registry what it has
// of the targets.
func (r *run) checked(ctx context.Context) (before map[string]image, err error) {
	asking, stop := context.WithCancel(ctx)
	defer stop()
	var asked sync.WaitGroup
	asked.Go(func() { before = r.published(asking) })
	if err = r.check(ctx); err != nil {
		stop()
	}
	asked.Wait()
	return before, err
}

// check has BuildKit look at the Dockerfiles before anything is built. What it
// finds is told and stops nothing, unless a Dockerfile says so itself
// (# check=error=true) or cannot be read at all.
func (r *run) check(ctx context.Context) error {
	options, err := r.options(ctx)
	if err != nil {
		return err
	}
	for name, o := range options {
		o.CallFunc = &build.CallFunc{Name: "lint", Format: "json"}
		o.Exports, o.CacheTo, o.CacheFrom, o.Attests = nil, nil, nil, map[string]*string{"provenance": nil}
		o.Platforms = o.Platforms[:min(1, len(o.Platforms))]
		for base, c := range o.Inputs.NamedContexts {
			// The image of another target is not there yet, and what it is made of is checked
			// by itself.
			if strings.HasPrefix(c.Path, "target:") {
				c.Path = "docker-image://scratch"
				o.Inputs.NamedContexts[base] = c
			}
		}
		options[name] = o
	}
	p := newProgress(r, "check")
	answers, err := build.Build(ctx, []builder.Node{r.builder.node}, options, nil, confutil.NewConfig(nil, confutil.WithDir(r.dir)), p, nil)
	if err != nil {
		if r.anew(ctx) {
			return r.check(ctx)
		}
		if ctx.Err() != nil || len(errdefs.Sources(err)) > 0 || r.gone(ctx) {
			return r.explain(ctx, err, p)
		}
		r.say(event.Debug, "check", "", "the Dockerfiles were not checked: %s", err)
		return nil
	}
	for _, t := range r.plan.targets {
		if answer := answers[t.name]; answer != nil {
			if err := r.findings(t, answer.ExporterResponse["result.json"]); err != nil {
				return err
			}
		}
	}
	return nil
}

// withoutPolicies refuses what a policy decides about: this program evaluates none,
// and a build must not look as if one had allowed it.
func (p *plan) withoutPolicies(workspace string) error {
	for _, t := range p.targets {
		where := t.place
		if t.dockerfile != "" {
			policy := t.dockerfile + ".rego"
			if _, err := os.Stat(filepath.Join(workspace, policy)); err == nil {
				where = policy
			}
		}
		if where != t.place || len(t.spec.Policy) > 0 {
			return fault.New(fault.Input, where, "take it away, or build with `docker buildx build`, which evaluates it",
				"%s has a policy for what it may be built from, and policies are not supported here", t.name)
		}
	}
	return nil
}

// findings tells what was found in one Dockerfile.
func (r *run) findings(t *target, text string) error {
	var found lint.LintResults
	if text == "" || json.Unmarshal([]byte(text), &found) != nil {
		return nil
	}
	for _, w := range found.Warnings {
		t.warnings++
		line := 0
		if w.Location != nil {
			line = firstLine(w.Location.Ranges)
		}
		r.sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Phase: "check", Service: t.name, File: t.dockerfile, Line: line,
			Text: fmt.Sprintf("%s: %s (%s)", t.at(line), w.Detail, w.RuleName)})
	}
	if found.Error == nil || missing.MatchString(found.Error.Message) {
		return nil // a base image is looked for again by the build, which tries more than once
	}
	line := firstLine(found.Error.Location.Ranges)
	r.annotate(t, line, found.Error.Message)
	return fault.New(fault.Input, t.at(line), hintFor(found.Error.Message), "%s: %s", t.name, found.Error.Message)
}

// at names a line of the target's Dockerfile.
func (t *target) at(line int) string {
	file := t.dockerfile
	if file == "" {
		file = t.place + " (dockerfile)"
	}
	if line == 0 {
		return file
	}
	return fmt.Sprintf("%s:%d", file, line)
}

// annotate shows an error at its line.
func (r *run) annotate(t *target, line int, text string) {
	r.sink.Emit(event.Event{Time: time.Now(), Level: event.Error, Phase: "build", Service: t.name, File: t.dockerfile, Line: line, Text: text})
}

func firstLine(ranges []*pb.Range) int {
	if len(ranges) == 0 || ranges[0].Start == nil {
		return 0
	}
	return int(ranges[0].Start.Line)
}
