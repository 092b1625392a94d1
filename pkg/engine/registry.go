package engine

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/pkg/authconfig"
	"github.com/moby/moby/api/types/registry"
	"github.com/moby/moby/client"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// hub is the domain of Docker Hub in references, hubServer what its credentials
// are filed under.
const (
	hub       = "docker.io"
	hubServer = "https://index.docker.io/v1/"
)

// comeBack is how long a Resolve tries registries again: one that is out of reach must
// not cost that for every image.
const comeBack = time.Minute

// Auth is how to log in to one registry. Registry is its host, with a port where
// it has one ("ghcr.io"); empty means Docker Hub. Without a Username it is no
// login. The password leaves this process in a request header only.
type Auth struct{ Registry, Username, Password string }

// String names the login and not its secret.
func (a Auth) String() string { return a.Username + "@" + a.Domain() }

// GoString is String, so that no verb prints the secret.
func (a Auth) GoString() string { return a.String() }

// Domain is the registry as references name it.
func (a Auth) Domain() string {
	host := strings.TrimPrefix(strings.TrimPrefix(a.Registry, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	switch host {
	case "", "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return hub
	}
	return strings.ToLower(host)
}

// covers tells whether the login is for the registry of an image.
func (a Auth) covers(named reference.Named) bool {
	return a.Username != "" && a.Domain() == reference.Domain(named)
}

// Header is the login for the registry of an image as the engine takes it in a
// header, or "" where it is for another one.
func (a Auth) Header(image string) (string, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return "", fmt.Errorf("image %s: %w", image, err)
	}
	return a.header(named)
}

// header is the login for the registry of an image, or "" where it is for another.
func (a Auth) header(named reference.Named) (string, error) {
	if !a.covers(named) {
		return "", nil
	}
	server := a.Domain()
	if server == hub {
		server = hubServer
	}
	header, err := authconfig.Encode(registry.AuthConfig{Username: a.Username, Password: a.Password, ServerAddress: server})
	if err != nil {
		return "", fmt.Errorf("encode the login for %s", a.Domain()) // its cause might quote the login
	}
	return header, nil
}

// trouble is what kept an image from being had.
type trouble int

const (
	unknown     trouble = iota // not the registry's: the connection to the engine, say
	unreachable                // the registry does not answer, or not now
	missing                    // the registry does not have it
	denied                     // the registry wants other credentials, or hides that it does not have it
	diskFull
)

// classify reads an error of the engine about a registry. Engines hand on what the
// registry said as text, and since which version with which status differs.
func classify(err error) trouble {
	if !answered(err) {
		return unknown
	}
	text := ": " + strings.ToLower(err.Error()) // so that each part of it begins with a colon
	says := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(text, p) {
				return true
			}
		}
		return false
	}
	switch {
	case says("no space left on device"):
		return diskFull
	case says("toomanyrequests", "too many requests", "rate limit"):
		return unreachable
	case errdefs.IsUnauthorized(err), errdefs.IsPermissionDenied(err),
		says("unauthorized", "access denied", "requested access to the resource is denied", "no basic auth credentials", "authentication required"),
		says(": denied"): // GHCR's whole answer to a login that it does not know
		return denied
	case errdefs.IsNotFound(err), says("manifest unknown", "name unknown", "no matching manifest"):
		return missing
	}
	return unreachable
}

// ask has the engine ask the registry of named, again where it does not answer now.
func (r *resolving) ask(ctx context.Context, named reference.Named, ref string) (client.DistributionInspectResult, error) {
	header, err := r.auth.header(named)
	if err != nil {
		return client.DistributionInspectResult{}, err
	}
	var res client.DistributionInspectResult
	err = r.patiently(ctx, "asking "+reference.Domain(named)+" for "+ref, min(r.backoff, askAgain), r.again, func() (err error) {
		start := time.Now()
		res, err = r.api.DistributionInspect(ctx, ref, client.DistributionInspectOptions{EncodedRegistryAuth: header})
		r.sink.Emit(event.Event{Time: time.Now(), Level: event.Debug,
			Text: fmt.Sprintf("asked %s for %s in %s", reference.Domain(named), ref, time.Since(start).Round(time.Millisecond))})
		return err
	})
	return res, err
}

// again tells whether asking once more may help. A registry that has no address, as
// where the host is cut off for good, is not waited for.
func (r *resolving) again(err error) bool {
	return again(err) && time.Now().Before(r.until) && !strings.Contains(err.Error(), "no such host")
}

// explain says why an image cannot be had from its registry.
func (r *resolving) explain(w wish, named reference.Named, err error) error {
	return explain(r.auth, w.ref, named, err)
}

func explain(auth Auth, ref string, named reference.Named, err error) error {
	host := reference.Domain(named)
	switch classify(err) {
	case missing:
		return &problem{kind: fault.Input, message: fmt.Sprintf("image %s does not exist", ref),
			hint: "push it, or correct image: in the Compose file or the images input"}
	case denied:
		if auth.covers(named) {
			return &problem{kind: fault.Input, where: "registry-password",
				message: fmt.Sprintf("registry %s refused the credentials of %s for %s", host, auth.Username, named.Name()),
				hint:    "check registry-username and registry-password, and that they may read this repository"}
		}
		return &problem{kind: fault.Input, message: fmt.Sprintf("registry %s wants credentials for %s, or it does not exist", host, ref),
			hint: fmt.Sprintf("give registry: %s with registry-username and registry-password, or correct the name", host)}
	case unreachable:
		return &problem{kind: fault.Refused, message: fmt.Sprintf("the host cannot get %s from registry %s", ref, host),
			hint: "see from the host whether the registry answers: docker pull " + ref, err: err}
	}
	return fmt.Errorf("ask the registry for %s: %w", ref, err)
}

// instead takes the host's image where the registry's cannot be had, if that is
// what was meant: it was built on the host, it is what was verified, or the registry is
// out of reach.
func (r *resolving) instead(ctx context.Context, w wish, named reference.Named, want specs.Platform, cause error) (Image, error) {
	trouble := classify(cause)
	if trouble == unknown {
		return Image{}, fmt.Errorf("ask the registry for %s: %w", w.ref, cause)
	}
	if w.policy != "" && w.policy != "build" && trouble == unreachable {
		return Image{}, r.explain(w, named, cause)
	}
	img, err := r.local(ctx, w, named, want, w.policy == "build" || trouble != unreachable)
	if err != nil && !isProblem(err) {
		return Image{}, err
	}
	there, ownBuild := err == nil, strings.HasPrefix(img.Pinned, "sha256:")
	if w.policy == "" && r.goesOn(trouble, named, ownBuild) {
		known, err := r.known(ctx, w, named, want)
		newer := there && trouble == unreachable && img.Pinned == w.known // it is the same image
		if err == nil && there && trouble == unreachable && !newer {
			newer, err = r.newer(ctx, w.ref, w.known)
		}
		if !newer && !isProblem(err) {
			known.Note, known.Warn = whyKnown(trouble, w, named)+", so the image that was verified last is used: "+w.known, true
			if trouble != missing {
				known.Note += "; if " + w.ref + " is another by now, that is not released"
			}
			return known, err
		}
	}
	switch {
	case there && trouble == unreachable:
		img.Note = fmt.Sprintf("registry %s cannot be reached from the host, so the image that is there is used", reference.Domain(named))
		return img, nil
	case ownBuild && !r.auth.covers(named):
		img.Note = "built on this host and in no registry, so the image that is there is used"
		return img, nil
	}
	return Image{}, r.explain(w, named, cause)
}

// goesOn tells whether what was verified may stand in for what a registry does not give: not
// where it refuses the login that was given for it, which is to be mended, and what is behind
// it may be a newer image; nor where the tag is of an image that was built on the host.
func (r *resolving) goesOn(t trouble, named reference.Named, ownBuild bool) bool {
	covered := r.auth.covers(named)
	return (t != denied || !covered) && (!ownBuild || t != unreachable && covered)
}

// newer tells whether the image that a tag has on the host was made after another. Somebody
// pulled it by hand then, or loaded it; releases pull by digest, so one that is not newer may be
// from long before them.
func (r *resolving) newer(ctx context.Context, tag, than string) (bool, error) {
	var made [2]time.Time
	for i, ref := range []string{tag, than} {
		img, err := r.api.ImageInspect(ctx, ref)
		if err != nil {
			return false, fmt.Errorf("look at image %s: %w", ref, err)
		}
		made[i], err = time.Parse(time.RFC3339Nano, img.Created)
		if err != nil {
			return false, nil // an image need not say when it was made
		}
	}
	return made[0].After(made[1]), nil
}

// alike is what services with one image were verified with, "" where it is not the same for all:
// some would go on with an older one than others.
func alike(pins map[string]string, services []string) string {
	for _, name := range services {
		if pins[name] != pins[services[0]] {
			return ""
		}
	}
	return pins[services[0]]
}

// known takes what the services were verified with, if it is of the same repository and the
// host has it.
func (r *resolving) known(ctx context.Context, w wish, named reference.Named, want specs.Platform) (Image, error) {
	if !strings.HasPrefix(w.known, reference.FamiliarName(named)+"@") {
		return Image{}, absent(w)
	}
	present, err := r.present(ctx, w.known, want)
	if err == nil && !present {
		err = absent(w)
	}
	return Image{Pinned: w.known, Present: present}, err
}

// whyKnown says what keeps the registry's image from being had.
func whyKnown(t trouble, w wish, named reference.Named) string {
	host := reference.Domain(named)
	switch t {
	case missing:
		return fmt.Sprintf("registry %s has no %s any more", host, w.ref)
	case denied:
		return fmt.Sprintf("registry %s does not give %s", host, w.ref)
	}
	return fmt.Sprintf("registry %s cannot be reached from the host", host)
}
