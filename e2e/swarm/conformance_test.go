// Package swarm holds what is true of a stack on a Docker Swarm: that it behaves as on
// a single host, and what happens to a release when a node or the manager fails.
package swarm

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/swarmlab"
	"github.com/shiksha/actions/pkg/probe"
)

func TestMain(m *testing.M) { lab.Main(m) }

// subject is what the list of behaviours is run against.
type subject struct {
	*lab.Fixture
	engine string
	// units lists what runs, by names that a release changes; all of the platform's
	// objects are in it, so that a silent dry run leaves it as it is.
	units func(t *testing.T) []string
	// more adds a unit of the API by hand.
	more func(t *testing.T) error
}

// in is the same subject for a part of its test.
func (s subject) in(t *testing.T) subject {
	s.Fixture = s.In(t)
	return s
}

// release deploys a version and fails the test unless it ends with the wanted code.
func (s subject) release(version string, want int, more ...string) lab.Result {
	return s.Deploy(version, want, append([]string{"--engine", s.engine}, more...)...)
}

// behaviours are what users may rely on, whatever a stack runs on. They are run in
// this order, on one stack; the long ones by `make e2e-swarm` only.
var behaviours = []struct {
	name string
	run  func(t *testing.T, s subject)
	long bool
}{
	{"bad input changes nothing", badInput, false},
	{"a dry run of a first release is silent", dryFirst, false},
	{"services come up in the order of depends_on", first, false},
	{"the same again changes nothing", again, false},
	{"a dry run says what would change, and is silent", dryRun, false},
	{"a release loses no request", rolled, false},
	{"verify looks at what runs", verify, false},
	{"what was changed by hand is not undone in silence", drift, true},
	{"a bad release and one whose last service fails go back and lose no request", failed, true},
	{"status and history say what happened", past, true},
	{"an older release comes back", rollback, true},
	{"a service that left the file is removed when asked", orphan, true},
}

// whole tells whether the long stories are run as well.
func whole() bool { return os.Getenv("SHIKSHA_E2E_SWARM") != "" }

// The same file, unchanged, behaves the same on one host and on a Swarm of two nodes.
func TestConformance(t *testing.T) {
	f := lab.New(t)
	swarm := swarmlab.Shared(t, f)
	_, err := swarm.Manager.Docker(t.Context(), "node", "update", "--label-add", "quickstart.data=true", swarm.Manager.ID)
	require.NoError(t, err)
	for _, r := range []lab.Release{{Version: "c1"}, {Version: "c2"}, {Version: "bad", Behaviour: "never-healthy"}} {
		f.MustPublish(r)
	}
	t.Logf("endpoint mode run: %s", map[bool]string{true: "vip", false: "dnsrr"}[swarmlab.HasIPVS()])
	subjects := []subject{
		{Fixture: f, engine: "compose", units: func(t *testing.T) []string { return containers(t, f) },
			more: func(t *testing.T) error { return double(t, f) }},
		{Fixture: swarm.On(t, f), engine: "swarm", units: func(t *testing.T) []string { return tasks(t, swarm, f.Project) },
			more: func(t *testing.T) error {
				_, err := swarm.Manager.Docker(t.Context(), "service", "scale", f.Project+"_api=4")
				return err
			}},
	}
	if !whole() {
		subjects = subjects[1:] // one host has its own tests, which are always run
	}
	for _, s := range subjects {
		t.Run(s.engine, func(t *testing.T) {
			for _, b := range behaviours {
				if b.long && !whole() {
					continue
				}
				began := time.Now()
				if !t.Run(b.name, func(t *testing.T) { b.run(t, s.in(t)) }) {
					return
				}
				t.Logf("%5.1fs  %s", time.Since(began).Seconds(), b.name)
			}
		})
	}
}

// double makes another unit like the first of the API's, by hand.
func double(t *testing.T, f *lab.Fixture) error {
	first := f.MustUnits()["api"][0]
	const flags = `{{range $k, $v := .Config.Labels}}--label={{$k}}={{$v}}|{{end}}{{range .Config.Env}}--env={{.}}|{{end}}{{.Config.Image}}`
	like, err := f.Docker(t.Context(), "inspect", "--format", flags, first)
	if err != nil {
		return err
	}
	args := []string{"run", "--detach", "--network", f.Project + "_data"}
	id, err := f.Docker(t.Context(), append(args, strings.Split(like, "|")...)...)
	if err != nil {
		return err
	}
	_, err = f.Docker(t.Context(), "network", "connect", f.Project+"_edge", id)
	return err
}

// containers are a single host's units, networks and volumes.
func containers(t *testing.T, f *lab.Fixture) (out []string) {
	for _, args := range [][]string{{"ps", "--all", "--quiet"}, {"network", "ls", "--quiet"}, {"volume", "ls", "--quiet"}} {
		text, err := f.Docker(t.Context(), append(args, "--filter", "label=com.docker.compose.project="+f.Project)...)
		require.NoError(t, err)
		out = append(out, strings.Fields(text)...)
	}
	return out
}

// tasks are a Swarm's tasks that are to run, services, networks, configs and secrets.
func tasks(t *testing.T, s *swarmlab.Swarm, project string) (out []string) {
	label := "label=com.docker.stack.namespace=" + project
	services, err := s.Manager.Docker(t.Context(), "service", "ls", "--quiet", "--filter", label)
	require.NoError(t, err)
	out = strings.Fields(services)
	if len(out) > 0 {
		text, err := s.Manager.Docker(t.Context(), append([]string{"service", "ps", "--quiet", "--filter", "desired-state=running"}, out...)...)
		require.NoError(t, err)
		out = append(out, strings.Fields(text)...)
	}
	for _, kind := range []string{"network", "config", "secret"} {
		text, err := s.Manager.Docker(t.Context(), kind, "ls", "--quiet", "--filter", label)
		require.NoError(t, err)
		out = append(out, strings.Fields(text)...)
	}
	return out
}

func badInput(t *testing.T, s subject) {
	result := s.Shiksha("deploy", "--engine", s.engine, "--version", "c1", "--services", "apo")
	assert.Equal(t, 3, result.Exit, result.Stderr)
	assert.Contains(t, result.Stderr, `no service "apo"`)
	result = s.Shiksha("deploy", "--engine", "nomad", "--version", "c1")
	assert.Equal(t, 3, result.Exit, result.Stderr)
	assert.Contains(t, result.Stderr, "none of auto, compose, swarm")
	missing := s.release("none", 3)
	assert.Contains(t, missing.Stderr, "does not exist")
	assert.Empty(t, s.units(t))
}

func dryFirst(t *testing.T, s subject) {
	result := s.release("c1", 0, "--dry-run")
	assert.Regexp(t, `api +create 3 +not running yet`, result.Stdout)
	assert.Empty(t, s.units(t))
	assert.Contains(t, s.Shiksha("history").Stdout, "nothing")
}

// first brings the stack up; each service waits for what it depends on.
func first(t *testing.T, s subject) {
	result := s.release("c1", 0)
	assert.Equal(t, "c1", lab.Serving(t.Context(), s.URL()))
	var at []int
	for _, service := range []string{"postgres: ", "api: ", "nginx: "} {
		_, rolled, _ := strings.Cut(result.Stderr+result.Stdout, "\nroll\n")
		at = append(at, strings.Index(rolled, "  "+service))
	}
	assert.IsIncreasing(t, at, result.Stderr+result.Stdout)
}

func again(t *testing.T, s subject) {
	before := s.units(t)
	result := s.release("c1", 0)
	assert.Contains(t, result.Stdout, "nothing to change, release 1 (c1) serves")
	other := s.Shiksha("deploy", "--version", "c1", "--engine", map[string]string{"compose": "swarm", "swarm": "compose"}[s.engine])
	assert.Equal(t, 2, other.Exit, "a second copy on the other engine is refused: %s", other.Stderr)
	assert.ElementsMatch(t, before, s.units(t))
}

func dryRun(t *testing.T, s subject) {
	before := s.units(t)
	result := s.release("c2", 0, "--dry-run")
	assert.Regexp(t, `api +surge 3 +image .*quickstart/api:c1 -> :c2`, result.Stdout)
	assert.Regexp(t, `no interruption: new units first, then nginx is switched`, result.Stdout)
	assert.Regexp(t, `postgres +unchanged`, result.Stdout)
	assert.ElementsMatch(t, before, s.units(t))
	assert.Equal(t, "c1", lab.Serving(t.Context(), s.URL()))
}

// lossless runs acts under load and asserts that nothing was lost meanwhile.
func (s subject) lossless(t *testing.T, acts func()) {
	t.Helper()
	load := s.Load()
	load.Mark(probe.During)
	acts()
	report, err := load.Stop(t.Context())
	require.NoError(t, err)
	t.Logf("%d requests, %d failed; %d orders, %d lost, %d doubled", report.Requests, report.Failed, report.PostsSent, report.PostsLost, report.PostsDoubled)
	assert.Zero(t, report.Failed, "%v %v", report.Failures, report.Samples)
	assert.Zero(t, report.PostsLost)
	assert.Greater(t, report.Requests, 1000)
}

func rolled(t *testing.T, s subject) {
	s.lossless(t, func() { s.release("c2", 0) })
	assert.Equal(t, "c2", lab.Serving(t.Context(), s.URL()))
}

// failed releases one that never becomes healthy, and one whose API is good and whose
// worker fails: the whole stack goes back.
func failed(t *testing.T, s subject) {
	s.lossless(t, func() { s.fail(t) })
	assert.Equal(t, "c2", lab.Serving(t.Context(), s.URL()))
	assert.Contains(t, s.release("c2", 0).Stdout, "nothing to change")
}

func (s subject) fail(t *testing.T) {
	bad := s.release("bad", 1)
	assert.Contains(t, bad.Stderr, "c2 serves again")
	s.write(t, "broken.yaml", "services: {worker: {command: [nonsense]}}\n")
	broken := s.release("c1", 1, "--compose-file", "compose.yaml,broken.yaml")
	assert.Contains(t, broken.Stderr, "worker: ")
	assert.Contains(t, broken.Stderr, "c2 serves again")
}

func (s subject) write(t *testing.T, name, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644))
}

func past(t *testing.T, s subject) {
	var status struct {
		Release  struct{ Version string }
		Services []struct {
			Service, State  string
			Wanted, Serving int
		}
	}
	result := s.Shiksha("status", "--json")
	require.Zero(t, result.Exit, result.Stderr)
	require.NoError(t, json.Unmarshal([]byte(result.Stdout), &status))
	assert.Equal(t, "c2", status.Release.Version)
	got := map[string]string{}
	for _, svc := range status.Services {
		got[svc.Service] = fmt.Sprintf("%d/%d %s", svc.Serving, svc.Wanted, svc.State)
	}
	assert.Equal(t, map[string]string{"api": "3/3 ok", "nginx": "1/1 ok", "postgres": "1/1 ok", "worker": "1/1 ok"}, got)
	assert.Equal(t, []string{"failed c1", "failed bad", "verified c2", "verified c2", "verified c1"}, outcomes(t, s))
}

// outcomes are what history tells, the newest release first.
func outcomes(t *testing.T, s subject) (out []string) {
	t.Helper()
	var told struct {
		Releases []struct{ Version, Outcome string }
	}
	result := s.Shiksha("history", "--json")
	require.Zero(t, result.Exit, result.Stderr)
	require.NoError(t, json.Unmarshal([]byte(result.Stdout), &told))
	for _, r := range told.Releases {
		out = append(out, r.Outcome+" "+r.Version)
	}
	return out
}

func verify(t *testing.T, s subject) {
	s.write(t, "checks.yml", "checks:\n- {name: units, containers: {}}\n- {name: inside, exec: {service: postgres, command: [pg_isready, -h, 127.0.0.1]}}\n"+
		"- {name: users, http: {path: /, expect: {json: {version: c2}}}}\n- {name: logs, logs: {services: [api], since: 10m, forbid: [\"^panic:\"]}}\n")
	result := s.Shiksha("verify", "--engine", s.engine, "--checks", "checks.yml", "--url", s.URL(), "--stability-window", "1s")
	assert.Equal(t, 0, result.Exit, result.Stdout+result.Stderr)
}

// drift makes the service larger by hand.
func drift(t *testing.T, s subject) {
	require.NoError(t, s.more(t))
	result := s.release("c1", 2)
	assert.Contains(t, result.Stderr, "changed on the host by hand")
	assert.Equal(t, "c2", lab.Serving(t.Context(), s.URL()))
	s.release("c2", 0, "--adopt")
	assert.Contains(t, s.release("c2", 0).Stdout, "nothing to change")
}

func rollback(t *testing.T, s subject) {
	result := s.Shiksha("rollback", "--engine", s.engine, "--version", "c1", "--reason", "a test")
	require.Equal(t, 0, result.Exit, result.Stdout+result.Stderr)
	assert.Equal(t, "c1", lab.Serving(t.Context(), s.URL()))
	assert.Equal(t, "verified c1", outcomes(t, s)[0])
}

func orphan(t *testing.T, s subject) {
	text, err := os.ReadFile(filepath.Join(s.Dir, "compose.yaml"))
	require.NoError(t, err)
	from, to := strings.Index(string(text), "  # stop-first: there"), strings.Index(string(text), "  # Unchanged in every")
	require.True(t, 0 < from && from < to)
	s.write(t, "less.yaml", string(text[:from])+string(text[to:]))
	kept := s.release("c1", 0, "--compose-file", "less.yaml", "--dry-run")
	assert.Regexp(t, `worker +keep +not in the Compose file any more`, kept.Stdout)
	s.release("c1", 0, "--compose-file", "less.yaml", "--remove-orphans")
	status := s.Shiksha("status")
	assert.NotContains(t, status.Stdout, "worker")
	assert.Equal(t, "c1", lab.Serving(t.Context(), s.URL()))
}
