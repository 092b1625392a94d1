package outcome

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/report"
	"github.com/shiksha/actions/pkg/rollout"
)

type commands struct {
	Release command `cmd:""`
}

type command struct {
	inputs.Telling
	Token inputs.Secret `name:"token"`
	do    func(*door.Session, *inputs.Telling) error
}

func (c *command) Run(s *door.Session) error { return c.do(s, &c.Telling) }

// enter runs do behind a door on a runner and gives its exit code, log and
// summary.
func enter(t *testing.T, env map[string]string, do func(*door.Session, *inputs.Telling) error) (code int, log, summary string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "summary")
	all := map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": path, "INPUT_TOKEN": "s3cret-value"}
	for k, v := range env {
		all[k] = v
	}
	var out strings.Builder
	d := &door.Door{Args: []string{"release"}, Getenv: func(k string) string { return all[k] }, Stdout: &out, Stderr: &out,
		Exit: func(int) { t.Error("exits") }}
	code = d.Main(&commands{command{do: do}})
	data, _ := os.ReadFile(path)
	return code, out.String(), string(data)
}

// fakeListener writes down what it is told, and can be slow or refuse.
type fakeListener struct {
	mu    sync.Mutex
	heard []report.Release
	err   error
	wait  func(context.Context)
}

func (f *fakeListener) Started(ctx context.Context, r *report.Release) error  { return f.hear(ctx, r) }
func (f *fakeListener) Finished(ctx context.Context, r *report.Release) error { return f.hear(ctx, r) }

func (f *fakeListener) hear(ctx context.Context, r *report.Release) error {
	if f.wait != nil {
		f.wait(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.heard = append(f.heard, *r)
	return f.err
}

func broken() *converge.Result {
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	return &converge.Result{
		Project: "shop", Host: "h", Version: "v2", Release: 12, Previous: 11, PreviousVersion: "v1", PreviousCommit: "aaa", Outcome: "failed",
		Serving: "v1", Started: at, Ended: at.Add(20 * time.Second),
		Plan: &plan.Plan{Steps: []plan.Step{
			{Service: "api", Action: plan.Surge, Replicas: 1}, {Service: "web", Action: plan.Surge, Replicas: 1}, {Service: "db", Action: plan.Unchanged, Replicas: 1},
		}},
		Phases: []rollout.Span{
			{Name: "look", Started: at, Ended: at.Add(time.Second)},
			{Name: "create", Service: "api", Started: at.Add(12 * time.Second), Ended: at.Add(13 * time.Second)},
			{Name: rollBack, Started: at.Add(12 * time.Second), Ended: at.Add(14 * time.Second)},
		},
		Rollout: &rollout.Report{Touched: []string{"api"}, Failed: "api", Spans: []rollout.Span{
			{Name: "create", Service: "api", Started: at.Add(2 * time.Second), Ended: at.Add(3 * time.Second)},
			{Name: "gate", Service: "api", Started: at.Add(3 * time.Second), Ended: at.Add(9 * time.Second)},
			{Name: "undo", Service: "api", Started: at.Add(9 * time.Second), Ended: at.Add(11 * time.Second)},
			{Name: "surge", Service: "api", Started: at.Add(2 * time.Second), Ended: at.Add(11 * time.Second)},
		}},
	}
}

func TestAStoryOfAFailure(t *testing.T) {
	t.Parallel()
	listening := &fakeListener{err: errors.Join(errors.New("could not reach it"), errors.New("could not reach it"))}
	code, log, summary := enter(t, nil, func(s *door.Session, _ *inputs.Telling) error {
		story := follow(s, About{Version: "v2"}, listening)
		story.Began(&converge.Result{Project: "shop", Version: "v2", Release: 12, Previous: 11, Started: time.Now()})
		story.Emit(event.Event{Level: event.Warning, Phase: "roll", Unit: "shop-api-2", Text: "last lines", Output: "panic: s3cret-value <b>\n::error::x\n"})
		return story.Finish(broken(), fault.New(fault.Failed, "api", "", "died with s3cret-value"))
	})
	assert.Equal(t, 1, code, "a listener changes no outcome")
	assert.Equal(t, 1, strings.Count(log, "::warning::could not reach it"), "said once: %s", log)
	assert.Contains(t, summary, "Last lines of shop-api-2")
	assert.Contains(t, summary, "panic: *** &#60;b&#62;")
	require.Len(t, listening.heard, 2)
	first, last := listening.heard[0], listening.heard[1]
	assert.Equal(t, "release 12 (v2) begins", first.Sentence())
	assert.Equal(t, "failed api: died with ***", last.Outcome+" "+last.Error)
	assert.Equal(t, "panic: *** <b>\n::error::x\n", last.Logs[0].Text)
	var results, marked []string
	for _, s := range last.Services {
		results = append(results, s.Name+" "+s.Result)
	}
	assert.Equal(t, []string{"api failed", "web not begun", "db unchanged"}, results)
	assert.InDelta(t, 9, last.Services[0].Seconds, 0.01, "the whole step, not the sum of its parts")
	for _, s := range last.Spans {
		if s.Failed {
			marked = append(marked, s.Section+" "+s.Name)
		}
	}
	assert.Equal(t, []string{"api gate"}, marked)
}

// A secret that is a piece of the report's own JSON leaves nothing of it to read: who is to
// hear of it, and of what, is still known.
func TestASecretThatBreaksTheReport(t *testing.T) {
	t.Parallel()
	listening := &fakeListener{}
	_, _, _ = enter(t, map[string]string{"INPUT_TOKEN": `"outcome"`}, func(s *door.Session, _ *inputs.Telling) error {
		about := About{Environment: "staging", Run: converge.Origin{Commit: "abc"}}
		return follow(s, about, listening).Finish(&converge.Result{Release: 12, Outcome: "stuck"}, nil)
	})
	require.Len(t, listening.heard, 1)
	assert.Equal(t, "stuck staging abc", listening.heard[0].Outcome+" "+listening.heard[0].Environment+" "+listening.heard[0].Commit)
}

func TestWhereAReleaseFailedBeforeItRolled(t *testing.T) {
	t.Parallel()
	at := time.Now()
	got := spans(&converge.Result{Phases: []rollout.Span{{Name: "look", Started: at, Ended: at}, {Name: "pull", Started: at, Ended: at}}}, true)
	assert.False(t, got[0].Failed)
	assert.True(t, got[1].Failed)
}

func TestServicesThatWentBack(t *testing.T) {
	t.Parallel()
	r := broken()
	r.Rollout.Touched = []string{"web", "api"}
	assert.Equal(t, "went back", came(r, r.Plan.Steps[1]))
	r.Changed = []string{"web"}
	assert.Equal(t, "changed", came(r, r.Plan.Steps[1]), "failure_action: pause")
	r.Outcome, r.Rollout.Failed = converge.Verified, ""
	assert.Equal(t, "done", came(r, r.Plan.Steps[1]))
	r.Rollout.Ill = []string{r.Plan.Steps[1].Service}
	assert.Equal(t, "ill as before", came(r, r.Plan.Steps[1]))
}

func TestAPlanIsNobodysNews(t *testing.T) {
	t.Parallel()
	env := map[string]string{"INPUT_GITHUB-TOKEN": "ghs_token", "INPUT_SLACK-WEBHOOK": "http://127.0.0.1:1/hook"}
	code, log, summary := enter(t, env, func(s *door.Session, in *inputs.Telling) error {
		return Follow(s, About{DryRun: true}, in).Finish(&converge.Result{Project: "shop", Outcome: converge.Planned}, nil)
	})
	assert.Zero(t, code)
	assert.Contains(t, summary, "nothing to change")
	assert.NotContains(t, log, "told")
}

// On a pull request the plan is a comment, without secrets; on a fork's, whose token
// can only read, it is the summary alone.
func TestAPlanIsTheNewsOfItsPullRequest(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from, event, input string
		comments           int
	}{
		"own branch":   {"team/shop", "pull_request", "true", 1},
		"fork":         {"stranger/shop", "pull_request", "true", 0},
		"switched off": {"team/shop", "pull_request", "false", 0},
		"push":         {"team/shop", "push", "true", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var mu sync.Mutex
			var told []string
			fakeWorld := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				if r.Method == http.MethodGet {
					_, _ = io.WriteString(w, "[]")
					return
				}
				body, _ := io.ReadAll(r.Body)
				told = append(told, r.Method+" "+r.URL.Path+" "+string(body))
				w.WriteHeader(http.StatusCreated)
				_, _ = io.WriteString(w, `{"id": 5}`)
			}))
			t.Cleanup(fakeWorld.Close)
			file := filepath.Join(t.TempDir(), "event.json")
			require.NoError(t, os.WriteFile(file, []byte(`{"pull_request":{"number":7,"head":{"repo":{"full_name":"`+c.from+`"}}}}`), 0o600))
			env := map[string]string{
				"GITHUB_REPOSITORY": "team/shop", "GITHUB_SHA": "abc", "GITHUB_EVENT_NAME": c.event, "GITHUB_EVENT_PATH": file,
				"GITHUB_API_URL": fakeWorld.URL + "/api/v3", "INPUT_GITHUB-TOKEN": "ghs_token", "INPUT_PLAN-COMMENT": c.input,
			}
			code, log, summary := enter(t, env, func(s *door.Session, in *inputs.Telling) error {
				result := &converge.Result{Project: "shop", Outcome: converge.Planned, Plan: &plan.Plan{Notes: []string{"s3cret-value"}}}
				return Follow(s, About{DryRun: true}, in).Finish(result, nil)
			})
			assert.Zero(t, code, log)
			assert.Contains(t, summary, "nothing to change")
			require.Len(t, told, c.comments, log)
			if c.comments > 0 {
				assert.Contains(t, told[0], "POST /api/v3/repos/team/shop/issues/7/comments")
				assert.NotContains(t, told[0], "s3cret-value")
			}
			assert.Equal(t, name == "fork", strings.Contains(log, "job summary only"), log)
		})
	}
}

// Whoever is slow to listen holds nothing up: not the release, and not the end
// of a run that was cancelled.
func TestNobodyWaitsForAListener(t *testing.T) {
	listening := &fakeListener{wait: func(ctx context.Context) { <-ctx.Done() }}
	began := time.Now()
	code, _, _ := enter(t, nil, func(s *door.Session, _ *inputs.Telling) error {
		story := follow(s, About{}, listening)
		story.Began(&converge.Result{Release: 1})
		assert.Less(t, time.Since(began), time.Second)
		require.NoError(t, syscall.Kill(syscall.Getpid(), syscall.SIGTERM))
		<-s.Context.Done()
		return story.Finish(&converge.Result{Release: 1, Outcome: "interrupted"}, fault.New(fault.Interrupted, "", "", "interrupted"))
	})
	assert.Equal(t, 5, code)
	assert.Less(t, time.Since(began), 2*grace.Words)
	assert.Len(t, listening.heard, 2, "but it is told")
}

// With nothing but inputs and a runner's environment: GitHub and Slack hear of a
// release, through a second try where the first one fails.
func TestListenersHearOfARelease(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var got []string
	fakeWorld := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		body, _ := io.ReadAll(r.Body)
		got = append(got, r.Method+" "+r.URL.Path)
		assert.NotContains(t, string(body), "s3cret-value")
		switch {
		case len(got) == 1:
			w.WriteHeader(http.StatusBadGateway)
		case r.Method == http.MethodGet:
			_, _ = io.WriteString(w, "[]")
		case strings.HasPrefix(r.URL.Path, "/services"):
			_, _ = io.WriteString(w, "ok")
		default:
			w.WriteHeader(http.StatusCreated)
			_, _ = io.WriteString(w, `{"id": 5}`)
		}
	}))
	t.Cleanup(fakeWorld.Close)
	env := map[string]string{
		"GITHUB_REPOSITORY": "team/shop", "GITHUB_SHA": "abc", "GITHUB_RUN_ID": "7", "GITHUB_SERVER_URL": "https://github.example",
		"GITHUB_API_URL": fakeWorld.URL + "/api/v3", "INPUT_GITHUB-TOKEN": "ghs_token", "INPUT_ENVIRONMENT": "production",
		"INPUT_SLACK-WEBHOOK": fakeWorld.URL + "/services/T0/B0/hook", "INPUT_PAGERDUTY-ROUTING-KEY": "R0",
	}
	code, log, summary := enter(t, env, func(s *door.Session, in *inputs.Telling) error {
		run := s.Action.Run()
		about := About{Run: converge.Origin{Commit: run.Commit, Repository: run.Repository}}
		story := Follow(s, about, in)
		result := broken()
		story.Began(result)
		result.Outcome = converge.Verified
		return story.Finish(result, nil)
	})
	require.Zero(t, code, log)
	assert.NotContains(t, log, "::warning::")
	count := map[string]int{}
	for _, call := range got {
		count[call]++
	}
	api := "/api/v3/repos/team/shop"
	assert.Equal(t, 1, count["POST "+api+"/deployments"])
	assert.GreaterOrEqual(t, count["POST "+api+"/deployments/5/statuses"], 2)
	assert.GreaterOrEqual(t, count["POST "+api+"/statuses/abc"], 2)
	assert.GreaterOrEqual(t, count["POST /services/T0/B0/hook"], 2)
	assert.Contains(t, summary, `<a href="https://github.example/team/shop/compare/aaa...abc">What changed</a>`)
	for line := range strings.Lines(log) {
		if !strings.HasPrefix(line, "::add-mask::") {
			assert.NotContains(t, line, "hook")
		}
	}
}

func TestWhoCannotTellGitHub(t *testing.T) {
	t.Parallel()
	event := filepath.Join(t.TempDir(), "event.json")
	require.NoError(t, os.WriteFile(event, []byte(`{"pull_request":{"head":{"repo":{"full_name":"stranger/shop"}}}}`), 0o600))
	for want, env := range map[string]map[string]string{
		"comes from a fork":                      {"GITHUB_REPOSITORY": "team/shop", "GITHUB_SHA": "abc", "GITHUB_EVENT_NAME": "pull_request", "GITHUB_EVENT_PATH": event},
		"only a workflow's run has a repository": {},
		"is not the name of a repository":        {"GITHUB_REPOSITORY": "shop", "GITHUB_SHA": "abc"},
	} {
		env["INPUT_GITHUB-TOKEN"] = "ghs_token"
		_, log, _ := enter(t, env, func(s *door.Session, in *inputs.Telling) error {
			assert.Empty(t, listeners(s, in))
			return nil
		})
		assert.Equal(t, 1, strings.Count(log, want), "%s: %s", want, log)
	}
}
