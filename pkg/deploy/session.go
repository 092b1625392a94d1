package deploy

import (
	"context"
	"fmt"
	"path"
	"strings"

	"github.com/shiksha/actions/pkg/content"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
)

// session is the one connection to a host with everything that speaks through it.
type session struct {
	host     *host.Host
	files    *host.Files
	engine   *engine.Engine
	stateDir string
	sink     event.Sink
}

// open connects and finds the state folder.
func open(ctx context.Context, o Options, sink event.Sink) (*session, error) {
	h, err := host.Dial(ctx, o.Host)
	if err != nil {
		return nil, err
	}
	s := &session{host: h, sink: sink, stateDir: o.StateDir}
	if err := s.prepare(ctx); err != nil {
		_ = h.Close()
		return nil, err
	}
	return s, nil
}

func (s *session) prepare(ctx context.Context) error {
	var err error
	if s.files, err = s.host.Files(ctx); err != nil {
		return err
	}
	if s.stateDir == "" {
		if s.stateDir, err = findStateDir(ctx, s.host); err != nil {
			return err
		}
	}
	api, err := s.host.Docker(ctx)
	if err != nil {
		return err
	}
	s.engine, err = engine.New(api, s.sink)
	return err
}

// close ends the connection; what it could still complain about changes nothing.
func (s *session) close() { _ = s.host.Close() }

// findStateDir follows the convention for state: the system's folder where the
// user may write it, else the user's own.
func findStateDir(ctx context.Context, h *host.Host) (string, error) {
	const script = `if [ -w /var/lib/shiksha ] || [ "$(id -u)" = 0 ]; then echo /var/lib/shiksha; else echo "${XDG_STATE_HOME:-$HOME/.local/state}/shiksha"; fi`
	out, err := h.Run(ctx, []string{"sh", "-c", script}, nil)
	if err != nil {
		return "", fmt.Errorf("find the state folder: %w", err)
	}
	dir := strings.TrimSpace(string(out.Stdout))
	if out.Exit != 0 || !path.IsAbs(dir) {
		return "", fault.New(fault.Refused, "state-dir", "name a folder on the host with the input state-dir",
			"the host does not say where state belongs: %s", strings.TrimSpace(string(out.Stderr)))
	}
	return dir, nil
}

// root is the project's folder in the state folder.
func (s *session) root(project string) string { return path.Join(s.stateDir, project) }

func (s *session) store(project string) *content.Store {
	return content.New(s.files, s.root(project))
}

// acquire takes the project's lock on the host.
func (s *session) acquire(ctx context.Context, o Options, project string) (*release.Lock, error) {
	dir, err := release.Dir(s.stateDir, project)
	if err != nil {
		return nil, err
	}
	if err := s.files.MkdirAll(ctx, dir, 0o700); err != nil {
		if host.IsConnectionLost(err) {
			return nil, err
		}
		return nil, fault.New(fault.Refused, "state-dir", "name a folder that the user of the release may write on the host, or make it: "+
			"install -d -m 700 -o USER "+s.stateDir, "the folder for releases and the lock cannot be made: %w", err)
	}
	holder := release.Holder{RunURL: o.Run.URL, Actor: o.Run.Actor}
	lock, err := release.Acquire(ctx, s.start, s.files, dir, holder, release.Options{
		Wait:    o.LockWait,
		Waiting: func(h release.Holder) { s.say(event.Info, "lock", "", "waiting for %s", h) },
	})
	if err != nil {
		return nil, err
	}
	// After a reconnect nothing goes on before the lock is ours again.
	s.host.OnReconnect(lock.Regain)
	return lock, nil
}

// start hands the lock a process on the host.
func (s *session) start(ctx context.Context, argv []string) (release.Process, error) {
	p, err := s.host.Start(ctx, argv)
	if err != nil {
		return release.Process{}, err
	}
	return release.Process{Stdin: p.Stdin, Stdout: p.Stdout, Wait: p.Wait, Close: p.Close}, nil
}
