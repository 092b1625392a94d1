package swarmlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Start starts the engine and waits until it answers.
func (n *Node) Start(ctx context.Context) error {
	log, err := os.OpenFile(n.Log(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	engine := n.command(context.WithoutCancel(ctx), n.args...)
	engine.Stdout, engine.Stderr = log, log
	if err := engine.Start(); err != nil {
		return fmt.Errorf("starting the engine of the %s: %w", n.Name, err)
	}
	ended := make(chan struct{})
	n.ended = ended
	go func() { _ = engine.Wait(); close(ended) }()
	return await(ctx, time.Minute, "the engine of the "+n.Name+" (its log: "+n.Log()+")", func(ctx context.Context) error {
		_, err := n.Docker(ctx, "version", "--format", "{{.Server.Version}}")
		return err
	})
}

// Stop ends the engine as a service manager does: its containers end with it. The
// node is down then, until Start.
func (n *Node) Stop(ctx context.Context) error { return n.end(ctx, "TERM") }

// Kill ends the engine as a crash does: its containers go on.
func (n *Node) Kill(ctx context.Context) error { return n.end(ctx, "KILL") }

// Restart is Stop and Start.
func (n *Node) Restart(ctx context.Context) error {
	if err := n.Stop(ctx); err != nil {
		return err
	}
	return n.Start(ctx)
}

// end sends the engine a signal and waits for its end.
func (n *Node) end(ctx context.Context, signal string) error {
	kill := n.command(ctx, "sh", "-c", "kill -"+signal+` "$(cat "$1")"`, "sh", n.pidFile())
	if out, err := kill.CombinedOutput(); err != nil {
		return fmt.Errorf("ending the engine of the %s: %w: %s", n.Name, err, out)
	}
	select {
	case <-n.ended:
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("the engine of the %s goes on a minute after SIG%s (its log: %s)", n.Name, signal, n.Log())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Log is the file with what the engine says.
func (n *Node) Log() string { return filepath.Join(n.lab.Dir, n.Host.Container+"-dockerd.log") }

func (n *Node) pidFile() string { return filepath.Join(n.run, "engine.pid") }

// command is a program on the node, as root.
func (n *Node) command(ctx context.Context, argv ...string) *exec.Cmd {
	power := strconv.Itoa(n.power.Process.Pid)
	return exec.CommandContext(ctx, "nsenter", append([]string{"--target", power, "--mount", "--uts", "--pid", "--net", "--"}, argv...)...)
}

// Docker runs the docker command line against the node's engine and gives what it
// printed on standard output, without the space around it.
func (n *Node) Docker(ctx context.Context, args ...string) (string, error) {
	full := append([]string{"--config", filepath.Join(n.lab.Dir, "docker"), "--host", "unix://" + n.Socket}, args...)
	cmd := exec.CommandContext(ctx, "docker", full...)
	cmd.Env = append(os.Environ(), "DOCKER_CONTEXT=", "DOCKER_HOST=")
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	err := cmd.Run()
	if err != nil {
		err = fmt.Errorf("docker %s on the %s: %w: %s", strings.Join(args, " "), n.Name, err, words.String())
	}
	return strings.TrimSpace(out.String()), err
}

// removeAll removes everything of a kind that has a label. What others still let
// go of is tried again for a while.
func (n *Node) removeAll(ctx context.Context, kind, label string) error {
	list, remove := []string{kind, "ls", "--quiet", "--filter", label}, []string{kind, "rm"}
	if kind == "container" {
		list, remove = append(list, "--all"), []string{kind, "rm", "--force", "--volumes"}
	}
	return await(ctx, 30*time.Second, "the end of each "+kind+" with "+label, func(ctx context.Context) error {
		ids, err := n.Docker(ctx, list...)
		if err != nil || ids == "" {
			return err
		}
		_, err = n.Docker(ctx, append(remove, strings.Fields(ids)...)...)
		return errors.Join(err, fmt.Errorf("there is still %s", ids))
	})
}
