package kind

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Alertmanager looks whether alerts would reach somebody.
type Alertmanager struct {
	Monitor   `yaml:",inline"`
	Receivers []string `yaml:"receivers" help:"Receivers that have to be configured."`
}

func (m *Alertmanager) dials() (service, addr string) { return m.dialsAt(9093) }

// Look asks.
func (m *Alertmanager) Look(s *Sight) {
	for _, a := range m.apis(s, 9093, nil) {
		m.look(a)
	}
}

func (m *Alertmanager) look(a api) {
	ready, err := a.get("/-/ready", nil)
	if err != nil {
		a.absent("alertmanager.answer", err, "an answer")
		return
	}
	if !a.need("alertmanager.ready", ready.status == http.StatusOK, "to be ready", fmt.Sprintf("status %d: %s", ready.status, quoted(ready.body))) {
		return
	}
	metrics, err := a.get("/metrics", nil)
	if err != nil {
		a.blind(err)
		return
	}
	reloaded(a, metrics.body, "alertmanager_config_last_reload_successful", "alertmanager")
	if _, ok := a.json("alertmanager.status", "/api/v2/status", nil); !ok {
		return
	}
	r, ok := a.json("alertmanager.status", "/api/v2/receivers", nil)
	if !ok {
		return
	}
	var names []string
	for _, name := range r.Get("#.name").Array() {
		names = append(names, name.String())
	}
	for _, want := range m.Receivers {
		a.need("alertmanager.receiver", slices.Contains(names, want), "the receiver "+want, "there are "+quoted(strings.Join(names, ", ")))
	}
	a.settle("pass", "a configuration that is loaded", fmt.Sprintf("%d receivers", len(names)), "")
}
