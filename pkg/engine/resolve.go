package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/image"
	"github.com/moby/moby/client"
	specs "github.com/opencontainers/image-spec/specs-go/v1"
	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// Image is the image a service will run. Pinned is repository@sha256:... as the
// engine writes it, or the ID (sha256:...) of an image that only this host has.
// Present tells that the host has it. Note says what somebody should know about the
// choice, or is empty. Warn is set where that is an older image than may be meant.
type Image struct {
	Pinned  string
	Present bool
	Note    string
	Warn    bool
}

// Known is what a service was verified with: Image is what its file named, and Pinned
// what that was.
type Known struct{ Image, Pinned string }

// wish is one image that one or more services want. known is what it was when all of them were
// verified with it, "" where they were not.
type wish struct {
	ref, platform, policy, known string
}

// problem is a wish that cannot be granted, still without its services.
type problem struct {
	kind                 fault.Kind
	where, message, hint string
	err                  error
}

func (p *problem) Error() string { return p.message }

// Resolve decides for every service which image it will run, by digest, as the
// host's engine sees the registries. Images given (service -> reference, with or
// without digest) win over the file's; a reference with a digest is taken as it
// is. pull_policy decides between the host's image and the registry's; without one
// the registry's is taken, and the host's only when the registry cannot be reached,
// which is tried again as a pull is. Where the registry does not give an image of the file
// any more, or pull_policy asks for what is there, services have the one that is known of
// all that name it (by service), if the host does: not where a login is refused that was
// given for the registry. Credentials go to the one registry they are for.
// All images that cannot be had are reported together.
func (e *Engine) Resolve(ctx context.Context, s *stack.Stack, given map[string]string, auth Auth, known map[string]Known) (map[string]Image, error) {
	return e.images(ctx, s, given, known, &resolving{auth: auth})
}

// Foresee is Resolve for a plan: an image that its registry does not have yet is named
// by its tag, with a note, since it may be built when the release comes.
func (e *Engine) Foresee(ctx context.Context, s *stack.Stack, given map[string]string, auth Auth, known map[string]Known) (map[string]Image, error) {
	return e.images(ctx, s, given, known, &resolving{auth: auth, ahead: true})
}

// ResolveForNodes is Resolve of a stack that was released before, where each node pulls for
// itself: its services have a login still, which nobody can read, and a node may have the
// image. So a registry that wants a login for a digest is no problem while none is given.
func (e *Engine) ResolveForNodes(ctx context.Context, s *stack.Stack, given map[string]string, auth Auth, known map[string]Known) (map[string]Image, error) {
	return e.images(ctx, s, given, known, &resolving{auth: auth, nodes: true})
}

func (e *Engine) images(ctx context.Context, s *stack.Stack, given map[string]string, known map[string]Known, r *resolving) (map[string]Image, error) {
	info, err := e.Info(ctx)
	if err != nil {
		return nil, err
	}
	r.Engine, r.until = e, time.Now().Add(comeBack)
	r.host = specs.Platform{OS: info.OS, Architecture: info.Arch, Variant: info.Variant}
	wanted, pins := map[wish][]string{}, map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Services)) {
		svc := s.Services[name]
		w := wish{ref: svc.Image, platform: svc.Platform, policy: svc.PullPolicy}
		switch {
		case given[name] != "":
			w.ref = given[name]
		case w.ref == "":
			w.ref, w.policy = s.Name+"-"+name, "never" // what `docker compose build` would have called it
		case known[name].Image == w.ref:
			pins[name] = known[name].Pinned
		}
		wanted[w] = append(wanted[w], name)
	}

	images := map[string]Image{}
	problems := map[wish]*problem{}
	var mu sync.Mutex
	eg, asking := errgroup.WithContext(ctx)
	eg.SetLimit(concurrency)
	for w, services := range wanted {
		eg.Go(func() error {
			asked := w
			asked.known = alike(pins, services)
			img, err := r.resolve(asking, asked)
			mu.Lock()
			defer mu.Unlock()
			var p *problem
			if errors.As(err, &p) {
				problems[w] = p
				return nil
			}
			for _, name := range services {
				images[name] = img
			}
			return err
		})
	}
	if err := eg.Wait(); err != nil {
		return nil, fmt.Errorf("resolve images: %w", err)
	}
	return images, report(problems, wanted)
}

// report makes one error of everything that is wrong.
func report(problems map[wish]*problem, wanted map[wish][]string) error {
	var faults []*fault.Error
	for w, p := range problems {
		where := p.where
		if where == "" {
			where = "service " + strings.Join(wanted[w], ", ")
		}
		f := fault.New(p.kind, where, p.hint, "%s", p.message)
		if p.err != nil {
			f = fault.New(p.kind, where, p.hint, "%s: %w", p.message, p.err)
		}
		faults = append(faults, f)
	}
	slices.SortFunc(faults, func(a, b *fault.Error) int { return strings.Compare(a.Error(), b.Error()) })
	faults = slices.CompactFunc(faults, func(a, b *fault.Error) bool { return a.Error() == b.Error() })
	switch len(faults) {
	case 0:
		return nil
	case 1:
		return faults[0]
	}
	kind, lines := fault.Refused, []string{}
	for _, f := range faults {
		if f.Kind == fault.Input {
			kind = fault.Input
		}
		lines = append(lines, fmt.Sprintf("  %s (%s)", f.Error(), f.Hint))
	}
	return fault.New(kind, "images", "mend each of them; nothing was changed", "%d problems\n%s", len(faults), strings.Join(lines, "\n"))
}

// resolving is one Resolve under way.
type resolving struct {
	*Engine
	auth Auth
	host specs.Platform
	// ahead: what no registry has yet is no problem.
	ahead bool
	// nodes: they pull for themselves, with a login that they have.
	nodes bool
	// until is when the registries have had their time to come back, all images together.
	until time.Time
}

func (r *resolving) resolve(ctx context.Context, w wish) (Image, error) {
	want, err := r.platform(w)
	if err != nil {
		return Image{}, err
	}
	ref, err := reference.ParseAnyReference(w.ref)
	if err != nil {
		return Image{}, &problem{kind: fault.Input, message: fmt.Sprintf("%q is not an image reference", w.ref), hint: "write it as repository:tag or repository@sha256:...", err: err}
	}
	named, ok := ref.(reference.Named)
	if !ok {
		return r.local(ctx, w, nil, want, true)
	}
	if digested, ok := ref.(reference.Digested); ok {
		pinned := reference.FamiliarName(named) + "@" + digested.Digest().String()
		return r.pinned(ctx, w, named, pinned, want)
	}
	named = reference.TagNameOnly(named)
	switch w.policy {
	case "never":
		return r.local(ctx, w, named, want, true)
	case "missing", "if_not_present":
		img, err := r.local(ctx, w, named, want, false)
		if isProblem(err) {
			img, err = r.known(ctx, w, named, want)
		}
		if err == nil || !isProblem(err) {
			return img, err
		}
	}
	return r.remote(ctx, w, named, want)
}

func isProblem(err error) bool {
	var p *problem
	return errors.As(err, &p)
}

// platform is what the image has to be built for.
func (r *resolving) platform(w wish) (specs.Platform, error) {
	if w.platform == "" {
		return r.host, nil
	}
	p, err := platforms.Parse(w.platform)
	if err != nil {
		return p, &problem{kind: fault.Input, message: fmt.Sprintf("%q is not a platform", w.platform), hint: "write it as os/architecture, such as linux/amd64", err: err}
	}
	return p, nil
}

// pinned takes a reference with a digest as it is.
func (r *resolving) pinned(ctx context.Context, w wish, named reference.Named, pinned string, want specs.Platform) (Image, error) {
	present, err := r.present(ctx, pinned, want)
	if err != nil || present {
		return Image{Pinned: pinned, Present: present}, err
	}
	if w.policy == "never" {
		return Image{}, absent(w)
	}
	found, err := r.ask(ctx, named, pinned)
	if err != nil && r.nodes && classify(err) == denied && !r.auth.covers(named) {
		return Image{Pinned: pinned, Note: fmt.Sprintf("registry %s wants a login, which was not given: nodes without %s pull it with the one of the release that serves", reference.Domain(named), pinned)}, nil
	}
	if err != nil {
		return Image{}, r.explain(w, named, err)
	}
	return Image{Pinned: pinned}, built(w, found.Platforms, want)
}

// remote takes what the registry has under the tag.
func (r *resolving) remote(ctx context.Context, w wish, named reference.Named, want specs.Platform) (Image, error) {
	found, err := r.ask(ctx, named, named.String())
	if err != nil {
		img, instead := r.instead(ctx, w, named, want, err)
		if r.ahead && isProblem(instead) && classify(err) == missing {
			return Image{Pinned: w.ref, Note: "image " + w.ref + " is in no registry yet: the release needs it there"}, nil
		}
		return img, instead
	}
	if err := built(w, found.Platforms, want); err != nil {
		return Image{}, err
	}
	pinned := reference.FamiliarName(named) + "@" + found.Descriptor.Digest.String()
	present, err := r.present(ctx, pinned, want)
	return Image{Pinned: pinned, Present: present}, err
}

// local takes the image that the host has under the reference. Own tells that it was
// built there, as far as the wish and the registry say.
func (r *resolving) local(ctx context.Context, w wish, named reference.Named, want specs.Platform, own bool) (Image, error) {
	img, err := r.api.ImageInspect(ctx, w.ref)
	if isGone(err) {
		return Image{}, absent(w)
	}
	if err != nil {
		return Image{}, fmt.Errorf("look at image %s: %w", w.ref, err)
	}
	has := specs.Platform{OS: img.Os, Architecture: img.Architecture, Variant: img.Variant}
	if err := built(w, []specs.Platform{has}, want); err != nil {
		return Image{}, err
	}
	if named != nil {
		prefix := reference.FamiliarName(named) + "@"
		for _, d := range img.RepoDigests {
			if strings.HasPrefix(d, prefix) && !unpushed(img, named, d, own) {
				return Image{Pinned: d, Present: true}, nil
			}
		}
	}
	return Image{Pinned: img.ID, Present: true}, nil
}

// unpushed tells whether no registry knows an image by the digest that it has on the
// host. With the containerd image store every name has one, pulled or not: the image's
// own ID, which is found under that name only until the name is given to the next
// build. So it counts where it came by a pull, as a record by digest or an engine from
// 29 on says; own decides where neither does.
func unpushed(img client.ImageInspectResult, named reference.Named, digest string, own bool) bool {
	if !strings.HasSuffix(digest, "@"+img.ID) || slices.Contains(img.RepoTags, digest) {
		return false
	}
	if img.Identity == nil {
		return own
	}
	return !slices.ContainsFunc(img.Identity.Pull, func(p image.PullIdentity) bool { return p.Repository == named.Name() })
}

func absent(w wish) error {
	return &problem{kind: fault.Input, message: fmt.Sprintf("image %s is not on the host and pull_policy forbids pulling it", w.ref),
		hint: "build or pull it on the host, name a pushed image in the images input, or change pull_policy"}
}

// present tells whether the host has the image, for the platform.
func (r *resolving) present(ctx context.Context, pinned string, want specs.Platform) (bool, error) {
	img, err := r.api.ImageInspect(ctx, pinned)
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at image %s: %w", pinned, err)
	}
	has := specs.Platform{OS: img.Os, Architecture: img.Architecture, Variant: img.Variant}
	return runs(has, want), nil
}

// runs tells whether an image built for has runs where want is wanted. An image
// that does not say counts as built for it.
func runs(has, want specs.Platform) bool {
	return has.Architecture == "" || platforms.Only(want).Match(has)
}

// built gives a problem when none of the platforms an image has fits.
func built(w wish, has []specs.Platform, want specs.Platform) error {
	var names []string
	for _, p := range has {
		if p.Architecture == "unknown" {
			continue // an attestation
		}
		if runs(p, want) {
			return nil
		}
		names = append(names, platforms.Format(p))
	}
	if len(names) == 0 {
		return nil // the registry does not say
	}
	return &problem{kind: fault.Input,
		message: fmt.Sprintf("image %s has no build for %s, only for %s", w.ref, platforms.Format(platforms.Normalize(want)), strings.Join(names, ", ")),
		hint:    "build it for the host's platform, or name another with platform: in the Compose file"}
}
