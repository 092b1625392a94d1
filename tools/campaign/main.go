// Command campaign attacks the project for as long as it is told: every fuzzer of
// every parser in turn, then releases and backups that are killed at each of their
// steps, cut off, cancelled and run against each other, on real parts.
//
//	go run ./tools/campaign                          the hour of `make campaign`
//	go run ./tools/campaign -fuzz 10s -only fuzz     every fuzzer, shortly
//
// It goes on after a failure, tells each at the end, and exits with 1 then. What a
// fuzzer found lies in the package's testdata/fuzz and is a test from then on.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"regexp"
	"strings"
	"syscall"
	"time"
)

const module = "github.com/shiksha/actions/"

// attack is one run of go test.
type attack struct {
	name string
	args []string
	env  []string
}

// long are the end-to-end attacks: everything in e2e that kills, cuts, cancels or
// competes, at every step where `make test` takes some.
var long = attack{
	name: "e2e: kills, cuts and rivals at every step",
	args: []string{"-count=1", "-p", "1", "-parallel", "3", "-timeout", "90m", "-run", "Kill|Cancel|Lock|Disk|BadInput", "./e2e"},
	env:  []string{"SHIKSHA_EVERY_STEP=1"},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	failed, err := run(ctx, os.Args[1:], os.Stdout)
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		_, _ = fmt.Fprintln(os.Stderr, "campaign:", err)
		os.Exit(2)
	case failed > 0:
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) (failed int, err error) {
	flags := flag.NewFlagSet("campaign", flag.ContinueOnError)
	each := flags.Duration("fuzz", 2*time.Minute, "how long each fuzzer runs")
	only := flags.String("only", "", "fuzz or e2e; both when empty")
	if err := flags.Parse(args); err != nil {
		return 0, err
	}
	var attacks []attack
	if *only != "e2e" {
		if attacks, err = fuzzers(ctx, *each); err != nil {
			return 0, err
		}
	}
	if *only != "fuzz" {
		attacks = append(attacks, long)
	}
	var told []string
	for i, a := range attacks {
		_, _ = fmt.Fprintf(out, "== %d of %d: %s\n", i+1, len(attacks), a.name)
		began := time.Now()
		result := "held"
		if err := a.run(ctx, out); err != nil {
			failed, result = failed+1, "FAILED: "+err.Error()
		}
		told = append(told, fmt.Sprintf("%-60s %8s  %s", a.name, time.Since(began).Round(time.Second), result))
		if ctx.Err() != nil {
			break
		}
	}
	_, _ = fmt.Fprintf(out, "\n%s\n%d attacks, %d failed\n", strings.Join(told, "\n"), len(told), failed)
	return failed, context.Cause(ctx)
}

func (a attack) run(ctx context.Context, out io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test"}, a.args...)...)
	var said strings.Builder
	// One writer for both, which no two goroutines write to then.
	both := io.MultiWriter(out, &said)
	cmd.Stdout, cmd.Stderr, cmd.Env = both, both, append(os.Environ(), a.env...)
	// A test that is interrupted takes away what it started.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Minute
	err := cmd.Run()
	if err != nil && ranOut.MatchString(said.String()) {
		return nil
	}
	return err
}

// ranOut matches the whole of what a fuzzer says that found nothing and was at work when
// its time ended: up to Go 1.26 that may look like a failure (golang/go#75804).
var ranOut = regexp.MustCompile(`--- FAIL: Fuzz\w+ \([0-9.]+s\)\n    context deadline exceeded\nFAIL\n`)

// fuzzers asks go test for every fuzzer of the module.
func fuzzers(ctx context.Context, each time.Duration) ([]attack, error) {
	listed, err := exec.CommandContext(ctx, "go", "list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.ImportPath}} {{.Dir}}{{end}}", "./...").Output()
	if err != nil {
		return nil, fmt.Errorf("list the packages: %w", err)
	}
	var attacks []attack
	for line := range strings.Lines(string(listed)) {
		pkg, dir, ok := strings.Cut(strings.TrimSpace(line), " ")
		if !ok {
			continue
		}
		names, err := fuzzersIn(dir)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			attacks = append(attacks, attack{
				name: strings.TrimPrefix(pkg, module) + " " + name,
				args: []string{"-run", "^$", "-fuzz", "^" + name + "$", "-fuzztime", each.String(), pkg},
			})
		}
	}
	if len(attacks) == 0 {
		return nil, errors.New("no fuzzer was found: run this in the module's folder")
	}
	return attacks, nil
}

// fuzzersIn gives the names of the fuzzers in a package's folder. Reading the
// files takes no build of every package's tests, as `go test -list` does.
func fuzzersIn(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := os.Open(dir + "/" + e.Name())
		if err != nil {
			return nil, err
		}
		for lines := bufio.NewScanner(file); lines.Scan(); {
			if name, ok := strings.CutPrefix(lines.Text(), "func Fuzz"); ok {
				name, _, _ = strings.Cut(name, "(")
				names = append(names, "Fuzz"+name)
			}
		}
		_ = file.Close()
	}
	return names, nil
}
