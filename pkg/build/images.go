package build

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"strings"
	"sync"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	buildkit "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/util/attestation"
	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/event"
)

const (
	// digestKey is where BuildKit answers with the digest.
	digestKey = "containerimage.digest"
	// maxStatement is how many bytes of one attestation are read.
	maxStatement = 32 << 20
)

// collect makes the result of BuildKit's answers.
func (r *run) collect(ctx context.Context, p *progress, answers map[string]*buildkit.SolveResponse, before map[string]image) error {
	r.collectFailed(p)
	r.each(func(i int, t *target) {
		built := &r.result.Targets[i]
		answer := answers[t.name]
		if answer == nil {
			return
		}
		built.Metadata, built.Digest = answer.ExporterResponse, answer.ExporterResponse[digestKey]
		if r.o.Push || r.o.Load {
			built.Tags = t.tags
		}
		if r.o.Push && built.Digest != "" && !t.linked {
			r.describe(ctx, t, built, before[t.name])
		}
	})
	for i, t := range r.plan.targets {
		if answers[t.name] != nil {
			r.say(event.Info, "report", t.name, "%s", r.result.Targets[i].summary())
		}
	}
	return nil
}

// each does something for all targets, some at once: a registry may be far away.
func (r *run) each(do func(int, *target)) {
	var group errgroup.Group
	group.SetLimit(8)
	for i, t := range r.plan.targets {
		group.Go(func() error { do(i, t); return nil })
	}
	_ = group.Wait()
}

// collectFailed makes what a result has also after a failure.
func (r *run) collectFailed(p *progress) {
	r.result.Targets = nil
	for _, t := range r.plan.targets {
		built := Target{Name: t.name, Services: t.services, Warnings: t.warnings}
		built.Steps, built.Cached, built.Took = p.figures(t.name)
		r.result.Targets = append(r.result.Targets, built)
	}
}

// summary says in a line what came of a target.
func (t *Target) summary() string {
	text := "built"
	if t.Digest != "" {
		text = t.Digest
	}
	if t.Kept {
		text += " (the registry had it already)"
	}
	return sprintf("%s  %d of %d steps cached, %.1fs", text, t.Cached, t.Steps, t.Took.Seconds())
}

// image is what a registry has under a reference.
type image struct {
	digest    string
	platforms map[string]Platform
}

// same tells whether two have the same image for every platform. Their indexes
// may differ: provenance holds the time of its build.
func (i image) same(o image) bool {
	digests := func(m map[string]Platform) map[string]string {
		d := map[string]string{}
		for k, p := range m {
			d[k] = p.Digest
		}
		return d
	}
	return len(i.platforms) > 0 && maps.Equal(digests(i.platforms), digests(o.platforms))
}

// published looks what the registry has now under what will be pushed.
func (r *run) published(ctx context.Context) map[string]image {
	found := map[string]image{}
	if !r.o.Push || r.o.NoCache {
		return found
	}
	var mu sync.Mutex
	r.each(func(_ int, t *target) {
		if t.linked {
			return
		}
		if i, err := r.look(ctx, t.tags[0]); err == nil {
			mu.Lock()
			defer mu.Unlock()
			found[t.name] = i
		}
	})
	return found
}

// describe reads platforms and sizes from the registry. Where the same images were
// there before, with the same attested of them, their index is kept: a deploy of it
// finds nothing changed.
func (r *run) describe(ctx context.Context, t *target, built *Target, before image) {
	now, err := r.look(ctx, t.repo+"@"+built.Digest)
	if err != nil {
		r.say(event.Debug, "report", t.name, "the registry does not describe the image: %s", err)
		return
	}
	switch {
	case now.digest == before.digest:
		built.Kept = true
	case !now.same(before):
	case !r.sayTheSame(ctx, t, now.digest, before.digest):
		r.say(event.Info, "report", t.name, "the registry had the images already, but without what is attested of them now: the digest is a new one")
	default:
		if err := r.retag(ctx, t, before.digest); err == nil {
			built.Digest, built.Kept, now = before.digest, true, before
		}
	}
	for _, name := range sortedKeys(now.platforms) {
		built.Platforms = append(built.Platforms, now.platforms[name])
	}
}

// claim is one statement about one image. Full is provenance in its full form, with
// the build arguments.
type claim struct {
	image, kind string
	full        bool
}

// sayTheSame tells whether two indexes attest the same kinds of things of the same
// images. What they say is not compared: it holds the time of its build. An index whose
// attestations cannot be read says nothing.
func (r *run) sayTheSame(ctx context.Context, t *target, one, other string) bool {
	first, err := r.attestations(ctx, t.repo+"@"+one)
	if err != nil {
		return false
	}
	second, err := r.attestations(ctx, t.repo+"@"+other)
	return err == nil && maps.Equal(first, second)
}

// attestations reads what an index attests of its images.
func (r *run) attestations(ctx context.Context, text string) (map[claim]bool, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ref, err := name.ParseReference(text)
	if err != nil {
		return nil, err
	}
	said := map[claim]bool{}
	found, err := remote.Get(ref, r.registry(ctx, ref)...)
	if err != nil || !found.MediaType.IsIndex() {
		return said, err
	}
	index, err := found.ImageIndex()
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	for _, m := range manifest.Manifests {
		if m.Annotations[attestation.DockerAnnotationReferenceType] != attestation.DockerAnnotationReferenceTypeDefault {
			continue
		}
		about, err := index.Image(m.Digest)
		if err != nil {
			return nil, err
		}
		if err := statements(about, m.Annotations[attestation.DockerAnnotationReferenceDigest], said); err != nil {
			return nil, err
		}
	}
	return said, nil
}

// statements adds what one manifest attests of an image.
func statements(about v1.Image, image string, said map[claim]bool) error {
	manifest, err := about.Manifest()
	if err != nil {
		return err
	}
	for _, l := range manifest.Layers {
		s := claim{image: image, kind: l.Annotations["in-toto.io/predicate-type"]}
		if strings.HasPrefix(s.kind, "https://slsa.dev/provenance/") {
			layer, err := about.LayerByDigest(l.Digest)
			if err != nil {
				return err
			}
			if s.full, err = fullForm(layer); err != nil {
				return err
			}
		}
		said[s] = true
	}
	return nil
}

// fullForm tells whether provenance is the full one: only that has the steps of the build.
// The two formats of provenance have them at different places.
func fullForm(layer v1.Layer) (bool, error) {
	content, err := layer.Compressed()
	if err != nil {
		return false, err
	}
	defer func() { _ = content.Close() }()
	var s struct {
		Predicate struct {
			BuildConfig     json.RawMessage `json:"buildConfig"`
			BuildDefinition struct {
				InternalParameters struct {
					BuildConfig json.RawMessage `json:"buildConfig"`
				} `json:"internalParameters"`
			} `json:"buildDefinition"`
		} `json:"predicate"`
	}
	err = json.NewDecoder(io.LimitReader(content, maxStatement)).Decode(&s)
	return len(s.Predicate.BuildConfig)+len(s.Predicate.BuildDefinition.InternalParameters.BuildConfig) > 0, err
}

// registry gives the options for calls to a registry.
func (r *run) registry(ctx context.Context, ref name.Reference) []remote.Option {
	options := []remote.Option{remote.WithContext(ctx)}
	if auth, ok := r.login(ref); ok {
		options = append(options, remote.WithAuth(auth))
	}
	return options
}

// login is the login for a registry, where it is the one that was given.
func (r *run) login(ref name.Reference) (authn.Authenticator, bool) {
	l := r.o.Registry
	domain := ref.Context().RegistryStr()
	if domain == name.DefaultRegistry {
		domain = hub
	}
	return authn.FromConfig(authn.AuthConfig{Username: l.Username, Password: l.Password}), l.Username != "" && l.domain() == domain
}

// look reads an image's platforms and their compressed sizes.
func (r *run) look(ctx context.Context, text string) (image, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	ref, err := name.ParseReference(text)
	if err != nil {
		return image{}, err
	}
	found, err := remote.Get(ref, r.registry(ctx, ref)...)
	if err != nil {
		return image{}, err
	}
	i := image{digest: found.Digest.String(), platforms: map[string]Platform{}}
	if !found.MediaType.IsIndex() {
		img, err := found.Image()
		if err != nil {
			return image{}, err
		}
		return i, i.add(img, nil)
	}
	index, err := found.ImageIndex()
	if err != nil {
		return image{}, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return image{}, err
	}
	for _, m := range manifest.Manifests {
		if m.Platform == nil || m.Platform.OS == "unknown" || !m.MediaType.IsImage() {
			continue // provenance and the like
		}
		img, err := index.Image(m.Digest)
		if err != nil {
			return image{}, err
		}
		if err := i.add(img, m.Platform); err != nil {
			return image{}, err
		}
	}
	return i, nil
}

// add takes in the image of one platform.
func (i image) add(img v1.Image, platform *v1.Platform) error {
	manifest, err := img.Manifest()
	if err != nil {
		return err
	}
	if platform == nil {
		config, err := img.ConfigFile()
		if err != nil {
			return err
		}
		platform = config.Platform()
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	p := Platform{Name: platform.String(), Digest: digest.String(), Size: manifest.Config.Size}
	for _, layer := range manifest.Layers {
		p.Size += layer.Size
	}
	i.platforms[p.Name] = p
	return nil
}

// retag gives all tags of a target to an index that is in the registry.
func (r *run) retag(ctx context.Context, t *target, digest string) error {
	ref, err := name.ParseReference(t.repo + "@" + digest)
	if err != nil {
		return err
	}
	options := r.registry(ctx, ref)
	found, err := remote.Get(ref, options...)
	if err != nil {
		return err
	}
	for _, text := range t.tags {
		tag, err := name.NewTag(text)
		if err != nil {
			return err
		}
		if tag.Context().String() != ref.Context().String() {
			continue // another repository has no such index
		}
		if err := remote.Tag(tag, found, options...); err != nil {
			return err
		}
	}
	return nil
}

// listTags are the tags of the repository that a target is pushed to; none where
// the registry does not say.
func (r *run) listTags(ctx context.Context, t *target) []string {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	named, err := t.parse(silent, t.image)
	if err != nil {
		return nil
	}
	ref, err := name.ParseReference(named.Name())
	if err != nil {
		return nil
	}
	tags, _ := remote.List(ref.Context(), r.registry(ctx, ref)...)
	return tags
}
