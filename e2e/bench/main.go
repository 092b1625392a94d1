// Command bench compares Shiksha with Docker Compose on one sandbox host, in one
// run: a deploy with nothing to change, a rollout under load, a large stack, and
// what users feel meanwhile. It prints one table of ratios and writes the figures
// behind it to .demo/bench.json.
//
//	go run ./e2e/bench                          everything
//	go run ./e2e/bench -only unchanged -runs 9  one of them, more often
//
// It exits with 1 when a target is missed, with 2 when something could not be
// measured.
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
	"slices"
	"strings"
	"syscall"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/peers"
)

// benchmarks in the order they run in.
var benchmarks = []struct {
	name    string
	measure func(context.Context, *bench) ([]row, error)
}{
	{"unchanged", nothing},
	{"rollout", roll},
	{"latency", latency},
	{"scale", scale},
	{"plan", foresee},
	{"image", image},
	{"build", builds},
	{"checks", checks},
}

type settings struct {
	runs    int
	only    []string
	verbose bool
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	s, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	missed := false
	if err == nil {
		missed, err = run(ctx, s, os.Stdout, os.Stderr)
	}
	switch {
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(2)
	case missed:
		os.Exit(1)
	}
}

func parse(args []string) (settings, error) {
	var s settings
	var only string
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.IntVar(&s.runs, "runs", 5, "how often each thing is measured; the table has the medians")
	flags.StringVar(&only, "only", "", "only these, separated by commas: "+strings.Join(names(), ", "))
	flags.BoolVar(&s.verbose, "v", false, "show what the measured programs print")
	if err := flags.Parse(args); err != nil {
		return s, err
	}
	s.only = strings.FieldsFunc(only, func(r rune) bool { return r == ',' || r == ' ' })
	for _, name := range s.only {
		if !slices.Contains(names(), name) {
			return s, fmt.Errorf("there is no benchmark %q: there are %s", name, strings.Join(names(), ", "))
		}
	}
	if s.runs < 1 {
		return s, fmt.Errorf("-runs %d: measure at least once", s.runs)
	}
	return s, nil
}

func names() []string {
	var out []string
	for _, b := range benchmarks {
		out = append(out, b.name)
	}
	return out
}

// run measures and tells. What was measured before something failed is told too.
func run(ctx context.Context, s settings, out, words io.Writer) (missed bool, err error) {
	compose, err := peers.Compose(ctx, words)
	if err != nil {
		return false, err
	}
	l, err := lab.Prepare(ctx, lab.Options{Out: words})
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	b, err := newBench(ctx, l, compose, s.runs, words)
	if err != nil {
		return false, err
	}
	if s.verbose {
		b.echo = words
	}
	defer func() { err = errors.Join(err, b.close()) }()
	rows, err := measureAll(ctx, b, s.only)
	if len(rows) == 0 {
		return false, err
	}
	figures := judge(rows)
	_, _ = io.WriteString(out, table(figures, s.runs))
	return anyMissed(figures), errors.Join(err, write(filepath.Join(l.Root, ".demo", "bench.json"), s.runs, figures))
}

// measureAll measures what was asked for. One that fails does not keep the others
// from being measured.
func measureAll(ctx context.Context, b *bench, only []string) (rows []row, err error) {
	for _, m := range benchmarks {
		if len(only) > 0 && !slices.Contains(only, m.name) {
			continue
		}
		more, failure := m.measure(ctx, b)
		rows = append(rows, more...)
		if ctx.Err() != nil {
			return rows, errors.Join(err, errors.New("interrupted"))
		}
		if failure != nil {
			err = errors.Join(err, fmt.Errorf("%s: %w", m.name, failure))
		}
	}
	return rows, err
}
