package converge

import (
	"context"
	"fmt"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// The strategies of a release.
const (
	// Rolling follows each service's update_config.
	Rolling = "rolling"
	// Replace stops everything that changes at once (for staging).
	Replace = "replace"
)

// Asked is what a release and a rollback are asked alike, and hand on as it is.
type Asked struct {
	// Registry is the login for what has to be pulled.
	Registry    engine.Auth
	DryRun      bool
	WaitTimeout time.Duration
	// Probe measures the release from outside; off without a URL. More than
	// ProbeBudget failed requests roll the release back.
	Probe       probe.Config
	ProbeBudget int
	Run         Origin
	// Began, when set, hears of the release right before its first change, with
	// what is known by then. It must not block.
	Began func(*Result)
}

// Options says what a host should run from now on, and how to get there.
type Options struct {
	Asked
	Stack *stack.Stack
	// Images finds the image of every service by digest; it is told of the last verified
	// release, nil where there is none. Given are those that it was given beside the file.
	Images func(context.Context, *release.Record) (map[string]engine.Image, error)
	Given  map[string]string
	// Lock is held by the caller; nil with DryRun.
	Lock *release.Lock
	// Seen is the last release that may have changed something when the wait for the lock
	// began; nil where nobody compares.
	Seen    *release.Record
	Version string
	// Services restricts the release to some services (empty: all).
	Services []string
	Strategy string
	// Lenient makes notes of what a look over the host would refuse.
	Lenient bool
	// Untried leaves out what needs the pulled images.
	Untried bool
	// Adopt allows a release to undo what was changed on the host by hand.
	Adopt             bool
	RollbackOnFailure bool
	// KeepReleases is how many releases the host remembers, failed ones among them; with 0
	// nothing is pruned.
	KeepReleases  int
	RemoveOrphans bool
	// Back is set for a rollback.
	Back *Back
	// Verify decides whether the release stays; nil accepts what the rollout's
	// own gates accepted.
	Verify Verifier
}

// Platform is what a release asks of what the stack runs on; pkg/platform has what
// fulfils it. It is declared here so that converge and the platforms can stand beside
// each other.
type Platform interface {
	target.Sight
	// Adapt makes of a stack what it means there; one that is pinned stays so.
	Adapt(ctx context.Context, st *stack.Stack) error
	// Compare says what hashes units have that cover what runs (stack.Service.Made), completes
	// what was seen of networks and volumes, and names those that exist with another definition.
	Compare(ctx context.Context, st *stack.Stack, seen stack.Observed) (networks, volumes []string, err error)
	// Carry carries a plan for a stack out.
	Carry(ctx context.Context, p *plan.Plan, st *stack.Stack, how rollout.How) (rollout.Report, error)
	// HoldsImages tells whether images have to be on the host that we speak to.
	HoldsImages() bool
	// Prune lets go of what none of the kept releases needs.
	Prune(ctx context.Context, project string, kept func(context.Context) ([]*stack.Stack, error)) error
}

// Back says what a rollback is: the release that it undoes, the one whose stack it
// brings back, and why.
type Back struct {
	Undoes, Restores int
	Reason           string
	// Database, where it is set, brings the database back to Backup before the
	// stack is rolled. It stops what writes and names those services; undo is for a
	// release that fails afterwards, nil when there is nothing to undo.
	Database func(ctx context.Context) (stopped []string, undo func(context.Context) error, err error)
	Backup   string
	// Service is that of the database, Writers are those that may be stopped for it.
	Service string
	Writers []string
}

// Origin says who releases and from where, for the ledger and the lock.
type Origin struct {
	Commit, Actor, URL, Repository string
}

// Outcomes of a release, also its `outcome` output.
const (
	Verified  = "verified"
	Unchanged = "unchanged"
	Planned   = "planned"
)

// Result is what a release did, for reports and outputs.
type Result struct {
	Project string `json:"project"`
	Host    string `json:"host"`
	Version string `json:"version,omitempty"`
	// Commit is what the stack was made of.
	Commit   string `json:"commit,omitempty"`
	Release  int    `json:"release"`
	Previous int    `json:"previous_release"`
	// Outcome is verified, unchanged, planned or the kind of the error that ended
	// the release.
	Outcome string `json:"outcome"`
	// PreviousVersion and PreviousCommit are what the release before was made of.
	PreviousVersion string `json:"previous_version,omitempty"`
	PreviousCommit  string `json:"previous_commit,omitempty"`
	// Serving is the version that serves users now; Unsure is set where it may be another, or
	// nothing, since something of a release that did not succeed is left.
	Serving string `json:"serving,omitempty"`
	Unsure  bool   `json:"-"`
	// Changed are the services that were, or are to be, changed.
	Changed []string `json:"changed_services"`
	// Preflight is what was found before the release, nil when nobody looked.
	Preflight *check.Report   `json:"preflight,omitempty"`
	Plan      *plan.Plan      `json:"plan,omitempty"`
	Rollout   *rollout.Report `json:"rollout,omitempty"`
	// Phases are the timed parts of the release around the rollout, and what the
	// way back did.
	Phases []rollout.Span `json:"phases,omitempty"`
	Probe  *probe.Report  `json:"probe,omitempty"`
	// Checks is what verification found; nil where it was not reached.
	Checks  *check.Report `json:"checks,omitempty"`
	Started time.Time     `json:"started"`
	Ended   time.Time     `json:"ended"`
	Message string        `json:"message,omitempty"`
}

// Begin is the result of a release that has done nothing yet.
func Begin(version string) *Result { return &Result{Version: version, Started: time.Now().UTC()} }

// End completes the result with the error that the release ended with, if any,
// and gives that back.
func (r *Result) End(err error) error {
	r.Ended = time.Now().UTC()
	if err != nil {
		r.Outcome, r.Message = fault.Of(err).String(), err.Error()
	}
	return err
}

// timed marks and times a phase of the release: defer d.timed("pull")().
func (d *transition) timed(name string) func() {
	d.Step(name)
	span := rollout.Span{Name: name, Started: time.Now()}
	return func() {
		span.Ended = time.Now()
		d.result.Phases = append(d.result.Phases, span)
	}
}

// called is what a release goes by in sentences: "v2" or "release 7".
func called(version string, number int) string {
	if version != "" {
		return version
	}
	return fmt.Sprintf("release %d", number)
}
