package deploy

import (
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// Options is a validated request for a release. Files and paths are relative to
// Workspace; EnvFile is the content of a dotenv file.
type Options struct {
	converge.Asked
	Host host.Config
	// Vault is how to log in where copies of backups go, but for the address.
	Vault        host.Config
	Workspace    string
	ComposeFiles []string
	Project      string
	// Folder is what the workspace is called where its path does not tell; the
	// last resort for the project's name.
	Folder      string
	EnvFile     []byte
	EnvFileName string
	// Environment are extra variables for interpolation; nothing of the process's
	// own environment is ever read.
	Environment map[string]string
	Profiles    []string
	Version     string
	// Images gives images by service that win over the Compose file's.
	Images map[string]string
	// Unpushed are services whose images no registry has yet: a plan takes them as
	// new ones. Only a dry run can have some.
	Unpushed []string
	// Services restricts the release to some services (empty: all).
	Services []string
	Strategy string
	// Preflight says what its findings do: On (also for ""), Strict, Warn or Off.
	Preflight string
	// Engine is what the stack runs on: platform.Auto (or ""), Compose or Swarm.
	Engine string
	// Adopt allows a release to undo what was changed on the host by hand.
	Adopt             bool
	RollbackOnFailure bool
	// KeepReleases is how many releases the host remembers, failed ones among them.
	KeepReleases  int
	StateDir      string
	LockWait      time.Duration
	RemoveOrphans bool
	// Verify makes what decides whether the release stays, once the stack is known;
	// nil accepts what the rollout's own gates accepted. Its error is told before a
	// host is needed.
	Verify func(*stack.Stack) (converge.Verifier, error)
}

// check refuses what can be refused without a host.
func (o Options) check() error {
	if o.Strategy != "" && o.Strategy != converge.Rolling && o.Strategy != converge.Replace {
		return fault.New(fault.Input, "strategy", "use rolling (the default) or replace", "%q is not a strategy", o.Strategy)
	}
	return release.CheckStateDir(o.StateDir)
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
