package host

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/moby/moby/client"
	"golang.org/x/crypto/ssh"

	"github.com/shiksha/actions/pkg/fault"
)

// Docker gives the client of the engine's API on the host; every call gives the
// same one, with the API version settled. It reads no environment. An engine
// that is down or closed to the user is fault.Refused. It stays usable across
// reconnects and must not be closed by the caller.
func (h *Host) Docker(ctx context.Context) (*client.Client, error) {
	h.mu.Lock()
	api := h.docker
	h.mu.Unlock()
	if api != nil {
		return api, nil
	}
	api, err := h.newDocker(ctx)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.docker != nil { // somebody else was faster
		_ = api.Close()
		return h.docker, nil
	}
	h.docker = api
	return api, nil
}

func (h *Host) newDocker(ctx context.Context) (*client.Client, error) {
	api, err := h.settled(ctx, 0)
	if err != nil || !h.usesStdio() {
		return api, err
	}
	_ = api.Close()
	return h.settled(ctx, maxStdioDocker)
}

// settled makes a client, with most connections at a time (0: any number), and has
// it agree with the engine on the version of the API.
func (h *Host) settled(ctx context.Context, most int) (*client.Client, error) {
	api, err := client.New(
		// A transport of our own: the default one reads proxies from the
		// environment. Few idle connections, since over dial-stdio each is an
		// SSH session.
		client.WithHTTPClient(&http.Client{Transport: &http.Transport{
			MaxIdleConns: maxIdleDocker, MaxIdleConnsPerHost: maxIdleDocker, MaxConnsPerHost: most, IdleConnTimeout: 5 * time.Minute,
			// Not nil, or HTTP/2 is set up, which the client takes for TLS.
			TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{},
		}, CheckRedirect: client.CheckRedirect}),
		client.WithHost("unix://"+h.settings.dockerSocket),
		// Said, because the client would else guess it from the transport.
		client.WithScheme("http"),
		client.WithDialContext(func(ctx context.Context, _, _ string) (net.Conn, error) {
			conn, err := h.DialDocker(ctx)
			if err != nil {
				return nil, dialError{err}
			}
			return conn, nil
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("docker client: %w", err)
	}
	_, err = api.Ping(ctx, client.PingOptions{NegotiateAPIVersion: true})
	if err == nil {
		return api, nil
	}
	_ = api.Close()
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return nil, known
	case IsConnectionLost(err), ctx.Err() != nil:
		return nil, fmt.Errorf("docker on %s: %w", h, err)
	}
	return nil, fault.New(fault.Refused, h.String(), "look at `systemctl status docker` on the host", "the docker engine does not answer: %w", err)
}

// maxStdioDocker is how many calls may be under way where each is an SSH session:
// sshd allows 10, and the lock, the files and commands in units need some too. Calls
// beyond it wait for their turn.
const maxStdioDocker = 5

const maxIdleDocker = 4

// dialError keeps the Docker client from replacing our errors by its own words,
// which it does by looking for certain phrases in them.
type dialError struct{ error }

func (e dialError) Error() string {
	return strings.NewReplacer("connection refused", "refused", "dial unix", "unix").Replace(e.error.Error())
}
func (e dialError) Unwrap() error { return e.error }

// DialDocker opens a raw connection to the engine's socket on the host: by
// forwarding, which needs nothing there, or, where sshd forbids that, by
// `docker system dial-stdio`; which of them works is remembered.
func (h *Host) DialDocker(ctx context.Context) (net.Conn, error) {
	if h.usesStdio() {
		return h.dialStdio(ctx)
	}
	// OpenSSH answers "connect failed" whether it may not forward or there is
	// nothing to forward to, so every refusal has to be looked into.
	conn, err := h.forwardDocker(ctx)
	if refusal(err) == 0 {
		return conn, err
	}
	if err := h.examineSocket(ctx); err != nil {
		return nil, err
	}
	if err := h.tryStdio(ctx); err != nil {
		return nil, err
	}
	// An engine that was just being started is there by now.
	if conn, err = h.forwardDocker(ctx); refusal(err) == 0 {
		return conn, err
	}
	h.mu.Lock()
	h.byStdio = true
	h.mu.Unlock()
	return h.dialStdio(ctx)
}

func (h *Host) forwardDocker(ctx context.Context) (net.Conn, error) {
	payload := ssh.Marshal(struct {
		Path, Reserved string
		Number         uint32
	}{Path: h.settings.dockerSocket})
	l, channel, requests, err := h.open(ctx, "direct-streamlocal@openssh.com", payload)
	if err != nil {
		return nil, fmt.Errorf("docker on %s: %w", h, err)
	}
	go ssh.DiscardRequests(requests)
	return newConn(l, channel, &net.UnixAddr{Name: h.settings.dockerSocket, Net: "unix"}), nil
}

func (h *Host) usesStdio() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.byStdio
}

// refusal is the reason why a channel was not opened, 0 for other errors.
func refusal(err error) ssh.RejectionReason {
	var refused *ssh.OpenChannelError
	if errors.As(err, &refused) {
		return refused.Reason
	}
	return 0
}

// examineSocket finds out why the engine's socket cannot be used, if it is the
// socket's fault.
func (h *Host) examineSocket(ctx context.Context) error {
	socket, user := h.settings.dockerSocket, h.settings.target.user
	// An engine without root has its socket in a folder of its user's.
	const script = `own=/run/user/$(id -u)/docker.sock; ` +
		`test -S "$1" || { test -e "$1" && exit 4; test -S "$own" && echo "$own" && exit 6; exit 3; }; test -r "$1" && test -w "$1" || exit 5`
	out, err := h.Run(ctx, []string{"sh", "-c", script, "sh", socket}, nil)
	if err != nil {
		return fmt.Errorf("looking at the docker socket of %s: %w", h, err)
	}
	refused := func(hint, format string, args ...any) error {
		return fault.New(fault.Refused, h.String(), hint, format, args...)
	}
	switch out.Exit {
	case 3:
		return refused("install or start the engine (systemctl enable --now docker)",
			"the docker engine does not run: there is no %s", socket)
	case 6:
		return refused("install Docker Engine for the whole host (as root) and let the user use it; units of an engine without root have no address that the host reaches",
			"there is no %s, only an engine without root (%s), which is not supported", socket, strings.TrimSpace(string(out.Stdout)))
	case 4:
		return refused("stop what made it and start the engine (systemctl restart docker)", "%s is not a socket", socket)
	case 5:
		return refused(fmt.Sprintf("run `sudo usermod -aG docker %s` on the host (membership in that group is as good as root there)", user),
			"user %s may not use the docker engine: no permission for %s", user, socket)
	}
	return nil
}

// tryStdio asks the engine for a sign of life through dial-stdio.
func (h *Host) tryStdio(ctx context.Context) error {
	c, err := h.dialStdio(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	_, err = io.WriteString(c, "GET /_ping HTTP/1.1\r\nHost: docker\r\nConnection: close\r\n\r\n")
	if err == nil {
		var answer *http.Response
		if answer, err = http.ReadResponse(bufio.NewReader(c), nil); err == nil {
			_ = answer.Body.Close()
			return nil
		}
	}
	if ctx.Err() != nil {
		return fmt.Errorf("docker on %s: %w", h, context.Cause(ctx))
	}
	if IsConnectionLost(err) {
		return err
	}
	return h.explainStdio(c.words())
}

// explainStdio reads what the docker CLI said when it could not connect either.
func (h *Host) explainStdio(words string) error {
	socket := h.settings.dockerSocket
	if strings.Contains(words, "annot connect to the Docker daemon") || strings.Contains(words, "refused") {
		return fault.New(fault.Refused, h.String(), "start it: systemctl restart docker",
			"the docker engine does not run: nobody listens on %s", socket)
	}
	return fault.New(fault.Refused, h.String(),
		"start the engine (systemctl restart docker); if it runs, allow AllowStreamLocalForwarding in sshd_config or install the docker CLI",
		"the docker engine on %s does not answer, and `docker system dial-stdio` is no way either: %s", socket, words)
}

// stdioConn is a conn to `docker system dial-stdio`.
type stdioConn struct {
	*conn
	stderr *tail
}

// words waits for the command's end, shortly, and gives what it complained of.
func (c *stdioConn) words() string {
	select {
	case <-c.stderr.done:
	case <-time.After(2 * time.Second):
	}
	if text := c.stderr.String(); text != "" {
		return text
	}
	return "it ended without a word"
}

func (h *Host) dialStdio(ctx context.Context) (*stdioConn, error) {
	line, err := quote([]string{"docker", "-H", "unix://" + h.settings.dockerSocket, "system", "dial-stdio"})
	if err != nil {
		return nil, err
	}
	s, err := h.session(ctx, "exec", line)
	if err != nil {
		return nil, err
	}
	c := &stdioConn{
		conn:   newConn(s.link, s.channel, &net.UnixAddr{Name: h.settings.dockerSocket, Net: "unix"}),
		stderr: &tail{done: make(chan struct{})},
	}
	go c.stderr.drain(s.channel.Stderr())
	return c, nil
}
