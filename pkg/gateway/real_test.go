package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/gateway"
)

func fetch(ctx context.Context, url string, timeout time.Duration) (string, error) {
	res, err := open(ctx, url, timeout)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = errors.New(res.Status)
	}
	return string(body), err
}

func open(ctx context.Context, url string, timeout time.Duration) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	client := http.Client{Timeout: timeout, Transport: &http.Transport{DisableKeepAlives: true}}
	return client.Do(req)
}

// load sends requests at a fixed rate, whatever the answers take.
type load struct {
	wg       sync.WaitGroup
	stop     chan struct{}
	mu       sync.Mutex
	sent     int
	failures []string
	byUnit   map[string]int
}

func startLoad(ctx context.Context, url string, rate int) *load {
	l := &load{stop: make(chan struct{}), byUnit: map[string]int{}}
	ticker := time.NewTicker(time.Second / time.Duration(rate))
	l.wg.Go(func() {
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-l.stop:
				return
			case <-ticker.C:
				path := ""
				if n%rate == 0 {
					path = "slow"
				}
				l.wg.Go(func() { l.one(ctx, url+path) })
			}
		}
	})
	return l
}

func (l *load) one(ctx context.Context, url string) {
	body, err := get(ctx, url)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sent++
	l.byUnit[body]++
	if err != nil {
		l.failures = append(l.failures, err.Error())
	}
}

func (l *load) end() {
	close(l.stop)
	l.wg.Wait()
}

// TestTrafficMoves is the promise: requests at a fixed rate, a slow one every
// second among them, while three units take over from three others.
func TestTrafficMoves(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	old := l.units("old-1", "old-2", "old-3")
	g := l.start()
	ctx := t.Context()
	require.NoError(t, g.Set(ctx, "api", old))
	requests := startLoad(ctx, l.url, 100)
	fresh := l.units("new-1", "new-2", "new-3")
	slow := make(chan error, 1)
	go func() { _, err := get(ctx, l.url+"slow"); slow <- err }()

	require.NoError(t, g.Set(ctx, "api", fresh))
	gen, err := g.Reload(ctx)
	require.NoError(t, err)
	after, err := g.Fingerprint(ctx)
	require.NoError(t, err)
	left, _, err := g.Drained(ctx, gen, 30*time.Second)
	require.NoError(t, err)
	assert.Zero(t, left)
	require.NoError(t, <-slow, "a request of 2 s that began before the switch")
	again, err := g.Fingerprint(ctx)
	require.NoError(t, err)
	assert.Equal(t, after, again)
	l.remove("old-1", "old-2", "old-3")
	require.NoError(t, g.Clear(ctx, "api"))
	for range 20 {
		body, err := get(ctx, l.url)
		require.NoError(t, err)
		assert.True(t, strings.HasPrefix(body, "new-"), body)
	}
	requests.end()
	assert.Empty(t, requests.failures, "of %d", requests.sent)
	assert.Greater(t, requests.sent, 200)
	for _, unit := range []string{"old-1", "old-2", "old-3", "new-1", "new-2", "new-3"} {
		assert.NotZero(t, requests.byUnit[unit], "%s served nothing, so several lines of one name do not all count", unit)
	}
	assert.NotContains(t, l.hosts(), "shiksha")
}

// stream opens an endless answer and reports when it ends.
func (l *lab) stream() (ended <-chan struct{}) {
	l.t.Helper()
	res, err := open(l.t.Context(), l.url+"stream", 0)
	require.NoError(l.t, err)
	require.Equal(l.t, http.StatusOK, res.StatusCode)
	done := make(chan struct{})
	lines := bufio.NewScanner(res.Body)
	require.True(l.t, lines.Scan())
	go func() {
		defer close(done)
		defer res.Body.Close()
		for lines.Scan() {
		}
	}()
	return done
}

func TestDrainBudgetCutsEndlessAnswers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	old := l.units("old-1")
	g := l.start()
	ctx := t.Context()
	require.NoError(t, g.Set(ctx, "api", old))
	first, second := l.stream(), l.stream()
	require.NoError(t, g.Set(ctx, "api", l.units("new-1")))
	gen, err := g.Reload(ctx)
	require.NoError(t, err)
	later := l.stream()

	left, _, err := g.Drained(ctx, gen, time.Second)
	require.NoError(t, err)
	assert.Equal(t, gateway.Left{Cut: 2}, left)
	for _, ended := range []<-chan struct{}{first, second} {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("an answer through an old worker goes on")
		}
	}
	select {
	case <-later:
		t.Error("an answer through a new worker was cut")
	default:
	}
	var said []string
	for _, e := range l.events.Events() {
		said = append(said, e.Text)
	}
	assert.Contains(t, said, "2 client connections cut at the end of the drain budget of 1s")
	left, _, err = g.Drained(ctx, gen, time.Second)
	require.NoError(t, err)
	assert.Zero(t, left, "nobody is left")
}

func TestFingerprintSeesStrangers(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	addrs := l.units("old-1")
	g := l.start()
	ctx := t.Context()
	require.NoError(t, g.Set(ctx, "api", addrs))
	take := func() gateway.Fingerprint {
		f, err := g.Fingerprint(ctx)
		require.NoError(t, err)
		return f
	}
	start := take()
	require.Equal(t, start, take())
	pinned, err := g.Pinned(ctx)
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"api": addrs}, pinned)

	docker(t, "exec", l.unit.ID, "nginx", "-s", "reload")
	require.Eventually(t, func() bool { return take() != start }, 10*time.Second, 50*time.Millisecond)
	reloaded := take()
	assert.Equal(t, start.Override, reloaded.Override)
	assert.NotEqual(t, start.Workers, reloaded.Workers)

	docker(t, "restart", "-t", "1", l.unit.ID)
	restarted := take()
	assert.NotEqual(t, reloaded.StartedAt, restarted.StartedAt)
	assert.NotEqual(t, reloaded.Override, restarted.Override, "the engine writes /etc/hosts anew")
	pinned, err = g.Pinned(ctx)
	require.NoError(t, err)
	assert.Empty(t, pinned)

	docker(t, "stop", "-t", "1", l.unit.ID)
	_, err = g.Fingerprint(ctx)
	assert.Error(t, err, "a stopped gateway has no fingerprint")
}

// TestWhatIsKnownGrowsOld: the handle begins with what it saw last, and a restart or
// a write by somebody else in between has to be noticed all the same.
func TestWhatIsKnownGrowsOld(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	addrs := l.units("old-1")
	g := l.start()
	ctx := t.Context()
	require.NoError(t, g.Set(ctx, "api", addrs))
	docker(t, "restart", "-t", "1", l.unit.ID)
	l.answers(l.url)
	require.NotContains(t, l.hosts(), "shiksha", "the engine writes /etc/hosts anew")
	_, err := g.Reload(ctx)
	require.ErrorContains(t, err, "restarted", "a reload would load a configuration without the override")
	require.NoError(t, g.Set(ctx, "api", addrs))
	assert.Contains(t, l.hosts(), addrs[0]+" api # shiksha:api", "set again although it was set before")

	docker(t, "exec", l.unit.ID, "sh", "-c", "echo 192.0.2.9 stranger >> /etc/hosts")
	require.NoError(t, g.Set(ctx, "web", []string{"10.9.9.1"}))
	assert.Contains(t, l.hosts(), "192.0.2.9 stranger", "what somebody else wrote stays")
	gen, err := g.Reload(ctx)
	require.NoError(t, err)
	_, end, err := g.Drained(ctx, gen, 10*time.Second)
	require.NoError(t, err)
	now, err := g.Fingerprint(ctx)
	require.NoError(t, err)
	assert.Equal(t, end, now, "nobody did anything since the drain")
}

func TestServicesShareTheGateway(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.gatewayArgs = []string{"--add-host", "elsewhere:192.0.2.7"}
	addrs := l.units("old-1")
	g := l.start()
	ctx := t.Context()
	before := l.hosts()
	require.NoError(t, g.Set(ctx, "web", []string{"10.9.9.1"}))
	require.NoError(t, g.Set(ctx, "api", []string{"10.9.9.2", "10.9.9.2", "10.9.9.3"}))
	require.NoError(t, g.Set(ctx, "api", addrs))
	pinned, err := g.Pinned(ctx)
	require.NoError(t, err)
	assert.Equal(t, map[string][]string{"api": addrs, "web": {"10.9.9.1"}}, pinned)
	require.NoError(t, g.Clear(ctx, "api"))
	assert.Equal(t, before+"\n10.9.9.1 web # shiksha:web", l.hosts())
	require.NoError(t, g.Clear(ctx, "web"))
	assert.Equal(t, before, l.hosts())

	err = g.Set(ctx, "elsewhere", addrs)
	assert.Equal(t, fault.Refused, fault.Of(err), "%v", err)
	assert.Equal(t, before, l.hosts())
}

func TestBrokenConfigurationChangesNothing(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	addrs := l.units("old-1")
	g := l.start(gateway.ReloadTimeout(2 * time.Second))
	ctx := t.Context()
	before := l.hosts()
	l.write(strings.Replace(plainConfig, "listen 80;", "listen 80; nonsense on;", 1))
	err := g.Set(ctx, "api", addrs)
	require.ErrorContains(t, err, `unknown directive "nonsense"`)
	assert.Equal(t, before, l.hosts())
	_, err = g.Reload(ctx)
	require.ErrorContains(t, err, `unknown directive "nonsense"`)
	found, err := g.Classify(ctx, "api", 8000)
	require.NoError(t, err)
	assert.Equal(t, gateway.Invalid, found.Kind)

	// nginx -t takes an address in use for its own, the master cannot.
	docker(t, "run", "-d", "--name", l.prefix+"-squat", "--network", "container:"+l.unit.ID, backendImage, "squat")
	t.Cleanup(func() { l.remove("squat") })
	l.answers(strings.TrimSuffix(l.url, "/") + ":8000/")
	l.write(strings.Replace(plainConfig, "listen 80;", "listen 80; listen 8000;", 1))
	_, err = g.Reload(ctx)
	require.ErrorContains(t, err, "[emerg]")
	require.ErrorContains(t, err, "bind() to 0.0.0.0:8000 failed")
	_, err = get(ctx, l.url)
	assert.NoError(t, err, "the old configuration serves on")
}

// TestMasterIsAnotherProcess: under an init and under a shell the master is not
// the first process.
func TestMasterIsAnotherProcess(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*lab){
		"init":  func(l *lab) { l.gatewayArgs = []string{"--init"} },
		"shell": func(l *lab) { l.gatewayAction = []string{"sh", "-c", "nginx -g 'daemon off;'; exit 1"} },
		"flags": func(l *lab) {
			l.gatewayArgs = []string{"-v", l.config + ":/srv/other.conf:ro", "--cap-drop", "ALL",
				"--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "CHOWN", "--cap-add", "NET_BIND_SERVICE", "--cap-add", "DAC_OVERRIDE"}
			l.gatewayAction = []string{"nginx", "-c", "/srv/other.conf", "-g", "daemon off; worker_priority 0;"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			change(l)
			addrs := l.units("old-1")
			g := l.start()
			require.NoError(t, g.Set(t.Context(), "api", addrs))
			ended := l.stream()
			gen, err := g.Reload(t.Context())
			require.NoError(t, err)
			left, _, err := g.Drained(t.Context(), gen, 200*time.Millisecond)
			require.NoError(t, err)
			assert.Equal(t, gateway.Left{Cut: 1}, left)
			if name != "flags" { // without the capability KILL the worker stays, and that is said
				<-ended
			}
		})
	}
}

func TestClassifyRealGateways(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		change func(*lab)
		kind   gateway.Kind
	}{
		"static":    {func(*lab) {}, gateway.Static},
		"read-only": {func(l *lab) { l.gatewayArgs = []string{"--read-only", "--tmpfs", "/var/lib/nginx", "--tmpfs", "/run"} }, gateway.ReadOnly},
		"no-shell":  {func(l *lab) { l.gatewayImage, l.gatewayAction = backendImage, []string{"gw"} }, gateway.NoShell},
		"not-nginx": {func(l *lab) { l.gatewayAction = []string{"sleep", "1000"} }, gateway.NotNginx},
		"no-master": {func(l *lab) { l.gatewayAction = []string{"nginx", "-g", "daemon off; master_process off;"} }, gateway.NotNginx},
		"extra":     {func(l *lab) { l.gatewayArgs = []string{"--add-host", "api:192.0.2.7"} }, gateway.Overridden},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			c.change(l)
			addrs := l.units("old-1")
			g := l.boot()
			ctx := t.Context()
			if name == "static" {
				l.answers(l.url)
			}
			found, err := g.Classify(ctx, "api", 8000)
			require.NoError(t, err)
			assert.Equal(t, c.kind, found.Kind, "%+v", found)
			if c.kind == gateway.Static {
				assert.NoError(t, found.Err())
				return
			}
			assert.Equal(t, fault.Refused, fault.Of(found.Err()))
			assert.NotEmpty(t, fault.Hint(found.Err()))
			err = g.Set(ctx, "api", addrs)
			assert.Equal(t, fault.Refused, fault.Of(err), "%v", err)
		})
	}
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	addrs := l.units("old-1")
	g := l.start()
	require.NoError(t, g.Set(t.Context(), "api", addrs))
	l.stream()
	gen, err := g.Reload(t.Context())
	require.NoError(t, err)
	ctx, cancel := context.WithTimeoutCause(t.Context(), 500*time.Millisecond, fmt.Errorf("the run was cancelled"))
	defer cancel()
	_, _, err = g.Drained(ctx, gen, time.Minute)
	assert.ErrorContains(t, err, "the run was cancelled")
}
