package deploy

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
func (d *deployment) fetch(ctx context.Context) error {
	if n := len(d.facts.missing); n > 0 {
		d.say(event.Info, "upload", "", "uploading %d files and folders", n)
		if err := d.store(d.stack.Name).Upload(ctx, d.facts.missing); err != nil {
			return err
		}
	}
	d.mark("pull")
	eg, pulling := errgroup.WithContext(ctx)
	eg.SetLimit(pulls)
	for _, img := range d.absent() {
		eg.Go(func() error {
			d.say(event.Info, "pull", img.service, "pulling %s", img.Pinned)
			return d.engine.Pull(pulling, img.Pinned, img.platform, d.opts.Registry)
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
func (d *deployment) absent() []wanted {
	var out []wanted
	for _, name := range d.stack.Order {
		img, svc := d.facts.images[name], d.stack.Services[name]
		known := slices.ContainsFunc(out, func(w wanted) bool { return w.Pinned == img.Pinned && w.platform == svc.Platform })
		if d.plan.Step(name) != nil && !img.Present && !known {
			out = append(out, wanted{Image: img, service: name, platform: svc.Platform})
		}
	}
	return out
}

// tag gives each image of the release a name on the host, so that `docker image
// prune` leaves what a rollback needs.
func (d *deployment) tag(ctx context.Context) error {
	d.mark("tag")
	for _, name := range d.stack.Order {
		if d.plan.Step(name) == nil {
			continue
		}
		if err := d.engine.Tag(ctx, d.stack.Services[name].Pinned, releaseTag(d.stack.Name, name, d.record.Number)); err != nil {
			return fmt.Errorf("keep the image of %s: %w", name, err)
		}
	}
	return nil
}

func releaseTag(project, service string, number int) string {
	return fmt.Sprintf("shiksha.local/%s/%s:release-%d", project, service, number)
}

// untag lets the images of a forgotten release go.
func (d *deployment) untag(ctx context.Context, number int) error {
	var errs []error
	for _, name := range d.stack.Order {
		errs = append(errs, d.engine.Untag(ctx, releaseTag(d.stack.Name, name, number)))
	}
	return errors.Join(errs...)
}

// reachable tries a TCP connection from the host to a unit. Hosts that forbid
// forwarding cannot be asked; that is told once and stops nothing.
func (d *deployment) reachable(ctx context.Context, addr string) error {
	c, err := d.host.DialTCP(ctx, addr)
	if err != nil {
		return err
	}
	return c.Close()
}
