package main

import (
	"bufio"
	"context"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/shiksha/actions/e2e/lab"
)

// image measures what a job waits for before an action says anything: pulling its
// image, and the start of its program.
func image(ctx context.Context, b *bench) ([]row, error) {
	b.tell("image: building it where sources have changed")
	_, arm, err := b.published(ctx, "arm64")
	if err != nil {
		return nil, err
	}
	ref, amd, err := b.published(ctx, "amd64")
	if err != nil {
		return nil, err
	}
	runs, err := b.rounds(ctx, "image", func(ctx context.Context) (measured, error) { return b.firstLine(ctx, ref) })
	if err != nil {
		return nil, err
	}
	return []row{
		{Name: "image of the actions, compressed", Unit: "MB", Ours: []float64{amd}, Target: target{Of: "value", Limit: 20}},
		{Name: "  for arm64", Unit: "MB", Ours: []float64{arm}, Target: target{Of: "value", Limit: 20}},
		{Name: "  from its start to its first line", Unit: "ms", Ours: column(runs[0], during), Target: target{Of: "value", Limit: 300, Below: true}},
		{Name: "  the same with docker start", Unit: "ms", Ours: column(runs[0], took)},
	}, nil
}

// published makes the image for an architecture and pushes it to the lab's
// registry; size is what a pull of it transfers, in MB.
func (b *bench) published(ctx context.Context, arch string) (ref string, size float64, err error) {
	local, err := b.lab.ActionImage(ctx, arch)
	if err != nil {
		return "", 0, err
	}
	if ref, err = b.lab.PublishAction(ctx, local); err != nil {
		return "", 0, err
	}
	layers, err := lab.CompressedLayers(ctx, ref)
	for _, bytes := range layers {
		size += float64(bytes) / 1e6
	}
	return ref, size, err
}

// firstLine starts a container of the image. took is the time of `docker start` to
// its first line; during is what of it passes once the engine has started the
// program, by the engine's own clock.
func (b *bench) firstLine(ctx context.Context, ref string) (m measured, err error) {
	id, err := b.lab.Docker(ctx, "create", ref, "version")
	if err != nil {
		return m, err
	}
	defer func() { _, _ = b.lab.Docker(context.WithoutCancel(ctx), "rm", "--force", id) }()
	cmd := exec.CommandContext(ctx, "docker", "--host", "unix://"+lab.Socket, "start", "--attach", id)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return m, err
	}
	began := time.Now()
	if err := cmd.Start(); err != nil {
		return m, err
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	m.took = float64(time.Since(began)) / float64(time.Millisecond)
	if waited := cmd.Wait(); err != nil || waited != nil || !strings.HasPrefix(line, "shiksha ") {
		return m, fmt.Errorf("the image says %q: %w, %w", line, err, waited)
	}
	started, err := b.moment(ctx, "inspect", "--format", "{{.State.StartedAt}}", id)
	if err != nil {
		return m, err
	}
	said, err := b.moment(ctx, "logs", "--timestamps", id)
	m.during = float64(said.Sub(started)) / float64(time.Millisecond)
	return m, err
}

// moment reads the time that docker's output begins with.
func (b *bench) moment(ctx context.Context, args ...string) (time.Time, error) {
	text, err := b.lab.Docker(ctx, args...)
	if err != nil {
		return time.Time{}, err
	}
	first, _, _ := strings.Cut(text, " ")
	return time.Parse(time.RFC3339Nano, first)
}
