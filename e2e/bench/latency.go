package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/probe"
)

// latency measures what the deploy's own probe tells of a rollout. The control
// beside it has the engine make, start, stop and remove as many of the same
// containers without a release: what users feel of that is the machine's.
func latency(ctx context.Context, b *bench) ([]row, error) {
	if err := b.quickstarts(ctx); err != nil {
		return nil, err
	}
	runs, err := b.rounds(ctx, "latency",
		func(ctx context.Context) (measured, error) {
			return b.ours.release(func() (measured, error) {
				return b.deploy(ctx, b.ours, verified, "--probe-url", b.ours.url(), "--probe-rate", fmt.Sprint(load))
			})
		},
		b.churn)
	if err != nil {
		return nil, err
	}
	ours, control := runs[0], runs[1]
	return []row{
		{Name: "p99 during the rollout", Unit: "ms", Ours: column(ours, during), Against: "before it", Theirs: column(ours, before),
			Target: target{Of: "ratio", Limit: 2}},
		{Name: "  control: the containers, no release", Unit: "ms", Ours: column(control, during), Against: "before it", Theirs: column(control, before)},
		{Name: "  rollout and control", Unit: "ms", Ours: column(ours, during), Against: "control", Theirs: column(control, during)},
	}, nil
}

// replicas of the quickstart's API.
const replicas = 3

// churn is the control: users are served by units that nobody touches.
func (b *bench) churn(ctx context.Context) (measured, error) {
	users, err := probe.Start(ctx, probe.Config{URL: b.ours.url(), Rate: load})
	if err != nil {
		return measured{}, err
	}
	defer users.Stop()
	pause(ctx, 2*time.Second) // as the deploy's own probe
	users.Mark(probe.During)
	err = b.beside(ctx)
	users.Mark(probe.After)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return measured{}, err
	}
	report := users.Stop()
	return measured{before: millis(report.P99Before), during: millis(report.P99During)}, nil
}

// beside starts units of the API that get no request, and takes them away when
// they would have been healthy.
func (b *bench) beside(ctx context.Context) (err error) {
	names := make([]string, replicas)
	defer func() {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		_, gone := b.lab.Docker(last, append([]string{"rm", "--force", "--volumes"}, names...)...)
		err = errors.Join(err, gone)
	}()
	var all errgroup.Group
	for i := range names {
		names[i] = fmt.Sprintf("bench-control-%d", i+1)
		all.Go(func() error {
			_, err := b.lab.Docker(ctx, strings.Fields("run --detach --network "+b.ours.name+"_data --name "+names[i]+
				" --env DATABASE_URL=postgres://quickstart:quickstart@postgres:5432/quickstart?sslmode=disable "+
				b.lab.Registry+"/quickstart/api:"+oneVersion)...)
			return err
		})
	}
	if err := all.Wait(); err != nil {
		return err
	}
	pause(ctx, 3*time.Second)
	_, err = b.lab.Docker(ctx, append([]string{"stop", "--time", "10"}, names...)...)
	return err
}
