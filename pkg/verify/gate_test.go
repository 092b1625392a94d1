package verify

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// A release of some services only is not held to what a service promises that was
// never released.
func TestGateOfSomeServices(t *testing.T) {
	t.Parallel()
	web := types.ServiceConfig{Name: "web"}
	web.Ports = []types.ServicePortConfig{{Published: "8080", Target: 80}}
	whole := &stack.Stack{
		Name: "shop", Order: []string{"db", "web"},
		Services: map[string]*stack.Service{"db": {Name: "db", Replicas: 1}, "web": {Name: "web", Replicas: 1}},
		Project:  &types.Project{Services: types.Services{"db": {Name: "db"}, "web": web}},
	}
	gate, err := NewGate(whole, Settings{})
	require.NoError(t, err)
	assert.Len(t, gate.of(whole), 2, "containers, and the port of web")

	assert.Equal(t, map[string]converge.Way{"web port 8080": {Addr: "127.0.0.1:8080"}}, gate.Dials(whole))

	checks := gate.of(whole, "web")
	require.Len(t, checks, 1, "nothing is promised of what was ill before")
	assert.Equal(t, []string{"db"}, checks[0].Containers.Services)
	require.Len(t, gate.of(whole, "web", "db"), 1)

	some, err := whole.Partial(nil, []string{"db"})
	require.NoError(t, err)
	checks = gate.of(some)
	require.Len(t, checks, 1)
	assert.Equal(t, "containers", checks[0].Name)
	assert.Empty(t, gate.Dials(some))

	gate, err = NewGate(whole, Settings{Skip: []string{"web port 8080"}})
	require.NoError(t, err)
	checks = gate.of(whole)
	require.Len(t, checks, 2)
	assert.Empty(t, checks[0].LeftOut)
	assert.Equal(t, "left out by the input skip", checks[1].LeftOut, "what is to be left out stays out, and is told")
	assert.Empty(t, gate.Dials(whole), "nobody connects for a check that is left out")
}

// What checks connect to on the host is known before a release, as far as their file says it.
func TestGate_Dials(t *testing.T) {
	t.Parallel()
	gate, err := NewGate(nil, Settings{File: "verify.yml", Content: []byte(`
- {name: http, http: {service: web, port: 8000, path: /}}
- {name: monitor, prometheus: {service: prometheus}}
- {name: monitor of its own port, prometheus: {service: prometheus, port: 9999}}
- {name: alerts, alertmanager: {service: alerts}}
- {name: dashboards, grafana: {service: grafana}}
- {name: certificate, tls: {service: web, name: example.com}}
- {name: from outside, http: {url: "https://example.com", path: /}}
- {name: address, tcp: {address: "127.0.0.1:25", from: host}}
- {name: from the runner, tcp: {address: "example.com:25"}}
- {name: release, tcp: {address: "{{version}}.example.com:25", from: host}}
- {name: unit, exec: {service: web, command: [true]}}
- {name: only told, level: warn, tcp: {service: web, port: 8000}}
- {name: parts, all: [{exec: {service: web, command: [true]}}, {tcp: {service: web, port: 9000}}]}
- {name: parts of which one is only told, all: [{exec: {service: web, command: [true]}}, {level: warn, tcp: {service: web, port: 9000}}]}
`)})
	require.NoError(t, err)
	assert.Equal(t, map[string]converge.Way{
		"http": {Service: "web", Addr: "127.0.0.1:8000"}, "parts": {Service: "web", Addr: "127.0.0.1:9000"}, "address": {Addr: "127.0.0.1:25"},
		"monitor": {Service: "prometheus", Addr: "127.0.0.1:9090"}, "monitor of its own port": {Service: "prometheus", Addr: "127.0.0.1:9999"},
		"alerts": {Service: "alerts", Addr: "127.0.0.1:9093"}, "dashboards": {Service: "grafana", Addr: "127.0.0.1:3000"},
		"certificate": {Service: "web", Addr: "127.0.0.1:443"},
	}, gate.Dials(nil))
}

// Checks that somebody wrote hold against no release what a Swarm had given up before it.
func TestGateHearsWhatWasGivenUpBefore(t *testing.T) {
	t.Parallel()
	gate, err := NewGate(nil, Settings{File: "verify.yml", Content: []byte("- {name: units, containers: {}}")})
	require.NoError(t, err)
	st := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{}, Project: &types.Project{}}
	scene := gate.scene(&target.Target{}, converge.Released{Stack: st, Record: &release.Record{}, Gone: []string{"api-3"}})
	assert.Equal(t, []string{"api-3"}, scene.Gone)
}
