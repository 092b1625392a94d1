package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/shiksha/actions/e2e/lab"
)

// bench is the ground both sides run on: one sandbox host, reached by Shiksha's
// own connection and by OpenSSH's.
type bench struct {
	lab  *lab.Lab
	host *lab.Host
	runs int
	// dir is for everything that is written on the way.
	dir string
	// compose is the DOCKER_CONFIG that has the Compose plugin.
	compose string
	say     io.Writer
	// echo gets what the measured programs print, when not nil.
	echo io.Writer
	// projects and images are taken away at the end.
	projects, images []string
	// ours and theirs are the copies of the quickstart, once they are up.
	ours, theirs *project
}

func newBench(ctx context.Context, l *lab.Lab, compose string, runs int, say io.Writer) (*bench, error) {
	// A short path: one of the files is a socket.
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	// The docker command line reaches an engine over SSH by running itself there.
	host, err := l.StartHost(ctx, lab.HostOptions{Name: "bench", DockerCLI: true})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	b := &bench{lab: l, host: host, runs: runs, dir: dir, compose: compose, say: say}
	return b, b.writeSSH()
}

// close takes the projects away, also after an interrupt.
func (b *bench) close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	errs := []error{os.RemoveAll(b.dir)}
	for _, project := range b.projects {
		errs = append(errs, b.remove(ctx, project))
	}
	for _, image := range b.images {
		_, err := b.lab.Docker(ctx, "rmi", "--no-prune", image)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// fresh makes sure that nothing of a project is there, now and at the end.
func (b *bench) fresh(ctx context.Context, project string) error {
	b.projects = append(b.projects, project)
	return b.remove(ctx, project)
}

// remove takes a project away: what it runs, what it keeps, and the names by
// which its images were kept.
func (b *bench) remove(ctx context.Context, project string) error {
	err := b.lab.RemoveProject(ctx, project)
	tags, tagsErr := b.lab.Docker(ctx, "images", "--format", "{{.Repository}}:{{.Tag}}", "--filter", "reference=shiksha.local/"+project+"/*")
	if names := strings.Fields(tags); len(names) > 0 {
		_, tagsErr = b.lab.Docker(ctx, append([]string{"rmi", "--no-prune"}, names...)...)
	}
	return errors.Join(err, tagsErr)
}

func (b *bench) tell(format string, args ...any) {
	_, _ = fmt.Fprintf(b.say, "bench: "+format+"\n", args...)
}

// writeSSH gives OpenSSH the host's key and pin. It finds its settings by the
// account, not by HOME, so that a program in front of it has to name them.
func (b *bench) writeSSH() error {
	ssh, err := exec.LookPath("ssh")
	if err != nil {
		return fmt.Errorf("the docker command line needs an ssh program: %w", err)
	}
	for name, more := range map[string]string{
		plainSSH: "",
		// What Docker's manual advises: the first connection is kept and shared.
		sharedSSH: fmt.Sprintf("ControlMaster auto\nControlPath %q\nControlPersist 2m\n", filepath.Join(b.dir, "%C")),
	} {
		folder := filepath.Join(b.dir, name)
		if err := os.MkdirAll(folder, 0o700); err != nil {
			return err
		}
		config := filepath.Join(folder, "config")
		settings := fmt.Sprintf("IdentityFile %q\nIdentitiesOnly yes\nUserKnownHostsFile %q\nStrictHostKeyChecking yes\nBatchMode yes\n%s",
			b.host.KeyFile, b.host.KnownHostsFile, more)
		if err := os.WriteFile(config, []byte(settings), 0o600); err != nil {
			return err
		}
		program := fmt.Sprintf("#!/bin/sh\nexec '%s' -F '%s' \"$@\"\n", ssh, config)
		if err := os.WriteFile(filepath.Join(folder, "ssh"), []byte(program), 0o700); err != nil {
			return err
		}
	}
	return nil
}

// The ways OpenSSH is set up: a connection for each command, or one for all.
const (
	plainSSH  = "ssh"
	sharedSSH = "ssh-shared"
)

// measured is what one run of one side gave. Times are in milliseconds, memory
// in megabytes.
type measured struct {
	took, memory   float64
	connections    float64 // of TCP, to sshd
	sent, lost     float64 // requests of the load
	before, during float64 // p99 of the probe
	try            float64 // of images that read their configuration
}

// side is one of the things that are compared.
type side func(context.Context) (measured, error)

// rounds measures all sides one after the other, b.runs times, so that what slows
// the machine down for a while slows all of them. Each side runs once before, not
// counted. It gives the runs by side.
func (b *bench) rounds(ctx context.Context, what string, sides ...side) ([][]measured, error) {
	out := make([][]measured, len(sides))
	for n := range b.runs + 1 {
		b.tell("%s: %d of %d", what, n, b.runs)
		for i, run := range sides {
			m, err := run(ctx)
			if err != nil {
				return nil, err
			}
			if n > 0 {
				out[i] = append(out[i], m)
			}
		}
	}
	return out, nil
}

// column takes one figure out of each run.
func column(runs []measured, of func(measured) float64) []float64 {
	var out []float64
	for _, m := range runs {
		out = append(out, of(m))
	}
	return out
}

func took(m measured) float64        { return m.took }
func memory(m measured) float64      { return m.memory }
func connections(m measured) float64 { return m.connections }
func sent(m measured) float64        { return m.sent }
func lost(m measured) float64        { return m.lost }
func before(m measured) float64      { return m.before }
func during(m measured) float64      { return m.during }
