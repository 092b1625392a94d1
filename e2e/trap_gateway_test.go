package e2e

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// Two services behind one gateway. While one of them rolls, one unit at a time,
// its override names the whole serving set at every moment, what is pinned for the
// other stays, and no request to either is lost.
func TestTrap_TwoServicesBehindOneGateway(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	trapEdit(t, f, "compose.yaml", "parallelism: 3", "parallelism: 1", "\nnetworks:\n", "\n  admin: { <<: *app, deploy: { replicas: 2, update_config: { monitor: 0s } } }\nnetworks:\n")
	trapEdit(t, f, "gate.conf",
		"  server {\n", "  upstream admin { server admin:8000 max_fails=0; keepalive 16; }\n  server {\n",
		"location / {", "location /admin { proxy_pass http://admin; proxy_http_version 1.1; proxy_set_header Connection \"\"; }\n    location / {")
	f.Deploy("v1", 0)
	before := f.MustUnits()
	gate := before["gate"][0]
	// As an interrupted release of admin leaves it.
	admin := trapAddresses(t, f, gate, "admin")
	require.Len(t, admin, 2)
	for _, addr := range admin {
		trapDocker(t, f, "exec", gate, "sh", "-c", fmt.Sprintf("echo '%s admin # shiksha:admin' >> /etc/hosts", addr))
	}

	load := trapProbe(t, f, "/", "/admin")
	look := trapWatchPins(t, f, gate, "app", "admin")
	f.Deploy("v2", 0, "--services", "app")
	sets := look()
	report := load.Stop()

	trapLossless(t, report)
	assert.GreaterOrEqual(t, len(sets["app"]), 4, "a set of its own for each batch, and none at the end: %v", sets["app"])
	for _, set := range sets["app"] {
		assert.Contains(t, []int{0, 3}, len(set), "addresses of app: %v", sets["app"])
	}
	slices.Sort(admin)
	assert.Equal(t, [][]string{admin}, sets["admin"], "what was pinned for the other service")
	after := f.MustUnits()
	assert.Equal(t, before["admin"], after["admin"])
	assert.Equal(t, before["gate"], after["gate"])
	assert.Len(t, after["app"], 3)

	f.Deploy("v2", 0)
	addrs, whole := trapPins(trapHostsPath(t, f, gate), "admin")
	assert.True(t, whole)
	assert.Empty(t, addrs, "a whole release takes the other's pins out as well")
}

// trapWatchPins watches the pins of services in a gateway; the function it gives
// ends that and gives the different sets of addresses, in order.
func trapWatchPins(t *testing.T, f *lab.Fixture, gate string, services ...string) (stop func() map[string][][]string) {
	t.Helper()
	path := trapHostsPath(t, f, gate)
	sets := map[string][][]string{}
	halt, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			for _, service := range services {
				addrs, whole := trapPins(path, service)
				slices.Sort(addrs)
				seen := sets[service]
				if whole && (len(seen) == 0 || !slices.Equal(seen[len(seen)-1], addrs)) {
					sets[service] = append(seen, addrs)
				}
			}
			select {
			case <-halt:
				return
			case <-time.After(2 * time.Millisecond):
			}
		}
	}()
	return func() map[string][][]string {
		close(halt)
		<-ended
		return sets
	}
}

// Somebody else reloads the gateway while the new units are up and not healthy
// yet. Docker's DNS names them already; the pinned set keeps them out.
func TestTrap_ReloadBySomebodyElseAdmitsNoUngatedUnit(t *testing.T) {
	f := trapQuick(t, lab.Release{Version: "reload-1"}, lab.Release{Version: "reload-2", WarmUp: "10s"})
	f.Deploy("reload-1", 0)
	gate, database := f.MustUnits()["nginx"][0], f.MustUnits()["postgres"][0]

	load := f.Load()
	run := trapDeploy(t, f, "reload-2")
	run.await(t, "api: step: gate")
	require.Greater(t, len(trapAddresses(t, f, database, "api")), 3, "the new units are in Docker's DNS")
	require.Len(t, trapAddresses(t, f, gate, "api"), 3, "and the gateway does not find them")
	load.Mark("ungated")
	trapDocker(t, f, "exec", gate, "nginx", "-s", "reload")
	run.await(t, " is healthy")
	load.Mark("gated")
	run.exit(t, 0)
	report, err := load.Stop(t.Context())
	require.NoError(t, err)

	assert.Zero(t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Zero(t, report.PostsLost+report.PostsDoubled)
	ungated := report.Phases["ungated"].Releases
	assert.Greater(t, ungated["reload-1"], 50, "requests between the foreign reload and the gate: %v", ungated)
	// A slow request that was due then may have been answered later, by the new ones.
	assert.LessOrEqual(t, ungated["reload-2"], 0, "answers of units that had not passed the gate")
	assert.Equal(t, "reload-2", lab.Serving(t.Context(), f.URL()))
}

// Somebody else restarts the gateway between the switch and the retirement, which
// clears the override. The release moves traffic again before it retires anything;
// nothing is lost but what the restart itself breaks.
func TestTrap_RestartBySomebodyElseIsOnlyItsOwnCost(t *testing.T) {
	f := trapQuick(t, lab.Release{Version: "restart-1"}, lab.Release{Version: "restart-2"})
	f.Deploy("restart-1", 0)
	gate := f.MustUnits()["nginx"]

	load := f.Load()
	time.Sleep(3 * time.Second) // slow requests have to be under way, so that draining takes a while
	run := trapDeploy(t, f, "restart-2")
	run.await(t, "api: step: drain")
	load.Mark("restarting")
	trapDocker(t, f, "restart", "--time", "1", gate[0])
	require.Eventually(t, func() bool { return lab.Serving(t.Context(), f.URL()) != "" }, 20*time.Second, 20*time.Millisecond)
	load.Mark("restarted")
	run.exit(t, 0)
	report, err := load.Stop(t.Context())
	require.NoError(t, err)

	for name, phase := range report.Phases {
		if name == "restarted" {
			assert.Zero(t, phase.Failed, "failed after the gateway was back: %v %v", report.Failures, report.Samples)
		}
	}
	for class, n := range report.Failures {
		assert.NotRegexp(t, `^5`, class, "%d answers of a gateway that found no unit: %v", n, report.Samples)
	}
	assert.Zero(t, report.PostsLost, "orders that were acknowledged")
	assert.Equal(t, gate, f.MustUnits()["nginx"], "restarted, not replaced")
	assert.Equal(t, "restart-2", lab.Serving(t.Context(), f.URL()))
	assert.Contains(t, run.output(), "switching again")
	addrs, _ := trapPins(trapHostsPath(t, f, gate[0]), "api")
	assert.Empty(t, addrs)
}

// Addresses that nobody has any more are dangerous once Docker gives them to
// somebody else. The next deploy, even of the same version, takes them out.
func TestTrap_StaleOverrideIsHealed(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	f.Deploy("v1", 0)
	before := f.MustUnits()
	gate := before["gate"][0]
	trapDocker(t, f, "exec", gate, "sh", "-c", "echo '10.255.255.250 app # shiksha:app' >> /etc/hosts")
	events := trapWatch(t, f, "")
	load := trapProbe(t, f, "/")

	assert.Regexp(t, `app +heal +gate has addresses pinned that no unit has any more`, f.Shiksha("plan", "--version", "v1").Stdout)
	f.Deploy("v1", 0)
	trapLossless(t, load.Stop())
	addrs, whole := trapPins(trapHostsPath(t, f, gate), "app")
	assert.True(t, whole)
	assert.Empty(t, addrs)
	assert.Empty(t, events.all(), "no unit was touched")
	assert.Equal(t, before, f.MustUnits())
	assert.Contains(t, f.Deploy("v1", 0).Stdout, "nothing to change")
}

// trapEndless answers with its version, and for ever on /stream and on connections
// that are upgraded, as WebSockets are.
const trapEndless = `
use IO::Socket::INET; $| = 1; $SIG{CHLD} = "IGNORE"; $SIG{QUIT} = $SIG{TERM} = sub { exit 0 };
my $s = IO::Socket::INET->new(LocalPort => 8000, Listen => 50, ReuseAddr => 1) or die;
while (1) {
  my $c = $s->accept or next; next if fork; $SIG{QUIT} = $SIG{TERM} = "DEFAULT"; $c->autoflush(1);
  my ($ask, $up) = (scalar <$c>, 0); while (my $l = <$c>) { $up = 1 if $l =~ /^upgrade: *websocket/i; last if $l =~ /^\r?$/ }
  if ($up) { print $c "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-Release: $ENV{VERSION}\r\n\r\n"; while (1) { print $c "frame\n" or exit; sleep 1 } }
  print $c "HTTP/1.1 200 OK\r\nConnection: close\r\nX-Release: $ENV{VERSION}\r\n\r\n";
  if ($ask =~ m{/stream}) { while (1) { print $c "event\n" or exit; sleep 1 } }
  print $c "ok"; exit;
}
`

// Answers that never end and upgraded connections are ended at the end of the
// drain budget, and the release says how many.
func TestTrap_DrainBudgetEndsWhatNeverEnds(t *testing.T) {
	t.Parallel()
	f := trapMini(t)
	trapEdit(t, f, "compose.yaml",
		`exec nginx -g 'daemon off;'`, "exec perl /endless.pl",
		"target: /etc/nginx/nginx.conf }]", "target: /unused }]\n    volumes: [\"./endless.pl:/endless.pl:ro\"]",
		"port: 8000", "port: 8000\n      drain: 2s", "replicas: 3", "replicas: 2")
	trapEdit(t, f, "gate.conf", `proxy_set_header Connection ""`,
		`proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $http_connection; proxy_buffering off`)
	trapWrite(t, f, "endless.pl", trapEndless)
	f.Deploy("v1", 0)
	stream := trapHold(t, f, "GET /stream HTTP/1.1\r\nHost: gate\r\n\r\n", "HTTP/1.1 200", "event")
	socket := trapHold(t, f, "GET / HTTP/1.1\r\nHost: gate\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101", "frame")

	run := trapDeploy(t, f, "v2", "--json")
	run.await(t, "app: step: drain")
	began := time.Now()
	stream(t)
	socket(t)
	took := time.Since(began)
	run.exit(t, 0)

	assert.GreaterOrEqual(t, took, 1500*time.Millisecond, "they had their budget")
	assert.Less(t, took, 25*time.Second, "the default budget is 30 s")
	assert.Contains(t, run.output(), "2 connections outlived the drain budget of 2s and were ended")
	var report struct {
		Outcome  string
		Services []struct {
			Name string
			Cut  int
		}
	}
	last := strings.Split(run.output(), "\n")
	data := last[slices.IndexFunc(last, func(line string) bool { return strings.HasPrefix(line, "{") })]
	require.NoError(t, json.Unmarshal([]byte(data), &report))
	assert.Equal(t, "verified", report.Outcome)
	for _, service := range report.Services {
		if service.Name == "app" {
			assert.Equal(t, 2, service.Cut, "in the report")
		}
	}
	assert.Equal(t, "v2", lab.Serving(t.Context(), f.URL()))
}

// trapHold opens a connection that never ends by itself. The function it gives
// waits until somebody ended it.
func trapHold(t *testing.T, f *lab.Fixture, request, status, flow string) (ended func(*testing.T)) {
	t.Helper()
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", f.Port))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = conn.Write([]byte(request))
	require.NoError(t, err)
	lines := bufio.NewReader(conn)
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	line, err := lines.ReadString('\n')
	require.NoError(t, err)
	require.Contains(t, line, status)
	for !strings.Contains(line, flow) {
		line, err = lines.ReadString('\n')
		require.NoError(t, err)
	}
	done := make(chan error, 1)
	_ = conn.SetReadDeadline(time.Now().Add(3 * time.Minute))
	go func() {
		var err error
		for err == nil {
			_, err = lines.ReadString('\n')
		}
		done <- err
	}()
	return func(t *testing.T) {
		t.Helper()
		select {
		case <-done:
		case <-time.After(time.Minute):
			assert.Fail(t, "the connection lives on", request)
		}
	}
}
