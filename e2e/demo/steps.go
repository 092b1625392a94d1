package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/ports"
	"github.com/shiksha/actions/pkg/probe"
)

const (
	project = "shiksha-demo"
	// baseline is how long the load runs before a deploy, so that there is a
	// "before" to compare with; tail how long after it.
	baseline = 3 * time.Second
	tail     = 2 * time.Second
	// enough is how long the load of the main step runs at least: at 221 requests
	// a second more than the 3,000 that are promised.
	enough = 16 * time.Second
)

// step is one deploy of the demo.
type step struct {
	name, title, version string
	// quiet steps have no load, because nothing serves yet.
	quiet bool
	// atLeast is the shortest time for the load.
	atLeast time.Duration
	// verb is the command, deploy when empty.
	verb string
	// before changes the workspace.
	before func(dir string) error
}

var steps = []step{
	{name: "v1", title: "the first release", version: "v1", quiet: true},
	{name: "v2", title: "roll to v2 under load", version: "v2", atLeast: enough},
	{name: "never-healthy", title: "v3: its API never becomes healthy", version: "v3"},
	{name: "dies-late", title: "v4: its API is healthy for 3 s, then dies", version: "v4"},
	{name: "again", title: "v2 again: nothing to do", version: "v2"},
	{name: "reload", title: "only nginx.conf has changed", version: "v2", before: changeConfig},
	{name: "rollback", title: "back to v1 from what the host keeps, without a checkout", version: "v1", verb: "rollback", before: loseCheckout},
}

// releases are the images of the demo.
var releases = []lab.Release{
	{Version: "v1"}, {Version: "v2"},
	{Version: "v3", Behaviour: "never-healthy"}, {Version: "v4", Behaviour: "dies-late"},
}

// demo is the quickstart on a sandbox host.
type demo struct {
	lab  *lab.Lab
	host *lab.Host
	out  io.Writer
	dir  string // the workspace
	url  string
	// builder makes the images with our own build; nil where there is none at hand.
	builder *lab.Builder
	// later publishes the releases after the first one while that is deployed.
	later errgroup.Group
}

// newDemo publishes the releases and starts the host.
func newDemo(ctx context.Context, l *lab.Lab, out io.Writer) (*demo, error) {
	d := &demo{lab: l, out: out, dir: filepath.Join(l.Root, ".demo", "workspace")}
	// What a demo that was killed left behind.
	if err := errors.Join(l.RemoveProject(ctx, project), os.RemoveAll(d.dir)); err != nil {
		return nil, err
	}
	port, err := ports.Free()
	if err != nil {
		return nil, err
	}
	d.url = fmt.Sprintf("http://127.0.0.1:%d", port)
	if err := l.CopyQuickstart(d.dir, port); err != nil {
		return nil, err
	}
	if d.builder, err = l.BuilderAtHand(ctx); err != nil {
		return nil, err
	}
	if d.builder == nil {
		_, _ = fmt.Fprintln(out, "demo: BuildKit's daemon is not at hand, so docker build makes the images (after `make e2e-build`, shiksha build does)")
	}
	var ready errgroup.Group
	ready.Go(func() error { _, err := l.Shiksha(ctx); return err })
	ready.Go(func() (err error) { d.host, err = l.StartHost(ctx, lab.HostOptions{Name: "demo"}); return err })
	ready.Go(func() error { return d.publish(ctx, releases[0]) })
	if err := ready.Wait(); err != nil {
		return nil, err
	}
	for _, release := range releases[1:] {
		d.later.Go(func() error { return d.publish(ctx, release) })
	}
	return d, nil
}

// publish puts a release into the registry and nowhere else.
func (d *demo) publish(ctx context.Context, release lab.Release) error {
	if d.builder != nil {
		_, err := d.lab.PublishBuilt(ctx, d.builder, release)
		return err
	}
	ref, err := d.lab.Publish(ctx, release)
	if err != nil {
		return err
	}
	return d.lab.Forget(ctx, ref)
}

// cleanUp removes the stack; the lab removes the rest.
func (d *demo) cleanUp() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return errors.Join(d.later.Wait(), d.lab.RemoveProject(ctx, project))
}

// perform carries one step out, under load, and gives what was measured.
func (d *demo) perform(ctx context.Context, s step) (Step, error) {
	_, _ = fmt.Fprintf(d.out, "\n--- %s: %s\n", s.name, s.title)
	if s.before != nil {
		if err := s.before(d.dir); err != nil {
			return Step{}, err
		}
	}
	if !s.quiet {
		if err := d.later.Wait(); err != nil {
			return Step{}, err
		}
	}
	before, err := d.starts(ctx)
	if err != nil {
		return Step{}, err
	}
	var result lab.Result
	load, err := d.underLoad(ctx, s, func() (err error) {
		result, err = d.deploy(ctx, s)
		return err
	})
	if err != nil {
		return Step{}, err
	}
	after, err := d.starts(ctx)
	if err != nil {
		return Step{}, err
	}
	measured := newStep(s.name, load)
	measured.Seconds, measured.ExitCode = rounded(result.Took.Seconds()), result.Exit
	measured.Serving, measured.Restarted = lab.Serving(ctx, d.url), restarted(before, after)
	return measured, nil
}

// underLoad runs a deploy while users come.
func (d *demo) underLoad(ctx context.Context, s step, deploy func() error) (lab.LoadReport, error) {
	if s.quiet {
		return lab.LoadReport{}, deploy()
	}
	load, err := lab.StartLoad(ctx, d.url)
	if err != nil {
		return lab.LoadReport{}, err
	}
	began := time.Now()
	pause(ctx, baseline)
	load.Mark(probe.During)
	err = deploy()
	load.Mark(probe.After)
	pause(ctx, max(tail, s.atLeast-time.Since(began)))
	if err = errors.Join(err, ctx.Err()); err != nil {
		return lab.LoadReport{}, err
	}
	report, err := load.Stop(ctx)
	if err != nil {
		// Nobody answers any more. What the load saw says it better.
		_, _ = fmt.Fprintln(d.out, "demo:", err)
	}
	return report, nil
}

// deploy runs the program as a newcomer would.
func (d *demo) deploy(ctx context.Context, s step) (lab.Result, error) {
	verb := cmp.Or(s.verb, "deploy")
	args := append(append([]string{verb}, d.host.Flags()...), "--project", project, "--version", s.version)
	if verb == "deploy" {
		args = append(args, "--compose-file", "compose.yaml", "--env-file", lab.EnvFile)
	}
	_, _ = fmt.Fprintf(d.out, "$ shiksha %s\n", strings.ReplaceAll(strings.Join(args, " "), d.lab.Root+"/", ""))
	return d.lab.Run(ctx, d.dir, d.out, args...)
}

// starts gives the running containers by service, each with the moment it was
// started: one that was stopped and started again counts as replaced.
func (d *demo) starts(ctx context.Context) (map[string][]string, error) {
	units, err := d.lab.Units(ctx, project, false)
	if err != nil {
		return nil, err
	}
	for _, ids := range units {
		for i, id := range ids {
			if ids[i], err = d.lab.Docker(ctx, "inspect", "--format", "{{.Id}} {{.State.StartedAt}}", id); err != nil {
				return nil, err
			}
		}
	}
	return units, nil
}

// invite says how to go on with what was kept.
func (d *demo) invite() {
	_, _ = fmt.Fprintf(d.out, "kept: %s (users), %s (the host)\n  cd %s && %s status %s --project %s\n",
		d.url, d.host.Address, d.dir, filepath.Join(d.lab.Dir, "bin", "shiksha"), strings.Join(d.host.Flags(), " "), project)
}

// changeConfig changes the gateway's configuration the way a person would.
func changeConfig(dir string) error {
	path := filepath.Join(dir, "nginx", "nginx.conf")
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	changed := strings.Replace(string(content), "access_log off;", "access_log off;\n    server_tokens off;", 1)
	if changed == string(content) {
		return fmt.Errorf("%s: there is no line to change", path)
	}
	return os.WriteFile(path, []byte(changed), 0o644)
}

// loseCheckout takes away all that a deploy would need of the workspace.
func loseCheckout(dir string) error {
	return errors.Join(os.RemoveAll(dir), os.MkdirAll(dir, 0o755))
}

// pause waits, or until ctx ends.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
