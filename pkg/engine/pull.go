package engine

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/containerd/errdefs"
	"github.com/containerd/platforms"
	"github.com/distribution/reference"
	"github.com/moby/moby/api/types/jsonstream"
	"github.com/moby/moby/client"
	specs "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

const (
	// tries is how often a registry is asked, or pulled from, that does not answer.
	tries = 4
	// pullAgain is before the second try of a pull, askAgain before that of a question: 35 s
	// and 7 s in all, since a registry that stumbles takes longer than some seconds, and what
	// is only asked for may be on the host.
	pullAgain, askAgain = 5 * time.Second, time.Second
	// Progress is told every second to who wants details, every ten to everybody:
	// a model image takes a quarter of an hour.
	detailEvery, toldEvery = time.Second, 10 * time.Second
)

// Pull brings an image to the host, by digest, for a platform ("" for the host's).
// What is there already is not pulled. A registry that does not answer, or has too
// much to do, is tried again three times; a full disk is a fault.Refused.
func (e *Engine) Pull(ctx context.Context, ref, platform string, auth Auth) error {
	p := &pulling{Engine: e, ref: ref, auth: auth, layers: map[string]jsonstream.Progress{}}
	if platform != "" {
		parsed, err := platforms.Parse(platform)
		if err != nil {
			return fault.New(fault.Input, "platform", "write it as os/architecture, such as linux/amd64", "%q: %w", platform, err)
		}
		p.platforms = []specs.Platform{parsed}
	}
	if there, err := p.present(ctx); err != nil || there {
		return err
	}
	parsed, err := reference.ParseAnyReference(ref)
	if err != nil {
		return fmt.Errorf("image %s: %w", ref, err)
	}
	named, ok := parsed.(reference.Named)
	if !ok {
		return fault.New(fault.Refused, "image "+ref, "build it on the host again, or deploy an image from a registry",
			"it is not on the host any more and, having no registry, cannot be pulled")
	}
	p.named = named
	return p.explain(ctx, e.patiently(ctx, "pull of "+ref, e.backoff, again, func() error { return p.once(ctx) }))
}

// pulling is one Pull under way.
type pulling struct {
	*Engine
	ref       string
	named     reference.Named
	auth      Auth
	platforms []specs.Platform

	noting      sync.Mutex // guards what follows
	layers      map[string]jsonstream.Progress
	detail, say time.Time
}

func (p *pulling) present(ctx context.Context) (bool, error) {
	img, err := p.api.ImageInspect(ctx, p.ref)
	if isGone(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at image %s: %w", p.ref, err)
	}
	has := specs.Platform{OS: img.Os, Architecture: img.Architecture, Variant: img.Variant}
	return len(p.platforms) == 0 || runs(has, p.platforms[0]), nil
}

func (p *pulling) once(ctx context.Context) error {
	header, err := p.auth.header(p.named)
	if err != nil {
		return err
	}
	p.layers = map[string]jsonstream.Progress{} // those of a try that failed may be gone
	p.say = time.Now()                          // a pull that takes less than toldEvery says nothing in between
	limit := allowed(ctx)
	defer event.Tell(p.sink, event.Event{}, func() (string, time.Duration) { return p.stands(), limit })()
	stream, err := p.api.ImagePull(ctx, p.ref, client.ImagePullOptions{RegistryAuth: header, Platforms: p.platforms})
	if err != nil {
		return err
	}
	defer stream.Close()
	for m, err := range stream.JSONMessages(ctx) {
		if err != nil {
			return fmt.Errorf("pull stream: %w", err)
		}
		if m.Error != nil {
			// It comes as text inside a stream that began with 200.
			return errdefs.ErrUnknown.WithMessage(m.Error.Message)
		}
		p.note(m)
	}
	return nil
}

// note adds up the layers and tells of them now and then.
func (p *pulling) note(m jsonstream.Message) {
	p.noting.Lock()
	defer p.noting.Unlock()
	switch l, known := p.layers[m.ID]; {
	case m.ID != "" && m.Progress != nil && m.Status == "Downloading":
		p.layers[m.ID] = *m.Progress
	case known && (m.Status == "Download complete" || m.Status == "Extracting" || m.Status == "Pull complete"):
		l.Current = l.Total // its last progress may have been left out
		p.layers[m.ID] = l
		return
	default:
		return
	}
	now, level := time.Now(), event.Debug
	if now.Sub(p.detail) < detailEvery {
		return
	}
	p.detail = now
	if now.Sub(p.say) >= toldEvery {
		p.say, level = now, event.Info
	}
	amount, _ := p.amount()
	p.sink.Emit(event.Event{Time: now, Level: level, Text: fmt.Sprintf("pulling %s: %s so far", p.ref, amount)})
}

// amount says how much has come, and whether that is all.
func (p *pulling) amount() (text string, complete bool) {
	var got, all int64
	for _, l := range p.layers {
		got, all = got+l.Current, all+l.Total
	}
	return fmt.Sprintf("%.1f of %.1f MB in %d layers", float64(got)/1e6, float64(all)/1e6, len(p.layers)), got == all
}

// stands says how a pull stands that has told nothing of its downloads lately: engines
// unpack for minutes without a word, and a registry may hang.
func (p *pulling) stands() string {
	p.noting.Lock()
	defer p.noting.Unlock()
	amount, complete := p.amount()
	switch {
	case time.Since(p.say) < toldEvery:
		return ""
	case len(p.layers) == 0:
		return fmt.Sprintf("pulling %s: nothing has come yet", p.ref)
	case complete:
		return fmt.Sprintf("unpacking %s: %s are here", p.ref, amount)
	}
	return fmt.Sprintf("pulling %s: %s are here", p.ref, amount)
}

// patiently does what needs a registry, and does it again where that may help, after a
// wait that doubles.
func (e *Engine) patiently(ctx context.Context, what string, wait time.Duration, helps func(error) bool, once func() error) error {
	for try := 1; ; try++ {
		err := once()
		if err == nil || ctx.Err() != nil || try == tries || !helps(err) {
			return err
		}
		e.sink.Emit(event.Event{Time: time.Now(), Level: event.Notice,
			Text: fmt.Sprintf("%s failed (%v), trying again in %s", what, err, wait)})
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		wait *= 2
	}
}

// again tells whether another try may help. A lost connection is one of those: the
// client makes a new one.
func again(err error) bool {
	switch classify(err) {
	case missing, denied, diskFull:
		return false
	}
	return true
}

func (p *pulling) explain(ctx context.Context, err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("pull %s: %w", p.ref, cause)
	}
	if classify(err) == diskFull {
		dir := "/var/lib/docker"
		if info, err := p.Info(ctx); err == nil && info.ImageDir != "" {
			dir = info.ImageDir
		}
		return fault.New(fault.Refused, "disk", fmt.Sprintf("look on the host with df -h %s and make room, for example with docker image prune (not -a: that takes the images that a rollback needs)", dir),
			"pull %s: %w", p.ref, err)
	}
	var known *problem
	if why := explain(p.auth, p.ref, p.named, err); errors.As(why, &known) {
		where := known.where
		if where == "" {
			where = "image " + p.ref
		}
		return fault.New(known.kind, where, known.hint, "%s: %w", known.message, err)
	}
	return fmt.Errorf("pull %s: %w", p.ref, err)
}

// Layers lists the layers (by the sum of their unpacked content) of images that the
// host has, so that what they share with others need not be pulled. Images that are
// gone have none.
func (e *Engine) Layers(ctx context.Context, images []string) (map[string]bool, error) {
	out := map[string]bool{}
	for _, ref := range images {
		img, err := e.api.ImageInspect(ctx, ref)
		if isGone(err) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("look at image %s: %w", ref, err)
		}
		for _, layer := range img.RootFS.Layers {
			out[layer] = true
		}
	}
	return out, nil
}

// ImagePresent tells whether the host has the image of a reference or ID.
func (e *Engine) ImagePresent(ctx context.Context, ref string) (bool, error) {
	if _, err := e.api.ImageInspect(ctx, ref); err != nil {
		if isGone(err) {
			return false, nil
		}
		return false, fmt.Errorf("look at image %s: %w", ref, err)
	}
	return true, nil
}

// Tag gives an image another name, so that it is not pruned.
func (e *Engine) Tag(ctx context.Context, image, tag string) error {
	if _, err := e.api.ImageTag(ctx, client.ImageTagOptions{Source: image, Target: tag}); err != nil {
		return fmt.Errorf("tag %s as %s: %w", image, tag, err)
	}
	return nil
}

// Tags lists the names that images of the host have in a repository; the pattern
// may have stars in the place of path elements.
func (e *Engine) Tags(ctx context.Context, pattern string) ([]string, error) {
	images, err := e.api.ImageList(ctx, client.ImageListOptions{Filters: make(client.Filters).Add("reference", pattern)})
	if err != nil {
		return nil, fmt.Errorf("list images %s: %w", pattern, err)
	}
	var tags []string
	for _, img := range images.Items {
		for _, tag := range img.RepoTags {
			// An image is listed with all its names, also those that do not match.
			repository, _, _ := strings.Cut(tag, ":")
			if match, err := path.Match(pattern, repository); err == nil && match {
				tags = append(tags, tag)
			}
		}
	}
	slices.Sort(tags)
	return tags, nil
}

// Untag takes a tag of ours off its image, and the image off the host when that was its
// last tag and nothing uses it. The names by digest that it was pulled by go with its
// last tag, also one that somebody else pulled it by: nothing but a prune by hand would
// take them. They stay where one of kept is among them, which are what releases go back to,
// tagged or not. A name that is gone is no error; one that a container still needs stays,
// and is no error either.
func (e *Engine) Untag(ctx context.Context, tag string, kept ...string) error {
	img, err := e.api.ImageInspect(ctx, tag)
	if isGone(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("untag %s: %w", tag, err)
	}
	if err := e.removeName(ctx, tag); err != nil {
		return err
	}
	names := pulledAs(img, tag)
	if len(names) == 0 || slices.ContainsFunc(names, func(name string) bool { return slices.Contains(kept, name) }) {
		return nil
	}
	// Of several names the engine refuses only the last one that a container needs.
	using, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: make(client.Filters).Add("ancestor", img.ID)})
	if err != nil {
		return fmt.Errorf("untag %s: who uses its image: %w", tag, err)
	}
	if len(using.Items) > 0 {
		return nil
	}
	for _, name := range names {
		if err := e.removeName(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// pulledAs are the names by digest that an image has beside a tag, nil where it has
// more tags. The containerd store lists such names with the tags, and beside them a digest
// for each tag, its ID, which is no name; with the classic one the ID is no digest.
func pulledAs(img client.ImageInspectResult, tag string) (names []string) {
	for _, name := range img.RepoTags {
		switch {
		case name == tag:
		case strings.HasSuffix(name, "@"+img.ID):
			names = append(names, name)
		default:
			return nil
		}
	}
	for _, name := range img.RepoDigests {
		if !strings.HasSuffix(name, "@"+img.ID) {
			names = append(names, name)
		}
	}
	return names
}

// removeName takes one name off its image.
func (e *Engine) removeName(ctx context.Context, name string) error {
	_, err := e.api.ImageRemove(ctx, name, client.ImageRemoveOptions{PruneChildren: true})
	if errdefs.IsConflict(err) {
		e.sink.Emit(event.Event{Time: time.Now(), Level: event.Debug, Text: "kept " + name + ": " + err.Error()})
		return nil
	}
	if err != nil && !isGone(err) {
		return fmt.Errorf("untag %s: %w", name, err)
	}
	return nil
}
