// Command demo shows the one big promise kept on real parts: it deploys the
// quickstart to a sandbox host over SSH and rolls it six times, four of them into
// trouble or nothing, and back, while users keep coming. It prints one table, writes
// .demo/report.json and exits with 1 when a promise was broken.
//
//	go run ./e2e/demo          everything, and takes it away again
//	go run ./e2e/demo -keep    leaves it running, to look around
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/shiksha/actions/e2e/lab"
)

// errBroken says that the demo ran and a promise was not kept.
var errBroken = errors.New("a promise was not kept")

func main() {
	keep := flag.Bool("keep", false, "leave everything running")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *keep, os.Stdout)
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, keep bool, out io.Writer) (err error) {
	began := time.Now()
	l, err := lab.Prepare(ctx, lab.Options{Out: out, Keep: keep})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	d, err := newDemo(ctx, l, out)
	if err != nil {
		return err
	}
	if !keep {
		defer func() { err = errors.Join(err, d.cleanUp()) }()
	}
	report := Report{}
	for _, s := range steps {
		step, err := d.perform(ctx, s)
		if err != nil {
			return fmt.Errorf("step %s: %w", s.name, err)
		}
		report.Steps = append(report.Steps, step)
		if step.Serving == "" {
			_, _ = fmt.Fprintf(out, "\nafter %s nobody is served: the steps after it would measure nothing\n", s.name)
			break
		}
	}
	path := filepath.Join(l.Root, ".demo", "report.json")
	if err := report.write(path); err != nil {
		return err
	}
	_, _ = fmt.Fprintf(out, "\n%s\n", report.Table())
	_, _ = fmt.Fprintf(out, "%s, %.0f s in all\n", path, time.Since(began).Seconds())
	if keep {
		d.invite()
	}
	broken := report.Broken(steps)
	for _, promise := range broken {
		_, _ = fmt.Fprintln(out, "BROKEN", promise)
	}
	if len(broken) > 0 {
		return errBroken
	}
	_, _ = fmt.Fprintln(out, "every promise kept: no request failed, no order lost or doubled, the database was never touched")
	return nil
}
