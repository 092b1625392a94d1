// Package verify is the verb: checks in, report out. It looks at what runs on a
// host, through the one connection, and changes nothing. A release uses the same
// checks through a Gate.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/extension"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/platform"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/strict"
	"github.com/shiksha/actions/pkg/target"
)

// Options is a request to verify what runs.
type Options struct {
	Settings
	Host host.Config
	// Engine is what the stack runs on: platform.Auto (or ""), Compose or Swarm.
	Engine   string
	StateDir string
	// Workspace holds ComposeFiles, which are read for the project's name and for
	// its checks only. Neither has to be there when the project is named.
	Workspace    string
	ComposeFiles []string
	// Folder is what the workspace is called where its path does not tell.
	Folder string
}

// Outcomes of a verification, also its `outcome` output.
const (
	Verified  = "verified"
	Failed    = "failed"
	Undecided = "unknown"
)

// Result is what a verification found.
type Result struct {
	Project string `json:"project"`
	Host    string `json:"host"`
	// Release and Version are what should run by the ledger; 0 and "" where
	// nothing was released.
	Release int `json:"release"`
	// Restores is the release that a rollback brought back where that is what serves, else 0.
	Restores int           `json:"restores,omitempty"`
	Version  string        `json:"version,omitempty"`
	Outcome  string        `json:"outcome"`
	Report   *check.Report `json:"report"`
	Started  time.Time     `json:"started"`
	Seconds  float64       `json:"seconds"`
}

// Run verifies. Its error is fault.Failed when a check fails, fault.Refused when
// it could not be decided or the host lets nobody look, fault.Input for bad input, an
// address that nobody answers at included.
// The result is never nil.
func Run(ctx context.Context, o Options, sink event.Sink) (*Result, error) {
	r := &Result{Project: o.Project, Started: time.Now().UTC()}
	err := o.run(ctx, sink, r)
	r.Seconds = time.Since(r.Started).Seconds()
	return r, r.conclude(ctx, o.FailOn, err)
}

// conclude says how a verification ended, by its error.
func (r *Result) conclude(ctx context.Context, failOn check.Outcome, err error) error {
	switch {
	case err == nil:
		r.Outcome = Verified
	case ctx.Err() != nil:
		// Checks that were cut off know nothing, which is not what was found.
		err = fault.New(fault.Interrupted, "", "run it again", "interrupted: %w", err)
		r.Outcome = fault.Interrupted.String()
	case r.Report != nil && r.Report.Worst(failOn) == check.Unknown:
		r.Outcome, err = Undecided, refuse(err)
	default:
		r.Outcome = fault.Of(err).String()
	}
	return err
}

// refuse makes of a failure one that says that nothing is known.
func refuse(err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Kind == fault.Failed {
		return &fault.Error{Kind: fault.Refused, Where: f.Where, Hint: f.Hint, Err: f.Err}
	}
	return err
}

func (o *Options) run(ctx context.Context, sink event.Sink, r *Result) error {
	own, err := o.compose()
	if err != nil {
		return err
	}
	if o.Project == "" {
		return fault.New(fault.Input, "project", "for example: project: shop", "which project on the host is not said, and no Compose file was found")
	}
	r.Project = o.Project
	// What is wrong with the checks is told before a host is needed. Those that a
	// release brought, or promises, are known only there.
	if o.File != "" || own != nil {
		if _, err := o.Settings.resolve(&stack.Stack{Checks: own}); err != nil {
			return err
		}
	}
	t, err := target.Open(ctx, o.Host, o.StateDir, sink)
	if err != nil {
		return fault.As(fault.Refused, err)
	}
	defer t.Close()
	r.Host = t.Host.String()
	on, err := platform.Choose(ctx, t, o.Engine, "", o.Project)
	if err != nil {
		return fault.As(fault.Refused, err)
	}
	l, err := t.Ledger(ctx, o.Project)
	if err != nil {
		return fault.As(fault.Refused, err)
	}
	newest, _ := l.LatestChange()
	st, record := o.released(ctx, t, l)
	if record != nil {
		r.Release, r.Version, r.Restores = record.Number, record.Version, record.Restores
	}
	wanted := st
	if own != nil {
		wanted = &stack.Stack{Checks: own}
		if st != nil {
			with := *st
			with.Checks = own
			wanted = &with
		}
	}
	if wanted != nil && len(wanted.Order) == 0 {
		wanted = &stack.Stack{Checks: wanted.Checks}
	}
	o.recall(st, wanted)
	checks, err := o.Settings.resolve(wanted)
	if err != nil {
		return err
	}
	r.Report = perform(ctx, t, newScene(t, on, o.Settings, st, record), checks, o.Settings)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return r.beside(ctx, t, l, newest, Verdict(r.Report, o.FailOn))
}

// released gives what the ledger says should run; nils where nothing was released.
func (o *Options) released(ctx context.Context, t *target.Target, l *release.Ledger) (*stack.Stack, *release.Record) {
	record, any := l.LatestVerified()
	if !any {
		return nil, nil
	}
	st, err := l.Stack(ctx, record.Number)
	if err != nil {
		// The record alone still says which units should run.
		t.Say(event.Warning, phase, "", "published ports and jobs are not known: %v", err)
		return nil, &record
	}
	return st, &record
}

// composeNames are where Compose looks for its file.
var composeNames = []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}

// compose reads the project's name, unless it is given, and the checks out of the
// Compose files. As in Compose the last file that says something has its way.
func (o *Options) compose() (*stack.Checks, error) {
	root, err := os.OpenRoot(o.Workspace)
	if err != nil {
		return nil, fault.New(fault.Input, "compose-file", "", "the workspace cannot be read: %w", err)
	}
	defer root.Close()
	names, named := o.ComposeFiles, true
	if len(names) == 0 {
		names, named = composeNames, false
	}
	var found *stack.Checks
	read, project := false, ""
	for _, name := range names {
		content, err := root.ReadFile(filepath.Clean(name))
		if errors.Is(err, fs.ErrNotExist) && !named {
			continue
		}
		if err != nil {
			return nil, fault.New(fault.Input, "compose-file", "name a Compose file in the workspace, relative to it", "cannot read %s: %w", name, err)
		}
		checks, called, err := o.read(name, content)
		if err != nil {
			return nil, err
		}
		if checks != nil {
			found = checks
		}
		project = cmp.Or(called, project)
		read = true
		if !named {
			break
		}
	}
	if read && o.Project == "" {
		o.Project = cmp.Or(project, o.folder())
	}
	return found, nil
}

// folder is the name that Compose gives a project whose files name none.
func (o *Options) folder() string {
	if o.Folder != "" {
		return loader.NormalizeProjectName(o.Folder)
	}
	return loader.NormalizeProjectName(filepath.Base(o.Workspace))
}

// read takes the checks and the project's name out of one Compose file. What a
// variable in the name was when the stack was deployed is not known here.
func (o *Options) read(file string, content []byte) (checks *stack.Checks, project string, err error) {
	doc, err := strict.Parse(file, content)
	if err != nil {
		return nil, "", err
	}
	for _, entry := range strict.Pairs(doc) {
		if entry.Key.Value != "name" || o.Project != "" {
			continue
		}
		if strings.Contains(entry.Value.Value, "$") {
			return nil, "", fault.New(fault.Input, fmt.Sprintf("%s:%d", file, entry.Key.Line), "give the input project",
				"the project's name has a variable: %s", entry.Value.Value)
		}
		project = loader.NormalizeProjectName(entry.Value.Value)
	}
	checks, err = extension.FindChecks(file, content)
	return checks, project, err
}
