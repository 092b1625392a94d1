package github

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/report"
)

const (
	sha     = "0a1b2c3d4e5f60718293a4b5c6d7e8f901234567"
	runPage = "https://github.example/team/shop/actions/runs/7"
)

func config(f *fakeGitHub) Config {
	return Config{
		Token: "ghs_token", API: f.URL + "/api/v3", Repository: fakeRepository, Commit: sha, RunID: "7", RunURL: runPage + "/attempts/1",
		Environment: "production", EnvironmentURL: "https://shop.example.org", Mode: Auto, Status: true, HTTP: f.Client(),
	}
}

func begun() *report.Release {
	return &report.Release{Project: "shop", Host: "deploy@gpu1:22", Number: 12, Previous: 11, Version: "v2", Commit: sha}
}

func ended(outcome string) *report.Release {
	r := begun()
	r.Outcome, r.Seconds, r.Serving = outcome, 42, "v2"
	return r
}

// tell tells one release and gives the errors of its start and its end.
func tell(t *testing.T, c Config, outcome string) (start, end error) {
	t.Helper()
	g, err := New(c)
	require.NoError(t, err)
	start = g.Started(t.Context(), begun())
	return start, g.Finished(t.Context(), ended(outcome))
}

func (d *fakeDeployment) states() string {
	var out []string
	for _, s := range d.statuses {
		out = append(out, s.State)
	}
	return strings.Join(out, " ")
}

func TestARelease(t *testing.T) {
	t.Parallel()
	for outcome, want := range map[string]struct{ deployment, commit string }{
		"verified":    {"in_progress success", "success"},
		"failed":      {"in_progress failure", "failure"},
		"stuck":       {"in_progress failure", "failure"},
		"interrupted": {"in_progress error", "error"},
	} {
		t.Run(outcome, func(t *testing.T) {
			t.Parallel()
			f := newFakeGitHub(t)
			start, end := tell(t, config(f), outcome)
			require.NoError(t, start)
			require.NoError(t, end)
			require.Len(t, f.deployments, 1)
			d := f.deployments[0]
			assert.Equal(t, want.deployment, d.states())
			assert.Equal(t, sha+" production", d.sha+" "+d.env)
			assert.True(t, d.production)
			for _, s := range d.statuses {
				assert.Equal(t, runPage+"/attempts/1 https://shop.example.org", s.LogURL+" "+s.EnvironmentURL)
				assert.False(t, s.AutoInactive == nil || *s.AutoInactive)
			}
			require.Len(t, f.commits, 2)
			assert.Equal(t, "pending shiksha/production release 12 (v2) begins", f.commits[0])
			assert.True(t, strings.HasPrefix(f.commits[1], want.commit+" shiksha/production release 12 (v2) "), f.commits[1])
		})
	}
}

func TestWhatIsNoDeployment(t *testing.T) {
	t.Parallel()
	f := newFakeGitHub(t)
	for outcome, want := range map[string]string{"refused": "failure", "locked": "error", "unchanged": "success"} {
		g, err := New(config(f))
		require.NoError(t, err)
		r := ended(outcome)
		if outcome != "unchanged" {
			r.Number = 0
		}
		require.NoError(t, g.Finished(t.Context(), r))
		assert.True(t, strings.HasPrefix(f.commits[len(f.commits)-1], want+" "), outcome)
	}
	for _, change := range []func(*Config){func(c *Config) { c.Mode = Off }, func(c *Config) { c.Environment = "" }} {
		c := config(f)
		change(&c)
		start, end := tell(t, c, "verified")
		require.NoError(t, start)
		require.NoError(t, end)
	}
	assert.Empty(t, f.deployments)
	assert.Contains(t, f.commits, "pending shiksha release 12 (v2) begins", "without an environment")
}

// A job with an `environment` has a deployment that GitHub made; its statuses
// lead to the job's page.
func TestTheJobsOwnDeploymentIsEnough(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		page, mode string
		want       int
	}{
		"of this run":         {runPage + "/job/41", Auto, 0},
		"of this run, older":  {runPage, Auto, 0},
		"but one is wanted":   {runPage + "/job/41", On, 1},
		"of another run":      {runPage + "8/job/41", Auto, 1},
		"of another program":  {"https://ci.example/7", Auto, 1},
		"without any address": {"", Auto, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeGitHub(t)
			theirs := &fakeDeployment{id: 41, sha: sha, env: "production", task: "deploy", payload: []byte("{}"),
				statuses: []fakeStatus{{State: "queued", LogURL: c.page}, {State: "in_progress", LogURL: c.page}}}
			f.deployments = append(f.deployments, theirs)
			cfg := config(f)
			cfg.Mode = c.mode
			start, end := tell(t, cfg, "verified")
			require.NoError(t, start)
			require.NoError(t, end)
			assert.Len(t, f.deployments, 1+c.want)
			assert.Equal(t, "queued in_progress", theirs.states(), "the job's own is GitHub's to move")
			assert.Len(t, f.commits, 2)
		})
	}
}

// The second release makes the deployment of the first inactive, and nobody
// else's; a failed one leaves it.
func TestSupersededDeploymentsBecomeInactive(t *testing.T) {
	t.Parallel()
	for name, asText := range map[string]bool{"payload as an object": false, "payload as text": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFakeGitHub(t)
			f.payloadAsText = asText
			f.deployments = append(f.deployments,
				&fakeDeployment{id: 1, env: "production", task: "deploy", payload: []byte(`{"a":1}`), statuses: []fakeStatus{{State: "success"}}},
				&fakeDeployment{id: 2, env: "production", task: "deploy", payload: []byte(`{"shiksha":{"project":"other","host":"deploy@gpu1:22"}}`),
					statuses: []fakeStatus{{State: "success"}}})
			for _, outcome := range []string{"verified", "failed", "verified"} {
				start, end := tell(t, config(f), outcome)
				require.NoError(t, start)
				require.NoError(t, end)
			}
			var got []string
			for _, d := range f.deployments {
				got = append(got, d.states())
			}
			assert.Equal(t, []string{"success", "success", "in_progress success inactive", "in_progress failure", "in_progress success"}, got)
		})
	}
}

// A run that was killed, or lost its runner, tells nobody of its end: the next release that is
// verified does, but for one that is under way elsewhere.
func TestADeploymentThatNeverEnded(t *testing.T) {
	t.Parallel()
	f := newFakeGitHub(t)
	ours := func(id int64, project string, states ...string) *fakeDeployment {
		d := &fakeDeployment{id: id, env: "production", task: "deploy", payload: []byte(`{"shiksha":{"project":"` + project + `","host":"deploy@gpu1:22"}}`)}
		for _, state := range states {
			d.statuses = append(d.statuses, fakeStatus{State: state})
		}
		return d
	}
	f.deployments = append(f.deployments, ours(1, "shop", "in_progress"), ours(2, "shop"), ours(3, "shop", "in_progress", "failure"), ours(4, "other", "in_progress"),
		ours(5, "shop", "in_progress", "error"), ours(6, "shop", "in_progress", "inactive"), ours(7, "shop", "pending"), ours(8, "shop", "queued"),
		ours(900, "shop", "in_progress"))
	start, end := tell(t, config(f), "verified")
	require.NoError(t, start)
	require.NoError(t, end)
	var got []string
	for _, d := range f.deployments {
		got = append(got, d.states())
	}
	assert.Equal(t, []string{"in_progress error", "error", "in_progress failure", "in_progress", "in_progress error", "in_progress inactive", "pending error",
		"queued error", "in_progress", "in_progress success"}, got)
	assert.Equal(t, "its end was never told; release 12 (v2) followed", f.deployments[0].statuses[1].Description)
}

// A slow GitHub leaves the time for little: what everybody sees comes first.
func TestTheCommitHearsBeforeOlderDeployments(t *testing.T) {
	t.Parallel()
	f := newFakeGitHub(t)
	start, end := tell(t, config(f), "verified")
	require.NoError(t, errors.Join(start, end))
	f.calls = nil
	start, end = tell(t, config(f), "verified")
	require.NoError(t, errors.Join(start, end))
	asked := slices.Index(f.calls, "GET /deployments/101/statuses")
	require.Positive(t, asked, f.calls)
	assert.NotContains(t, f.calls[asked:], "POST /statuses/"+sha)
}

// A rollback releases an older commit: the job's own deployment is of the run's.
func TestARollback(t *testing.T) {
	t.Parallel()
	const older = "9f8e7d6c5b4a39281706f5e4d3c2b1a098765432"
	for name, want := range map[string]int{"a job with an environment": 0, "a job without": 1} {
		f := newFakeGitHub(t)
		if want == 0 {
			f.deployments = append(f.deployments, &fakeDeployment{id: 41, sha: sha, env: "production", task: "deploy", payload: []byte("{}"),
				statuses: []fakeStatus{{State: "in_progress", LogURL: runPage + "/job/41"}}})
		}
		g, err := New(config(f))
		require.NoError(t, err)
		r := ended("verified")
		r.Commit = older
		require.NoError(t, g.Finished(t.Context(), r))
		made := f.deployments[1-want:]
		assert.Len(t, made, want, name)
		for _, d := range made {
			assert.Equal(t, older, d.sha)
		}
		assert.Contains(t, f.calls, "POST /statuses/"+older)

		r = ended("refused")
		r.Number, r.Commit = 0, ""
		before := len(f.calls)
		require.NoError(t, g.Finished(t.Context(), r))
		assert.Len(t, f.calls, before, "which commit it would have been is not known")
	}
}

func TestAMissingPermissionIsToldOnce(t *testing.T) {
	t.Parallel()
	f := newFakeGitHub(t)
	f.refuse = func(method, path string) int {
		if strings.Contains(path, "/deployments") {
			return http.StatusForbidden
		}
		return 0
	}
	start, end := tell(t, config(f), "verified")
	require.ErrorContains(t, start, "permissions: {deployments: write}")
	require.NoError(t, end)
	assert.Len(t, f.commits, 2, "the other permission is there")
	assert.Equal(t, []string{"GET /deployments", "POST /statuses/" + sha, "POST /statuses/" + sha}, f.calls)

	c := config(f)
	c.Token = "expired"
	start, end = tell(t, c, "verified")
	require.ErrorContains(t, start, "does not accept github-token (Bad credentials)")
	assert.Equal(t, 1, strings.Count(start.Error(), "does not accept"), "told once")
	require.NoError(t, end)
	assert.NotContains(t, start.Error(), "expired")
}

// What could not be told at the start is told at the end.
func TestABlipAtTheStart(t *testing.T) {
	t.Parallel()
	f := newFakeGitHub(t)
	f.refuse = func(string, string) int { return http.StatusBadGateway }
	g, err := New(config(f))
	require.NoError(t, err)
	require.ErrorContains(t, g.Started(t.Context(), begun()), "502")
	f.refuse = nil
	require.NoError(t, g.Finished(t.Context(), ended("verified")))
	require.Len(t, f.deployments, 1)
	assert.Equal(t, "in_progress success", f.deployments[0].states())
}

func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	f := newFakeGitHub(t)
	c := config(f)
	f.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	g, err := New(c)
	require.NoError(t, err)
	require.Error(t, g.Started(ctx, begun()))
	require.Error(t, g.Finished(ctx, ended("failed")))
}

func TestNew(t *testing.T) {
	t.Parallel()
	_, err := New(Config{Repository: "no-owner", HTTP: http.DefaultClient})
	require.ErrorContains(t, err, "no-owner")
	for api, want := range map[string]string{
		"":                               "https://api.github.com/",
		"https://api.github.com":         "https://api.github.com/",
		"https://api.team.ghe.com":       "https://api.team.ghe.com/",
		"https://github.example/api/v3":  "https://github.example/api/v3/",
		"https://github.example/api/v3/": "https://github.example/api/v3/",
	} {
		g, err := New(Config{Repository: fakeRepository, API: api, HTTP: http.DefaultClient})
		require.NoError(t, err)
		assert.Equal(t, want, g.client.BaseURL.String())
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "é", short("é"))
	assert.Len(t, []rune(short(strings.Repeat("é", 300))), maxDescription)
}
