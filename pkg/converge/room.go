package converge

import (
	"context"
	"fmt"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

const (
	// leastDisk (bytes) and leastInodes have to be free on the engine's disk
	// before anything is pulled. The engine does not tell how large an image is
	// before it has it; this keeps a full disk from being learned half way.
	leastDisk   = 1 << 30
	leastInodes = 10_000
)

// classify asks the running gateways whether they can be switched for the
// services that will be replaced.
func (d *transition) classify(ctx context.Context) error {
	for _, step := range d.plan.Steps {
		if step.Gateway == "" || !step.Replaces() || step.Action == plan.Create {
			continue
		}
		for _, u := range d.facts.observed.Units[step.Gateway] {
			if u.OneOff || !u.Serving() {
				continue
			}
			if err := d.classifyAt(ctx, u, d.opts.Stack.Services[step.Service]); err != nil {
				return fmt.Errorf("read the configuration of %s: %w", u.Name, err)
			}
		}
	}
	return nil
}

func (d *transition) classifyAt(ctx context.Context, u stack.Unit, svc *stack.Service) error {
	f, err := d.Nginx(u).Classify(ctx, svc.Name, svc.Ext.Port,
		gateway.Aliases(d.opts.Stack.Aliases(svc.Name)...), gateway.OtherServices(d.opts.Stack.Order...))
	if err != nil {
		return err
	}
	text := f.Text
	if f.Hint != "" {
		text += "; " + f.Hint
	}
	switch f.Verdict {
	case gateway.Refused:
		d.plan.Refusals = append(d.plan.Refusals, text)
	case gateway.Announced:
		d.plan.Notes = append(d.plan.Notes, text)
	}
	d.plan.Notes = append(d.plan.Notes, f.Notes...)
	return nil
}

// room refuses a release that has to pull onto a disk that is nearly full.
func (d *transition) room(ctx context.Context) error {
	if len(d.absent()) == 0 {
		return nil
	}
	info, err := d.Engine.Info(ctx)
	if err != nil {
		return err
	}
	free, inodes, err := d.Files.Free(ctx, info.RootDir)
	if err != nil {
		// The user may not be allowed to look below the engine's folder; the pull
		// itself then is the check.
		d.Say(event.Debug, "preflight", "", "free space of %s is not known: %v", info.RootDir, err)
		return nil
	}
	return fits(info.RootDir, free, inodes)
}

// fits tells whether there is room to pull at all.
func fits(dir string, free, inodes uint64) error {
	const hint = "free some on the host, for example with: docker image prune (images of kept releases are tagged and stay)"
	if free < leastDisk {
		return fault.New(fault.Refused, "disk", hint, "only %d MiB are free in %s on the host, and images have to be pulled", free>>20, dir)
	}
	if inodes < leastInodes {
		return fault.New(fault.Refused, "disk", hint, "only %d inodes are free in %s on the host, and images have to be pulled", inodes, dir)
	}
	return nil
}
