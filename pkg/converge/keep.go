package converge

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// tag gives each image of the release a name on the host, so that `docker image
// prune` leaves what a rollback needs.
func (d *transition) tag(ctx context.Context) error {
	d.Step("tag")
	if !d.on.HoldsImages() {
		return nil // their registry does
	}
	for _, name := range slices.Sorted(maps.Keys(d.record.Services)) {
		pinned, kept := d.record.Services[name].Pinned, releaseTag(d.record.Project, name, d.record.Number)
		err := d.Engine.Tag(ctx, pinned, kept)
		if svc := d.opts.Stack.Services[name]; err != nil && svc != nil && d.plan.Step(name) != nil {
			// It was there, but another project may just have forgotten its last release of it.
			if err = d.Engine.Pull(ctx, pinned, svc.Platform, d.opts.Registry); err == nil {
				err = d.Engine.Tag(ctx, pinned, kept)
			}
		}
		switch {
		case err != nil && d.plan.Step(name) != nil:
			return fmt.Errorf("keep the image of %s: %w", name, err)
		case err != nil:
			// Of a service that this release does not touch it may be gone: history says so.
			d.Say(event.Warning, "keep", name, "its image cannot be kept for a rollback: %v", err)
		}
	}
	return nil
}

// tellImage says what somebody should know about the choice of an image: a warning where it may
// be an older one than is meant.
func (d *transition) tellImage(service string, img engine.Image) {
	level := event.Notice
	if img.Warn {
		level = event.Warning
	}
	if img.Note != "" {
		d.Say(level, "preflight", service, "%s", img.Note)
	}
}

// resolved tells whether a service runs what its image means. Of what this release does not
// ask a registry for the record says it that it is taken from.
func (d *transition) resolved(svc *stack.Service) bool {
	asked := len(d.opts.Services) == 0 || slices.Contains(d.opts.Services, svc.Name)
	if d.opts.Back == nil && asked {
		return d.opts.Given[svc.Name] == ""
	}
	was := d.facts.verified
	if d.opts.Back != nil {
		r, err := d.ledger.Get(d.opts.Back.Restores)
		was = optional(r, err == nil)
	}
	if was == nil {
		return false
	}
	s := was.Services[svc.Name]
	return s.Resolved && s.Image == svc.Image && s.Pinned == svc.Pinned
}

// pullBack pulls what a way back makes units of and the host has no more: its units are gone,
// and a tag is nothing to `docker image prune -a`. It says what could not be had, "" for
// nothing: that keeps nothing else from going back.
func (d *transition) pullBack(ctx context.Context, before *stack.Stack, p *plan.Plan) string {
	absent := d.lackedBy(ctx, before, p)
	if len(absent) == 0 {
		return ""
	}
	// A pull may take as long as all the rest, which it leaves its time.
	d.backTime.add(backBudget)
	limited, cancel := context.WithTimeout(ctx, backBudget)
	defer cancel()
	said := make([]string, len(absent))
	var eg errgroup.Group
	eg.SetLimit(pulls)
	for i, svc := range absent {
		eg.Go(func() error {
			d.Say(event.Warning, "roll back", svc.Name, "its image is gone from the host, pulling %s", svc.Pinned)
			err := d.outlast(limited, func(ctx context.Context) error {
				return d.Engine.Pull(ctx, svc.Pinned, svc.Platform, d.opts.Registry)
			})
			if err != nil {
				// In words: what the way back comes to, what it carries out says.
				said[i] = fmt.Sprintf("; the image of %s is gone from the host and could not be pulled: %v", svc.Name, err)
				if hint := fault.Hint(err); hint != "" {
					said[i] += " (" + hint + ")"
				}
			}
			return nil
		})
	}
	_ = eg.Wait()
	return strings.Join(said, "")
}

// lackedBy gives a service for each image that a way back makes units of and the host has no
// more. One that it cannot be asked for is for the pull to look at again.
func (d *transition) lackedBy(ctx context.Context, before *stack.Stack, p *plan.Plan) (absent []*stack.Service) {
	var seen []*stack.Service
	for _, step := range p.Steps {
		svc := before.Services[step.Service]
		same := func(s *stack.Service) bool { return s.Pinned == svc.Pinned && s.Platform == svc.Platform }
		if svc == nil || !step.Changes() || step.Missing() == 0 || slices.ContainsFunc(seen, same) || !d.on.HoldsImages() {
			continue
		}
		seen = append(seen, svc)
		var there bool
		err := d.outlast(ctx, func(ctx context.Context) (err error) {
			there, err = d.Engine.ImagePresent(ctx, svc.Pinned)
			return err
		})
		if err != nil || !there {
			absent = append(absent, svc)
		}
	}
	return absent
}

// tagRepository is where the images of a project's releases are named.
func tagRepository(project, service string) string {
	return "shiksha.local/" + project + "/" + service
}

func releaseTag(project, service string, number int) string {
	return fmt.Sprintf("%s:release-%d", tagRepository(project, service), number)
}

// tagged reads the number of the release that a tag keeps an image for.
func tagged(tag string) (int, bool) {
	_, number, found := strings.Cut(tag, ":release-")
	n, err := strconv.Atoi(number)
	return n, found && err == nil
}

// keepSaid keeps with the release that serves what the Compose file says beside its
// units (backups, checks, how a service is rolled): verbs without a workspace read it
// there, and a change of it makes no release. All that units are made of stays as it was.
func (d *transition) keepSaid(ctx context.Context) error {
	f := d.facts
	if d.opts.Back != nil || len(d.opts.Services) > 0 || f.uncertain || f.verified == nil || !f.acted.Outcome.Clean() {
		return nil
	}
	var was []byte
	kept, err := d.before(ctx)
	if err == nil {
		was, err = kept.Seal()
	}
	if err != nil {
		d.Say(event.Warning, "keep", "", "%v", err)
		return nil // what serves is as it should be, and a rollback says what is lost
	}
	if !say(kept, d.opts.Stack) {
		return nil
	}
	is, err := kept.Seal()
	if err != nil || bytes.Equal(was, is) {
		return err
	}
	if err := d.ledger.WriteSealed(ctx, f.verified.Number, is); err != nil {
		return err
	}
	d.Say(event.Notice, "keep", "", "release %d keeps what the Compose file says now of backups, checks and how services are rolled", f.verified.Number)
	return nil
}

// say makes a stack say what a newer one does beside its units, or tells that those are
// others. A service that left the file and stays on the host stays as it was.
func say(kept, now *stack.Stack) bool {
	for name, svc := range now.Services {
		if k := kept.Services[name]; k == nil || k.Hash != svc.Hash || k.Global != svc.Global {
			return false
		}
	}
	for name, svc := range now.Services {
		k := kept.Services[name]
		k.Ext, k.Update, k.Rollback = svc.Ext, svc.Update, svc.Rollback
	}
	kept.Checks, kept.URL = now.Checks, cmp.Or(now.URL, kept.URL)
	return true
}

// prune forgets old releases: their records, their files and their image tags.
func (d *transition) prune(ctx context.Context) error {
	d.Step("prune")
	if _, err := d.ledger.Prune(ctx, d.opts.KeepReleases); err != nil {
		return err
	}
	return errors.Join(d.untag(ctx), d.pruneFiles(ctx), d.on.Prune(ctx, d.opts.Stack.Name, d.kept))
}

// kept are the stacks of all releases that can be brought back. One that cannot be
// read is an error: what it needs is not known.
func (d *transition) kept(ctx context.Context) (kept []*stack.Stack, err error) {
	for _, r := range d.ledger.All() {
		if r.Outcome != release.Verified {
			continue
		}
		st, err := d.ledger.Stack(ctx, r.Number)
		if err == nil {
			err = d.on.Adapt(ctx, st)
		}
		if err != nil {
			return nil, err
		}
		kept = append(kept, st)
	}
	return kept, nil
}

// untag lets the images of forgotten releases go, also those of services that have
// left the stack since and those that an interrupted pruning left. They leave the host
// with it, but for what a release that is kept was pinned to: somebody may have taken its tag.
func (d *transition) untag(ctx context.Context) error {
	tags, err := d.Engine.Tags(ctx, tagRepository(d.opts.Stack.Name, "*"))
	errs := []error{err}
	var kept []string
	for _, r := range d.ledger.All() {
		for _, s := range r.Services {
			kept = append(kept, s.Pinned)
		}
	}
	for _, tag := range tags {
		if n, ok := tagged(tag); ok && d.ledger.Pruned(n) {
			errs = append(errs, d.Engine.Untag(ctx, tag, kept...))
		}
	}
	return errors.Join(errs...)
}

// pruneFiles removes the files that no kept release and no container has.
func (d *transition) pruneFiles(ctx context.Context) error {
	keep := map[string]bool{}
	for _, r := range d.ledger.All() {
		for _, s := range r.Services {
			for _, sum := range s.Files {
				keep[sum] = true
			}
		}
	}
	seen, err := d.on.Observe(ctx, d.opts.Stack.Name)
	if err != nil {
		return err
	}
	var mounted []string
	for _, units := range seen.Units {
		for _, u := range units {
			mounted = append(mounted, u.Mounts...)
		}
	}
	return d.Store(d.opts.Stack.Name).Prune(ctx, keep, mounted)
}

// letGo gives the ports that a first release is to publish, that units of what it touched held
// before, and that no unit holds now: who comes by them is answered by nobody.
func (d *transition) letGo(touched []string, seen stack.Observed) (ports []string) {
	held := map[string]bool{}
	for _, units := range seen.Units {
		for _, u := range units {
			for port := range u.Ports {
				held[port] = held[port] || !u.OneOff
			}
		}
	}
	var wanted []string
	for _, svc := range d.opts.Stack.Services {
		if svc.Replicas > 0 {
			wanted = append(wanted, svc.HostPorts...)
		}
	}
	for _, name := range touched {
		up := idsUp(seen.Units[name])
		for _, u := range d.facts.observed.Units[name] {
			for port := range u.Ports {
				// One that the engine starts again has its ports in a moment.
				if !u.OneOff && !slices.Contains(up, u.ID) && !held[port] && slices.Contains(wanted, port) {
					ports = append(ports, port)
				}
			}
		}
	}
	slices.Sort(ports)
	return slices.Compact(ports)
}

// lost says what nobody answers for any more, "" for nothing.
func (t taken) lost() string {
	var lost []string
	if len(t.dark) > 0 {
		lost = append(lost, fmt.Sprintf("nothing runs of %v", t.dark))
	}
	if len(t.ports) > 0 {
		lost = append(lost, fmt.Sprintf("no unit holds port %v of the host", t.ports))
	}
	return strings.Join(lost, " and ")
}
