// Package rollback is the doorway of the verb rollback: it declares the inputs,
// turns them into the verb's options and its result into what every release tells.
// action.yml and the tables of README.md are generated from the declarations.
package rollback

//go:generate go test -count=1 -run ^TestGenerated$ . -write

import (
	"context"
	"time"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/actions/outcome"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/probe"
	verb "github.com/shiksha/actions/pkg/rollback"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/verify"
)

// Inputs is everything a rollback can be told. The ledger on the host says the rest.
type Inputs struct {
	inputs.Connection
	inputs.Vault
	inputs.Platform

	Project string `name:"project" group:"stack" required:"" example:"shop" help:"Name of the Compose project on the host."`
	Release int    `name:"release" group:"stack" default:"0" min:"0" help:"Number of the release to bring back, as shiksha history lists it. Default: the verified release before the one that serves, leaving out those that were rolled back already."`
	Version string `name:"version" group:"stack" help:"Version to bring back instead of a number: its newest verified release."`
	Reason  string `name:"reason" group:"stack" help:"Why, in a few words. It is kept in the host's record, and history shows it."`

	RestoreDatabase string `name:"restore-database" group:"stack" placeholder:"BACKUP" help:"Bring the database back to this backup as well (shiksha backups lists them). Services that depend on it are stopped first; the replaced database is kept under a new name."`
	AcceptSchema    bool   `name:"accept-schema" group:"stack" default:"false" help:"Roll back across a migration without knowing whether the older code can read the current schema."`

	Registry string        `name:"registry" group:"stack" help:"Registry that the next two inputs log in to. Only images that the host no longer has are pulled, by digest."`
	Username string        `name:"registry-username" group:"stack" help:"User name at the registry."`
	Password inputs.Secret `name:"registry-password" group:"stack" placeholder:"@FILE" help:"Password or token at the registry."`

	DryRun      bool          `name:"dry-run" group:"rollout" default:"false" help:"Make and print the plan; change nothing."`
	StateDir    string        `name:"state-dir" group:"rollout" placeholder:"DIR" help:"Folder on the host for releases and the lock. Default: /var/lib/shiksha, or the user's own state folder where that cannot be written, or is empty and theirs is not."`
	LockWait    time.Duration `name:"lock-wait" group:"rollout" default:"10m" help:"How long to wait while another run releases this project."`
	WaitTimeout time.Duration `name:"wait-timeout" group:"rollout" default:"10m" help:"Longest time for one batch to become healthy, or for a service that others wait for to end. A service's own healthcheck usually ends sooner."`

	Verify       bool          `name:"verify" group:"checks" default:"true" negatable:"" help:"Run the checks under x-shiksha.checks of the release that comes back, else look at what its Compose file promises (a file that deploy got as checks is not kept); when one fails, the rollback is undone."`
	CheckTimeout time.Duration `name:"check-timeout" group:"checks" default:"5m" help:"Longest time for all checks. What is not over by then is unknown, and the rollback is undone."`

	SkipChecks inputs.List `name:"skip-checks" group:"checks" placeholder:"NAME,..." help:"Checks to leave out, by name."`
	URL        string      `name:"url" group:"checks" placeholder:"URL" help:"Address under which users reach the stack, for checks with only a path and for {{url}}. Default: the one that the release to go back to was made with, else the one that serves."`

	ProbeURL    string `name:"probe-url" group:"probe" placeholder:"URL" help:"Address to request during the whole rollback, to measure what users see. Default: no probe."`
	ProbeRate   int    `name:"probe-rate" group:"probe" default:"20" min:"1" max:"10000" help:"Requests a second of the probe."`
	ProbeBudget int    `name:"probe-budget" group:"probe" default:"0" min:"0" help:"How many requests of the probe may fail, but for those in an interruption that the plan announces. One more and the rollback is undone."`

	inputs.Telling
}

// Check tells what is wrong with the inputs beyond their types.
func (in *Inputs) Check(s inputs.Source) []error {
	problems := append(in.Connection.Check(s), inputs.CheckURL("probe-url", in.ProbeURL)...)
	problems = append(problems, inputs.CheckURL("url", in.URL)...)
	problems = append(problems, inputs.CheckLogin(in.Username, in.Password)...)
	problems = append(problems, in.Telling.Check()...)
	problems = append(problems, inputs.CheckStateDir(in.StateDir)...)
	return append(problems, inputs.CheckProject(in.Project)...)
}

// options gives the verb what it needs.
func (in *Inputs) options(s *door.Session) verb.Options {
	run := s.Action.Run()
	o := verb.Options{
		Host: in.Config(s.Person), Vault: in.VaultConfig(in.Config(s.Person)), Engine: in.Engine, Project: in.Project, StateDir: in.StateDir, Release: in.Release, Version: in.Version, Reason: in.Reason, URL: in.URL,
		RestoreDatabase: in.RestoreDatabase, AcceptSchema: in.AcceptSchema, LockWait: in.LockWait,
		Asked: converge.Asked{
			Registry: engine.Auth{Registry: in.Registry, Username: in.Username, Password: string(in.Password)},
			DryRun:   in.DryRun, WaitTimeout: in.WaitTimeout, ProbeBudget: in.ProbeBudget,
			Run: converge.Origin{Actor: run.Actor, URL: run.URL, Repository: run.Repository},
		},
	}
	if in.Verify {
		settings := verify.Settings{Skip: in.SkipChecks, URL: in.URL, Timeout: in.CheckTimeout, FailOn: check.Fail, Protect: s.Protect}
		o.Verify = func(st *stack.Stack) (converge.Verifier, error) {
			gate, err := verify.NewGate(st, settings)
			if err == nil {
				err = gate.Addressed()
			}
			return gate, err
		}
	}
	if in.ProbeURL != "" {
		o.Probe = probe.Config{URL: in.ProbeURL, Rate: in.ProbeRate}
	}
	return o
}

// Command is `shiksha rollback`, and the action.
type Command struct {
	Inputs
	JSON bool `name:"json" person:"" help:"Print the report as JSON on standard output."`

	Verb func(context.Context, verb.Options, event.Sink) (*converge.Result, error) `kong:"-"`
}

// Help is what `shiksha rollback --help` teaches.
func (*Command) Help() string {
	return `Brings an earlier release back as a whole: its images by digest, its Compose model, its files and its environment, as
the host keeps them. It needs no checkout, and no registry while the host has the images. It is a release of its own:
planned, gated, switched and recorded like any other, without losing a request.

    shiksha rollback --host deploy@gpu1.example.org --project shop --dry-run
    shiksha rollback --host deploy@gpu1.example.org --project shop --reason "orders are slow"
    shiksha rollback --host deploy@gpu1.example.org --project shop --version v41

The database stays as it is. When a release migrated it since, going back is refused unless the older code says that it
can read it (x-shiksha.migrate.compatible), or you decide:

    shiksha rollback --host deploy@gpu1.example.org --project shop --restore-database postgres-20260301T090000Z
    shiksha rollback --host deploy@gpu1.example.org --project shop --accept-schema

What it could go back to, and what that would need, says: shiksha history

` + door.ExitStatus
}

// Run goes back.
func (c *Command) Run(s *door.Session) error {
	do := c.Verb
	if do == nil {
		do = verb.Run
	}
	o := c.options(s)
	about := outcome.About{
		Version: o.Version, DryRun: o.DryRun, Run: o.Run, ProbeURL: o.Probe.URL, ProbeBudget: o.ProbeBudget, JSON: c.JSON,
	}
	story := outcome.Follow(s, about, &c.Telling)
	o.Began = story.Began
	result, err := do(s.Context, o, story)
	return story.Finish(result, err)
}
