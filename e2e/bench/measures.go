package main

import (
	"context"
	"fmt"
	"time"

	"github.com/shiksha/actions/pkg/probe"
)

// load is the requests a second while a release is rolled.
const load = 200

// nothing measures a deploy that finds everything as it should be.
func nothing(ctx context.Context, b *bench) ([]row, error) {
	if err := b.quickstarts(ctx); err != nil {
		return nil, err
	}
	var runs [][]measured
	err := b.untouched(ctx, func() (err error) {
		runs, err = b.rounds(ctx, "nothing to change",
			func(ctx context.Context) (measured, error) { return b.deploy(ctx, b.ours, unchanged) },
			func(ctx context.Context) (measured, error) { return b.up(ctx, b.theirs, plainSSH) },
			func(ctx context.Context) (measured, error) { return b.up(ctx, b.theirs, sharedSSH) })
		return err
	}, b.ours, b.theirs)
	if err != nil {
		return nil, err
	}
	ours, plain, shared := runs[0], runs[1], runs[2]
	const peer = "docker compose up -d"
	return []row{
		{Name: "nothing to change", Unit: "ms", Ours: column(ours, took), Against: peer, Theirs: column(plain, took),
			Target: target{Of: "ratio", Limit: 0.5}},
		{Name: "", Unit: "ms", Ours: column(ours, took), Against: peer + ", ControlPersist", Theirs: column(shared, took)},
		{Name: "  TCP connections to sshd", Ours: column(ours, connections), Against: peer, Theirs: column(plain, connections),
			Target: target{Of: "value", Limit: 1, Exactly: true}},
	}, nil
}

// roll measures the replacement of all replicas under load.
func roll(ctx context.Context, b *bench) ([]row, error) {
	if err := b.quickstarts(ctx); err != nil {
		return nil, err
	}
	runs, err := b.rounds(ctx, "rollout under load",
		func(ctx context.Context) (measured, error) {
			return b.ours.release(func() (measured, error) {
				return underLoad(ctx, b.ours, func() (measured, error) { return b.deploy(ctx, b.ours, verified) })
			})
		},
		func(ctx context.Context) (measured, error) {
			m, err := b.theirs.release(func() (measured, error) {
				return underLoad(ctx, b.theirs, func() (measured, error) { return b.up(ctx, b.theirs, plainSSH, "--wait") })
			})
			if err != nil {
				return m, err
			}
			return m, b.mendGateway(ctx)
		})
	if err != nil {
		return nil, err
	}
	ours, theirs := runs[0], runs[1]
	const peer = "docker compose up -d --wait"
	return []row{
		{Name: "3 of 3 replicas, warm-up " + warmUp, Unit: "ms", Ours: column(ours, took), Against: peer, Theirs: column(theirs, took),
			Target: target{Of: "ratio", Limit: 1}},
		{Name: "  requests sent meanwhile", Ours: column(ours, sent), Against: peer, Theirs: column(theirs, sent)},
		{Name: "  requests lost", Ours: column(ours, lost), Against: peer, Theirs: column(theirs, lost),
			Target: target{Of: "value", Limit: 0, Exactly: true}},
	}, nil
}

// mendGateway lets the compared copy begin its next round with a gateway that
// knows the new units: Compose does not tell it.
func (b *bench) mendGateway(ctx context.Context) error {
	units, err := b.lab.Units(ctx, b.theirs.name, false)
	if err != nil {
		return err
	}
	for _, id := range units["nginx"] {
		if _, err := b.lab.Docker(ctx, "exec", id, "nginx", "-s", "reload"); err != nil {
			return err
		}
	}
	return nil
}

// underLoad counts the requests that are lost from a second before f until a
// second after it.
func underLoad(ctx context.Context, p *project, f func() (measured, error)) (measured, error) {
	const margin = time.Second
	users, err := probe.Start(ctx, probe.Config{URL: p.url(), Rate: load, Kinds: []probe.Kind{
		{Name: "get", Weight: 2},
		{Name: "fresh", Weight: 1, Fresh: true},
		{Name: "post", Weight: 1, Method: "POST", Path: "/orders", ContentType: "application/json",
			Body: func(id string) []byte { return fmt.Appendf(nil, `{"id":%q}`, id) }},
		{Name: "slow", Every: time.Second, Path: "/slow", Slow: true},
	}})
	if err != nil {
		return measured{}, err
	}
	defer users.Stop()
	pause(ctx, margin)
	m, err := f()
	if err != nil {
		return m, err
	}
	pause(ctx, margin)
	report := users.Stop()
	if report.Dropped > 0 {
		return m, fmt.Errorf("this machine could not send %d of the load's requests: their loss cannot be counted", report.Dropped)
	}
	m.sent, m.lost = float64(report.Requests), float64(report.Failed)
	return m, nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// scale measures a large stack against a small one.
func scale(ctx context.Context, b *bench) ([]row, error) {
	const large, small = 150, 15
	image, err := b.publishSleeper(ctx)
	if err != nil {
		return nil, err
	}
	var stacks []*project
	for _, services := range []int{large, small} {
		p, err := b.sleepers(ctx, image, services)
		if err != nil {
			return nil, err
		}
		b.tell("bringing %d services up", services)
		if _, err := b.deploy(ctx, p, verified); err != nil {
			return nil, err
		}
		stacks = append(stacks, p)
	}
	var runs [][]measured
	err = b.untouched(ctx, func() (err error) {
		runs, err = b.rounds(ctx, "large and small stack",
			func(ctx context.Context) (measured, error) { return b.deploy(ctx, stacks[0], unchanged) },
			func(ctx context.Context) (measured, error) { return b.deploy(ctx, stacks[1], unchanged) })
		return err
	}, stacks...)
	if err != nil {
		return nil, err
	}
	return []row{
		{Name: fmt.Sprintf("%d services, nothing to change", large), Unit: "ms", Ours: column(runs[0], took),
			Against: fmt.Sprintf("%d services", small), Theirs: column(runs[1], took), Target: target{Of: "ratio", Limit: 12}},
		{Name: "  memory", Unit: "MB", Ours: column(runs[0], memory), Against: fmt.Sprintf("%d services", small), Theirs: column(runs[1], memory),
			Target: target{Of: "value", Limit: 120, Below: true}},
	}, nil
}
