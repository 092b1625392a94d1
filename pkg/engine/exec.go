package engine

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
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
	text, err := e.tail(ctx, id, client.ContainerLogsOptions{Tail: strconv.Itoa(max(lines, 0))}, tailBytes)
	if err != nil {
		return "", fmt.Errorf("read the log of %s: %w", e.unit(id), err)
	}
	return text, nil
}

// longestLine bounds a line of Logs: a unit may write on and never end one.
const longestLine = 1 << 20

// Logs gives each line of a unit's output since a moment, in the order in which they
// came; cut tells that it is only the first MiB of a longer one. Nothing of the log is
// kept: it may be larger than the memory.
func (e *Engine) Logs(ctx context.Context, id string, since time.Time, each func(line string, cut bool)) error {
	o := client.ContainerLogsOptions{}
	if !since.IsZero() {
		o.Since = since.UTC().Format(time.RFC3339Nano)
	}
	out, errs := liner{each: each}, liner{each: each}
	if err := e.log(ctx, id, o, &out, &errs); err != nil {
		return fmt.Errorf("read the log of %s: %w", e.unit(id), err)
	}
	out.end()
	errs.end()
	return nil
}

func (e *Engine) tail(ctx context.Context, id string, o client.ContainerLogsOptions, most int) (string, error) {
	out := ending{most: most}
	err := e.log(ctx, id, o, &out, &out)
	return string(out.last()), err
}

// log writes a unit's output where it is told to; a terminal has one stream only.
func (e *Engine) log(ctx context.Context, id string, o client.ContainerLogsOptions, out, errs io.Writer) error {
	res, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if err != nil {
		return err
	}
	o.ShowStdout, o.ShowStderr = true, true
	log, err := e.api.ContainerLogs(ctx, id, o)
	if err != nil {
		return err
	}
	defer log.Close()
	if res.Container.Config != nil && res.Container.Config.Tty {
		_, err = io.Copy(out, log)
	} else {
		_, err = stdcopy.StdCopy(out, errs, log)
	}
	return err
}

// liner cuts one stream into lines.
type liner struct {
	each func(line string, cut bool)
	line []byte
	cut  bool
	open bool
}

// Write never fails.
func (l *liner) Write(p []byte) (int, error) {
	for part := range bytes.Lines(p) {
		text, ended := bytes.CutSuffix(part, []byte("\n"))
		room := longestLine - len(l.line)
		l.open, l.cut = true, l.cut || len(text) > room
		l.line = append(l.line, text[:min(len(text), room)]...)
		if ended {
			l.end()
		}
	}
	return len(p), nil
}

// end gives the line that is under way, if there is one.
func (l *liner) end() {
	if l.open {
		l.each(string(bytes.TrimSuffix(l.line, []byte("\r"))), l.cut)
	}
	l.line, l.cut, l.open = l.line[:0], false, false
}

// ending keeps the end of what is written to it: a log may be larger than the memory.
type ending struct {
	most int
	kept []byte
}

// Write never fails.
func (e *ending) Write(p []byte) (int, error) {
	e.kept = append(e.kept, p...)
	if len(e.kept) > 2*e.most { // not with each write: what is kept is moved then
		e.kept = append(e.kept[:0], e.last()...)
	}
	return len(p), nil
}

func (e *ending) last() []byte { return e.kept[max(0, len(e.kept)-e.most):] }
