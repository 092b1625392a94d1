// Command setup prepares a fresh Debian or Ubuntu machine for the end-to-end
// tests (engine, registry, base images), runs a command, and stops what it
// started, also when the command fails or is interrupted:
//
//	go run ./e2e/setup                        only prepare, and leave it running
//	go run ./e2e/setup go test ./...          prepare, run, take away
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/shiksha/actions/e2e/lab"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code, err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, "setup:", err)
		code = max(code, 1)
	}
	os.Exit(code)
}

func run(ctx context.Context, argv []string) (code int, err error) {
	l, err := lab.Prepare(ctx, lab.Options{Out: os.Stderr, Keep: len(argv) == 0})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, l.Close()) }()
	if len(argv) == 0 {
		_, _ = fmt.Fprintln(os.Stderr, "setup: ready, with a registry on", l.Registry)
		return 0, nil
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), lab.RegistryEnv+"="+l.Registry)
	// An interrupt is passed on politely, and given time to clean up.
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = time.Minute
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return max(exit.ExitCode(), 1), nil
	}
	return 0, err
}
