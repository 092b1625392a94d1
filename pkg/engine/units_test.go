package engine

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

func output(t *testing.T, e *Engine, id string, argv ...string) string {
	t.Helper()
	out, stderr, code, err := e.Exec(t.Context(), id, argv, nil)
	require.NoError(t, err)
	require.Zero(t, code, stderr)
	return out
}

func TestStartInjectsConfigsAndSecretsAndRunsHooks(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `
services:
  dep: {image: V1}
  api:
    image: V1
    depends_on: {dep: {condition: service_healthy}}
    configs: [{source: c, target: /etc/c.txt}]
    secrets: [s]
    post_start: [{command: [/unit, write, /hook, ran]}]
configs: {c: {content: "some content"}}
secrets: {s: {environment: TOKEN}}
`)
	ground(t, e, s)
	// dep does not even exist: starting waits for nothing.
	for _, id := range run(t, e, s, "api", 2) {
		assert.Equal(t, "some content", output(t, e, id, "/unit", "cat", "/etc/c.txt"))
		assert.Equal(t, "secret-token", output(t, e, id, "/unit", "cat", "/run/secrets/s"))
		assert.Equal(t, "ran", output(t, e, id, "/unit", "cat", "/hook"))
		require.NoError(t, e.Stop(t.Context(), []string{id}, 0))
		require.NoError(t, e.Restart(t.Context(), []string{id}))
		assert.Equal(t, "some content", output(t, e, id, "/unit", "cat", "/etc/c.txt"), "still there after a restart")
	}
	require.NoError(t, e.Start(t.Context(), s, "api", nil))
}

func TestStartOfUnitsThatRunOrAreGone(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {api: {image: V1}}}`)
	ground(t, e, s)
	ids := run(t, e, s, "api", 2)
	before := inspect(t, ids[0]).State.StartedAt
	require.NoError(t, e.Start(t.Context(), s, "api", ids[:1]))
	assert.Equal(t, before, inspect(t, ids[0]).State.StartedAt)

	require.NoError(t, e.Stop(t.Context(), ids[1:], 0))
	require.NoError(t, e.Remove(t.Context(), ids[1:]))
	require.ErrorContains(t, e.Start(t.Context(), s, "api", ids), s.Name+"-api-2 is gone")

	bad := load(t, `{services: {api: {image: V1, entrypoint: [/nope]}}}`)
	ground(t, e, bad)
	none, err := e.Create(t.Context(), bad, "api", 2)
	require.NoError(t, err)
	err = e.Start(t.Context(), bad, "api", none)
	require.ErrorContains(t, err, "start api")
	require.ErrorContains(t, err, bad.Name+"-api-")
	require.ErrorContains(t, err, "/nope")
}

func TestPreStartRunsOnlyWhenNothingRuns(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `
services:
  api: {image: V1, volumes: ["data:/data"], pre_start: [{command: [write, /data/pre, "ran"], image: V1, per_replica: false}]}
volumes: {data: {}}
`)
	ground(t, e, s)
	first := run(t, e, s, "api", 1)
	assert.Equal(t, "ran", output(t, e, first[0], "/unit", "cat", "/data/pre"))
	output(t, e, first[0], "/unit", "write", "/data/pre", "old")
	second := run(t, e, s, "api", 2)
	assert.Equal(t, "old", output(t, e, second[0], "/unit", "cat", "/data/pre"), "a surge runs no pre_start hook")
	seen, err := e.Observe(t.Context(), s.Name)
	require.NoError(t, err)
	assert.Len(t, seen.Units["api"], 3, "a hook's runner is no unit")
}

func TestStopAndRemove(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {api: {image: V1, command: [wait, "20"], volumes: [/anonymous], stop_grace_period: 60s}}}`)
	ground(t, e, s)
	ids := run(t, e, s, "api", 3)
	for _, id := range ids {
		require.Eventually(t, func() bool {
			said, err := e.Tail(t.Context(), id, 1)
			return err == nil && said == "ready\n"
		}, 20*time.Second, 50*time.Millisecond, "until it takes signals")
	}
	volume := mountedIn(t, ids[0])["/anonymous"]
	for _, id := range ids[1:] {
		mountedIn(t, id)
	}
	require.ErrorContains(t, e.Remove(t.Context(), ids[:1]), "remove "+s.Name+"-api-1", "a running unit is not removed")
	assert.Equal(t, "running", string(inspect(t, ids[0]).State.Status))

	start := time.Now()
	require.NoError(t, e.Stop(t.Context(), ids, 1200*time.Millisecond))
	assert.GreaterOrEqual(t, time.Since(start), 2*time.Second, "a grace of 1.2 s is rounded up")
	assert.Less(t, time.Since(start), 20*time.Second, "not the grace of the file")
	assert.Equal(t, 137, inspect(t, ids[0]).State.ExitCode)
	require.NoError(t, e.Stop(t.Context(), ids, time.Second), "stopped already")

	require.NoError(t, e.Remove(t.Context(), ids))
	require.NoError(t, e.Remove(t.Context(), ids), "gone already")
	require.NoError(t, e.Stop(t.Context(), ids, time.Second), "gone already")
	_, err := daemon.VolumeInspect(t.Context(), volume, client.VolumeInspectOptions{})
	require.NoError(t, err, "anonymous volumes outlive their unit")
	_, err = e.Inspect(t.Context(), ids[0])
	assert.True(t, isGone(err))
}

func TestStopServiceRunsPreStopHooks(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	s := load(t, `
services:
  api: {image: V1, volumes: ["data:/data"], pre_stop: [{command: [/unit, write, /data/pre, stopping]}, {command: [/unit, fail, "3"]}, {command: [/unit, write, /data/third, x]}]}
  look: {image: V1, volumes: ["data:/data"]}
volumes: {data: {}}
`)
	ground(t, e, s)
	ids := run(t, e, s, "api", 1)
	look := run(t, e, s, "look", 1)
	require.NoError(t, e.StopService(t.Context(), s, "api", ids, time.Second))
	assert.Equal(t, []stack.State{stack.Exited}, states(t, e, s.Name, "api"))
	assert.Equal(t, "stopping", output(t, e, look[0], "/unit", "cat", "/data/pre"))
	_, _, code, err := e.Exec(t.Context(), look[0], []string{"/unit", "cat", "/data/third"}, nil)
	require.NoError(t, err)
	assert.NotZero(t, code, "a failed hook ends them")
	require.Len(t, warnings(rec, s.Name), 1)
	assert.Contains(t, warnings(rec, s.Name)[0], "pre_stop hook 1 of api ended with 3")
	require.NoError(t, e.StopService(t.Context(), s, "api", ids, time.Second), "stopped already")
	assert.Len(t, warnings(rec, s.Name), 1)
}

func TestExec(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `{services: {api: {image: V1}}}`)
	ground(t, e, s)
	id := run(t, e, s, "api", 1)[0]

	out, stderr, code, err := e.Exec(t.Context(), id, []string{"/unit", "fail", "42"}, nil)
	require.NoError(t, err)
	assert.Equal(t, []any{"out\n", "err\n", 42}, []any{out, stderr, code})

	out, _, code, err = e.Exec(t.Context(), id, []string{"/unit", "count"}, []byte(strings.Repeat("x", 3<<20)))
	require.NoError(t, err)
	assert.Equal(t, []any{"3145728", 0}, []any{out, code})

	out, _, code, err = e.Exec(t.Context(), id, []string{"/unit", "count"}, []byte{})
	require.NoError(t, err)
	assert.Equal(t, []any{"0", 0}, []any{out, code}, "empty input ends at once")

	_, _, code, err = e.Exec(t.Context(), id, []string{"/no-such-command"}, nil)
	require.NoError(t, err)
	assert.Contains(t, []int{126, 127}, code)

	ctx, cancel := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer cancel()
	start := time.Now()
	_, _, _, err = e.Exec(ctx, id, []string{"/unit", "wait"}, nil)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	assert.Less(t, time.Since(start), 5*time.Second)

	require.NoError(t, e.Stop(t.Context(), []string{id}, 0))
	_, _, _, err = e.Exec(t.Context(), id, []string{"/unit", "count"}, nil)
	require.ErrorContains(t, err, "run /unit in "+s.Name+"-api-1")
}

func TestTailAndSignal(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `
services:
  api: {image: V1, command: [say, one, two, three]}
  tty: {image: V1, command: [say, one, two, three], tty: true}
`)
	ground(t, e, s)
	for service, want := range map[string]string{"api": "two\nthree\n", "tty": "two\r\nthree\r\n"} {
		id := run(t, e, s, service, 1)[0]
		require.Eventually(t, func() bool {
			got, err := e.Tail(t.Context(), id, 2)
			return err == nil && got == want
		}, 10*time.Second, 50*time.Millisecond)
		require.NoError(t, e.Signal(t.Context(), id, "HUP"))
		require.Eventually(t, func() bool {
			got, err := e.Tail(t.Context(), id, 1)
			return err == nil && strings.Contains(got, "got hangup")
		}, 10*time.Second, 50*time.Millisecond)
	}
	_, err := e.Tail(t.Context(), "0123456789abcdef", 1)
	require.ErrorContains(t, err, "read the log of 0123456789ab")
	require.ErrorContains(t, e.Signal(t.Context(), "0123456789abcdef", "HUP"), "send HUP to 0123456789ab")
}

func TestObserveAndInspect(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	s := load(t, `
services:
  well: {image: V1, networks: [net], healthcheck: {test: [CMD, /unit, count], interval: 200ms}, environment: {A: b=c}, read_only: true}
  ill: {image: V1, networks: [net], healthcheck: {test: [CMD, /unit, fail, "1"], interval: 200ms, retries: 1}}
  young: {image: V1, networks: [net], healthcheck: {test: [CMD, /unit, fail, "1"], interval: 60s}}
  plain: {image: V1, networks: [net], command: [fail, "7"]}
networks: {net: {}}
volumes: {data: {}}
`)
	ground(t, e, s)
	for name := range s.Services {
		run(t, e, s, name, 1)
	}
	want := map[string]stack.UnitHealth{"well": stack.HealthOK, "ill": stack.HealthFailed, "young": stack.HealthStart, "plain": stack.NoHealth}
	var seen stack.Observed
	require.Eventually(t, func() bool {
		var err error
		seen, err = e.Observe(t.Context(), s.Name)
		require.NoError(t, err)
		for name, health := range want {
			if seen.Units[name][0].Health != health {
				return false
			}
		}
		return seen.Units["plain"][0].State == stack.Exited
	}, 20*time.Second, 100*time.Millisecond)

	for name, health := range want {
		listed := seen.Units[name][0]
		looked, err := e.Inspect(t.Context(), listed.ID)
		require.NoError(t, err)
		assert.Equal(t, health, looked.Health, name)
		for _, u := range []stack.Unit{listed, looked} {
			assert.Equal(t, []any{s.Name + "-" + name + "-1", name, 1, s.Services[name].Hash, imageV1},
				[]any{u.Name, u.Service, u.Number, u.Hash, u.Image})
			assert.Regexp(t, "^sha256:", u.ImageID)
			assert.WithinDuration(t, time.Now(), u.Created, 2*time.Minute)
		}
		if name != "plain" {
			assert.Regexp(t, `^\d+\.\d+\.\d+\.\d+$`, listed.Addresses[s.Name+"_net"])
			assert.Equal(t, listed.Addresses, looked.Addresses)
			assert.Contains(t, listed.Networks, s.Name+"_net")
			assert.Equal(t, []any{listed.Networks, listed.Volumes}, []any{looked.Networks, looked.Volumes})
		}
	}
	checkClosely(t, e, seen)

	assert.Equal(t, s.Name+"_net", seen.Networks["net"].Name)
	assert.Equal(t, []any{s.Name + "_data", "local", s.Name}, []any{seen.Volumes["data"].Name, seen.Volumes["data"].Driver, seen.Volumes["data"].Project})
	none, err := e.Observe(t.Context(), "enginetest-nothing")
	require.NoError(t, err)
	assert.Empty(t, none.Units)
}

// checkClosely looks at what only Inspect tells, and at what the list tells in words.
func checkClosely(t *testing.T, e *Engine, seen stack.Observed) {
	t.Helper()
	well, err := e.Inspect(t.Context(), seen.Units["well"][0].ID)
	require.NoError(t, err)
	assert.Equal(t, "b=c", well.Env["A"])
	assert.True(t, well.ReadOnly)
	assert.Positive(t, well.PID)
	assert.WithinDuration(t, time.Now(), well.StartedAt, 2*time.Minute)
	assert.True(t, well.FinishedAt.IsZero())
	plain, err := e.Inspect(t.Context(), seen.Units["plain"][0].ID)
	require.NoError(t, err)
	assert.Equal(t, 7, plain.ExitCode)
	assert.Equal(t, 7, seen.Units["plain"][0].ExitCode, "the list says it in words")
	assert.False(t, plain.FinishedAt.IsZero())
}

func TestInfo(t *testing.T) {
	t.Parallel()
	e, _ := newEngine(t)
	info, err := e.Info(t.Context())
	require.NoError(t, err)
	assert.NotEmpty(t, info.Version)
	assert.Equal(t, "linux", info.OS)
	assert.Contains(t, []string{"amd64", "arm64", "arm"}, info.Arch)
	assert.True(t, strings.HasPrefix(info.RootDir, "/"))
	assert.Positive(t, info.Memory)
	assert.Positive(t, info.CPUs)
}

// A unit that a release has stopped must not come back beside its successor when the
// engine starts again, which `always` does whoever stopped it.
func TestAStoppedUnitDoesNotComeBackWithItsEngine(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	// One that was started a moment ago may not listen to signals yet.
	s := load(t, `
services:
  always: {image: V1, restart: always, stop_signal: SIGKILL}
  failing: {image: V1, restart: "on-failure:3", stop_signal: SIGKILL}
  plain: {image: V1, restart: unless-stopped, stop_signal: SIGKILL}
`)
	ground(t, e, s)
	for service, c := range map[string]struct{ stopped, again string }{
		"always": {"unless-stopped", "always"}, "failing": {"unless-stopped", "on-failure"},
		"plain": {"unless-stopped", "unless-stopped"},
	} {
		ids := run(t, e, s, service, 1)
		before := inspect(t, ids[0]).HostConfig.RestartPolicy
		require.NoError(t, e.Stop(t.Context(), ids, 0))
		assert.Equal(t, c.stopped, string(inspect(t, ids[0]).HostConfig.RestartPolicy.Name), service)
		require.NoError(t, e.Stop(t.Context(), ids, 0), "told twice")
		require.NoError(t, e.Restart(t.Context(), ids))
		assert.Equal(t, before, inspect(t, ids[0]).HostConfig.RestartPolicy, service)
		assert.Equal(t, c.again, string(before.Name))
		assert.True(t, inspect(t, ids[0]).State.Running, service)

		require.NoError(t, e.StopService(t.Context(), s, service, ids, 0))
		assert.Equal(t, c.stopped, string(inspect(t, ids[0]).HostConfig.RestartPolicy.Name), service)
	}
	assert.Empty(t, warnings(rec, s.Name))
}

// A unit that had ended by itself and is not replaced is what it was before it was stopped:
// down, with its own policy, which may have it start with the host.
func TestAUnitThatHadEndedAndIsLetGoHasItsPolicyBack(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	s := load(t, `
services:
  kept: {image: V1, restart: unless-stopped}
  job: {image: V1, command: [fail, "0"], restart: on-failure}
`)
	ground(t, e, s)
	for service, want := range map[string]string{"kept": "unless-stopped", "job": "on-failure"} {
		ids := run(t, e, s, service, 1)
		if service == "kept" { // somebody stopped it
			_, err := daemon.ContainerStop(t.Context(), ids[0], client.ContainerStopOptions{})
			require.NoError(t, err)
		}
		require.Eventually(t, func() bool { return string(inspect(t, ids[0]).State.Status) == "exited" }, 20*time.Second, 50*time.Millisecond, service)
		require.NoError(t, e.Stop(t.Context(), ids, 0))
		assert.True(t, inspect(t, ids[0]).HostConfig.RestartPolicy.IsNone(), service)
		require.NoError(t, e.Restart(t.Context(), nil, ids...))
		assert.Equal(t, want, string(inspect(t, ids[0]).HostConfig.RestartPolicy.Name), service)
		assert.False(t, inspect(t, ids[0]).State.Running, service)
	}
	assert.Empty(t, warnings(rec, s.Name))
}

// A unit that has ended by itself, a job above all, is not taken for stopped by an engine
// that starts again: a policy that goes by that would have it run anew, again and again.
func TestAStoppedUnitThatHadEndedDoesNotComeBackWithItsEngine(t *testing.T) {
	t.Parallel()
	e, rec := newEngine(t)
	s := load(t, `
services:
  job: {image: V1, command: [fail, "0"], restart: on-failure}
  gaveup: {image: V1, command: [fail, "1"], restart: "on-failure:1"}
  plain: {image: V1, command: [fail, "0"]}
`)
	ground(t, e, s)
	for _, service := range []string{"job", "gaveup", "plain"} {
		ids := run(t, e, s, service, 1)
		require.Eventually(t, func() bool {
			state := inspect(t, ids[0]).State
			return string(state.Status) == "exited" && !state.Restarting
		}, 20*time.Second, 50*time.Millisecond, service)
		before := inspect(t, ids[0]).HostConfig.RestartPolicy
		for range 2 {
			require.NoError(t, e.Stop(t.Context(), ids, 0))
			assert.True(t, inspect(t, ids[0]).HostConfig.RestartPolicy.IsNone(), service)
		}
		require.NoError(t, e.Restart(t.Context(), ids))
		assert.Equal(t, before, inspect(t, ids[0]).HostConfig.RestartPolicy, service)
	}
	assert.Empty(t, warnings(rec, s.Name))
}
