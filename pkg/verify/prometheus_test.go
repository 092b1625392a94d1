package verify

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/target"
)

// Of a check whose every Prometheus answers it is known what was active before; of one of
// which none or some do not, it is not, whatever is known of the others.
func TestGate_Before(t *testing.T) {
	t.Parallel()
	serve := func(status int, answer string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = fmt.Fprint(w, answer)
		}))
		t.Cleanup(s.Close)
		return s.URL
	}
	some := serve(200, `{"data":{"alerts":[{"state":"pending","activeAt":"2026-01-02T00:00:00Z","labels":{"alertname":"Errors"}}]}}`)
	none, starting := serve(200, `{"data":{"alerts":[]}}`), serve(503, "Service Unavailable")
	gate, err := NewGate(nil, Settings{File: "verify.yml", Content: fmt.Appendf(nil, `
- {name: some, prometheus: {url: %q}}
- {name: none, prometheus: {url: %q}}
- {name: starting, prometheus: {url: %q}}
- {name: one of two, all: [{prometheus: {url: %q}}, {prometheus: {url: %q}}]}
`, some, none, starting, some, starting)})
	require.NoError(t, err)
	gate.Before(t.Context(), &target.Target{}, converge.Released{})
	assert.Equal(t, map[string][]string{"some": {"alertname=Errors since 2026-01-02T00:00:00Z"}, "none": nil}, gate.before)
}

// What a Prometheus that has just started has not come to yet is waited for at the intervals
// that it has by default, and otherwise told.
func TestContract_OfPrometheus(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"prometheus: {service: p}":                         90 * time.Second,
		"timeout: 20s\n  prometheus: {service: p}":         20 * time.Second,
		"all: [{prometheus: {service: p}}, {disk: {}}]":    90 * time.Second,
		"alertmanager: {service: a}":                       30 * time.Second,
		"all: [{alertmanager: {service: a}}, {disk: {}}]":  30 * time.Second,
		"timeout: 2m\n  all: [{prometheus: {service: p}}]": 2 * time.Minute,
	} {
		c := contractOf(&reads(t, "- name: a\n  "+text)[0], 0)
		assert.Equal(t, []time.Duration{want, oneLook}, []time.Duration{c.timeout, c.look}, text)
	}
}
