package converge

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
)

// pulls is how many images are pulled at once.
const pulls = 3

// fetch brings files and images to the host. Nothing that serves changes here.
func (d *transition) fetch(ctx context.Context) error {
	if n := len(d.facts.missing); n > 0 {
		d.Say(event.Info, "upload", "", "uploading %d files and folders", n)
		if err := d.Store(d.opts.Stack.Name).Upload(ctx, d.facts.missing); err != nil {
			return err
		}
	}
	defer d.timed("pull")()
	eg, pulling := errgroup.WithContext(ctx)
	eg.SetLimit(pulls)
	for _, img := range d.absent() {
		eg.Go(func() error {
			d.Say(event.Info, "pull", img.service, "pulling %s", img.Pinned)
			return d.Engine.Pull(pulling, img.Pinned, img.platform, d.opts.Registry)
		})
	}
	if err := eg.Wait(); err != nil {
		return err
	}
	return d.tag(ctx)
}

// wanted is an image that the host lacks, with a service that needs it.
type wanted struct {
	engine.Image
	service, platform string
}

// absent lists the images to pull, each once, in the stack's order.
func (d *transition) absent() []wanted {
	var out []wanted
	for _, name := range d.opts.Stack.Order {
		img, svc := d.facts.images[name], d.opts.Stack.Services[name]
		known := slices.ContainsFunc(out, func(w wanted) bool { return w.Pinned == img.Pinned && w.platform == svc.Platform })
		if d.plan.Step(name) != nil && !img.Present && !known {
			out = append(out, wanted{Image: img, service: name, platform: svc.Platform})
		}
	}
	return out
}

// tag gives each image of the release a name on the host, so that `docker image
// prune` leaves what a rollback needs.
func (d *transition) tag(ctx context.Context) error {
	d.Step("tag")
	for _, name := range d.opts.Stack.Order {
		if d.plan.Step(name) == nil {
			continue
		}
		if err := d.Engine.Tag(ctx, d.opts.Stack.Services[name].Pinned, releaseTag(d.opts.Stack.Name, name, d.record.Number)); err != nil {
			return fmt.Errorf("keep the image of %s: %w", name, err)
		}
	}
	return nil
}

func releaseTag(project, service string, number int) string {
	return fmt.Sprintf("shiksha.local/%s/%s:release-%d", project, service, number)
}

// untag lets the images of a forgotten release go.
func (d *transition) untag(ctx context.Context, number int) error {
	var errs []error
	for _, name := range d.opts.Stack.Order {
		errs = append(errs, d.Engine.Untag(ctx, releaseTag(d.opts.Stack.Name, name, number)))
	}
	return errors.Join(errs...)
}
