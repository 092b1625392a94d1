package converge

import (
	"context"
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
		what := "files and folders"
		if n == 1 {
			what = "file or folder"
		}
		d.Say(event.Info, "upload", "", "uploading %d %s", n, what)
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

// neededHere tells whether a service's image has to be on the host: because its units are
// made there, or because its migration runs there.
func (d *transition) neededHere(name string) bool {
	return d.on.HoldsImages() || slices.Contains(d.migrating(), name)
}

// absent lists the images to pull, each once, in the stack's order.
func (d *transition) absent() []wanted {
	var out []wanted
	for _, name := range d.opts.Stack.Order {
		img, svc := d.facts.images[name], d.opts.Stack.Services[name]
		known := slices.ContainsFunc(out, func(w wanted) bool { return w.Pinned == img.Pinned && w.platform == svc.Platform })
		if d.plan.Step(name) != nil && !img.Present && !known && d.neededHere(name) {
			out = append(out, wanted{Image: img, service: name, platform: svc.Platform})
		}
	}
	return out
}
