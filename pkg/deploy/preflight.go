package deploy

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
	// unpacked is how much larger than its compressed layers an image is taken
	// to be on disk, together with the layers while they are unpacked.
	unpacked = 4
	// spareDisk stays free beyond what the images need.
	spareDisk = 256 << 20
)

// classify asks the running gateways whether they can be switched for the
// services that will be replaced.
func (d *deployment) classify(ctx context.Context) error {
	for _, step := range d.plan.Steps {
		if step.Gateway == "" || !step.Replaces() || step.Action == plan.Create {
			continue
		}
		for _, u := range d.facts.observed.Units[step.Gateway] {
			if u.OneOff || !u.Serving() {
				continue
			}
			if err := d.classifyAt(ctx, u, d.stack.Services[step.Service]); err != nil {
				return fmt.Errorf("read the configuration of %s: %w", u.Name, err)
			}
		}
	}
	return nil
}

func (d *deployment) classifyAt(ctx context.Context, u stack.Unit, svc *stack.Service) error {
	f, err := d.nginx(u).Classify(ctx, svc.Name, svc.Ext.Port,
		gateway.Aliases(d.stack.Aliases(svc.Name)...), gateway.OtherServices(d.stack.Order...))
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

// room refuses a release whose images do not fit on the host's disk.
func (d *deployment) room(ctx context.Context) error {
	var need int64
	for _, w := range d.absent() {
		need += w.Bytes * unpacked
	}
	if need == 0 {
		return nil
	}
	info, err := d.engine.Info(ctx)
	if err != nil {
		return err
	}
	free, inodes, err := d.files.Free(ctx, info.RootDir)
	if err != nil {
		// The user may not be allowed to look below the engine's folder; the pull
		// itself then is the check.
		d.say(event.Debug, "preflight", "", "free space of %s is not known: %v", info.RootDir, err)
		return nil
	}
	if int64(free) < need+spareDisk || inodes == 0 {
		return fault.New(fault.Refused, "disk", "free some on the host, for example with: docker image prune",
			"%s has %s free, the new images need about %s", info.RootDir, size(int64(free)), size(need+spareDisk))
	}
	return nil
}

func size(n int64) string {
	if n < 1<<30 {
		return fmt.Sprintf("%d MiB", n>>20)
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
