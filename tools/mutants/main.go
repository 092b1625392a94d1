// Command mutants tests the tests of a package: it turns each comparison off in
// turn, so that it always holds and then so that it never does, runs the package's
// tests, and tells which comparisons nobody would miss.
//
//	go run ./tools/mutants                                  the kinds of checks
//	go run ./tools/mutants -package ./pkg/verify -file run  one file of another package
//
// Comparisons of which a value cannot matter are listed with the reason in the
// package's testdata/mutants.txt. It exits with 1 when another one survives.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"time"
)

// settings are the flags.
type settings struct {
	pkg, skip, file, without string
	jobs                     int
	timeout                  time.Duration
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	survived, err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(2)
	case survived > 0:
		os.Exit(1)
	}
}

func parse(args []string) (s settings, err error) {
	flags := flag.NewFlagSet("mutants", flag.ContinueOnError)
	flags.StringVar(&s.pkg, "package", "./pkg/verify/kind", "folder of the package")
	flags.StringVar(&s.skip, "skip", "^(TestRealParts|TestEveryComparison|Fuzz)", "tests that are too slow to run once for each mutant, a regular expression")
	flags.StringVar(&s.file, "file", "", "only comparisons of files with this in their name")
	flags.StringVar(&s.without, "without", "describe.go,schema.go", "files that compare nothing of a check, separated by commas")
	flags.IntVar(&s.jobs, "jobs", runtime.NumCPU(), "how many mutants are tested at a time")
	flags.DurationVar(&s.timeout, "timeout", 30*time.Second, "how long the tests may take; a mutant that takes longer is caught")
	return s, flags.Parse(args)
}

// run tests every mutant and tells how many survived that are not known.
func run(ctx context.Context, args []string, out io.Writer) (survived int, err error) {
	s, err := parse(args)
	if err != nil {
		return 0, err
	}
	p, err := instrument(s.pkg, s.file, strings.Split(s.without, ",")...)
	if err != nil {
		return 0, err
	}
	known, err := readKnown(s.pkg)
	if err != nil {
		return 0, err
	}
	t, err := build(ctx, s, p)
	if err != nil {
		return 0, err
	}
	defer t.close()
	if words, caught := t.try(ctx, ""); caught {
		return 0, fmt.Errorf("the tests fail without any mutant:\n%s", words)
	}
	mutants := p.mutants()
	caught, excused := 0, 0
	err = t.all(ctx, mutants, func(m mutant, dead bool) {
		switch {
		case dead:
			caught++
		case known[m.key()]:
			excused++
		default:
			survived++
			_, _ = fmt.Fprintf(out, "%s:%d survives: %s\n", m.file, m.line, m.key())
		}
		if done := caught + excused + survived; done%100 == 0 {
			_, _ = fmt.Fprintf(out, "%d of %d mutants\n", done, len(mutants))
		}
	})
	_, _ = fmt.Fprintf(out, "%s: %d comparisons, %d mutants: %d caught, %d cannot matter, %d survived\n",
		s.pkg, len(p.sites), len(mutants), caught, excused, survived)
	return survived, err
}
