package report

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

var write = flag.Bool("write", false, "write the golden files instead of comparing them")

func golden(t *testing.T, name, have string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *write {
		require.NoError(t, os.WriteFile(path, []byte(have), 0o644))
		return
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Equal(t, string(want), have)
}

var start = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

func verified() *Release {
	return &Release{
		Project: "shop", Host: "deploy@gpu1:22", Number: 12, Previous: 11, Version: "v2", Commit: "0a1b2c3d4e5f60718293", Outcome: "verified",
		PreviousVersion: "v1", Actor: "meera", Environment: "production", EnvironmentURL: "https://shop.example.org/?a=1&b=\"2\"",
		CommitURL:  "https://github.example/team/shop/commit/0a1b2c3d4e5f60718293",
		CompareURL: "https://github.example/team/shop/compare/9f8e7d6...0a1b2c3d4e5f60718293",
		Serving:    "v2", Started: start, Seconds: 42.26, Changed: []string{"api", "gateway"}, RunURL: "https://github.example/team/shop/actions/runs/7/attempts/1",
		Services: []Service{
			{Name: "api", Action: "surge", Result: "done", Cut: 2, Replicas: 3, Seconds: 31.04, Reasons: []string{"image shop/api:v1 -> shop/api:v2", "environment: LOG_LEVEL"}},
			{Name: "gateway", Action: "reload", Result: "done", Replicas: 1, Seconds: 1.2, Reasons: []string{"file /etc/nginx/nginx.conf"}},
			{Name: "postgres", Action: "unchanged", Result: "unchanged", Replicas: 1},
		},
		Plan:  "  api       surge 3   image shop/api:v1 -> shop/api:v2\n\n  postgres  unchanged\n",
		Notes: []string{"orphan <b>legacy</b> is kept"},
		Probe: &Probe{URL: "https://shop.example.org/health", Requests: 3120, Failures: map[string]int{"reset_on_reload": 1},
			LongestGap: 31.4, P50Before: 2.04, P50During: 2.5, P99Before: 9.96, P99During: 14.7},
		Checks: &check.Report{Results: []check.Result{
			{Name: "units", Kind: "containers", Required: true, Outcome: check.Pass, Expected: "3 of api", Found: "3 of api"},
			{Name: "certificate", Kind: "tls", Where: "shop.example.org:443", Outcome: check.Warn, Expected: "30 days left",
				Found: "12 days | left", Hint: "renew it"},
		}},
		Spans: spans(),
	}
}

// spans are those of a rollout: an envelope, acts one after the other, a switch
// that contains its drain.
func spans() []Span {
	at := func(section, name string, from, to int) Span {
		ms := time.Millisecond
		return Span{Section: section, Name: name, Started: start.Add(time.Duration(from) * ms), Ended: start.Add(time.Duration(to) * ms)}
	}
	return []Span{
		at("release", "look", 0, 850), at("release", "pull", 900, 4200), at("release", "verify", 40000, 41000),
		at("api", "create", 4300, 4900), at("api", "start", 4901, 5400), at("api", "gate", 5400, 14000),
		at("api", "drain", 14200, 31000), at("api", "switch", 14000, 31001), at("api", "stop", 31002, 35000), at("api", "surge", 4290, 35004),
		at("gateway", "reload", 35100, 36300),
	}
}

func failed() *Release {
	r := verified()
	r.Outcome, r.Serving, r.Seconds = "", "v1", 75
	r.Services[0].Result, r.Services[1].Result = "failed", "not begun"
	r.Spans[5].Failed = true
	r.Spans = append(r.Spans[:6], Span{Section: "api", Name: "undo", Started: start.Add(14 * time.Second), Ended: start.Add(15 * time.Second)})
	r.Checks.Results[0].Outcome, r.Checks.Results[0].Found = check.Fail, "2 of api"
	r.AddLog("shop-api-4", "::error::not a command\n\n</pre><img src=x>\r\n\x1b[31mpanic: `boom` ##[error]\n")
	r.Probe.Dropped = 40
	r.Probe.Failed, r.Probe.Failures = 5, map[string]int{"timeout": 2, "502": 3}
	r.Fail(fault.New(fault.Failed, "api", "read its last lines above", "api-4 | never became `healthy`\n<img src=x> @team ![x](y)"))
	return r
}

func TestRelease(t *testing.T) {
	t.Parallel()
	planned := verified()
	planned.Outcome, planned.DryRun, planned.Probe, planned.Number = "planned", true, nil, 0
	planned.Preflight = &check.Report{Results: []check.Result{{Name: "P02.health api", Outcome: check.Warn, Found: "no check", Hint: "add one"}}}
	nothing := &Release{Project: "shop", Host: "h", Number: 12, Version: "v2", Outcome: "unchanged", Serving: "v2"}
	first := &Release{Project: "shop", Number: 1, Outcome: "failed", Seconds: 3}
	for name, r := range map[string]*Release{
		"verified": verified(), "failed": failed(), "planned": planned, "nothing": nothing, "first-failed": first,
	} {
		golden(t, name+".txt", r.Text())
		golden(t, name+".md", r.Markdown())
	}
	data, err := failed().JSON()
	require.NoError(t, err)
	golden(t, "failed.json", string(data)+"\n")
	data, err = nothing.JSON()
	require.NoError(t, err)
	assert.Contains(t, string(data), `"changed_services":[]`)
}

// What ended before the Compose file was read has no project yet, and one that ended
// before the host was asked knows nothing of what serves there.
func TestHeadlineOfWhatHardlyBegan(t *testing.T) {
	t.Parallel()
	refused := &Release{Version: "v2", Outcome: "bad-input"}
	assert.Equal(t, "release (v2) bad-input after 0.0s", refused.Headline())
	refused.Host = "gpu1"
	assert.Equal(t, "gpu1: release (v2) bad-input after 0.0s", refused.Headline())
	assert.Equal(t, "shop: release (v2) failed after 3.0s", (&Release{Project: "shop", Version: "v2", Outcome: "failed", Seconds: 3}).Headline())
	assert.Equal(t, "bad-input after 0.0s: nothing was checked", (&Verification{Outcome: "bad-input"}).Headline())
}

// A first release that fails leaves nothing only where nothing ran before and nothing of
// it stays.
func TestHeadlineOfAFirstReleaseThatFailed(t *testing.T) {
	t.Parallel()
	for want, r := range map[string]Release{
		"release 1 failed after 3.0s, nothing serves":         {},
		"release 1 failed after 3.0s, what ran before serves": {Serving: "what ran before"},
		"release 1 failed after 3.0s, what was changed stays": {Changed: []string{"api"}},
	} {
		r.Number, r.Outcome, r.Seconds = 1, "failed", 3
		assert.Equal(t, want, r.Sentence())
	}
}

// Where it is not known what serves the headline says so, or what of it is: somebody is called
// with no more than that.
func TestHeadlineWhereNobodyKnowsWhatServes(t *testing.T) {
	t.Parallel()
	api := []string{"api"}
	for want, r := range map[string]Release{
		"release 12 stuck after 3.0s, what serves is not known":       {Outcome: "stuck"},
		"release 12 interrupted after 3.0s, what serves is not known": {Outcome: "interrupted", Changed: api},
		"release 12 interrupted after 3.0s":                           {Outcome: "interrupted"},
		"release 12 interrupted after 3.0s, v2 serves":                {Outcome: "interrupted", Changed: api, Serving: "v2"},
		"release 12 failed after 3.0s, what was changed stays":        {Outcome: "failed", Changed: api},
		"release 12 failed after 3.0s, v1 serves":                     {Outcome: "failed", Serving: "v1"},
		"release 12 failed after 3.0s":                                {Outcome: "failed"},
		"release 12 refused after 3.0s":                               {Outcome: "refused"},
	} {
		r.Number, r.Previous, r.Seconds = 12, 11, 3
		assert.Equal(t, want, r.Sentence())
	}
	planned := Release{Outcome: "failed", DryRun: true, Changed: api, Seconds: 3}
	assert.Equal(t, "release failed after 3.0s", planned.Sentence(), "a plan leaves nothing")
}

func TestMarkdownFitsIntoASummary(t *testing.T) {
	t.Parallel()
	r := failed()
	r.Plan = strings.Repeat("  api  surge 3\n", 100_000)
	text := r.Markdown()
	assert.LessOrEqual(t, len(text), maxMarkdown)
	assert.Contains(t, text, "> The plan is left out here")
	assert.Contains(t, text, "Last lines of shop-api-4", "what matters is there")
	assert.Equal(t, strings.Count(text, "<details"), strings.Count(text, "</details>"))

	for i := range 3 * maxBars {
		at := start.Add(time.Duration(i) * time.Second)
		r.Spans = append(r.Spans, Span{Section: "many", Name: "x", Started: at, Ended: at.Add(time.Second)})
	}
	assert.Contains(t, r.gantt(), "247 more parts did not fit")
	assert.Less(t, len(r.gantt()), 20_000)
}

func TestAddLogKeepsTheEnd(t *testing.T) {
	t.Parallel()
	r := &Release{}
	r.AddLog("quiet", " \n")
	for range maxLogs + 1 {
		r.AddLog("api-1", strings.Repeat("é line\n", maxLog)+"the end\n")
	}
	require.Len(t, r.Logs, maxLogs)
	assert.LessOrEqual(t, len(r.Logs[0].Text), maxLog+4)
	assert.True(t, strings.HasPrefix(r.Logs[0].Text, "...\né line\n"))
	assert.True(t, strings.HasSuffix(r.Logs[0].Text, "the end\n"))
}

func TestAnchorsLeadToTheWebOnly(t *testing.T) {
	t.Parallel()
	assert.Equal(t, `<a href="https://a.example/?x=&#34;&#38;y">a&#60;b</a>`, anchor("a<b", `https://a.example/?x="&y`))
	for _, bad := range []string{"", "javascript:alert(1)", "/relative", "https://", "ssh://a@b"} {
		assert.Empty(t, anchor("x", bad), bad)
	}
}

func TestStatusAndHistory(t *testing.T) {
	t.Parallel()
	now := start.Add(3 * time.Hour)
	s := &Status{
		Project: "shop", Host: "deploy@gpu1:22",
		Release: &Past{Number: 12, Version: "v2", Outcome: "verified", Actor: "meera", Started: start, Serves: true},
		Services: []Running{
			{Service: "api", Serving: 3, Wanted: 3, State: "ok", Image: "shop/api:v2", Since: start},
			{Service: "loop", Serving: 1, Wanted: 1, State: "ok, restarted 214 times", Restarts: 214, Image: "shop/loop:v2", Since: now.Add(-2 * time.Second)},
			{Service: "prepare", Serving: 1, Wanted: 1, State: "done", Image: "shop/api:v2"},
			{Service: "worker", Serving: 0, Wanted: 1, State: "down", Image: "shop/worker:v2\x1b[2J"},
		},
		Notes: []string{"release 13 is interrupted"},
	}
	golden(t, "status.txt", s.Text(now))
	golden(t, "status-empty.txt", (&Status{Project: "shop", Host: "h"}).Text(now))
	h := &History{Project: "shop", Host: "deploy@gpu1:22", Releases: []Past{
		{Number: 14, Version: "v4", Outcome: "refused", Started: start.Add(2 * time.Hour), Seconds: 5, Actor: "ben", Failure: "images: no room on the host"},
		{Number: 13, Version: "v3", Outcome: "failed", Started: start.Add(time.Hour), Seconds: 61, Actor: "ben", Changed: []string{"api"},
			Failure: "api: shop-api-4 is unhealthy\nand more of it"},
		{Number: 12, Version: "v2", Outcome: "verified", Started: start, Seconds: 42, Actor: "meera", Changed: []string{"api", "worker"}, Serves: true},
		{Number: 11, Outcome: "verified", RollsBack: 10, Restores: 9, Reason: "orders were slow", Lacks: "a rollback needs its registry, because the host does not have the image of api", Started: start.Add(-time.Hour), Seconds: 4},
	}}
	golden(t, "history.txt", h.Text())
	h.Releases, h.Unsettled = append([]Past{{Number: 15, Version: "v5", Outcome: "interrupted", Started: start.Add(150 * time.Minute), Seconds: 9, Actor: "ben"}}, h.Releases...), true
	golden(t, "history-unsettled.txt", h.Text())
	golden(t, "history-empty.txt", (&History{Project: "shop", Host: "h"}).Text())
}

// After a kill, status and history say whether a run is still at the newest release, and
// what to do where none is.
func TestAReleaseThatHasNotEnded(t *testing.T) {
	t.Parallel()
	yes, no := true, false
	ada := &Lock{Held: &yes, Actor: "ada", Holder: "ada since 2026-03-01 11:30:00 UTC (https://ci.example/7)"}
	free, unseen := &Lock{Held: &no}, &Lock{Why: "the host has no /proc that tells of locks"}
	newest := func(outcome, standing, failure string) *Past {
		return &Past{Number: 13, Version: "v3", Actor: "ada", RunURL: "https://ci.example/7", Outcome: outcome, Standing: standing, Failure: failure, Started: start}
	}
	served := &Past{Number: 12, Version: "v2", Outcome: "verified", Started: start.Add(-time.Hour), Serves: true}
	goes := newest("started", "cut off", "")
	goes.RollsBack, goes.Restores = 12, 11
	refused, ill := newest("interrupted", "", "verify: 1 of 3 checks failed; and it could not all be taken back: context canceled"), *goes
	refused.Refused, ill.Refused, ill.Outcome, ill.Standing = true, true, "interrupted", ""
	var all strings.Builder
	for _, s := range []Status{
		{Release: served, Newest: newest("started", "under way", ""), Lock: ada},
		{Release: served, Newest: newest("started", "cut off", ""), Lock: free},
		{Newest: newest("started", "cut off", ""), Lock: free},
		{Release: served, Newest: goes, Lock: free},
		{Release: served, Newest: newest("started", "cut off", ""), Lock: ada},
		{Release: served, Newest: newest("started", "unknown", ""), Lock: ada},
		{Release: served, Newest: newest("started", "unknown", ""), Lock: unseen},
		{Release: served, Newest: newest("started", "", "")},
		{Release: served, Newest: newest("interrupted", "", "its deployer ended without recording an outcome\nmore"), Lock: free},
		{Release: served, Newest: refused, Lock: free},
		{Newest: refused, Lock: free},
		{Release: served, Newest: &ill, Lock: free},
		{Release: served, Newest: newest("refused", "", "no room"), Unfinished: refused, Lock: free},
		{Release: served, Newest: newest("stuck", "", "api could not be taken back"), Lock: ada},
		{Release: served, Newest: newest("failed", "", "api: shop-api-4 is unhealthy"), Lock: free},
		{Release: served, Newest: newest("refused", "", "no room"), Lock: unseen},
		{Release: served, Newest: newest("refused", "", "no room"), Unfinished: newest("interrupted", "", "cancelled"), Lock: free},
		{Release: served, Newest: newest("failed", "", "ill"), Unfinished: newest("stuck", "", "api could not be taken back"), Lock: free},
		{Release: served, Lock: ada},
		{Release: served, Lock: free},
		{Lock: ada},
	} {
		all.WriteString("- " + strings.Join(s.Remarks(), "\n  ") + "\n")
	}
	golden(t, "remarks.txt", all.String())
	h := &History{Project: "shop", Host: "h", Unsettled: true, Releases: []Past{*newest("started", "cut off", ""), *served}, Lock: free}
	golden(t, "history-cut-off.txt", h.Text())
	settled := h.Releases[1]
	h.Releases = []Past{*newest("refused", "", "no room"), *refused, settled}
	golden(t, "history-refused.txt", h.Text())
	data, err := h.JSON()
	require.NoError(t, err)
	assert.Contains(t, string(data), `"outcome":"interrupted","refused":true`)
	h.Releases = []Past{*newest("failed", "", "ill"), *refused, settled}
	assert.NotContains(t, h.Text(), "would be refused again", "something was done since")
	h.Releases = []Past{*newest("started", "cut off", ""), settled}
	h.Releases[0].Standing, h.Lock = "under way", ada
	golden(t, "history-under-way.txt", h.Text())
	h.Releases[0].Standing, h.Lock = "unknown", unseen
	assert.Contains(t, h.Text(), "started")
	data, err = (&Status{Project: "shop", Host: "h", Newest: newest("started", "cut off", ""), Lock: free}).JSON()
	require.NoError(t, err)
	assert.Contains(t, string(data), `"outcome":"started","standing":"cut off"`)
	assert.Contains(t, string(data), `"lock":{"held":false}`)
	data, err = h.JSON()
	require.NoError(t, err)
	assert.Contains(t, string(data), `"lock":{"held":null,"why":"the host has no /proc that tells of locks"}`)
}

func TestBackups(t *testing.T) {
	t.Parallel()
	b := &Backups{Project: "shop", Host: "deploy@gpu1:22", Backups: []Backup{
		{ID: "db-20260301T110000Z", Database: "shop", Taken: start.Add(2 * time.Hour), Bytes: 4_200_000, Rows: 20_007, Release: 12, Version: "v2"},
		{ID: "db-20260301T100000Z", Database: "shop", Taken: start.Add(time.Hour), Bytes: 4_100_000, Rows: 19_000, Release: 12, Version: "v2",
			Proven: start.Add(90 * time.Minute), Copied: "sftp://backup@vault.example.org/srv/backups"},
		{ID: "db-20260301T090000Z", Database: "shop", Taken: start, Bytes: 4_000_000, Rows: 18_000, Release: 11, Lost: "its file has 7 bytes, not 4000000"},
		{ID: "db-20260228T090000Z", Database: "shop", Taken: start.Add(-24 * time.Hour), Bytes: 3_900_000, Rows: 17_000, Copied: "sftp://backup@vault.example.org/srv/backups", Away: true},
	}}
	golden(t, "backups.txt", b.Text())
	b.Backups[0].Node = "node2"
	golden(t, "backups-nodes.txt", b.Text())
	golden(t, "backups-empty.txt", (&Backups{Project: "shop", Host: "h"}).Text())
}

// events is a release as a console sees it, hostile text included.
func events(sink event.Sink) {
	at := func(ms int, e event.Event) event.Event {
		e.Time = start.Add(time.Duration(ms) * time.Millisecond)
		return e
	}
	sink.Emit(at(400, event.Event{Level: event.Info, Phase: "preflight", Text: "connected"}))
	sink.Emit(at(450, event.Event{Level: event.Debug, Phase: "preflight", Text: "only when asked"}))
	sink.Emit(at(900, event.Event{Level: event.Info, Phase: "plan", Text: "plan for shop\n  api  surge 3\n"}))
	sink.Emit(at(950, event.Event{Level: event.Info, Text: "it ended with 1\n  ::add-mask::e\n\n"}))
	sink.Emit(at(12300, event.Event{Level: event.Info, Phase: "roll", Service: "api", Unit: "shop-api-4", Text: "started"}))
	sink.Emit(at(13000, event.Event{Level: event.Warning, Phase: "roll", Service: "api", Text: "2 connections were ended"}))
	sink.Emit(at(65000, event.Event{Level: event.Error, Phase: "roll", Service: "api", Text: "died ##[error]x\x1b[31m",
		Output: "::set-output name=release::99\n\x1b]0;title\x07\x1b[2Jpanic:\tboom\r\n\u202eabc\n"}))
}

func TestConsole(t *testing.T) {
	t.Parallel()
	var plain strings.Builder
	c := NewConsole(&plain, Options{Start: start})
	events(c)
	require.NoError(t, c.Close())
	golden(t, "console.txt", plain.String())
	assert.NotContains(t, plain.String(), "\x1b")

	var color strings.Builder
	events(NewConsole(&color, Options{Start: start, Color: true, Verbose: true}))
	golden(t, "console-color.txt", color.String())
}

// recordedWorkflow writes down what a log that folds is told.
type recordedWorkflow struct{ b strings.Builder }

func (w *recordedWorkflow) Group(title string) { w.b.WriteString("[group " + title + "]\n") }
func (w *recordedWorkflow) EndGroup()          { w.b.WriteString("[end]\n") }
func (w *recordedWorkflow) Verbatim(text string) {
	w.b.WriteString("[verbatim]\n" + text + "[/verbatim]\n")
}

func TestConsoleInAWorkflow(t *testing.T) {
	t.Parallel()
	w := &recordedWorkflow{}
	c := NewConsole(&w.b, Options{Start: start, Workflow: w, Annotate: func(_ event.Level, text string) {
		w.b.WriteString("[annotation " + text + "]\n")
	}})
	events(c)
	require.NoError(t, c.Close())
	require.NoError(t, c.Close(), "closing twice ends no group twice")
	golden(t, "console-workflow.txt", w.b.String())
	assert.NotContains(t, w.b.String(), "##[error]")
	// The runner looks for a command behind the white space of a line.
	assert.NotRegexp(t, `(?m)^\s*::add-mask`, w.b.String())
}

func TestFailKeepsTheVerbsOutcome(t *testing.T) {
	t.Parallel()
	r := &Release{Outcome: "planned"}
	r.Fail(errors.New("x"))
	assert.Equal(t, "planned", r.Outcome)
	r = &Release{}
	r.Fail(nil)
	assert.Empty(t, r.Outcome+r.Error)
}

// Most versions are commits; the full one is in the facts, for whoever copies it.
func TestACommitForAVersionIsShort(t *testing.T) {
	t.Parallel()
	now, before := strings.Repeat("0123456789", 4), strings.Repeat("abcdef012345", 4)[:40]
	digest := strings.Repeat("ab", 32)
	r := &Release{
		Project: "shop", Number: 2, Previous: 1, Version: now, PreviousVersion: before, Serving: before, Outcome: "failed", Hint: before + " serves again",
		Services: []Service{{Name: "api", Action: "surge", Reasons: []string{"image ghcr.io/team/api:" + before + " -> :" + now}}},
	}
	assert.Equal(t, "shop: release 2 (012345678901) failed after 0.0s, abcdef012345 serves", r.Headline())
	assert.Equal(t, "release 1 (abcdef012345)", r.Before())
	page := r.Markdown()
	assert.Contains(t, page, "image ghcr.io/team/api:abcdef012345 -&#62; :012345678901")
	assert.Equal(t, 1, strings.Count(page, now), "the version itself")
	assert.NotContains(t, page, before)
	assert.Equal(t, digest, Brief(digest), "no commit")
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for s, want := range map[float64]string{0: "0.0s", 59.94: "59.9s", 60: "1m00s", 3725: "1h02m", 200000: "2d", -1: "0.0s"} {
		assert.Equal(t, want, seconds(s))
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000"} {
		assert.Equal(t, want, number(n))
	}
}

func TestChecks(t *testing.T) {
	t.Parallel()
	c := &Checks{Title: "preflight of shop", Report: check.Report{Schema: check.Schema, Results: []check.Result{
		{Name: "P01.interpolation", Kind: "images", Required: true, Outcome: check.Pass, Found: "every variable is set"},
		{Name: "P02.health api", Kind: "policy", Outcome: check.Warn, Found: "it has no | health check", Hint: "add `healthcheck:`", File: "compose.yaml", Line: 3},
		{Name: "P05.hosts nginx", Kind: "nginx", Required: true, Outcome: check.Fail, Found: "no service is called api-1", Hint: "write api", File: "nginx.conf", Line: 14},
		{Name: "P06.certificate nginx", Kind: "certificates", Outcome: check.Skip, Found: "not in the workspace", File: "nginx.conf"},
	}}}
	golden(t, "checks.txt", c.Text())
	golden(t, "checks.md", c.Markdown())
	c.All, c.Color = true, true
	golden(t, "checks-all.txt", c.Text())
	data, err := (&Checks{}).JSON()
	require.NoError(t, err)
	assert.JSONEq(t, `{"schema":0,"results":[]}`, string(data))
}

func TestPaintPlan(t *testing.T) {
	t.Parallel()
	plain := "plan for shop on h: v2 after v1\n  default   create             network\n  api       pull               45 MiB of shop/api@sha256:2\n  db        unchanged\n" +
		"  api       surge 3            image a -> b\n                               no interruption: new units first\n" +
		"  llm       stop-first 1       image a -> b\n                               interruption: about 95s: reserves a GPU\n" +
		"  drift: api runs 3 units, the release had 2\n  note: a note\n  refused: because\n"
	painted := PaintPlan(plain)
	golden(t, "plan-color.txt", painted)
	assert.Equal(t, plain, regexp.MustCompile(`\x1b\[\d*m`).ReplaceAllString(painted, ""), "only colours are added")
}
