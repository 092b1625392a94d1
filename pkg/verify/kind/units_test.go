package kind

import (
	"context"
	"errors"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

const pinned = "r/api@sha256:aa"

// shop is a release of two api and a job, all well, changed by the test.
func shop(change func(units map[string][]stack.Unit, s *Scene)) func(*testing.T) *Scene {
	return func(*testing.T) *Scene {
		hour := time.Now().Add(-time.Hour)
		unit := func(id string) stack.Unit {
			return stack.Unit{ID: id, Name: "shop-" + id, Service: "api", State: stack.Running, Health: stack.HealthOK, Image: pinned, Hash: "h", StartedAt: hour}
		}
		units := map[string][]stack.Unit{
			"api": {unit("api-1"), unit("api-2")},
			"job": {{ID: "job-1", Name: "shop-job-1", Service: "job", State: stack.Exited, Image: pinned, Hash: "h"}},
		}
		s := local(&fakeUnits{units: units})
		s.Services = map[string]release.ServiceRecord{"api": {Pinned: pinned, Hash: "h", Replicas: 2}, "job": {Pinned: pinned, Hash: "h", Replicas: 1}}
		s.Stack = &stack.Stack{Services: map[string]*stack.Service{"api": {}, "job": {Job: true}}}
		s.Window = 30 * time.Second
		change(units, s)
		return s
	}
}

// first changes the first api.
func first(change func(u *stack.Unit)) func(*testing.T) *Scene {
	return shop(func(units map[string][]stack.Unit, _ *Scene) { change(&units["api"][0]) })
}

func unitLooks() map[string]look {
	const plain = "containers: {}"
	at := func(ago time.Duration) time.Time { return time.Now().Add(-ago) }
	return map[string]look{
		"containers sound":      {"", plain, shop(func(map[string][]stack.Unit, *Scene) {}), check.Pass, "3 units of 2 services"},
		"containers no release": {"containers.release", plain, shop(func(_ map[string][]stack.Unit, s *Scene) { s.Services = nil }), check.Unknown, "none"},
		"containers one missing": {"containers.missing", plain, shop(func(units map[string][]stack.Unit, _ *Scene) {
			units["api"] = units["api"][:1]
		}), check.Fail, "api 1"},
		"containers one too many": {"containers.extra", "containers: {replicas: {api: 1}}", shop(func(map[string][]stack.Unit, *Scene) {}), check.Fail, "api 2"},
		"containers on every node": {"", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units = true, &fakeUnits{units: units, scheduled: true}
			units["api"] = append(units["api"], stack.Unit{ID: "api-3", Name: "shop-api-3", Service: "api", State: stack.Running, Health: stack.HealthOK, Image: pinned, Hash: "h", StartedAt: units["api"][0].StartedAt})
		}), check.Pass, "4 tasks of 2 services"},
		"containers on a node that joins": {"", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units = true, &fakeUnits{units: units, scheduled: true}
			units["api"] = append(units["api"], stack.Unit{ID: "api-3", Name: "shop-api-3", Service: "api", State: stack.Created, Hash: "h", Joining: true})
		}), check.Pass, "3 tasks of 2 services"},
		"containers only on nodes that join": {"containers.missing", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units = true, &fakeUnits{units: units, scheduled: true}
			units["api"] = []stack.Unit{{ID: "api-3", Name: "shop-api-3", Service: "api", State: stack.Created, Hash: "h", Joining: true}}
		}), check.Fail, "api 0 of api"},
		"containers given up on a node": {"containers.missing", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units = true, &fakeUnits{units: units, scheduled: true}
			units["api"] = append(units["api"], stack.Unit{ID: "api-3", Name: "shop-api-3", Node: "w2", Service: "api", State: stack.Exited, ExitCode: 1, Hash: "h", GivenUp: true})
		}), check.Fail, "api 2 of api; the Swarm tries shop-api-3 on node w2 no more"},
		"containers given up before the release": {"containers.given-up", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units, s.Gone = true, &fakeUnits{units: units, scheduled: true}, []string{"api-3"}
			units["api"] = append(units["api"], stack.Unit{ID: "api-3", Name: "shop-api-3", Node: "w2", Service: "api", State: stack.Exited, ExitCode: 1, Hash: "h", GivenUp: true})
		}), check.Warn, "the Swarm tries shop-api-3 on node w2 no more"},
		"containers given up before and since": {"containers.missing", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units, s.Gone = true, &fakeUnits{units: units, scheduled: true}, []string{"api-3"}
			for _, id := range []string{"api-3", "api-4"} {
				units["api"] = append(units["api"], stack.Unit{ID: id, Name: "shop-" + id, Node: "w2", Service: "api", State: stack.Exited, ExitCode: 1, Hash: "h", GivenUp: true})
			}
		}), check.Fail, "api 2 of api; the Swarm tries shop-api-4 on node w2 no more"},
		"containers given up on every node before": {"containers.missing", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units, s.Gone = true, &fakeUnits{units: units, scheduled: true}, []string{"api-3"}
			units["api"] = []stack.Unit{{ID: "api-3", Name: "shop-api-3", Node: "w2", Service: "api", State: stack.Exited, ExitCode: 1, Hash: "h", GivenUp: true}}
		}), check.Fail, "api 0 of api"},
		"containers given up before and asked for by number": {"containers.missing", "containers: {replicas: {api: 3}}", shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units, s.Gone = true, &fakeUnits{units: units, scheduled: true}, []string{"api-3"}
			units["api"] = append(units["api"], stack.Unit{ID: "api-3", Name: "shop-api-3", Node: "w2", Service: "api", State: stack.Exited, ExitCode: 1, Hash: "h", GivenUp: true})
		}), check.Fail, "api 2 of api"},
		"containers given up within the ratio": {"containers.missing", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Stack.Services["api"].Update.MaxFailureRatio = true, 0.4
			s.Units = &fakeUnits{units: units, scheduled: true}
			units["api"] = append(units["api"], stack.Unit{ID: "api-3", Name: "shop-api-3", Node: "w2", Service: "api", State: stack.Exited, ExitCode: 1, Hash: "h", GivenUp: true})
		}), check.Warn, "api 2 of api"},
		"containers on no node": {"containers.missing", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units = true, &fakeUnits{units: units, scheduled: true}
			delete(units, "api")
		}), check.Fail, "api 0 of api"},
		"containers on more nodes than asked for": {"containers.extra", "containers: {replicas: {api: 1}}", shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Stack.Services["api"].Global, s.Units = true, &fakeUnits{units: units, scheduled: true}
		}), check.Fail, "api 2"},
		"containers gone": {"containers.gone", plain, shop(func(units map[string][]stack.Unit, s *Scene) { s.Units = &forgetful{units} }), check.Fail, "it went away"},
		"containers job failed": {"containers.job", plain, shop(func(units map[string][]stack.Unit, _ *Scene) {
			units["job"][0].ExitCode = 3
		}), check.Fail, "exit code 3"},
		"containers died without a healthcheck": {"containers.state", plain, first(func(u *stack.Unit) {
			*u = stack.Unit{ID: u.ID, Name: u.Name, Service: u.Service, State: stack.Exited, Health: stack.NoHealth, ExitCode: 137, Image: pinned, Hash: "h", StartedAt: u.StartedAt}
		}), check.Fail, "exited, exit code 137"},
		"containers unhealthy":      {"containers.health", plain, first(func(u *stack.Unit) { u.Health = stack.HealthFailed }), check.Fail, "unhealthy"},
		"containers other image":    {"containers.digest", plain, first(func(u *stack.Unit) { u.Image = "r/api@sha256:bb" }), check.Fail, "sha256:bb"},
		"containers other config":   {"containers.config", plain, first(func(u *stack.Unit) { u.Hash = "old" }), check.Fail, "another configuration"},
		"containers just restarted": {"containers.restart", plain, first(func(u *stack.Unit) { u.StartedAt, u.Restarts = at(3*time.Second), 2 }), check.Fail, "2 restarts, the last 3s ago"},
		"containers health flipped": {"containers.flip", plain, first(func(u *stack.Unit) {
			u.Probes = []stack.HealthProbe{{At: at(20 * time.Second), OK: true}, {At: at(10 * time.Second)}, {At: at(time.Second), OK: true}}
		}), check.Fail, "one failed 10s ago"},
		"containers not yet well is no flip": {"", plain, first(func(u *stack.Unit) {
			u.Probes = []stack.HealthProbe{{At: at(20 * time.Second)}, {At: at(15 * time.Second)}, {At: at(10 * time.Second), OK: true}}
		}), check.Pass, ""},
		"containers killed for memory": {"containers.oom", plain, first(func(u *stack.Unit) { u.OOMKilled = true }), check.Fail, "one was"},
		"containers killed for memory long ago": {"containers.oom-old", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			units["api"][0].OOMKilled, s.Began = true, time.Now().Add(-time.Minute)
		}), check.Warn, "one since"},
		"containers left over": {"containers.orphan", "containers: {orphans: fail}", shop(func(units map[string][]stack.Unit, _ *Scene) {
			units["old"] = []stack.Unit{{ID: "x", Name: "shop-old-1"}}
		}), check.Fail, "shop-old-1"},
		"containers within max_failure_ratio": {"containers.missing", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			units["api"] = units["api"][:1]
			s.Stack.Services["api"].Update.MaxFailureRatio = 0.5
		}), check.Warn, "api 1"},
		"containers engine does not answer": {"", plain, shop(func(_ map[string][]stack.Unit, s *Scene) { s.Units = &fakeUnits{err: errors.New("no engine")} }), check.Unknown, "no engine"},

		"containers of some services": {"", "containers: {services: [api]}", shop(func(units map[string][]stack.Unit, _ *Scene) {
			units["job"][0].ExitCode = 3
		}), check.Pass, "2 units of 1 services"},
		"containers of other services": {"containers.state", "containers: {services: [api]}", first(func(u *stack.Unit) { u.State = stack.Exited }), check.Fail, "exited"},
		"containers by number alone":   {"", "containers: {replicas: {api: 2}}", shop(func(_ map[string][]stack.Unit, s *Scene) { s.Services = nil }), check.Pass, "2 units of 1 services"},
		"containers job not ended": {"containers.job", plain, shop(func(units map[string][]stack.Unit, _ *Scene) {
			units["job"][0].State = stack.Running
		}), check.Fail, "running, exit code 0"},
		"containers without a healthcheck": {"", plain, first(func(u *stack.Unit) { u.Health = stack.NoHealth }), check.Pass, "3 units"},
		"containers starting":              {"containers.health", plain, first(func(u *stack.Unit) { u.Health = stack.HealthStart }), check.Fail, "starting"},
		"containers of an old record": {"", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			s.Services = map[string]release.ServiceRecord{"api": {Replicas: 2}, "job": {Replicas: 1}}
		}), check.Pass, "3 units"},
		"containers that share": {"", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			units["api"][0].Hash = "other"
			s.Stack.Services["api"].Shares = []string{"job"}
		}), check.Pass, "3 units"},
		"containers orphans ignored": {"", "containers: {orphans: ignore}", shop(func(units map[string][]stack.Unit, _ *Scene) {
			units["old"] = []stack.Unit{{ID: "x", Name: "shop-old-1"}}
		}), check.Pass, "3 units"},
		"containers orphans by default": {"containers.orphan", plain, shop(func(units map[string][]stack.Unit, _ *Scene) {
			units["old"] = []stack.Unit{{ID: "x", Name: "shop-old-1"}}
		}), check.Warn, "shop-old-1"},
		"containers one-off of an old service": {"", plain, shop(func(units map[string][]stack.Unit, _ *Scene) {
			units["old"] = []stack.Unit{{ID: "x", Name: "shop-old-run-1", OneOff: true}}
			units["api"] = append(units["api"], stack.Unit{ID: "y", Name: "shop-api-run-1", Service: "api", OneOff: true, State: stack.Exited})
		}), check.Pass, "3 units"},
		"containers job taken away": {"containers.missing", plain, shop(func(units map[string][]stack.Unit, _ *Scene) { delete(units, "job") }), check.Warn, "job 0 of job"},
		"containers just started":   {"containers.restart", plain, first(func(u *stack.Unit) { u.StartedAt = at(3 * time.Second) }), check.Fail, "started 3s ago"},
		"containers flipped long ago": {"", plain, first(func(u *stack.Unit) {
			u.Probes = []stack.HealthProbe{{At: at(60 * time.Second), OK: true}, {At: at(50 * time.Second)}, {At: at(20 * time.Second), OK: true}, {At: at(time.Second), OK: true}}
		}), check.Pass, "3 units"},
		"containers killed for memory since the release": {"containers.oom", plain, shop(func(units map[string][]stack.Unit, s *Scene) {
			units["api"][0].OOMKilled, s.Began = true, time.Now().Add(-2*time.Hour)
		}), check.Fail, "one was"},
		"containers older than the release": {"", plain, shop(func(_ map[string][]stack.Unit, s *Scene) { s.Began = time.Now().Add(-time.Minute) }), check.Pass, "3 units"},
		"containers restarting":             {"containers.state", plain, first(func(u *stack.Unit) { u.State, u.ExitCode = stack.Restarting, 1 }), check.Fail, "restarting, exit code 1"},
		"containers created":                {"containers.state", plain, first(func(u *stack.Unit) { u.State = stack.Created }), check.Fail, "created"},
		"containers ended for memory":       {"containers.state", plain, first(func(u *stack.Unit) { u.State, u.ExitCode, u.OOMKilled = stack.Exited, 137, true }), check.Fail, "exited, exit code 137, killed for memory"},
		"parts sound":                       {"", "all: [{name: first, containers: {}}, {containers: {services: [api]}}]", shop(func(map[string][]stack.Unit, *Scene) {}), check.Pass, "2 of 2 pass"},
		"parts, one failed":                 {"", "all: [{name: first, containers: {}}, {name: second, containers: {replicas: {api: 1}}}]", shop(func(map[string][]stack.Unit, *Scene) {}), check.Fail, "2 of api"},
		"parts, one only warns":             {"", "all: [{name: first, level: warn, containers: {replicas: {api: 1}}}, {containers: {}}]", shop(func(map[string][]stack.Unit, *Scene) {}), check.Warn, "2 of api"},

		"logs sound":     {"", "logs: {services: [api], forbid: [Traceback], require: [ready]}", logged("INFO ready"), check.Pass, "1 lines"},
		"logs traceback": {"logs.forbid", "logs: {services: [api], forbid: [Traceback]}", logged("ready\nTraceback (most recent call last)"), check.Fail, "1, the last: Traceback"},
		"logs not ready": {"logs.require", "logs: {services: [api], require: [ready]}", logged("starting"), check.Fail, "none in 1 lines"},
	}
}

func logged(text string) func(*testing.T) *Scene {
	return func(t *testing.T) *Scene {
		s := one("api", nil)(t)
		units := s.Shell.(*fakeUnits)
		units.log = text
		return s
	}
}

// forgetful lists units that are gone when they are looked at.
type forgetful struct{ units map[string][]stack.Unit }

func (f *forgetful) Observe(ctx context.Context, project string) (stack.Observed, error) {
	return stack.Observed{Units: maps.Clone(f.units)}, nil
}

func (f *forgetful) Inspect(ctx context.Context, id string) (stack.Unit, error) {
	return (&fakeUnits{}).Inspect(ctx, id)
}

func execLooks() map[string]look {
	say := one("api", map[string]string{"date": "42", "false": "!no", "secret": "hunter2-and-more", "[TOKEN=hunter2-and-more] env": "ok"})
	return map[string]look{
		"exec sound":                {"", "exec: {service: api, command: [date], stdout: {ge: 42}}", say, check.Pass, "42"},
		"exec exit":                 {"exec.exit", "exec: {service: api, command: ['false']}", say, check.Fail, "exit code 1: no"},
		"exec output":               {"match.equals", "exec: {service: api, command: [date], stdout: 41}", say, check.Fail, "42"},
		"exec secret":               {"", "exec: {service: api, command: [env], env: {TOKEN: {env: PASSWORD}}, stdout: ok}", say, check.Pass, ""},
		"exec on host":              {"", "exec: {on: host, command: [date, +%s.%N], stdout: {age_below: 5s}}", say, check.Pass, ""},
		"exec unknown variable":     {"", "exec: {service: api, command: ['{{nope}}']}", say, check.Unknown, "{{nope}} has no value"},
		"gpu sound":                 {"", "gpu: {service: vllm, count: 2, memory: 0.9}", gpu("GPU-1, 100, 1000\nGPU-2, 0, 1000"), check.Pass, "2"},
		"gpu among other lines":     {"gpu.count", "gpu: {service: vllm, count: 2}", gpu("warning, 1, 2\nGPU-1, 100, 1000\nGPU-2, 0"), check.Fail, "1 GPUs"},
		"gpu figures not asked for": {"", "gpu: {service: vllm}", gpu("GPU-1, [N/A], [N/A]"), check.Pass, "1 GPUs"},
		"gpu of nothing":            {"gpu.figures", "gpu: {service: vllm, memory: 0.5}", gpu("GPU-1, 0, 0"), check.Unknown, "GPU-1, 0, 0"},
		"gpu nowhere":               {"running", "gpu: {service: gone}", gpu("GPU-1, 0, 0"), check.Fail, "no running unit"},
		"gpu none":                  {"gpu.driver", "gpu: {service: vllm}", gpu("!NVIDIA-SMI has failed"), check.Fail, "has failed"},
		"gpu one of two":            {"gpu.count", "gpu: {service: vllm, count: 2}", gpu("GPU-1, 100, 1000"), check.Fail, "1"},
		"gpu full":                  {"gpu.memory", "gpu: {service: vllm, memory: 0.5}", gpu("GPU-1, 900, 1000"), check.Fail, "0.90"},
		"gpu no figures":            {"gpu.figures", "gpu: {service: vllm, memory: 0.5}", gpu("GPU-1, [N/A], [N/A]"), check.Unknown, "N/A"},
		"gpu no program":            {"", "gpu: {service: vllm}", one("vllm", nil), check.Unknown, "has no nvidia-smi"},
	}
}

func gpu(answer string) func(*testing.T) *Scene {
	return one("vllm", map[string]string{"nvidia-smi": answer})
}

// What is wrong with a unit or with the dumps is told with where to look.
func TestWhereToLook(t *testing.T) {
	t.Parallel()
	units, backups := unitLooks(), ownBackupLooks()
	for name, want := range map[string]string{
		"containers restarting": "docker logs shop-api-1", "containers unhealthy": "{{json .State.Health}}' shop-api-1", "containers job not ended": "docker logs shop-job-1",
	} {
		assert.Contains(t, units[name].at(t, "").Hint, want, name)
	}
	for _, name := range []string{"own backup none", "own backup old"} {
		assert.Equal(t, "take one with shiksha backup", backups[name].at(t, "").Hint, name)
	}
	// Another backup alone leaves the manifest of this one where it is.
	assert.Regexp(t, `^take another with shiksha backup, and remove /.+/db-9\.json on the host `, backups["own backup truncated"].at(t, "").Hint)
}

// A state is told with what belongs to it and nothing else.
func TestDescribe(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "created", describe(stack.Unit{State: stack.Created, ExitCode: 0}))
	assert.Equal(t, "exited, exit code 3", describe(stack.Unit{State: stack.Exited, ExitCode: 3}))
	assert.Equal(t, "restarting, exit code 3, killed for memory", describe(stack.Unit{State: stack.Restarting, ExitCode: 3, OOMKilled: true}))
}

// What a part expected is told with the part's name, or its kind.
func TestPartsAreNamed(t *testing.T) {
	t.Parallel()
	for text, expected := range map[string]string{
		"all: [{name: the units, containers: {replicas: {api: 1}}}]": "the units: 1 of api",
		"all: [{containers: {replicas: {api: 1}}}]":                  "containers: 1 of api",
		"all: [{containers: {}}]":                                    "all parts to pass",
		"containers: {replicas: {api: 1}}":                           "1 of api",
	} {
		f := look{check: text, scene: shop(func(map[string][]stack.Unit, *Scene) {})}.at(t, "")
		assert.Equal(t, expected, f.Expected)
	}
}
