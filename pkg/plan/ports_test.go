package plan_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// handed is a stack whose gateway is new on port 80, which a unit of another service holds.
func handed(holder, wants, held string) plan.Input {
	in := plan.Input{Desired: quickstart(), Observed: observed("v1")}
	in.Desired.Services["gateway"].HostPorts = []string{"80/tcp"}
	var c types.ServiceConfig
	c.Ports = []types.ServicePortConfig{{Published: "80", Target: 80, HostIP: wants}}
	in.Desired.Project.Services["gateway"] = c
	delete(in.Observed.Units, "gateway")
	if in.Observed.Units[holder] == nil {
		in.Observed.Units[holder] = running(holder, "v1", 1, 1)
	}
	in.Observed.Units[holder][0].Ports = map[string][]netip.Addr{"80/tcp": {netip.MustParseAddr(held)}}
	return in
}

// The usual first release brings the gateway in: until it is well nobody answers on the port
// that another service gave up before.
func TestMake_SaysWhereAPortIsHandedOver(t *testing.T) {
	t.Parallel()
	p := plan.Make(handed("api", "", "0.0.0.0"))
	api, gateway := p.Step("api"), p.Step("gateway")
	assert.Equal(t, plan.Create, gateway.Action)
	assert.Equal(t, "until the new units are well: api holds port 80/tcp of the host until it is replaced", gateway.Interruption)
	assert.Equal(t, plan.Surge, api.Action)
	assert.Equal(t, []string{"gateway"}, api.Yields)
	assert.Equal(t, "until gateway is well: gives up port 80/tcp of the host to it", api.Interruption)
	assert.True(t, gateway.Interrupts() && api.Interrupts())
	assert.NotContains(t, p.String(), "no interruption")
	assert.Empty(t, p.Refusals)

	in := handed("proxy", "", "::")
	in.RemoveOrphans = true
	p = plan.Make(in)
	assert.Contains(t, p.Step("gateway").Interruption, "proxy holds port 80/tcp of the host until it is taken away, which comes only after")
	assert.Contains(t, p.Step("gateway").Interruption, "(docker stop shop-proxy-1)")
	assert.Empty(t, p.Step("proxy").Yields)
}

// What holds the port no more, elsewhere, or keeps it hands nothing over.
func TestMake_SaysNoHandOverWhereThereIsNone(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*plan.Input){
		"another port":  func(in *plan.Input) { in.Observed.Units["api"][0].Ports = map[string][]netip.Addr{"81/tcp": {{}}} },
		"udp":           func(in *plan.Input) { in.Observed.Units["api"][0].Ports = map[string][]netip.Addr{"80/udp": {{}}} },
		"one address":   func(in *plan.Input) { *in = handed("api", "10.0.0.1", "127.0.0.1") },
		"it is stopped": func(in *plan.Input) { in.Observed.Units["api"][0].State = stack.Exited },
		"it stays":      func(in *plan.Input) { in.Observed.Units["api"][0].Hash = "api-v2" },
		"both want it":  func(in *plan.Input) { in.Desired.Services["api"].HostPorts = []string{"80/tcp"} },
		"no new one":    func(in *plan.Input) { in.Observed.Units["gateway"] = running("gateway", "v1", 1, 1) },
	} {
		in := handed("api", "", "0.0.0.0")
		edit(&in)
		p := plan.Make(in)
		assert.NotContains(t, p.Step("gateway").Interruption, "api holds", name)
		assert.Empty(t, p.Step("api").Yields, name)
	}
}

// A way back takes away what got a port of the host right before what had it comes back there:
// the two cannot run beside each other. What holds no such port goes last.
func TestReverse_APortGoesBack(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		edit  func(*plan.Input)
		order []string
	}{
		"to one that comes back":      {func(*plan.Input) {}, []string{"edge", "gateway", "worker", "api", "db", "new"}},
		"to one that is replaced":     {func(in *plan.Input) { in.Observed.Units["gateway"] = running("gateway", "v1", 1, 1) }, []string{"worker", "edge", "gateway", "api", "db", "new"}},
		"to nobody, on another":       {func(in *plan.Input) { in.Observed.Units["edge"][0].Ports = map[string][]netip.Addr{"81/tcp": {{}}} }, nil},
		"to nobody, as it is stopped": {func(in *plan.Input) { in.Observed.Units["edge"][0].State = stack.Exited }, nil},
		"not, as it stays":            {func(in *plan.Input) { in.Made = []string{"new-1"} }, nil},
	} {
		in := handed("edge", "", "0.0.0.0")
		in.Observed.Units["new"] = running("new", "v1", 1, 1)
		in.Back, in.RemoveOrphans, in.Made = true, true, []string{"edge-1", "new-1"}
		c.edit(&in)
		p := plan.Make(in)
		p.Reverse()
		var order []string
		for _, s := range p.Steps {
			order = append(order, s.Service)
		}
		edge, gateway := p.Step("edge"), p.Step("gateway")
		if c.order == nil {
			assert.Equal(t, []string{"gateway", "worker", "api", "db", "edge", "new"}, order, name)
			assert.Empty(t, edge.Yields, name)
			assert.NotContains(t, gateway.Interruption, "edge", name)
			continue
		}
		assert.Equal(t, c.order, order, name)
		assert.Equal(t, []string{"gateway"}, edge.Yields, name)
		assert.Equal(t, []string{"not in the release to go back to; goes before gateway, which gets port 80/tcp of the host back"}, edge.Reasons, name)
		assert.Equal(t, "until gateway is well: gives up port 80/tcp of the host to it", edge.Interruption, name)
		assert.True(t, edge.Interrupts() && gateway.Interruption != "", name)
		assert.Empty(t, p.Step("new").Yields, name)
	}
}

// Who only changes on a way back, and gives a port of the host up by that, goes before who gets it
// back, which comes right behind it.
func TestReverse_APortGoesBackFromWhatChanges(t *testing.T) {
	t.Parallel()
	second := func(in *plan.Input, wants string) { // the worker wants a port, too
		var c types.ServiceConfig
		c.Ports = []types.ServicePortConfig{{Published: wants, Target: 80}}
		in.Desired.Services["worker"].HostPorts, in.Desired.Project.Services["worker"] = []string{wants + "/tcp"}, c
	}
	for name, c := range map[string]struct {
		edit   func(*plan.Input)
		order  string
		yields []string
	}{
		"to one that comes back": {func(*plan.Input) {}, "worker api gateway db", []string{"gateway"}},
		"to one that is replaced": {func(in *plan.Input) { in.Observed.Units["gateway"] = running("gateway", "v1", 1, 1) },
			"worker api gateway db", []string{"gateway"}},
		"to one that was undone before it": {func(in *plan.Input) {
			in.Desired.Services["gateway"].DependsOn = []stack.Dependency{{Service: "worker"}}
			in.Observed.Units["gateway"] = running("gateway", "v1", 1, 1)
			in.Observed.Units["worker"][0].Ports, in.Observed.Units["api"][0].Ports = in.Observed.Units["api"][0].Ports, nil
		}, "worker gateway api db", nil},
		"to two": {func(in *plan.Input) {
			second(in, "81")
			in.Observed.Units["api"][0].Ports["81/tcp"] = []netip.Addr{{}}
		}, "api worker gateway db", []string{"gateway", "worker"}},
		"what needs who gets it comes behind that": {func(in *plan.Input) {
			in.Desired.Services["worker"].DependsOn = []stack.Dependency{{Service: "gateway"}}
			delete(in.Observed.Units, "worker")
		}, "api gateway worker db", []string{"gateway"}},
		"to one that gets another from what left": {func(in *plan.Input) {
			in.Desired.Services["gateway"].HostPorts = []string{"80/tcp", "443/tcp"}
			c := in.Desired.Project.Services["gateway"]
			c.Ports = append(c.Ports, types.ServicePortConfig{Published: "443", Target: 443})
			in.Desired.Project.Services["gateway"] = c
			in.Observed.Units["edge"] = running("edge", "v1", 1, 1)
			in.Observed.Units["edge"][0].Ports = map[string][]netip.Addr{"443/tcp": {{}}}
			in.RemoveOrphans, in.Made = true, []string{"edge-1"}
		}, "worker api edge gateway db", []string{"gateway"}},
		"from one that is to have no unit": {func(in *plan.Input) {
			in.Desired.Services["api"].Replicas, in.Desired.Services["api"].HostPorts = 0, []string{"80/tcp"}
			in.Observed.Units["api"] = in.Observed.Units["api"][:1]
			in.Observed.Units["api"][0].Hash = "api-v2"
		}, "worker api gateway db", []string{"gateway"}},
		"not from one that keeps it":     {func(in *plan.Input) { in.Desired.Services["api"].HostPorts = []string{"80/tcp"} }, "gateway worker api db", nil},
		"not to one that starts nothing": {func(in *plan.Input) { in.Observed.Units["gateway"] = running("gateway", "v2", 1, 1) }, "worker gateway api db", nil},
	} {
		in := handed("api", "", "0.0.0.0")
		in.Back = true
		c.edit(&in)
		p := plan.Make(in)
		p.Reverse()
		var order []string
		for _, s := range p.Steps {
			order = append(order, s.Service)
		}
		assert.Equal(t, c.order, strings.Join(order, " "), name)
		assert.ElementsMatch(t, c.yields, p.Step("api").Yields, name)
		assert.NotContains(t, p.String(), "stop it first", name)
		if len(c.yields) == 1 {
			assert.Equal(t, "until gateway is well: gives up port 80/tcp of the host to it", p.Step("api").Interruption, name)
			assert.True(t, p.Step("api").Interrupts(), name)
		}
	}
}

// Where each of two has the port that the other gets back, or needs the other, no order helps:
// who has to be stopped is said.
func TestReverse_APortThatNoOrderGivesBack(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*plan.Input){
		"each has the other's": func(in *plan.Input) {
			var c types.ServiceConfig
			c.Ports = []types.ServicePortConfig{{Published: "443", Target: 80}}
			in.Desired.Services["api"].HostPorts, in.Desired.Project.Services["api"] = []string{"443/tcp"}, c
			in.Observed.Units["gateway"] = running("gateway", "v1", 1, 1)
			in.Observed.Units["gateway"][0].Ports = map[string][]netip.Addr{"443/tcp": {{}}}
		},
		"it needs who gets it": func(in *plan.Input) {
			in.Desired.Services["api"].DependsOn = []stack.Dependency{{Service: "gateway"}}
			in.Desired.Services["api"].Ext.Gateway = ""
		},
	} {
		in := handed("api", "", "0.0.0.0")
		in.Back = true
		edit(&in)
		p := plan.Make(in)
		p.Reverse()
		assert.Equal(t, "until the new units are well: api holds port 80/tcp of the host until it is replaced, which comes only after: none could start, so stop it first (docker stop shop-api-1)",
			p.Step("gateway").Interruption, name)
		assert.NotContains(t, p.Step("api").Yields, "gateway", name)
	}
}

// One that was ill and holds the port is not left for the end.
func TestReverse_APortGoesBackFromWhatWasIll(t *testing.T) {
	t.Parallel()
	in := handed("worker", "", "0.0.0.0")
	in.Back, in.Ill = true, []string{"worker"}
	in.Observed.Units["worker"][0].Health = stack.HealthFailed
	p := plan.Make(in)
	assert.True(t, p.Step("worker").Tolerated)
	p.Reverse()
	assert.Equal(t, []string{"worker", "gateway"}, []string{p.Steps[0].Service, p.Steps[1].Service})
}
