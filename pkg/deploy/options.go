// Package deploy is the verb: it takes a stack from the workspace to a verified
// release on a host, and back to the release before when that fails.
package deploy

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/rollout"
)

// The strategies of a release.
const (
	// Rolling follows each service's update_config.
	Rolling = "rolling"
	// Replace stops everything that changes at once (for staging).
	Replace = "replace"
)

// Options is a validated request for a release. Files and paths are relative to
// Workspace; EnvFile is the content of a dotenv file.
type Options struct {
	Host         host.Config
	Workspace    string
	ComposeFiles []string
	Project      string
	EnvFile      []byte
	EnvFileName  string
	// Environment are extra variables for interpolation; nothing of the process's
	// own environment is ever read.
	Environment map[string]string
	Profiles    []string
	Version     string
	// Images gives images by service that win over the Compose file's.
	Images   map[string]string
	Registry engine.Auth
	// Services restricts the release to some services (empty: all).
	Services          []string
	Strategy          string
	DryRun            bool
	RollbackOnFailure bool
	// KeepReleases is how many releases stay restorable on the host.
	KeepReleases  int
	StateDir      string
	LockWait      time.Duration
	WaitTimeout   time.Duration
	RemoveOrphans bool
	// Probe measures the release from outside; off without a URL. More than
	// ProbeBudget failed requests roll the release back.
	Probe       probe.Config
	ProbeBudget int
	Run         Origin
	// Verify decides whether the release stays; nil accepts what the rollout's
	// own gates accepted.
	Verify func(context.Context) error
}

// Origin says who releases and from where, for the ledger and the lock.
type Origin struct {
	Commit, Actor, URL, Repository string
}

// Outcomes of a release, also its `outcome` output.
const (
	Verified   = "verified"
	Unchanged  = "unchanged"
	Planned    = "planned"
	RolledBack = "rolled-back"
)

// Result is what a release did, for reports and outputs.
type Result struct {
	Project  string `json:"project"`
	Host     string `json:"host"`
	Version  string `json:"version,omitempty"`
	Release  int    `json:"release"`
	Previous int    `json:"previous_release"`
	// Outcome is verified, unchanged, planned, rolled-back or the kind of the
	// error that ended the release.
	Outcome string `json:"outcome"`
	// Serving is the version that serves users now.
	Serving string          `json:"serving,omitempty"`
	Changed []string        `json:"changed_services"`
	Plan    *plan.Plan      `json:"plan,omitempty"`
	Rollout *rollout.Report `json:"rollout,omitempty"`
	Probe   *probe.Report   `json:"probe,omitempty"`
	Started time.Time       `json:"started"`
	Ended   time.Time       `json:"ended"`
	Message string          `json:"message,omitempty"`
}

// check refuses what can be refused without a host.
func (o Options) check() error {
	if o.Strategy != "" && o.Strategy != Rolling && o.Strategy != Replace {
		return fault.New(fault.Input, "strategy", "use rolling (the default) or replace", "%q is not a strategy", o.Strategy)
	}
	if o.StateDir != "" && !strings.HasPrefix(o.StateDir, "/") {
		return fault.New(fault.Input, "state-dir", "give the absolute path of a folder on the host", "%q is not absolute", o.StateDir)
	}
	return nil
}

// checkServices refuses names in inputs that the stack does not have.
func checkServices(input string, names, known []string) error {
	for _, n := range names {
		if !slices.Contains(known, n) {
			return fault.New(fault.Input, input, "the stack has: "+strings.Join(known, ", "), "there is no service %q in the Compose file", n)
		}
	}
	return nil
}

// title is how a release is called in sentences: "v2" or "release 7".
func title(version string, number int) string {
	if version != "" {
		return version
	}
	return fmt.Sprintf("release %d", number)
}
