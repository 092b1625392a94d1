package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/moby/moby/api/pkg/stdcopy"
	"github.com/moby/moby/client"
)

// tailBytes bounds what Tail gives: a unit may write a megabyte in one line.
const tailBytes = 64 << 10

// result is what a command in a container came to.
type result struct {
	stdout, stderr string
	exit           int
}

// Exec runs argv in a running unit, gives it stdin, and waits for its end. An exit
// code other than 0 is no error; a command that the unit does not have ends with
// 126 or 127.
func (e *Engine) Exec(ctx context.Context, id string, argv []string, stdin []byte) (stdout, stderr string, exit int, err error) {
	res, err := e.exec(ctx, id, stdin, client.ExecCreateOptions{Cmd: argv})
	if err != nil && len(argv) > 0 {
		err = fmt.Errorf("run %s in %s: %w", argv[0], e.unit(id), err)
	}
	return res.stdout, res.stderr, res.exit, err
}

// ExecEnv is Exec with variables (NAME=value) that the command alone gets: for
// secrets, which may not stand among arguments.
func (e *Engine) ExecEnv(ctx context.Context, id string, argv, env []string, stdin []byte) (stdout, stderr string, exit int, err error) {
	res, err := e.exec(ctx, id, stdin, client.ExecCreateOptions{Cmd: argv, Env: env})
	if err != nil && len(argv) > 0 {
		err = fmt.Errorf("run %s in %s: %w", argv[0], e.unit(id), err)
	}
	return res.stdout, res.stderr, res.exit, err
}

func (e *Engine) exec(ctx context.Context, id string, stdin []byte, o client.ExecCreateOptions) (result, error) {
	o.AttachStdout, o.AttachStderr, o.AttachStdin = true, true, stdin != nil
	created, err := e.api.ExecCreate(ctx, id, o)
	if err != nil {
		return result{}, err
	}
	conn, err := e.api.ExecAttach(ctx, created.ID, client.ExecAttachOptions{})
	if err != nil {
		return result{}, err
	}
	defer conn.Close()
	// The stream does not know ctx: closing it is how a cancelled run stops reading.
	defer context.AfterFunc(ctx, conn.Close)()
	if stdin != nil {
		go func() {
			_, _ = conn.Conn.Write(stdin) // a command may end without reading all of it
			_ = conn.CloseWrite()
		}()
	}
	var out, errs bytes.Buffer
	_, err = stdcopy.StdCopy(&out, &errs, conn.Reader)
	res := result{stdout: out.String(), stderr: errs.String()}
	if ctx.Err() != nil {
		return res, context.Cause(ctx)
	}
	if err != nil {
		return res, fmt.Errorf("read its output: %w", err)
	}
	res.exit, err = e.exitCode(ctx, created.ID)
	return res, err
}

// exitCode gives the code of an exec whose output has ended; the engine may notice
// its end a moment later.
func (e *Engine) exitCode(ctx context.Context, exec string) (int, error) {
	for {
		state, err := e.api.ExecInspect(ctx, exec, client.ExecInspectOptions{})
		if err != nil {
			return 0, err
		}
		if !state.Running {
			return state.ExitCode, nil
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// Signal sends a signal ("HUP", "SIGTERM") to the first process of a unit.
func (e *Engine) Signal(ctx context.Context, id, signal string) error {
	if _, err := e.api.ContainerKill(ctx, id, client.ContainerKillOptions{Signal: signal}); err != nil {
		return fmt.Errorf("send %s to %s: %w", signal, e.unit(id), err)
	}
	return nil
}

// Tail gives the last lines of a unit's output, both streams as they came, and of
// those at most the last 64 KiB.
func (e *Engine) Tail(ctx context.Context, id string, lines int) (string, error) {
	text, _, err := e.tail(ctx, id, client.ContainerLogsOptions{Tail: strconv.Itoa(max(lines, 0))}, tailBytes)
	if err != nil {
		return "", fmt.Errorf("read the log of %s: %w", e.unit(id), err)
	}
	return text, nil
}

// logBytes bounds what Logs gives.
const logBytes = 4 << 20

// Logs gives a unit's output since a moment, both streams as they came, and of
// that at most the last 4 MiB, from the beginning of a line; cut tells that there was
// more.
func (e *Engine) Logs(ctx context.Context, id string, since time.Time) (text string, cut bool, err error) {
	o := client.ContainerLogsOptions{}
	if !since.IsZero() {
		o.Since = since.UTC().Format(time.RFC3339Nano)
	}
	text, cut, err = e.tail(ctx, id, o, logBytes)
	if err != nil {
		return "", false, fmt.Errorf("read the log of %s: %w", e.unit(id), err)
	}
	if _, whole, _ := strings.Cut(text, "\n"); cut && whole != "" {
		text = whole
	}
	return text, cut, nil
}

func (e *Engine) tail(ctx context.Context, id string, o client.ContainerLogsOptions, most int) (text string, cut bool, err error) {
	res, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return "", false, err
	}
	o.ShowStdout, o.ShowStderr = true, true
	log, err := e.api.ContainerLogs(ctx, id, o)
	if err != nil {
		return "", false, err
	}
	defer log.Close()
	out := ending{most: most}
	if res.Container.Config != nil && res.Container.Config.Tty {
		_, err = io.Copy(&out, log)
	} else {
		_, err = stdcopy.StdCopy(&out, &out, log)
	}
	if err != nil {
		return "", false, err
	}
	return string(out.last()), out.cut, nil
}

// ending keeps the end of what is written to it: a log may be larger than the memory.
type ending struct {
	most int
	kept []byte
	cut  bool
}

// Write never fails.
func (e *ending) Write(p []byte) (int, error) {
	e.kept = append(e.kept, p...)
	e.cut = e.cut || len(e.kept) > e.most
	if len(e.kept) > 2*e.most { // not with each write: what is kept is moved then
		e.kept = append(e.kept[:0], e.last()...)
	}
	return len(p), nil
}

func (e *ending) last() []byte { return e.kept[max(0, len(e.kept)-e.most):] }
