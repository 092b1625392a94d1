package deploy

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/pkg/converge"
	verb "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/rollout"
)

type commands struct {
	Deploy  Command        `cmd:""`
	Plan    PlanCommand    `cmd:""`
	Status  StatusCommand  `cmd:""`
	History HistoryCommand `cmd:""`
}

type ended struct {
	code           int
	stdout, stderr string
}

func enter(t *testing.T, cli *commands, env map[string]string, dir string, args ...string) ended {
	t.Helper()
	var out, errs strings.Builder
	d := &door.Door{Args: args, Getenv: func(k string) string { return env[k] }, Stdout: &out, Stderr: &errs, Dir: dir,
		Exit: func(int) { t.Error("exits") }}
	code := d.Main(cli)
	return ended{code, out.String(), errs.String()}
}

func step() time.Time { return time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC) }

func result() *converge.Result {
	return &converge.Result{
		Project: "shop", Host: "deploy@gpu1:22", Version: "v2", Release: 12, Previous: 11, Outcome: "verified", Serving: "v2",
		Changed: []string{"api", "worker"}, Started: step(), Ended: step().Add(42 * time.Second),
		Plan: &plan.Plan{Project: "shop", Steps: []plan.Step{
			{Service: "api", Action: plan.Surge, Replicas: 3, Batch: 3, Reasons: []string{"image a -> b"}},
			{Service: "worker", Action: plan.StopFirst, Replicas: 1, Batch: 1, Interruption: "jobs wait"},
		}},
		Rollout: &rollout.Report{Touched: []string{"api", "worker"}, Spans: []rollout.Span{{Name: "surge", Service: "api", Started: step(), Ended: step().Add(30 * time.Second)}}},
		Probe:   &probe.Report{Requests: 3120, Failed: 2, Failures: map[string]int{"502": 2}, LongestGap: 31 * time.Millisecond},
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prod.env"), []byte("A=1\n"), 0o600))
	var got verb.Options
	cli := &commands{Deploy: Command{Verb: func(_ context.Context, o verb.Options, _ event.Sink) (*converge.Result, error) {
		got = o
		return result(), nil
	}}}
	env := map[string]string{
		"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": dir, "GITHUB_SHA": "abc", "GITHUB_ACTOR": "meera", "GITHUB_REPOSITORY": "team/shop",
		"GITHUB_SERVER_URL": "https://github.example", "GITHUB_RUN_ID": "7", "SSH_AUTH_SOCK": "/run/agent",
		"INPUT_HOST": "a@b", "INPUT_SSH-KEY": "KEY", "INPUT_HOST-FINGERPRINT": "SHA256:x", "INPUT_ENV-FILE": "prod.env", "INPUT_VERSION": "v2",
		"INPUT_IMAGES": "api=r/api:1\n# a comment\nweb = r/web@sha256:0", "INPUT_REGISTRY": "ghcr.io", "INPUT_REGISTRY-USERNAME": "u",
		"INPUT_REGISTRY-PASSWORD": "p", "INPUT_SERVICES": "api,web", "INPUT_PROBE-URL": "http://x/health", "INPUT_PROBE-RATE": "50",
		"INPUT_COMPOSE-FILE": "a.yaml\nb.yaml", "INPUT_REMOVE-ORPHANS": "true", "INPUT_ROLLBACK-ON-FAILURE": "false",
	}
	o := enter(t, cli, env, "/elsewhere", "deploy")
	require.Zero(t, o.code, o.stdout)
	assert.Equal(t, "a@b", got.Host.Address)
	assert.Equal(t, "SHA256:x", got.Host.Fingerprint)
	assert.Empty(t, got.Host.AgentSocket)
	assert.Equal(t, dir, got.Workspace)
	assert.Equal(t, "shop", got.Folder, "the container's folder is called workspace")
	assert.Equal(t, []string{"a.yaml", "b.yaml"}, got.ComposeFiles)
	assert.Equal(t, "A=1\n", string(got.EnvFile))
	assert.Equal(t, map[string]string{"VERSION": "v2"}, got.Environment)
	assert.Equal(t, map[string]string{"api": "r/api:1", "web": "r/web@sha256:0"}, got.Images)
	assert.Equal(t, engine.Auth{Registry: "ghcr.io", Username: "u", Password: "p"}, got.Registry)
	assert.Equal(t, []string{"api", "web"}, got.Services)
	assert.Equal(t, "http://x/health", got.Probe.URL)
	assert.Equal(t, 50, got.Probe.Rate)
	assert.Equal(t, "https://github.example/team/shop/actions/runs/7", got.Run.URL)
	assert.Equal(t, "abc meera team/shop", got.Run.Commit+" "+got.Run.Actor+" "+got.Run.Repository)
	assert.True(t, got.RemoveOrphans)
	assert.False(t, got.RollbackOnFailure || got.DryRun)
	assert.Equal(t, "rolling 5 10m0s 10m0s", strings.Join([]string{got.Strategy, strconv.Itoa(got.KeepReleases), got.LockWait.String(), got.WaitTimeout.String()}, " "))
}

func TestOutputsAndSummary(t *testing.T) {
	t.Parallel()
	for name, failure := range map[string]error{"verified": nil, "failed": fault.New(fault.Failed, "api", "look", "never became healthy")} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			cli := &commands{Deploy: Command{Verb: func(context.Context, verb.Options, event.Sink) (*converge.Result, error) {
				r := result()
				r.Outcome = name
				return r, failure
			}}}
			env := map[string]string{"GITHUB_ACTIONS": "true", "INPUT_HOST": "a@b", "INPUT_SSH-KEY": "KEY", "INPUT_KNOWN-HOSTS": "x",
				"GITHUB_OUTPUT": filepath.Join(dir, "out"), "GITHUB_STEP_SUMMARY": filepath.Join(dir, "sum"), "GITHUB_WORKSPACE": dir}
			o := enter(t, cli, env, dir, "deploy")
			assert.Equal(t, fault.Code(failure), o.code)
			set := readOutputs(t, filepath.Join(dir, "out"))
			assert.Equal(t, name, set["outcome"])
			assert.Equal(t, "12 11 api,worker 3120 2", strings.Join([]string{set["release"], set["previous-release"],
				set["changed-services"], set["probe-requests"], set["probe-failures"]}, " "))
			assert.Contains(t, set["plan"], "image a -> b")
			var told map[string]any
			require.NoError(t, json.Unmarshal([]byte(set["report"]), &told))
			assert.InDelta(t, 42, told["seconds"], 0.01)
			summary, err := os.ReadFile(filepath.Join(dir, "sum"))
			require.NoError(t, err)
			assert.Contains(t, string(summary), "| api | surge | "+map[string]string{"verified": "done", "failed": "changed"}[name]+" | 3 |")
			assert.Contains(t, string(summary), "| 30.0s |")
		})
	}
}

// readOutputs reads GITHUB_OUTPUT as the runner does.
func readOutputs(t *testing.T, path string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	set := map[string]string{}
	for rest := string(data); rest != ""; {
		head, more, ok := strings.Cut(rest, "\n")
		require.True(t, ok)
		name, delimiter, ok := strings.Cut(head, "<<")
		require.True(t, ok, head)
		value, after, ok := strings.Cut(more, "\n"+delimiter+"\n")
		require.True(t, ok, name)
		set[name], rest = value, after
	}
	return set
}

func TestPlanGoesToStandardOutput(t *testing.T) {
	t.Parallel()
	do := func(_ context.Context, o verb.Options, sink event.Sink) (*converge.Result, error) {
		sink.Emit(event.Event{Level: event.Info, Phase: "preflight", Text: "connected"})
		sink.Emit(event.Event{Level: event.Info, Phase: "plan", Text: "plan for shop\n  api  surge 3\n"})
		r := result()
		r.Outcome, r.Release, r.Probe = "planned", 0, nil
		assert.True(t, o.DryRun)
		return r, nil
	}
	for _, args := range [][]string{{"plan"}, {"deploy", "--dry-run"}} {
		o := enter(t, &commands{Deploy: Command{Verb: do}, Plan: PlanCommand{Verb: do}}, nil, t.TempDir(), append(args, "--host=a@b")...)
		assert.Zero(t, o.code)
		assert.Equal(t, "plan for shop\n  api  surge 3\nshop on deploy@gpu1:22: 2 services would change; this was a plan, nothing was changed\n", o.stdout)
		assert.Contains(t, o.stderr, "connected")
	}
	o := enter(t, &commands{Plan: PlanCommand{Verb: do}}, nil, t.TempDir(), "plan", "--host=a@b", "--json")
	assert.True(t, json.Valid([]byte(o.stdout)), o.stdout)
	assert.Contains(t, o.stderr, "surge 3")
}

// What a build gives is taken as it is.
func TestImagesOfABuild(t *testing.T) {
	t.Parallel()
	var got verb.Options
	cli := &commands{Deploy: Command{Verb: func(_ context.Context, o verb.Options, _ event.Sink) (*converge.Result, error) {
		got = o
		return result(), nil
	}}}
	o := enter(t, cli, nil, t.TempDir(), "deploy", "--host=a@b", `--images={"api":"r/api@sha256:1","web":"r/web@sha256:2"}`)
	require.Zero(t, o.code, o.stderr)
	assert.Equal(t, map[string]string{"api": "r/api@sha256:1", "web": "r/web@sha256:2"}, got.Images)
	o = enter(t, cli, nil, t.TempDir(), "deploy", "--host=a@b", "--images={}")
	require.Zero(t, o.code, o.stderr)
	assert.Empty(t, got.Images)
}

func TestBadInputs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"images":       {[]string{"--images=api"}, `images: "api" is not service=reference`},
		"images JSON":  {[]string{`--images={"api": 1}`}, "images: begins like JSON and is not an object"},
		"images open":  {[]string{`--images={"api": "r/api:1"`}, "images: begins like JSON and is not an object"},
		"no image":     {[]string{`--images={"api": ""}`}, `images: names no image for the service "api"`},
		"images twice": {[]string{"--images=api=a,api=b"}, "images: names the service api twice"},
		"probe":        {[]string{"--probe-url=ftp://x"}, "probe-url:"},
		"half a login": {[]string{"--registry-username=u"}, "registry-password: is required"},
		"state folder": {[]string{"--state-dir=var"}, "state-dir:"},
		"project":      {[]string{"--project=Shop!"}, "project:"},
		"env file":     {[]string{"--env-file=nowhere.env"}, "env-file: cannot read nowhere.env in the workspace"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cli := &commands{Deploy: Command{Verb: func(context.Context, verb.Options, event.Sink) (*converge.Result, error) {
				t.Error("the verb was called")
				return nil, nil
			}}}
			o := enter(t, cli, nil, t.TempDir(), append([]string{"deploy", "--host=a@b"}, c.args...)...)
			assert.Equal(t, 3, o.code)
			assert.Contains(t, o.stderr, "shiksha: "+c.says)
			assert.Contains(t, o.stderr, "hint", "it says what to do")
		})
	}
}

func TestAVerbWithoutAResult(t *testing.T) {
	t.Parallel()
	cli := &commands{Deploy: Command{Verb: func(context.Context, verb.Options, event.Sink) (*converge.Result, error) {
		return nil, fault.New(fault.Locked, "", "wait", "meera releases since 09:00")
	}}}
	o := enter(t, cli, nil, t.TempDir(), "deploy", "--host=a@b")
	assert.Equal(t, ended{4, "", "shiksha: meera releases since 09:00\n  hint: wait\n"}, o)
}

func TestStatusAndHistory(t *testing.T) {
	t.Parallel()
	cli := &commands{
		Status: StatusCommand{Verb: func(_ context.Context, o verb.Options, _ event.Sink) (*verb.StatusResult, error) {
			return &verb.StatusResult{Project: o.Project, Host: "h", Release: 12, Version: "v2", Since: step(),
				Newest: &release.Record{Number: 13, Outcome: release.Interrupted, Message: "cancelled by ada"}, Lock: release.Sight{Hand: release.Free},
				Services: []verb.ServiceStatus{{Service: "api", Wanted: 3, Serving: 2}, {Service: "db", Wanted: 1, Serving: 1},
					{Service: "loop", Wanted: 1, Serving: 1, Restarts: 214}, {Service: "prepare", Wanted: 1, Done: 1},
					{Service: "old", Foreign: 1}, {Service: "web", Wanted: 1}}}, nil
		}},
		History: HistoryCommand{Verb: func(_ context.Context, o verb.Options, _ event.Sink) (*verb.HistoryResult, error) {
			return &verb.HistoryResult{Project: o.Project, Host: "h", Releases: []release.Record{
				{Number: 13, Outcome: release.Refused, Started: step(), Services: map[string]release.ServiceRecord{"web": {Action: "surge"}}},
				{Number: 12, Outcome: release.Verified, Started: step(), Ended: step().Add(time.Minute),
					Services: map[string]release.ServiceRecord{"web": {Action: "surge"}, "api": {Action: "reload"}, "db": {Action: "unchanged"}}},
			}}, nil
		}},
	}
	o := enter(t, cli, nil, t.TempDir(), "status", "--host=a@b", "--project=shop")
	for _, want := range []string{"release 12 (v2): verified", "2/3    degraded", "db       1/1    ok  ", "1/1    ok, restarted 214 times", "1/1    done", "0/0    1 not of this release", "0/1    down", "release 13 was interrupted: cancelled by ada; run the same again"} {
		assert.Contains(t, o.stdout, want)
	}
	o = enter(t, cli, nil, t.TempDir(), "history", "--host=a@b", "--project=shop")
	assert.Regexp(t, `\* 12 +- +verified +2026-03-01 09:00 +1m00s +- +api, web`, o.stdout)
	assert.Regexp(t, `13 +- +refused +2026-03-01 09:00 +0.0s +- +-\n`, o.stdout, "what was refused changed nothing")
	o = enter(t, cli, nil, t.TempDir(), "history", "--host=a@b", "--project=shop", "--json")
	var told struct{ Releases []struct{ Serves bool } }
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &told))
	assert.Equal(t, []struct{ Serves bool }{{false}, {true}}, told.Releases)
	for outcome, legend := range map[release.Outcome]string{
		release.Failed: "serves now", release.Refused: "serves now", release.Started: "last verified", release.Interrupted: "last verified", release.Stuck: "last verified",
	} {
		told := history(&verb.HistoryResult{Releases: []release.Record{{Number: 13, Outcome: outcome}, {Number: 12, Outcome: release.Verified}, {Number: 11, Outcome: release.Stuck}}})
		assert.Contains(t, told.Text(), "\n* "+legend, outcome)
	}
	newer := history(&verb.HistoryResult{Newer: "release 13 of shop was", Releases: []release.Record{{Number: 12, Outcome: release.Verified}}})
	assert.Equal(t, []any{true, "release 13 of shop was"}, []any{newer.Unsettled, newer.Newer})
	assert.Contains(t, status(&verb.StatusResult{Release: 12, Newer: "release 13 of shop was"}).Notes[0], "release 13 of shop was, and is not judged here")
	half := release.Record{Number: 13, Outcome: release.Interrupted, Message: "api is ill", Steps: []release.Step{{Name: release.WayBack}}}
	stands := status(&verb.StatusResult{Release: 12, Newest: &half, Lock: release.Sight{Hand: release.Free}})
	assert.Equal(t, []string{"release 13 was interrupted: api is ill; the same again would be refused again: go back: shiksha rollback --release 12, or release a version that works"}, stands.Notes)
	assert.True(t, stands.Newest.Refused)
	half.Migrations = []release.Migration{{Service: "api", Before: "41", After: "42"}}
	const back = "go back: shiksha rollback --release 12 (with --accept-schema"
	assert.Contains(t, history(&verb.HistoryResult{Releases: []release.Record{half, {Number: 12, Outcome: release.Verified}}}).Text(), back)
	assert.Contains(t, status(&verb.StatusResult{Release: 12, Migrated: true, Newest: &half}).Notes[0], back)
	assert.NotContains(t, history(&verb.HistoryResult{Lost: true, Releases: []release.Record{half, {Number: 12, Outcome: release.Verified}}}).Text(), "shiksha rollback")
	assert.NotContains(t, status(&verb.StatusResult{Release: 12, Lost: true, Newest: &half}).Notes[0], "shiksha rollback")
	half = release.Record{Number: 13, Outcome: release.Stuck, RestoresDatabase: "postgres-1"}
	assert.Contains(t, status(&verb.StatusResult{Release: 12, Newest: &half}).Notes[0], "run the same rollback again")
	o = enter(t, cli, nil, t.TempDir(), "status", "--host=a@b")
	assert.Equal(t, 3, o.code)
	assert.Contains(t, o.stderr, "project: is required")
}

// A record says "started" for ever when its run was killed: what the lock says of it is
// told, in words and as fields.
func TestAKilledRunIsToldFromOneAtWork(t *testing.T) {
	t.Parallel()
	records := []release.Record{{Number: 13, Version: "v3", Fence: 7, Outcome: release.Started, Started: step()},
		{Number: 12, Fence: 6, Outcome: release.Verified, Started: step(), Ended: step()}}
	ada := release.Holder{Actor: "ada", RunURL: "https://ci.example/7", Since: step()}
	for name, c := range map[string]struct {
		seen            release.Sight
		status, history string
		fields          string
	}{
		"at work": {release.Sight{Hand: release.Held, Fence: 7, Holder: ada}, `release 13 \(v3\) is under way: ada since 2026-03-01 09:00:00 UTC \(https://ci.example/7\)`,
			`13 +v3 +under way`, `"lock":{"held":true,"actor":"ada","run_url":"https://ci.example/7","since":"2026-03-01T09:00:00Z"}`},
		"killed": {release.Sight{Hand: release.Free}, `release 13 \(v3\) was cut off, .*run the same again, .* shiksha rollback --release 12`,
			`13 +v3 +cut off`, `"lock":{"held":false}`},
		"killed, and another is at work": {release.Sight{Hand: release.Held, Fence: 8, Holder: ada}, `release 13 \(v3\) was cut off; the lock is held by ada`,
			`13 +v3 +cut off`, `"standing":"cut off"`},
		"nobody knows": {release.Sight{Hand: release.Unseen, Why: "no /proc"}, `release 13 \(v3\) has recorded no end, .*no /proc`,
			`13 +v3 +started`, `"lock":{"held":null,"why":"no /proc"}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cli := &commands{
				Status: StatusCommand{Verb: func(_ context.Context, o verb.Options, _ event.Sink) (*verb.StatusResult, error) {
					return &verb.StatusResult{Project: o.Project, Host: "h", Release: 12, Since: step(), Newest: &records[0], Lock: c.seen}, nil
				}},
				History: HistoryCommand{Verb: func(_ context.Context, o verb.Options, _ event.Sink) (*verb.HistoryResult, error) {
					return &verb.HistoryResult{Project: o.Project, Host: "h", Releases: records, Lock: c.seen}, nil
				}},
			}
			assert.Regexp(t, c.status, enter(t, cli, nil, t.TempDir(), "status", "--host=a@b", "--project=shop").stdout)
			assert.Regexp(t, c.history, enter(t, cli, nil, t.TempDir(), "history", "--host=a@b", "--project=shop").stdout)
			for _, verb := range []string{"status", "history"} {
				assert.Contains(t, enter(t, cli, nil, t.TempDir(), verb, "--host=a@b", "--project=shop", "--json").stdout, c.fields)
			}
		})
	}
}

// A person at a terminal sees colours, unless NO_COLOR says otherwise.
func TestAPlanHasColours(t *testing.T) {
	t.Parallel()
	do := func(_ context.Context, _ verb.Options, sink event.Sink) (*converge.Result, error) {
		sink.Emit(event.Event{Level: event.Info, Phase: "plan", Text: "plan for shop\n  api  surge 3\n"})
		return &converge.Result{Project: "shop", Outcome: converge.Planned}, nil
	}
	for no, colours := range map[string]bool{"": true, "1": false} {
		var out, errs strings.Builder
		d := &door.Door{Args: []string{"plan"}, Getenv: func(k string) string { return map[string]string{"NO_COLOR": no}[k] }, Stdout: &out, Stderr: &errs,
			Dir: t.TempDir(), Terminal: true, Exit: func(int) { t.Error("exits") }}
		require.Zero(t, d.Main(&commands{Plan: PlanCommand{Verb: do}}))
		assert.Equal(t, colours, strings.Contains(out.String(), "  api  \x1b[32msurge\x1b[0m 3"), "%q", out.String())
	}
}
