package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/shiksha/actions/e2e/lab"
)

// The outcomes of a deploy that a measurement relies on.
const (
	verified  = "verified"
	unchanged = "unchanged"
	planned   = "planned"
)

// told is what of the deploy's report is used here.
type told struct {
	Outcome string `json:"outcome"`
	Probe   *struct {
		Failed    int     `json:"failed"`
		P99Before float64 `json:"p99_before_ms"`
		P99During float64 `json:"p99_during_ms"`
	} `json:"probe"`
	Spans []struct {
		Name           string
		Started, Ended time.Time
	} `json:"spans"`
}

// deploy runs `shiksha deploy` to its end and measures it. Another outcome than
// the wanted one is an error.
func (b *bench) deploy(ctx context.Context, p *project, outcome string, more ...string) (measured, error) {
	args := append([]string{"deploy"}, b.host.Flags()...)
	args = append(args, "--project", p.name, "--compose-file", strings.Join(p.files, ","), "--json")
	if len(p.vars) > 0 {
		args = append(args, "--env-file", varsFile)
	}
	if p.version != "" {
		args = append(args, "--version", p.version)
	}
	cmd, err := b.lab.Command(ctx, p.dir, nil, append(args, more...)...)
	if err != nil {
		return measured{}, err
	}
	result, m, err := b.measure(ctx, cmd)
	if err != nil {
		return m, err
	}
	var report told
	if err := json.Unmarshal([]byte(result.Stdout), &report); err != nil {
		return m, fmt.Errorf("reading the report of shiksha deploy: %w", err)
	}
	if report.Outcome != outcome {
		return m, fmt.Errorf("shiksha deploy ended as %s, to be measured is %s", report.Outcome, outcome)
	}
	if report.Probe != nil {
		m.before, m.during = report.Probe.P99Before, report.Probe.P99During
	}
	for _, span := range report.Spans {
		if span.Name == "try" {
			m.try = millis(span.Ended.Sub(span.Started))
		}
	}
	return m, nil
}

// up runs `docker compose up -d` on the host over SSH to its end and measures it.
func (b *bench) up(ctx context.Context, p *project, ssh string, more ...string) (measured, error) {
	args := []string{"compose", "--project-name", p.name}
	for _, file := range p.files {
		args = append(args, "--file", file)
	}
	if len(p.vars) > 0 {
		args = append(args, "--env-file", varsFile)
	}
	cmd := exec.CommandContext(ctx, "docker", append(append(args, "up", "--detach"), more...)...)
	cmd.Dir = p.dir
	cmd.Env = []string{"VERSION=" + p.version,
		"PATH=" + filepath.Join(b.dir, ssh) + ":" + os.Getenv("PATH"), "HOME=" + b.dir,
		"DOCKER_CONFIG=" + b.compose, "DOCKER_HOST=ssh://" + b.host.Address}
	_, m, err := b.measure(ctx, cmd)
	return m, err
}

// measure runs a command to its end; a non-zero exit is an error with the last
// words.
func (b *bench) measure(ctx context.Context, cmd *exec.Cmd) (lab.Result, measured, error) {
	earlier, err := b.host.Connections(ctx)
	if err != nil {
		return lab.Result{}, measured{}, err
	}
	// An interrupt is passed on, so that a release is not cut off in its middle;
	// once, not by the terminal as well.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	result, err := lab.Wait(cmd, b.echo)
	if err != nil {
		return result, measured{}, err
	}
	m := measured{took: millis(result.Took), memory: residentMemory(cmd.ProcessState)}
	if result.Exit != 0 {
		return result, m, fmt.Errorf("%s %s ended with %d:\n%s%s", filepath.Base(cmd.Path), cmd.Args[1], result.Exit, result.Stderr, result.Stdout)
	}
	later, err := b.host.Connections(ctx)
	m.connections = float64(later - earlier)
	return result, m, err
}

func millis(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// residentMemory is the most memory a process had, in megabytes. Linux counts what
// this process had when it started the other: it is exact above that, and below it
// never too low.
func residentMemory(state *os.ProcessState) float64 {
	usage, ok := state.SysUsage().(*syscall.Rusage)
	if !ok {
		return 0
	}
	return float64(usage.Maxrss) * 1024 / 1e6
}

// compile makes a static program.
func (b *bench) compile(ctx context.Context, output, pkg string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", output, pkg)
	cmd.Dir = b.lab.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if words, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("compiling %s: %w\n%s", pkg, err, words)
	}
	return nil
}

// untouched runs f and makes sure that no unit of the projects was replaced by it.
func (b *bench) untouched(ctx context.Context, f func() error, projects ...*project) error {
	units := func() (string, error) {
		var all []string
		for _, p := range projects {
			found, err := b.lab.Units(ctx, p.name, true)
			if err != nil {
				return "", err
			}
			all = append(all, fmt.Sprint(found)) // maps print in the order of their keys
		}
		return strings.Join(all, "\n"), nil
	}
	earlier, err := units()
	if err != nil {
		return err
	}
	if err := f(); err != nil {
		return err
	}
	later, err := units()
	if err == nil && earlier != later {
		err = errors.New("a unit was replaced although nothing was to change")
	}
	return err
}
