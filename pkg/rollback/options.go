package rollback

import (
	"time"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// Options is a validated request to go back.
type Options struct {
	converge.Asked
	Host host.Config
	// Vault is how to log in where copies of backups are, but for the address.
	Vault   host.Config
	Project string
	// Engine is what the stack runs on: platform.Auto (or ""), Compose or Swarm.
	Engine   string
	StateDir string
	// Release (a number of the ledger) or Version says where to go; with neither
	// it is the release before the one that serves.
	Release int
	Version string
	// RestoreDatabase names a backup that the database is brought back to;
	// AcceptSchema goes back although the older code may not read today's schema, with
	// RestoreDatabase that of the other databases.
	RestoreDatabase string
	AcceptSchema    bool
	// URL is the address that users come in by. Default: that of the release to go back to,
	// else of the one that serves.
	URL string
	// Reason is kept in the record.
	Reason   string
	LockWait time.Duration
	// Verify makes what decides whether the release stays, once the stack is known;
	// nil accepts what the rollout's own gates accepted.
	Verify func(*stack.Stack) (converge.Verifier, error)
}

// check refuses what can be refused without a host.
func (o Options) check() error {
	if err := release.CheckNamed(o.Project); err != nil {
		return err
	}
	if o.Release < 0 {
		return fault.New(fault.Input, "release", "give a number that shiksha history lists", "%d is no release", o.Release)
	}
	if o.Release > 0 && o.Version != "" {
		return fault.New(fault.Input, "release", "give release or version, not both", "release %d and version %s may be two releases", o.Release, o.Version)
	}
	return release.CheckStateDir(o.StateDir)
}
