// Package image is the part of a preflight that needs the pinned images: after the
// pull and before anything changes, nginx, Prometheus and Alertmanager read the
// configuration that they are about to get, each in a container of its own image,
// and the code says how many heads its migrations have.
package image

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/finding"
	"github.com/shiksha/actions/pkg/stack"
)

// Runner runs a command in a container that is made of a service.
type Runner interface {
	RunService(ctx context.Context, st *stack.Stack, service string, t stack.Task) (stack.Ended, error)
}

// Host is what a trial needs of the host: who runs it, and where the content of a
// file is kept there.
type Host struct {
	Runner
	Kept func(stack.File) string
}

const (
	// patience bounds one trial, atOnce is how many run side by side.
	patience = time.Minute
	atOnce   = 3
	// shown is how many of the last lines of a trial a finding repeats.
	shown = 4
)

// trial is one service's configuration read by its own program.
type trial struct {
	name    string
	service *stack.Service
	command []string
	// good says what it means that the command ended with 0, mend what to do when it
	// did not.
	good, mend string
	// read, where it is set, judges what the command printed.
	read func(output string) (wrong string)
}

// Look tries every service that a plan changes. What it finds is in the order of the
// stack; an error is the host's.
func Look(ctx context.Context, st *stack.Stack, p *plan.Plan, h Host) ([]check.Result, error) {
	f := finding.Of(ctx, st, finding.Options{})
	trials := chosen(f, p)
	ended := make([]stack.Ended, len(trials))
	failed := make([]error, len(trials))
	var eg errgroup.Group
	eg.SetLimit(atOnce)
	for i, t := range trials {
		eg.Go(func() error {
			limited, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("it took longer than %s", patience))
			defer cancel()
			ended[i], failed[i] = h.RunService(limited, st, t.service.Name, stack.Task{
				Name: "preflight", Command: t.command,
				Trial: &stack.Trial{Hosts: neighbours(st, t.service), Volumes: p.Volumes, Sources: sources(t.service, h.Kept)},
			})
			return nil
		})
	}
	_ = eg.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	for i, t := range trials {
		judge(f, t, ended[i], failed[i])
	}
	return f.Report().Results, nil
}

// chosen lists the trials of the services that a plan changes. A gateway that stays
// is tested in place, whenever its backends are switched.
func chosen(f *finding.Findings, p *plan.Plan) []trial {
	var out []trial
	for _, name := range f.Stack.Order {
		svc, class := f.Stack.Services[name], f.Classes[name]
		step := p.Step(name)
		switch {
		case step == nil, !step.Replaces() && step.Action != plan.Reload:
		case class.Nginx:
			out = append(out, nginx(f, svc)...)
		case class.Prometheus:
			out = append(out, reader(f, svc, "P07.promtool", "promtool check config", "/etc/prometheus/prometheus.yml", "Prometheus"))
		case class.Alertmanager:
			out = append(out, reader(f, svc, "P08.amtool", "amtool check-config", "/etc/alertmanager/alertmanager.yml", "Alertmanager"))
		case svc.Ext.Migrate != nil:
			out = append(out, heads(svc)...)
		}
	}
	return out
}

// startNginx runs the image's own entrypoint where it is the official one's, which
// fills templates in, with nginx and its arguments.
const startNginx = `if [ -x /docker-entrypoint.sh ]; then exec /docker-entrypoint.sh nginx "$@" -t; fi; exec nginx "$@" -t`

// nginx is asked what it says of its configuration with the names of the new stack. A
// command of the service's own may write that configuration first, and is left alone.
func nginx(f *finding.Findings, svc *stack.Service) []trial {
	t := trial{name: "P05.test", service: svc, good: "nginx -t in its image: the configuration is good, every name resolves",
		mend: "correct it: nginx does not start, and does not reload, with it"}
	c := f.Stack.Project.Services[svc.Name]
	var arguments []string
	switch {
	case len(c.Entrypoint) == 0 && len(c.Command) > 0 && c.Command[0] == "nginx":
		arguments = c.Command[1:]
	case len(c.Entrypoint) > 0 && c.Entrypoint[0] == "nginx":
		arguments = append(slices.Clone([]string(c.Entrypoint[1:])), c.Command...)
	case len(c.Entrypoint)+len(c.Command) > 0:
		f.Skip(t.name, finding.At(svc.Name, "command"), "", "%s starts by a command of its own, which may write its configuration first", svc.Name)
		return nil
	}
	t.command = append([]string{"sh", "-c", startNginx, "nginx"}, arguments...)
	return []trial{t}
}

// reader has a configuration read by the program that comes with its own.
func reader(f *finding.Findings, svc *stack.Service, name, command, otherwise, program string) trial {
	path := finding.ConfigPath(f.Stack.Project.Services[svc.Name].Command, "--config.file", otherwise)
	return trial{name: name, service: svc, command: append(strings.Fields(command), path),
		good: command + " in its image: the configuration is good", mend: "correct it: " + program + " does not start with it"}
}

// heads asks Alembic whether its migrations end in one place: two are two branches
// that were merged without each other, and an upgrade to the head stops at the fork.
// One to "heads" or to a revision does not.
func heads(svc *stack.Service) []trial {
	i := slices.IndexFunc(svc.Ext.Migrate.Command, func(word string) bool { return word == "alembic" || strings.HasSuffix(word, "/alembic") })
	up := slices.Index(svc.Ext.Migrate.Command, "upgrade")
	if i < 0 || up < i || !slices.Contains(svc.Ext.Migrate.Command[up:], "head") {
		return nil
	}
	return []trial{{name: "P11.heads", service: svc, command: append(slices.Clone(svc.Ext.Migrate.Command[:up]), "heads"),
		good: "the migrations have one head", mend: "merge them: alembic merge heads", read: severalHeads}}
}

func severalHeads(output string) string {
	var found []string
	for line := range strings.Lines(output) {
		if revision, isHead := strings.CutSuffix(strings.TrimSpace(line), " (head)"); isHead {
			found = append(found, revision)
		}
	}
	if len(found) == 1 {
		return ""
	}
	return fmt.Sprintf("the migrations have %d heads, and an upgrade needs one: %s", len(found), strings.Join(found, ", "))
}

// sources are where live files are kept: their own place has what runs now.
func sources(svc *stack.Service, kept func(stack.File) string) map[string]string {
	out := map[string]string{}
	for _, file := range svc.Files {
		if file.Live {
			out[file.Target] = kept(file)
		}
	}
	return out
}

// neighbours are the names that a service of the new stack finds on its networks,
// whatever runs of them yet. The address is one that nobody answers at.
func neighbours(st *stack.Stack, svc *stack.Service) map[string]string {
	const nobody = "127.0.0.1"
	out := map[string]string{}
	c := st.Project.Services[svc.Name]
	for _, l := range c.ExternalLinks {
		_, alias := finding.Link(l)
		out[alias] = nobody
	}
	for _, name := range st.Order {
		other := st.Services[name]
		shares := slices.ContainsFunc(other.Networks, func(n string) bool { return slices.Contains(svc.Networks, n) })
		if name != svc.Name && (!shares || other.NetworkMode != "") {
			continue
		}
		names := append([]string{name, other.ContainerName, st.Project.Services[name].Hostname}, st.Aliases(name)...)
		for n := 1; n <= other.Replicas && other.ContainerName == ""; n++ {
			names = append(names, fmt.Sprintf("%s-%s-%d", st.Name, name, n))
		}
		for _, l := range c.Links {
			if linked, alias := finding.Link(l); linked == name {
				names = append(names, alias)
			}
		}
		for _, n := range names {
			if n != "" {
				out[n] = nobody
			}
		}
	}
	return out
}

// missing are the words of an engine that does not find a command in an image, and
// of a shell.
var missing = regexp.MustCompile(`executable file not found|no such file or directory: unknown|sh: .*not found`)

// unseen are the words of an engine for a file that is not there, or not for it. Those of the
// state folder were uploaded; another one a job of the same release may make.
var unseen = regexp.MustCompile(`bind source path does not exist|invalid mount config for type "bind"`)

// judge tells what came of a trial.
func judge(f *finding.Findings, t trial, ended stack.Ended, err error) {
	where := finding.At(t.service.Name, "image")
	output := f.Stack.Hide(ended.Output)
	switch {
	case err != nil && missing.MatchString(err.Error()), ended.Exit == 127:
		f.Skip(t.name, where, "", "%s is not in the image of %s", t.command[0], t.service.Name)
	case err != nil && unseen.MatchString(err.Error()) && strings.Contains(err.Error(), f.Stack.Dir+"/"):
		f.Fail(t.name, where, "if it is there on the host, name a folder that the engine can read as state-dir: a snap's engine, one behind NFS with root_squash or SELinux does not see every folder",
			"the engine cannot mount what the service mounts: %s", finding.OneLine(f.Stack.Hide(err.Error())))
	case err != nil:
		f.Warn(t.name, where, "see on the host whether the image starts at all", "it could not be tried: %s", finding.OneLine(f.Stack.Hide(err.Error())))
	case ended.Exit != 0 && t.read != nil:
		f.Warn(t.name, where, "run it in the image by hand", "%s ended with %d: %s", strings.Join(t.command, " "), ended.Exit, said(output))
	case ended.Exit != 0:
		f.Fail(t.name, source(f, t.service, output), t.mend, "%s", said(output))
	case t.read != nil && t.read(output) != "":
		f.Fail(t.name, where, t.mend, "%s", t.read(output))
	default:
		f.Pass(t.name, "%s: %s", t.service.Name, t.good)
	}
}

var inFile = regexp.MustCompile(`(/[^\s:"']+)(?::(\d+))?`)

// source is where in the workspace the file is that a program found fault with.
func source(f *finding.Findings, svc *stack.Service, output string) finding.Place {
	tree := f.Tree(svc)
	for _, m := range inFile.FindAllStringSubmatch(output, -1) {
		file, ours := tree[strings.TrimSuffix(m[1], ",")]
		if !ours {
			continue
		}
		line := finding.LineIn(fmt.Errorf("%s", output))
		if m[2] != "" {
			_, _ = fmt.Sscan(m[2], &line)
		}
		return finding.In(svc.Name, file.Source, line)
	}
	return finding.At(svc.Name, "volumes")
}

// heading is what a tool says it looks at; amtool says on the same line what it found.
var heading = regexp.MustCompile(`^Checking '?[^ ']+'?\s*`)

var noise = regexp.MustCompile(`^(SUCCESS.*|/docker-entrypoint.*|\d{4}/\d\d/\d\d \d\d:\d\d:\d\d \[(notice|warn)\].*)$`)

// said is the part of an output that says what is wrong, as one line.
func said(output string) string {
	var lines []string
	for line := range strings.Lines(output) {
		line = heading.ReplaceAllString(strings.TrimSpace(line), "")
		if line != "" && !noise.MatchString(line) && !strings.Contains(line, "test failed") {
			lines = append(lines, line)
		}
	}
	return finding.OneLine(strings.Join(lines[max(0, len(lines)-shown):], " "))
}
