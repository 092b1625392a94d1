package notify

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/report"
)

var write = flag.Bool("write", false, "write the golden files instead of comparing them")

func golden(t *testing.T, name, have string) {
	t.Helper()
	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, []byte(have), "", "  "))
	pretty.WriteByte('\n')
	path := "testdata/" + name
	if *write {
		require.NoError(t, os.WriteFile(path, pretty.Bytes(), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), pretty.String())
}

func begun() *report.Release {
	return &report.Release{
		Project: "shop", Host: "deploy@gpu1:22", Number: 12, Previous: 11, PreviousVersion: "v1", Version: "v2", Actor: "meera",
		Environment: "production", EnvironmentURL: "https://shop.example.org/?a=1&b=2", RunURL: "https://github.example/team/shop/actions/runs/7/attempts/1",
		CompareURL: "https://github.example/team/shop/compare/a...b", Changed: []string{"api", "worker"},
		Started: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC),
	}
}

func verified() *report.Release {
	r := begun()
	r.Outcome, r.Seconds, r.Serving = "verified", 42.3, "v2"
	r.Checks = &check.Report{Results: []check.Result{{Outcome: check.Pass}, {Outcome: check.Warn}}}
	r.Probe = &report.Probe{Requests: 3120, LongestGap: 31, P99Before: 10, P99During: 15}
	return r
}

func stuck() *report.Release {
	r := verified()
	r.Outcome, r.Serving = "stuck", ""
	r.Error, r.Hint = "api: <!channel> died & could not be taken back", "start <it> by hand"
	return r
}

func TestSlackTellsAReleaseInOneThread(t *testing.T) {
	t.Parallel()
	f := newFakeSlack(t)
	s := &Slack{Token: "xoxb-token", Channel: "#releases", HTTP: f.Client(), api: f.URL + "/api/"}
	require.NoError(t, s.Started(t.Context(), begun()))
	require.NoError(t, s.Finished(t.Context(), stuck()))
	require.Len(t, f.messages, 2)
	first, second := f.messages[0], f.messages[1]
	assert.Equal(t, "#releases", first.channel)
	assert.Empty(t, first.thread)
	assert.Equal(t, "🚀 shop: release 12 (v2) begins", first.text)
	assert.Equal(t, "C024BE91L 1503101.000247", second.channel+" "+second.thread, "the end stands under the start")
	assert.True(t, second.broadcast, "bad news is seen in the channel too")
	golden(t, "slack-started.json", first.blocks)
	golden(t, "slack-stuck.json", second.blocks)
}

func TestSlackTellsOfWhatHasNoProject(t *testing.T) {
	t.Parallel()
	f := newFakeSlack(t)
	s := &Slack{Token: "xoxb-token", Channel: "#releases", HTTP: f.Client(), api: f.URL + "/api/"}
	require.NoError(t, s.Finished(t.Context(), &report.Release{Version: "v2", Outcome: "bad-input"}))
	require.Len(t, f.messages, 1)
	assert.Equal(t, "⛔ release (v2) bad-input after 0.0s", f.messages[0].text)
}

func TestSlackGoodNewsStaysInTheThread(t *testing.T) {
	t.Parallel()
	f := newFakeSlack(t)
	s := &Slack{Token: "xoxb-token", Channel: "#releases", HTTP: f.Client(), api: f.URL + "/api/"}
	require.NoError(t, s.Started(t.Context(), begun()))
	require.NoError(t, s.Finished(t.Context(), verified()))
	require.Len(t, f.messages, 2)
	assert.False(t, f.messages[1].broadcast)
	golden(t, "slack-verified.json", f.messages[1].blocks)

	nothing := verified()
	nothing.Outcome = "unchanged"
	require.NoError(t, s.Finished(t.Context(), nothing))
	assert.Len(t, f.messages, 2, "that nothing was to do is no news")
}

func TestSlackWebhook(t *testing.T) {
	t.Parallel()
	f := newFakeSlack(t)
	s := &Slack{Webhook: f.URL + "/services/T0/B0/secret", HTTP: f.Client()}
	require.NoError(t, s.Started(t.Context(), begun()))
	r := stuck()
	r.Error, r.Hint, r.Version = strings.Repeat("é<", 9000), strings.Repeat("x", 9000), strings.Repeat("v", 400)
	require.NoError(t, s.Finished(t.Context(), r), "what is too long is cut, or Slack would take nothing")
	require.Len(t, f.messages, 2)
	assert.True(t, f.messages[0].webhook && f.messages[1].webhook)
}

func TestSlackRefuses(t *testing.T) {
	t.Parallel()
	f := newFakeSlack(t)
	api := f.URL + "/api/"
	for want, s := range map[string]*Slack{
		"channel_not_found": {Token: "xoxb-token", Channel: "#nowhere", HTTP: f.Client(), api: api},
		"invalid_auth":      {Token: "xoxb-other", Channel: "#releases", HTTP: f.Client(), api: api},
		"404":               {Webhook: f.URL + "/services/T0/B0/other-secret", HTTP: f.Client()},
		"refused":           {Webhook: "http://127.0.0.1:1/services/T0/B0/other-secret", HTTP: f.Client()},
	} {
		err := s.Started(t.Context(), begun())
		require.ErrorContains(t, err, want)
		assert.NotContains(t, err.Error(), "secret")
		assert.NotContains(t, err.Error(), "xoxb")
	}
	assert.Empty(t, f.messages)
}

func TestPagerDuty(t *testing.T) {
	t.Parallel()
	f := newFakeReceiver(t, http.StatusAccepted, `{"status":"success","message":"Event processed","dedup_key":"x"}`)
	p := &PagerDuty{RoutingKey: "R0", HTTP: f.Client(), url: f.URL}
	require.NoError(t, p.Started(t.Context(), begun()))
	for name, change := range map[string]func(*report.Release){
		"verified":             func(r *report.Release) { r.Outcome = "verified" },
		"failed":               func(r *report.Release) { r.Outcome = "failed" },
		"interrupted":          func(r *report.Release) { r.Outcome = "interrupted" },
		"a failure in staging": func(r *report.Release) { r.Outcome, r.Environment = "failed", "staging" },
	} {
		r := stuck()
		change(r)
		require.NoError(t, p.Finished(t.Context(), r))
		assert.Empty(t, f.got, name)
	}
	require.NoError(t, p.Finished(t.Context(), stuck()))
	require.Len(t, f.got, 1)
	data, err := json.Marshal(f.got[0])
	require.NoError(t, err)
	golden(t, "pagerduty.json", string(data))

	for _, environment := range []string{"", "live", "eu-production", "shop/Prod-2", "prodeu"} {
		f.got = nil
		other := stuck()
		other.Environment = environment
		require.NoError(t, p.Finished(t.Context(), other))
		assert.Len(t, f.got, 1, "%q; who names no environment has only one", environment)
	}
	f.got = nil
	staging := stuck()
	staging.Environment = "staging"
	require.ErrorContains(t, p.Finished(t.Context(), staging), "PagerDuty was not called: by its name the environment staging is not production")
	assert.Empty(t, f.got)

	f.status, f.said = http.StatusBadRequest, `{"status":"invalid event","errors":["'routing_key' is missing"]}`
	require.ErrorContains(t, p.Finished(t.Context(), stuck()), "'routing_key' is missing")
}

func TestGrafana(t *testing.T) {
	t.Parallel()
	f := newFakeReceiver(t, http.StatusOK, `{"message":"Annotation added","id":1}`)
	g := &Grafana{URL: f.URL + "/grafana/", Token: "glsa_x", HTTP: f.Client()}
	require.NoError(t, g.Started(t.Context(), begun()))
	refused := begun()
	refused.Outcome, refused.Number = "refused", 0
	require.NoError(t, g.Finished(t.Context(), refused))
	assert.Empty(t, f.got, "nothing changed, nothing to mark")

	require.NoError(t, g.Finished(t.Context(), verified()))
	require.Len(t, f.got, 1)
	assert.Equal(t, "/grafana/api/annotations Bearer glsa_x", f.path+" "+f.header.Get("Authorization"))
	data, err := json.Marshal(f.got[0])
	require.NoError(t, err)
	golden(t, "grafana.json", string(data))

	f.status, f.said = http.StatusForbidden, `{"message":"You'll need additional permissions"}`
	require.ErrorContains(t, g.Finished(t.Context(), verified()), "additional permissions")
}
