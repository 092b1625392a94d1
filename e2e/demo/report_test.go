package main

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

var write = flag.Bool("write", false, "write the golden files instead of comparing them")

// kept is a report in which every promise was kept.
func kept() Report {
	load := lab.LoadReport{Report: probe.Report{
		Requests: 4021, Failures: map[string]int{probe.ResetOnReload: 1},
		LongestGap: 41 * time.Millisecond, P99Before: 9870 * time.Microsecond, P99During: 14200 * time.Microsecond,
	}}
	named := func(name, serving string, exit int, seconds float64, restarted map[string]int) Step {
		s := newStep(name, load)
		s.Serving, s.ExitCode, s.Seconds, s.Restarted = serving, exit, seconds, restarted
		return s
	}
	none := map[string]int{}
	first := newStep("v1", lab.LoadReport{})
	first.Serving, first.Seconds = "v1", 14.2
	return Report{Steps: []Step{
		first,
		named("v2", "v2", 0, 12.31, map[string]int{"api": 3, "worker": 1}),
		named("never-healthy", "v2", 1, 16, none),
		named("dies-late", "v2", 1, 9.5, none),
		named("again", "v2", 0, 0.9, none),
		named("reload", "v2", 0, 1.75, none),
		named("rollback", "v1", 0, 11.2, map[string]int{"api": 3, "worker": 1}),
	}}
}

func TestReportGolden(t *testing.T) {
	t.Parallel()
	asJSON := filepath.Join(t.TempDir(), "deep", "report.json")
	require.NoError(t, kept().write(asJSON))
	text, err := os.ReadFile(asJSON)
	require.NoError(t, err)
	for name, got := range map[string]string{"report.json": string(text), "table.txt": kept().Table()} {
		path := filepath.Join("testdata", name)
		if *write {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		assert.Equal(t, string(want), got, name)
	}
	assert.Empty(t, kept().Broken(steps))
}

func TestReportBroken(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		step   int
		change func(*Step)
		want   string
	}{
		"a request failed":         {1, func(s *Step) { s.Failed = 1 }, "v2: 0 failed"},
		"too many resets":          {1, func(s *Step) { s.Failures = map[string]int{probe.ResetOnReload: 4} }, "v2: 0 failed"},
		"an order lost":            {1, func(s *Step) { s.PostsLost = 1 }, "v2: 0 posts lost, 0 doubled"},
		"too few requests":         {1, func(s *Step) { s.Requests = 2999 }, "v2: at least 3,000 requests"},
		"a bad release passed":     {2, func(s *Step) { s.ExitCode = 0 }, "never-healthy: exit code 1"},
		"a bad release stayed":     {3, func(s *Step) { s.Serving = "v4" }, "dies-late: serving v2"},
		"the database was touched": {3, func(s *Step) { s.Restarted = map[string]int{"postgres": 1} }, "dies-late: postgres not restarted"},
		"nothing to do took long":  {4, func(s *Step) { s.Seconds = 3 }, "again: under 3 s"},
		"a reload replaced":        {5, func(s *Step) { s.Restarted = map[string]int{"nginx": 1} }, "reload: no container replaced"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			report := kept()
			test.change(&report.Steps[test.step])
			assert.Equal(t, []string{test.want}, report.Broken(steps))
		})
	}
}

func TestReportThatEndedEarlyIsBroken(t *testing.T) {
	t.Parallel()
	report := Report{Steps: kept().Steps[:5]}
	assert.Equal(t, []string{"reload: was not reached", "rollback: was not reached"}, report.Broken(steps))
}

// TestReportFields keeps the names that others read.
func TestReportFields(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(newStep("v1", lab.LoadReport{}))
	require.NoError(t, err)
	var fields map[string]any
	require.NoError(t, json.Unmarshal(text, &fields))
	for _, name := range []string{
		"name", "requests", "failed", "failures", "longest_gap_ms", "p99_before_ms", "p99_during_ms", "posts_lost",
		"posts_doubled", "seconds", "exit_code", "serving", "restarted",
	} {
		assert.Contains(t, fields, name)
		assert.NotNil(t, fields[name], name)
	}
	assert.Len(t, fields, 13)
}

func TestRequestsThatWereNotSentCountAsFailed(t *testing.T) {
	t.Parallel()
	s := newStep("v2", lab.LoadReport{Report: probe.Report{Requests: 10, Failed: 1, Dropped: 2}})
	assert.Equal(t, 3, s.Failed)
	assert.Equal(t, 2, s.Failures["not_sent"])
}

func TestRestarted(t *testing.T) {
	t.Parallel()
	before := map[string][]string{"api": {"a 1", "b 1"}, "postgres": {"p 1"}, "worker": {"w 1"}, "nginx": {"n 1"}}
	after := map[string][]string{"api": {"c 2", "b 1"}, "postgres": {"p 2"}, "nginx": {"n 1"}, "new": {"x 2"}}
	assert.Equal(t, map[string]int{"api": 1, "postgres": 1, "worker": 1}, restarted(before, after))
	assert.Empty(t, restarted(nil, after))
}

func TestChangeConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "nginx", "nginx.conf")
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	text, err := os.ReadFile("../../examples/quickstart/nginx/nginx.conf")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, text, 0o600))
	require.NoError(t, changeConfig(dir))
	changed, err := os.ReadFile(path)
	require.NoError(t, err)
	assert.Contains(t, string(changed), "server_tokens off;")
}
