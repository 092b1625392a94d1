package converge

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeGates is a host whose units have given configurations of nginx; of one that begins with
// `locked` the /etc/hosts cannot be written, and one that is `bare` has no shell.
type fakeGates struct {
	fakeCutOff
	engine *engine.Engine
}

func (f *fakeGates) At(context.Context, string) (*target.Node, error) {
	return &target.Node{Engine: f.engine}, nil
}

const (
	locked = "locked"
	bare   = "bare"
)

func gates(t *testing.T, configs map[string]string) *fakeGates {
	t.Helper()
	const master = "7 (nginx) S 1 1 1 0 -1 4194560 1 0 0 0 4 4 0 0 20 0 1 0 100 10690560 1777\tyes\tnginx: master process nginx\n"
	answers := http.NewServeMux()
	answers.HandleFunc("POST /v1.41/containers/{unit}/exec", func(w http.ResponseWriter, r *http.Request) {
		var asked struct{ Cmd []string }
		assert.NoError(t, json.NewDecoder(r.Body).Decode(&asked))
		id := r.PathValue("unit") // the exec's id says what it is of
		if strings.Contains(asked.Cmd[2], " -T") {
			id += ".config"
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		_, _ = fmt.Fprintf(w, `{"Id":"%s"}`, id)
	})
	answers.HandleFunc("POST /v1.41/exec/{id}/start", func(w http.ResponseWriter, r *http.Request) {
		unit, _, config := strings.Cut(r.PathValue("id"), ".")
		out := "# configuration file /etc/nginx/nginx.conf:\n" + strings.TrimPrefix(configs[unit], locked) + "\n"
		if !config {
			writable := map[bool]string{true: "no", false: "yes"}[strings.HasPrefix(configs[unit], locked)]
			out = "shiksha-hosts\n127.0.0.1 localhost\n\nshiksha-writable " + writable + "\nshiksha-processes\n" + master + "shiksha-end\n"
		}
		if configs[unit] == bare {
			out = `exec: "sh": executable file not found in $PATH`
		}
		_, err := io.Copy(io.Discard, r.Body) // a connection that is closed with something unread is reset
		assert.NoError(t, err)
		conn, buffered, err := http.NewResponseController(w).Hijack()
		if !assert.NoError(t, err) {
			return
		}
		defer func() { _ = conn.Close() }()
		_, _ = buffered.WriteString("HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
		_, _ = buffered.Write(append(binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(out))), out...))
		_ = buffered.Flush()
	})
	answers.HandleFunc("GET /v1.41/exec/{id}/json", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"Running":false,"ExitCode":%d}`, map[bool]int{true: 127}[configs[r.PathValue("id")] == bare])
	})
	return &fakeGates{fakeCutOff: fakeCutOff{units: map[string][]stack.Unit{}}, engine: served(t, answers)}
}

const (
	toAPI    = "http { upstream api { server api:8080; } server { location / { proxy_pass http://api; } } }"
	byLookup = "http { resolver 127.0.0.11; server { location / { set $up api; proxy_pass http://$up:8080; } } }"
	toNobody = "http { server { location / { return 404; } } }"
)

// behind is a shop whose API is behind a gateway.
func behind(t *testing.T, gateway string) *stack.Stack {
	t.Helper()
	st := cutOffShop(t)
	st.Services["api"].Ext = stack.Extension{Gateway: gateway, Port: 8080}
	return st
}

// up are the units that run of a service.
func up(service string) []stack.Unit {
	return []stack.Unit{{ID: service, Name: "shop-" + service + "-1", Service: service, State: stack.Running}}
}

// What the gateway that runs cannot do refuses a release, with a way out, but no rollback
// that brings the gateway back first: nobody can mend a sealed stack.
func TestAGatewayThatCannotBeSwitchedAsItRuns(t *testing.T) {
	t.Parallel()
	api := plan.Step{Service: "api", Action: plan.Surge, Gateway: "nginx", Old: []string{"api"}, Replicas: 1, Batch: 1}
	replaced := plan.Step{Service: "nginx", Action: plan.StopFirst, Old: []string{"nginx"}, Replicas: 1, Batch: 1}
	reloaded := plan.Step{Service: "nginx", Action: plan.Reload, Good: []string{"nginx"}, Files: []string{"/etc/nginx/nginx.conf"}, Replicas: 1}
	unchanged := plan.Step{Service: "nginx", Action: plan.Unchanged, Good: []string{"nginx"}, Replicas: 1}
	scaled := plan.Step{Service: "nginx", Action: plan.Scale, Good: []string{"nginx"}, Replicas: 2, Batch: 1}
	const alone, other = "release nginx alone first (input services: nginx, or --services nginx)", "deploy the version to go back to"
	for name, c := range map[string]struct {
		config  string
		back    bool
		steps   []plan.Step
		refused string
	}{
		"a release with the mend, which comes after": {byLookup, false, []plan.Step{api, replaced}, alone},
		"a release without":                          {byLookup, false, []plan.Step{api, unchanged}, alone},
		"a release that adds an upstream":            {toNobody, false, []plan.Step{api, reloaded}, alone},
		"read-only, and mended":                      {locked, false, []plan.Step{api, replaced}, alone},
		"a rollback that replaces it first":          {byLookup, true, []plan.Step{replaced, api}, ""},
		"a rollback that reloads it first":           {toNobody, true, []plan.Step{reloaded, api}, ""},
		"a rollback from one that is read-only":      {locked, true, []plan.Step{replaced, api}, ""},
		"a reload makes nothing writable":            {locked, true, []plan.Step{reloaded, api}, other},
		"a rollback that leaves it as it is":         {byLookup, true, []plan.Step{unchanged, api}, other},
		"a rollback that adds one beside it":         {byLookup, true, []plan.Step{scaled, api}, other},
		"a rollback that comes to it later":          {byLookup, true, []plan.Step{api, replaced}, other},
		"a good one":                                 {toAPI, false, []plan.Step{api, replaced}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := gates(t, map[string]string{"nginx": c.config})
			on.units["nginx"] = up("nginx")
			d := &transition{Target: &target.Target{Sink: event.Discard}, on: on, plan: &plan.Plan{Steps: c.steps},
				facts: &facts{observed: stack.Observed{Units: on.units}}, opts: Options{Stack: behind(t, "nginx")}}
			if c.back {
				d.opts.Back = &Back{}
			}
			require.NoError(t, d.classify(t.Context()))
			if c.refused != "" {
				require.Len(t, d.plan.Refusals, 1)
				assert.Contains(t, d.plan.Refusals[0], c.refused)
				return
			}
			assert.Empty(t, d.plan.Refusals)
			if c.back {
				assert.Contains(t, strings.Join(d.plan.Notes, "\n"), "nginx goes back first")
			}
		})
	}
}

// A gateway that a service leaves, and that runs and sends requests to it, is led nowhere
// when its units are replaced: that is refused before anything changes.
func TestAServiceWhoseGatewayBecomesAnother(t *testing.T) {
	t.Parallel()
	surge := []plan.Step{{Service: "api", Action: plan.Surge, Gateway: "edge", Old: []string{"api"}, Replicas: 1, Batch: 1}}
	stays := []plan.Step{{Service: "api", Action: plan.Unchanged, Gateway: "edge", Good: []string{"api"}, Replicas: 1}}
	const left = "gateway nginx, where api was until now, runs and sends requests to it"
	for name, c := range map[string]struct {
		config  string
		steps   []plan.Step
		change  func(*transition, *stack.Stack)
		refused string
	}{
		"renamed":            {toAPI, surge, nil, "keep its name, or stop it (docker stop shop-nginx-1), release edge alone"},
		"moved":              {toAPI, surge, func(d *transition, st *stack.Stack) { st.Services["nginx"] = &stack.Service{Name: "nginx"} }, "release nginx alone"},
		"renamed on a Swarm": {toAPI, surge, func(d *transition, _ *stack.Stack) { d.facts.observed.Scheduled = true }, "docker service scale shop_nginx=0"},
		"only its gateway":   {toAPI, stays, nil, left},
		"a rollback": {toAPI, surge, func(d *transition, st *stack.Stack) {
			d.opts.Back, st.Services["edge"] = &Back{}, &stack.Service{Name: "edge"}
		}, "deploy the version to go back to with x-shiksha.gateway: nginx, or stop nginx first (docker stop shop-nginx-1)"},
		"a rollback to none": {toAPI, surge, func(d *transition, _ *stack.Stack) { d.opts.Back = &Back{} }, "with x-shiksha.gateway: nginx."},
		"a rollback with both": {toAPI, surge, func(d *transition, st *stack.Stack) {
			d.opts.Back, st.Services["edge"], st.Services["nginx"] = &Back{}, &stack.Service{Name: "edge"}, &stack.Service{Name: "nginx"}
		}, "with x-shiksha.gateway: nginx."},
		"no longer in nginx":    {toNobody, surge, nil, ""},
		"asked at each":         {byLookup, surge, nil, ""},
		"it cannot be written":  {locked + toAPI, surge, nil, left},
		"nor is it, and let go": {locked + toNobody, surge, nil, ""},
		"nobody knows":          {bare, surge, func(_ *transition, st *stack.Stack) { st.Services["nginx"] = &stack.Service{Name: "nginx"} }, "or stop it (docker stop shop-nginx-1), then release the rest"},
		"of a run that was cut": {toAPI, surge, func(d *transition, st *stack.Stack) {
			st.Services["api"].Ext.Gateway = "web" // as the verified one; the one that was cut off has nginx
			seal(t, d, 2, behind(t, "nginx"))
			seal(t, d, 1, behind(t, "web"))
			d.earlier.since = []release.Record{{Number: 2}}
		}, left},
		"stopped":             {toAPI, surge, func(d *transition, _ *stack.Stack) { d.facts.observed.Units["nginx"][0].State = stack.Exited }, ""},
		"another is released": {toAPI, nil, nil, ""},
		"the same":            {toAPI, surge, func(_ *transition, st *stack.Stack) { st.Services["api"].Ext.Gateway = "nginx" }, ""},
		"none any more":       {toAPI, surge, func(_ *transition, st *stack.Stack) { st.Services["api"].Ext.Gateway = "" }, ""},
		"balanced by a Swarm": {toAPI, surge, func(_ *transition, st *stack.Stack) { st.Services["api"].Virtual = true }, ""},
		"cannot be read":      {toAPI, surge, func(d *transition, _ *stack.Stack) { d.facts.verified.Number = 7 }, ""},
		"a first release":     {toAPI, surge, func(d *transition, _ *stack.Stack) { d.facts.verified = nil }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			on := gates(t, map[string]string{"nginx": c.config})
			on.units["nginx"] = up("nginx")
			d := begun(t, fakeFiles{}, &release.Record{Outcome: release.Verified})
			d.on, d.plan, d.opts.Stack = on, &plan.Plan{Steps: c.steps}, behind(t, "edge")
			d.facts = &facts{observed: stack.Observed{Units: on.units}, verified: d.record}
			seal(t, d, 1, behind(t, "nginx"))
			if c.change != nil {
				c.change(d, d.opts.Stack)
			}
			require.NoError(t, d.classify(t.Context()))
			if c.refused == "" {
				assert.Empty(t, d.plan.Refusals)
				return
			}
			require.Len(t, d.plan.Refusals, 1)
			assert.Contains(t, d.plan.Refusals[0], left)
			assert.Contains(t, d.plan.Refusals[0]+".", c.refused)
		})
	}
}

func seal(t *testing.T, d *transition, n int, st *stack.Stack) {
	t.Helper()
	sealed, err := st.Seal()
	require.NoError(t, err)
	require.NoError(t, d.ledger.WriteSealed(t.Context(), n, sealed))
}

// Users come by the gateway that the release gave a service: where that one fails, its way
// back is led there, too, unless that gateway goes or cannot reach what comes back.
func TestAWayBackLeadsTheGatewayOfTheRelease(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ now, network, want string }{
		"another":                {"search", "front", "search"},
		"the same":               {"nginx", "front", "nginx"},
		"none any more":          {"", "front", "nginx"},
		"one that is taken away": {"edge", "front", "nginx"},
		"one that is elsewhere":  {"search", "back", "nginx"},
	} {
		d, _ := afterCutOff(t, map[string]string{"api": "v1", "beat": "v1", "worker": "v1", "search": string(stack.Exited)})
		was := behind(t, "nginx")
		was.Services["api"].Networks, was.Services["search"].Networks = []string{"front"}, []string{c.network}
		seal(t, d, 1, was)
		d.opts.Stack = behind(t, c.now)
		before, in, err := d.wayBack(t.Context(), []string{"api"})
		require.NoError(t, err, name)
		assert.Equal(t, c.want, before.Services["api"].Ext.Gateway, name)
		assert.Equal(t, c.want, plan.Make(in).Step("api").Gateway, name)
	}
}

// What was sealed while a gateway became another one says of services that were not released then
// that they are behind the former: a rollback to it leaves them behind the one that leads them, where
// both gateways stay as they are.
func TestARollbackLeavesServicesBehindTheGatewayThatLeadsThem(t *testing.T) {
	t.Parallel()
	const edge, former = "search", "beat"
	other := func(s *stack.Service) { s.Hash = "of another release" }
	for name, c := range map[string]struct {
		change func(d *transition, was, now *stack.Stack)
		want   string
	}{
		"both stay":            {func(*transition, *stack.Stack, *stack.Stack) {}, edge},
		"the former is gone":   {func(_ *transition, was, _ *stack.Stack) { delete(was.Services, former) }, edge},
		"the former goes back": {func(_ *transition, was, _ *stack.Stack) { other(was.Services[former]) }, former},
		"the former comes back": {func(_ *transition, _, now *stack.Stack) {
			delete(now.Services, former)
			delete(now.Project.Services, former)
			now.Order = []string{"api", "worker", edge}
		}, former},
		"the other goes back": {func(_ *transition, was, _ *stack.Stack) { other(was.Services[edge]) }, former},
		"the other has other files": {func(_ *transition, was, _ *stack.Stack) {
			was.Services[edge].Files = []stack.File{{Target: "/etc/nginx/nginx.conf", Sum: "a", Live: true}}
		}, former},
		"the other is taken away":  {func(_ *transition, was, _ *stack.Stack) { delete(was.Services, edge) }, former},
		"it had none":              {func(_ *transition, was, _ *stack.Stack) { was.Services["api"].Ext.Gateway = "" }, ""},
		"a release":                {func(d *transition, _, _ *stack.Stack) { d.opts.Back = nil }, former},
		"nobody knows what serves": {func(d *transition, _, _ *stack.Stack) { d.facts.uncertain = true }, former},
		"it cannot be read":        {func(d *transition, _, _ *stack.Stack) { d.facts.verified = &release.Record{Number: 7} }, former},
	} {
		d := begun(t, fakeFiles{}, &release.Record{Outcome: release.Verified})
		was, now := behind(t, former), behind(t, edge)
		for _, st := range []*stack.Stack{was, now} {
			st.Services["api"].Networks, st.Services[edge].Networks = []string{"front"}, []string{"front"}
		}
		d.opts.Stack, d.opts.Back, d.facts = was, &Back{}, &facts{verified: d.record}
		c.change(d, was, now)
		seal(t, d, 1, now)
		require.NoError(t, d.stayBehind(t.Context(), d.facts), name)
		assert.Equal(t, c.want, was.Services["api"].Ext.Gateway, name)
	}
}

// A run that was cut off while it led a service to another gateway leaves that one leading it,
// since the former was let go of before: the rollback to what was sealed until then is not refused.
func TestARollbackFromARunThatWasCutOffLeavesServicesBehindTheirGateway(t *testing.T) {
	t.Parallel()
	const edge, former = "search", "beat"
	for name, c := range map[string]struct {
		change  func(was, now *stack.Stack)
		want    string
		refused bool
	}{
		"renamed": {func(was, now *stack.Stack) {
			for _, st := range []*stack.Stack{was, now} {
				delete(st.Services, former)
				delete(st.Project.Services, former)
				st.Order = []string{"api", "worker", edge}
			}
		}, edge, false},
		"moved": {func(*stack.Stack, *stack.Stack) {}, edge, false},
		"it changes edge, too": {func(_, now *stack.Stack) {
			now.Services[edge].Files = []stack.File{{Target: "/etc/nginx/nginx.conf", Sum: "a", Live: true}}
		}, former, true},
	} {
		for _, outcome := range []release.Outcome{release.Interrupted, release.Started} {
			d := begun(t, fakeFiles{}, &release.Record{Outcome: release.Verified})
			was, now := behind(t, former), behind(t, edge)
			for _, st := range []*stack.Stack{was, now} {
				st.Services["api"].Networks, st.Services[edge].Networks = []string{"front"}, []string{"front"}
			}
			c.change(was, now)
			require.NoError(t, d.ledger.Append(t.Context(), &release.Record{Outcome: outcome}))
			seal(t, d, 1, was)
			seal(t, d, 2, now)
			on := gates(t, map[string]string{edge: toAPI, former: toNobody})
			on.units[edge], on.units[former] = up(edge), up(former)
			d.on, d.opts.Stack, d.opts.Back, d.facts = on, was, &Back{}, &facts{stack: was, observed: stack.Observed{Units: on.units}}
			d.facts.know(d.ledger)
			d.earlier = d.facts.leaves()
			require.NoError(t, d.stayBehind(t.Context(), d.facts), name)
			assert.Equal(t, c.want, was.Services["api"].Ext.Gateway, name)
			d.plan = &plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Surge, Gateway: c.want, Old: []string{"api"}, Replicas: 1, Batch: 1}}}
			require.NoError(t, d.leftBehind(t.Context()), name)
			assert.Equal(t, c.refused, len(d.plan.Refusals) > 0, "%s: %v", name, d.plan.Refusals)
		}
	}
}
