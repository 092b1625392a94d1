package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Shiksha compiles the program and gives its path.
func (l *Lab) Shiksha(ctx context.Context) (path string, err error) {
	path = filepath.Join(l.Dir, "bin", "shiksha")
	return path, l.goBuild(ctx, path, ".")
}

// Result is what a run of the program left.
type Result struct {
	// Exit is the exit code, -1 when a signal ended it.
	Exit           int
	Stdout, Stderr string
	Took           time.Duration
}

// Command is the program with the given arguments, in the given folder, not yet
// started: for tests that kill it. It sees nothing of the caller's environment
// but the PATH and an empty home, plus env ("NAME=value").
func (l *Lab) Command(ctx context.Context, dir string, env []string, args ...string) (*exec.Cmd, error) {
	path, err := l.Shiksha(ctx)
	if err != nil {
		return nil, err
	}
	home := filepath.Join(l.Dir, "home")
	if err := os.MkdirAll(home, 0o700); err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = dir
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + home}, env...)
	return cmd, nil
}

// Run runs the program to its end. A non-zero exit is no error. echo, when not
// nil, gets what it prints as it prints it.
func (l *Lab) Run(ctx context.Context, dir string, echo io.Writer, args ...string) (Result, error) {
	cmd, err := l.Command(ctx, dir, nil, args...)
	if err != nil {
		return Result{}, err
	}
	return Wait(cmd, echo)
}

// Wait runs a command to its end and gives what it left.
func Wait(cmd *exec.Cmd, echo io.Writer) (Result, error) {
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if echo != nil {
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, echo), io.MultiWriter(&words, echo)
	}
	began := time.Now()
	err := cmd.Run()
	result := Result{Stdout: out.String(), Stderr: words.String(), Took: time.Since(began)}
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		result.Exit, err = exit.ExitCode(), nil
	}
	return result, err
}

// Units gives the ids of a project's containers by service, in the order Docker
// lists them. Stopped ones are in it only when all is set.
func (l *Lab) Units(ctx context.Context, project string, all bool) (map[string][]string, error) {
	args := []string{
		"ps", "--no-trunc", "--filter", "label=com.docker.compose.project=" + project,
		"--format", `{{.Label "com.docker.compose.service"}}={{.ID}}`,
	}
	if all {
		args = append(args, "--all")
	}
	lines, err := l.dockerLines(ctx, args...)
	units := map[string][]string{}
	for _, line := range lines {
		service, id, _ := strings.Cut(line, "=")
		units[service] = append(units[service], id)
	}
	return units, err
}

// RemoveProject removes all of a Compose project: containers, networks, volumes,
// and the tags that kept the images of its releases.
func (l *Lab) RemoveProject(ctx context.Context, project string) error {
	filter := "label=com.docker.compose.project=" + project
	containers, err := l.dockerLines(ctx, "ps", "--all", "--quiet", "--filter", filter)
	if err != nil {
		return err
	}
	errs := []error{l.removeContainers(ctx, containers...)}
	for _, kind := range []string{"network", "volume"} {
		errs = append(errs, l.removeKind(ctx, kind, filter))
	}
	kept, err := l.dockerLines(ctx, "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=shiksha.local/"+project+"/*")
	if len(kept) > 0 {
		_, err = l.Docker(ctx, append([]string{"rmi", "--no-prune"}, kept...)...)
	}
	return errors.Join(append(errs, err)...)
}

// removeKind removes networks or volumes. The engine may say for a moment after it
// removed a container that a network still has its endpoint.
func (l *Lab) removeKind(ctx context.Context, kind, filter string) error {
	for patience := time.Now().Add(10 * time.Second); ; time.Sleep(time.Second) {
		names, err := l.dockerLines(ctx, kind, "ls", "--quiet", "--filter", filter)
		if err != nil || len(names) == 0 {
			return err
		}
		_, err = l.Docker(ctx, append([]string{kind, "rm"}, names...)...)
		if err == nil || !strings.Contains(err.Error(), "has active endpoints") || time.Now().After(patience) {
			return err
		}
	}
}

// Dump writes what is known about a project's containers (state and the ends of
// their logs) into a folder, for whoever looks into a failure.
func (l *Lab) Dump(ctx context.Context, project, dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	names, err := l.dockerLines(ctx, "ps", "--all", "--filter", "label=com.docker.compose.project="+project, "--format", "{{.Names}}")
	errs := []error{err}
	for _, name := range names {
		for suffix, args := range map[string][]string{
			".log": {"logs", "--tail", "200", "--timestamps", name}, ".json": {"inspect", name},
		} {
			cmd := exec.CommandContext(ctx, "docker", append([]string{"--host", "unix://" + Socket}, args...)...)
			text, err := cmd.CombinedOutput()
			errs = append(errs, err, os.WriteFile(filepath.Join(dir, name+suffix), text, 0o644))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("keeping what is known about %s: %w", project, err)
	}
	return nil
}
