// Package target is the host that a verb acts on: the one connection to it and
// all that speaks through it (commands, files, the Docker API), the project's
// folder there, and its lock. It decides nothing, and does not know what the stack
// runs on: what needs that gets it as an argument.
package target

import (
	"context"
	"fmt"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/shiksha/actions/pkg/content"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/gateway"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// Target is an open connection to a host with everything that speaks through it.
type Target struct {
	Host   *host.Host
	Files  *host.Files
	Engine *engine.Engine
	// StateDir is the folder on the host for the state of all projects.
	StateDir string
	Sink     event.Sink
	// Vault is how to log in where copies of backups go, but for the address.
	Vault host.Config

	mu     sync.Mutex
	others []*host.Host     // connections to other nodes of a Swarm
	nodes  map[string]*Node // those nodes, by address
	// dialing has who connects to a node, by address.
	dialing map[string]chan struct{}
	// everywhere is set where the input said which folder StateDir is.
	everywhere bool
}

// Open connects and finds the state folder; one that is not empty is taken as it
// is. An error that has no kind of its own is a refusal: nothing was changed.
func Open(ctx context.Context, config host.Config, stateDir string, sink event.Sink) (*Target, error) {
	h, err := host.Dial(ctx, config)
	if err != nil {
		return nil, fault.Early(ctx, err)
	}
	t := &Target{Host: h, Sink: sink, StateDir: stateDir, everywhere: stateDir != ""}
	if err := t.prepare(ctx); err != nil {
		_ = h.Close()
		return nil, fault.Early(ctx, err)
	}
	return t, nil
}

func (t *Target) prepare(ctx context.Context) error {
	var err error
	if t.Files, err = t.Host.Files(ctx); err != nil {
		return err
	}
	if t.StateDir == "" {
		if t.StateDir, err = findStateDir(ctx, t.Host); err != nil {
			return err
		}
	}
	api, err := t.Host.Docker(ctx)
	if err != nil {
		return err
	}
	t.Engine, err = engine.New(api, t.Sink)
	return err
}

// Close ends the connection; what it could still complain about changes nothing.
func (t *Target) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, h := range t.others {
		_ = h.Close()
	}
	_ = t.Host.Close()
}

// findScript says where state belongs, $1 being the system's folder, and $2 the file by which a
// project's folder is known to have releases. Words for any POSIX shell.
const findScript = `
chain_file=$2
own="${XDG_STATE_HOME:-$HOME/.local/state}/shiksha"
released() { for chain in "$1"/*/"$chain_file"; do [ ! -e "$chain" ] || return 0; done; return 1; }
if [ "$(id -u)" = 0 ]; then echo "$1"
elif [ ! -w "$1" ]; then echo "$own"
elif ! released "$1" && released "$own"; then echo "$own"
else echo "$1"; fi
`

// findStateDir follows the convention for state: the system's folder where the user may write
// it, else the user's own. One that was made later takes nothing from what was released with the other.
func findStateDir(ctx context.Context, h *host.Host) (string, error) {
	out, err := h.Run(ctx, []string{"sh", "-c", findScript, "shiksha-state", release.DefaultStateDir, release.ChainFile}, nil)
	if err != nil {
		return "", fmt.Errorf("find the state folder: %w", err)
	}
	return stateDir(out)
}

// stateDir reads what findScript has answered. A shell that prints something has said that before.
func stateDir(out host.Output) (string, error) {
	dir := strings.TrimSpace(string(out.Stdout))
	if out.Exit != 0 || !path.IsAbs(dir) || strings.Contains(dir, "\n") {
		said, _, _ := strings.Cut(strings.TrimSpace(dir+"\n"+string(out.Stderr)), "\n")
		return "", fault.New(fault.Refused, "state-dir", fault.Shell+"; where it does, name a folder on the host with the input state-dir",
			"the host does not say where state belongs, it answered %q", said)
	}
	return dir, nil
}

// Root is a project's folder in the state folder.
func (t *Target) Root(project string) string { return path.Join(t.StateDir, project) }

// Store keeps a project's files on the host.
func (t *Target) Store(project string) *content.Store { return content.New(t.Files, t.Root(project)) }

// Ledger reads a project's ledger for who acts by it; a damaged one is told as a warning. One
// that a newer version of shiksha went on with is refused.
func (t *Target) Ledger(ctx context.Context, project string) (*release.Ledger, error) {
	l, err := t.AnyLedger(ctx, project)
	if err == nil {
		err = l.Newer()
	}
	if err != nil {
		return nil, err
	}
	return l, nil
}

// AnyLedger is Ledger for who only looks, or says how far it can be trusted: a newer one is not refused.
func (t *Target) AnyLedger(ctx context.Context, project string) (*release.Ledger, error) {
	l, err := release.Open(ctx, t.Files, t.StateDir, project)
	if err != nil {
		return nil, err
	}
	if l.Newer() != nil {
		return l, nil // what of it is damaged, only a newer version can tell
	}
	for _, damage := range l.Damage() {
		t.Say(event.Warning, "preflight", "", "the ledger is damaged: %s", damage)
	}
	return l, nil
}

// Nginx is the gateway that a unit is.
func (t *Target) Nginx(on Where, u stack.Unit, opts ...gateway.Option) *gateway.Nginx {
	return gateway.New(t.Steady(on), u, t.Sink, opts...)
}

// Reachable tries a TCP connection from the host to an address.
func (t *Target) Reachable(ctx context.Context, addr string) error {
	c, err := t.Host.DialTCP(ctx, addr)
	if err != nil {
		return err
	}
	return c.Close()
}

// Say tells what happens.
func (t *Target) Say(level event.Level, phase, service, format string, args ...any) {
	t.Sink.Emit(event.Event{Time: time.Now(), Level: level, Phase: phase, Service: service, Text: fmt.Sprintf(format, args...)})
}

// Step tells on request which act begins, as rollouts do.
func (t *Target) Step(name string) { t.Say(event.Debug, "release", "", "step: %s", name) }
