// Package deploy is the verb: it takes a stack from the workspace to a verified
// release on a host, and tells what a host runs and ran.
package deploy

import (
	"cmp"
	"context"
	"maps"
	"slices"

	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// Run releases the stack of the workspace, or only plans it with DryRun. The
// result is never nil: it says how far the release came also when it failed.
func Run(ctx context.Context, o Options, sink event.Sink) (*converge.Result, error) {
	result := converge.Begin(o.Version)
	return result, result.End(run(ctx, o, sink, result))
}

func run(ctx context.Context, o Options, sink event.Sink, result *converge.Result) error {
	result.Project = o.Project // until the files are read
	// What is wrong with the stack is told before a host is needed, but for what only the
	// host can tell to be wrong.
	st, err := o.load(ctx, release.DefaultStateDir)
	if err != nil {
		return err
	}
	result.Project = st.Name
	verifier, err := o.verifier(st)
	if err != nil {
		return err
	}
	asked, later := o.asksForSwarm(st), o.hostDecides(ctx, st)
	var refusal error
	if !later {
		refusal = o.look(ctx, st, asked, sink, result)
	}
	if refusal != nil && !o.DryRun {
		return refusal
	}
	if o.DryRun && o.Host.Address == "" {
		return after(o.offline(st, sink, result), refusal)
	}
	t, err := target.Open(ctx, o.Host, o.StateDir, sink)
	if err != nil && later {
		return after(o.look(ctx, st, false, sink, result), err)
	}
	if err != nil {
		return err
	}
	defer t.Close()
	t.Vault = o.Vault
	result.Host = t.Host.String()
	if st, err = o.placed(ctx, st, t.StateDir); err != nil {
		return err
	}
	on, err := platform.Choose(ctx, t, o.Engine, st.Engine, st.Name)
	if err != nil {
		return err
	}
	if swarm := on.Name() == platform.Swarm; later || swarm && !asked {
		// What runs on a Swarm already nobody knew before.
		if refusal = o.look(ctx, st, swarm, sink, result); refusal != nil && !o.DryRun {
			return refusal
		}
	}
	request := o.request(t, st)
	request.Verify = verifier
	if !o.DryRun {
		request.Seen = o.seen(ctx, t.Files, t.StateDir, st.Name)
		var drop func()
		holder := release.Holder{RunURL: o.Run.URL, Actor: o.Run.Actor}
		if ctx, request.Lock, drop, err = t.Hold(ctx, st.Name, holder, o.LockWait); err != nil {
			return err
		}
		defer drop()
	}
	return after(converge.Run(ctx, t, on, request, result), refusal)
}

// seen is the last release that may have changed something before the wait for the lock, nil
// for one that does not wait. What cannot be read is told by who takes the lock.
func (o Options) seen(ctx context.Context, files release.Files, stateDir, project string) *release.Record {
	if o.LockWait <= 0 {
		return nil
	}
	newest, err := release.Seen(ctx, files, stateDir, project)
	if err != nil {
		return nil
	}
	return &newest
}

// after gives the refusal of a plan that could be made: who reads it sees both.
func after(err, refusal error) error {
	if err != nil {
		return err
	}
	return refusal
}

// placed is the stack with its files where the host keeps state, which is known only now.
func (o Options) placed(ctx context.Context, st *stack.Stack, stateDir string) (*stack.Stack, error) {
	if stateDir == release.DefaultStateDir {
		return st, nil
	}
	there, err := o.load(ctx, stateDir)
	if err == nil {
		there.URL = st.URL // the verifier's, and kept with the release
	}
	return there, err
}

// load reads the stack and checks the inputs against it; it needs no host.
func (o Options) load(ctx context.Context, stateDir string) (*stack.Stack, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	if o.StateDir != "" {
		stateDir = o.StateDir
	}
	st, err := compose.Load(ctx, compose.LoadOptions{
		Workspace: o.Workspace, Files: o.ComposeFiles, Project: o.Project, Folder: o.Folder, EnvFile: o.EnvFile, EnvFileName: o.EnvFileName,
		Environment: o.Environment, Profiles: o.Profiles, StateDir: stateDir, Images: o.Images,
	})
	if err != nil {
		return nil, fault.As(fault.Input, err)
	}
	if err := checkServices("services", o.Services, st.Order); err != nil {
		return nil, err
	}
	var given []string
	for name := range o.Images {
		given = append(given, name)
	}
	return st, checkServices("images", given, st.Order)
}

// verifier makes what decides whether the release stays.
func (o Options) verifier(st *stack.Stack) (converge.Verifier, error) {
	if o.Verify == nil {
		return nil, nil
	}
	v, err := o.Verify(st)
	return v, fault.As(fault.Input, err)
}

// request is what the host should run: the stack of the workspace, its images as
// their registry has them now.
func (o Options) request(t *target.Target, st *stack.Stack) converge.Options {
	return converge.Options{
		Asked: o.Asked, Stack: st,
		Images: func(ctx context.Context, verified *release.Record) (map[string]engine.Image, error) {
			return o.resolve(ctx, t.Engine, st, verified)
		},
		Given:   o.Images,
		Version: o.Version, Services: o.Services, Strategy: o.Strategy, Lenient: o.Preflight == Warn || o.Preflight == Off, Untried: o.Preflight == Off, Adopt: o.Adopt,
		RollbackOnFailure: o.RollbackOnFailure, KeepReleases: o.KeepReleases, RemoveOrphans: o.RemoveOrphans,
	}
}

// resolve asks the registries for the images, but for those that they cannot have
// yet: these are named by their tag.
func (o Options) resolve(ctx context.Context, e *engine.Engine, st *stack.Stack, verified *release.Record) (map[string]engine.Image, error) {
	known := *st
	known.Services = maps.Clone(st.Services)
	for _, name := range o.Unpushed {
		delete(known.Services, name)
	}
	resolve := e.Resolve
	if o.DryRun {
		resolve = e.Foresee
	}
	images, err := resolve(ctx, &known, o.Images, o.Registry, o.pins(st, verified))
	if err != nil {
		return nil, err
	}
	for _, name := range o.Unpushed {
		if svc := st.Services[name]; svc != nil {
			images[name] = engine.Image{Pinned: cmp.Or(svc.Image, st.Name+"-"+name)}
		}
	}
	return images, nil
}

// pins are the images that a release was verified with, but for those that were given beside
// its file: what these were is no answer to what the file's mean. Nor is what an image was one
// where the release is there to change it, for a service that it names or whose file says how
// to build it: a fix would be verified with the code that it is to replace.
func (o Options) pins(st *stack.Stack, verified *release.Record) map[string]engine.Known {
	known := map[string]engine.Known{}
	if verified == nil {
		return known
	}
	for name, svc := range verified.Services {
		now := st.Services[name]
		if now != nil && !now.Built && svc.Resolved && !slices.Contains(o.Services, name) {
			known[name] = engine.Known{Image: svc.Image, Pinned: svc.Pinned}
		}
	}
	return known
}
