package host

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
)

// ErrClosed is what the use of a closed Host or Process gives.
var ErrClosed = errors.New("closed by this side")

// Host is one machine, reached through one SSH connection. It is safe for
// concurrent use.
type Host struct {
	config   Config
	settings *settings
	life     context.Context
	end      context.CancelFunc

	mu       sync.Mutex
	link     *link
	attempt  *attempt
	poison   error
	hooks    []func(context.Context) error
	lostAt   time.Time
	remade   int
	byStdio  bool
	docker   *client.Client
	filesHub *Files
}

// attempt is the one redial that everybody who needs the host waits for.
type attempt struct {
	done chan struct{}
	err  error
}

// Dial checks the configuration, connects and logs in. Its errors are
// fault.Input naming the input that has to be mended ("host", "ssh-key",
// "ssh-key-passphrase", "known-hosts", "host-fingerprint", "jump-host"); a host
// that does not answer is tried three times within half a minute.
func Dial(ctx context.Context, config Config) (*Host, error) {
	s, err := config.check()
	if err != nil {
		return nil, err
	}
	l, err := s.reach(ctx)
	if err != nil {
		return nil, err
	}
	h := &Host{config: config, settings: s, link: l}
	h.filesHub = &Files{host: h}
	h.life, h.end = context.WithCancel(context.WithoutCancel(ctx))
	return h, nil
}

// Beyond connects to another host (host[:port]) through this one, as the same user
// with the same key. The same known_hosts have to pin both.
func (h *Host) Beyond(ctx context.Context, address string) (*Host, error) {
	config := h.config
	if config.Jump != "" {
		return nil, fault.New(fault.Refused, "jump-host", "reach this host without a jump host", "%s is reached through a jump host itself, and no way goes through two", h)
	}
	target := h.settings.target
	config.Address, config.Jump, config.Fingerprint = target.user+"@"+address, target.String(), ""
	return Dial(ctx, config)
}

// Close ends the connection and everything on it. It may be called twice.
func (h *Host) Close() error {
	h.end()
	h.mu.Lock()
	running := h.attempt
	h.poison = ErrClosed
	h.mu.Unlock()
	if running != nil {
		<-running.done
	}
	h.mu.Lock()
	l, docker := h.link, h.docker
	h.mu.Unlock()
	if docker != nil {
		_ = docker.Close()
	}
	if l != nil {
		l.close()
		<-l.done
	}
	return nil
}

// String gives user@host:port.
func (h *Host) String() string { return h.settings.target.String() }

// OnReconnect has check called after each reconnect, before anything else uses
// the new connection; check must pass its ctx on to what it does with the Host.
// An error of check is final: every later use of the Host gives it.
func (h *Host) OnReconnect(check func(context.Context) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hooks = append(h.hooks, check)
}

// linkKey marks the ctx of a reconnect check, which uses the new connection
// before it is everybody's.
type linkKey struct{}

// use gives the connection, made again if it was lost.
func (h *Host) use(ctx context.Context) (*link, error) {
	if l, ok := ctx.Value(linkKey{}).(*link); ok {
		if l.lost() {
			return nil, l.lostError("while it was checked")
		}
		return l, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	for {
		h.mu.Lock()
		if h.poison != nil {
			defer h.mu.Unlock()
			return nil, h.poison
		}
		if h.link != nil && !h.link.lost() {
			defer h.mu.Unlock()
			return h.link, nil
		}
		running := h.attempt
		if running == nil {
			running = h.startAttempt()
		}
		h.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("connecting to %s again: %w", h, context.Cause(ctx))
		case <-running.done:
			if running.err != nil {
				return nil, running.err
			}
		}
	}
}

// startAttempt redials for all who wait; it ends by itself, not with one of them.
func (h *Host) startAttempt() *attempt {
	a := &attempt{done: make(chan struct{})}
	h.attempt = a
	if h.lostAt.IsZero() {
		h.lostAt = time.Now()
	}
	deadline := h.lostAt.Add(h.settings.reconnectBudget)
	old := h.link
	go func() {
		if old != nil {
			old.close()
		}
		l, err := h.redial(deadline)
		h.mu.Lock()
		defer h.mu.Unlock()
		h.attempt, h.link, a.err = nil, l, err
		h.lostAt = time.Time{}
		if err != nil { // spent, even where the last pause would have gone beyond it
			h.lostAt = time.Now().Add(-h.settings.reconnectBudget)
		}
		close(a.done)
	}()
	return a
}

// redial tries until the deadline, and at least once: the budget is spent once
// for a loss, and who comes after it learns soon that the host is still away.
func (h *Host) redial(deadline time.Time) (*link, error) {
	wait := 250 * time.Millisecond
	for {
		l, err := h.redialOnce()
		var known *fault.Error
		switch {
		case err == nil:
			return l, nil
		case h.life.Err() != nil:
			return nil, ErrClosed
		case h.poisoned() != nil:
			return nil, err
		case errors.As(err, &known), time.Now().Add(wait).After(deadline):
			return nil, &lostError{text: fmt.Sprintf("connection to %s lost and not made again within %s: %s",
				h, h.settings.reconnectBudget, err)}
		}
		if grace.Pause(h.life, jitter(wait)) != nil {
			return nil, ErrClosed
		}
		wait = min(2*wait, 5*time.Second)
	}
}

func (h *Host) redialOnce() (*link, error) {
	ctx, cancel := context.WithTimeout(h.life, 2*h.settings.connectTimeout)
	l, err := h.settings.connect(ctx)
	cancel()
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	h.remade++
	hooks := h.hooks[:len(h.hooks):len(h.hooks)]
	h.mu.Unlock()
	for _, check := range hooks {
		if err := h.checked(l, check); err != nil {
			l.close()
			return nil, err
		}
	}
	return l, nil
}

// checkTimeout bounds one reconnect check: everybody else waits for it.
const checkTimeout = 30 * time.Second

// checked runs one check on the new connection. Its error is final, unless the
// new connection was lost as well.
func (h *Host) checked(l *link, check func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.WithValue(h.life, linkKey{}, l), checkTimeout)
	defer cancel()
	err := check(ctx)
	if err == nil || IsConnectionLost(err) || h.life.Err() != nil {
		return err
	}
	err = fmt.Errorf("after the connection to %s was made again: %w", h, err)
	h.mu.Lock()
	h.poison = err
	h.mu.Unlock()
	return err
}

func (h *Host) poisoned() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.poison
}
