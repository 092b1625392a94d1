package plan_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

var golden = flag.Bool("golden", false, "rewrite the golden files")

// quickstart is a stack like the example's: a gateway that reloads, an API that
// surges, a database and a worker.
func quickstart() *stack.Stack {
	svc := func(name string, edit func(*stack.Service)) *stack.Service {
		s := &stack.Service{
			Name: name, Replicas: 1, Image: "registry.example/" + name + ":v2", Pinned: "registry.example/" + name + "@sha256:2222222222222222",
			Hash: name + "-v2", Networks: []string{"edge"}, StopGrace: stack.DefaultGrace,
			Update: stack.Update{Parallelism: 1, Order: stack.StopFirst, Monitor: stack.DefaultMonitor, FailureAction: stack.Rollback},
		}
		edit(s)
		return s
	}
	return &stack.Stack{
		Name:  "shop",
		Order: []string{"db", "api", "gateway", "worker"},
		Services: map[string]*stack.Service{
			"db": svc("db", func(s *stack.Service) { s.Volumes = []string{"data"} }),
			"api": svc("api", func(s *stack.Service) {
				s.Replicas = 3
				s.Update.Order, s.Update.Parallelism = stack.StartFirst, 0
				s.Ext = stack.Extension{Gateway: "gateway", Port: 8000}
				s.DependsOn = []stack.Dependency{{Service: "db", Condition: stack.Healthy, Required: true}}
			}),
			"gateway": svc("gateway", func(s *stack.Service) {
				s.HostPorts = []string{"443/tcp"}
				s.Update.Order = stack.StartFirst
				s.Ext.Reload = &stack.Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"}
			}),
			"worker": svc("worker", func(s *stack.Service) {
				s.DependsOn = []stack.Dependency{{Service: "db", Condition: stack.Started, Required: true}}
			}),
		},
		Project: &types.Project{
			Services: types.Services{},
			Networks: types.Networks{"edge": {Name: "shop_edge"}},
			Volumes:  types.Volumes{"data": {Name: "shop_data"}},
		},
	}
}

// running observes n healthy units of a service with the given version's hash.
func running(service, version string, from, n int) []stack.Unit {
	var units []stack.Unit
	for i := from; i < from+n; i++ {
		units = append(units, stack.Unit{
			ID: service + "-" + string(rune('0'+i)), Name: "shop-" + service + "-" + string(rune('0'+i)), Service: service, Number: i,
			State: stack.Running, Health: stack.HealthOK, Hash: service + "-" + version,
			Image: "registry.example/" + service + "@sha256:" + map[string]string{"v1": "1111111111111111", "v2": "2222222222222222"}[version],
		})
	}
	return units
}

// observed has everything of one version running.
func observed(version string) stack.Observed {
	return stack.Observed{
		Project: "shop",
		Units: map[string][]stack.Unit{
			"db": running("db", "v2", 1, 1), "api": running("api", version, 1, 3),
			"gateway": running("gateway", "v2", 1, 1), "worker": running("worker", version, 1, 1),
		},
		Networks: map[string]stack.Resource{"edge": {Key: "edge", Name: "shop_edge"}},
		Volumes:  map[string]stack.Resource{"data": {Key: "data", Name: "shop_data"}},
	}
}

// limited gives every unit of the API a limit of memory.
func limited(in *plan.Input, bytes int64) {
	var c types.ServiceConfig
	c.MemLimit = types.UnitBytes(bytes)
	in.Desired.Project.Services["api"] = c
}

func TestMake_Golden(t *testing.T) {
	t.Parallel()
	cases := map[string]func(*plan.Input){
		"first-release": func(in *plan.Input) { in.Observed = stack.Observed{Project: "shop"} },
		"nothing-to-do": func(in *plan.Input) { in.Observed = observed("v2") },
		"new-version": func(in *plan.Input) {
			in.Past = map[string]plan.Past{"api": {
				Image: "registry.example/api:v1", Pinned: "registry.example/api@sha256:1111111111111111", Hash: "api-v1",
				Environment: map[string]string{"LOG_LEVEL": "aa", "OLD": "bb"}, Files: map[string]string{"/etc/api.yaml": "1"},
			}}
			in.Environment = map[string]map[string]string{"api": {"LOG_LEVEL": "ab", "NEW": "cc"}}
			in.Desired.Services["api"].Files = []stack.File{{Service: "api", Target: "/etc/api.yaml", Sum: "2"}}
		},
		"one-by-one": func(in *plan.Input) { in.Desired.Services["api"].Update.Parallelism = 1 },
		"worker-drains": func(in *plan.Input) {
			in.Only = []string{"worker"}
			in.Desired.Services["worker"].Ext.Idle = &stack.Idle{Stop: []string{"pause"}, Wait: []string{"idle"}, Budget: 20 * time.Minute}
		},
		"worker-after-an-interruption": func(in *plan.Input) {
			in.Observed, in.Interrupted = observed("v2"), true
			in.Only = []string{"worker"}
			in.Past = map[string]plan.Past{"worker": {Hash: "worker-v2"}}
			in.Desired.Services["worker"].Ext.Idle = &stack.Idle{Stop: []string{"pause"}, Wait: []string{"idle"}, Budget: 20 * time.Minute}
		},
		"replace": func(in *plan.Input) { in.Replace = true },
		"reload": func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Live = map[string][]string{"gateway": {"/etc/nginx/nginx.conf"}}
		},
		"gateway-image": func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Observed.Units["gateway"] = running("gateway", "v1", 1, 1)
		},
		"orphan": func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Observed.Units["legacy"] = running("legacy", "v1", 1, 2)
		},
		"remove-orphan": func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Observed.Units["legacy"] = running("legacy", "v1", 1, 2)
			in.RemoveOrphans = true
		},
		"only-worker": func(in *plan.Input) { in.Only = []string{"worker"} },
		"diverged": func(in *plan.Input) {
			in.DivergedNetworks, in.DivergedVolumes = []string{"edge"}, []string{"data"}
		},
		"scale-up":   func(in *plan.Input) { in.Observed = observed("v2"); in.Desired.Services["api"].Replicas = 5 },
		"scale-down": func(in *plan.Input) { in.Observed = observed("v2"); in.Desired.Services["api"].Replicas = 1 },
		"restart-dependents": func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Observed.Units["db"] = running("db", "v1", 1, 1)
			in.Desired.Services["worker"].DependsOn[0].Restart = true
		},
		"leftovers-beside-pinned": func(in *plan.Input) {
			// Killed while v2 was gated: v1 serves and is pinned, v2 is beside it.
			in.Interrupted = true
			in.Observed.Units["api"] = append(running("api", "v1", 1, 3), running("api", "v2", 4, 3)...)
			in.Serving = map[string][]string{"api": {"api-1", "api-2", "api-3"}}
		},
		"switched-then-killed": func(in *plan.Input) {
			// Killed after the switch: v2 is pinned, v1 still runs.
			in.Interrupted = true
			in.Observed.Units["api"] = append(running("api", "v1", 1, 3), running("api", "v2", 4, 3)...)
			in.Serving = map[string][]string{"api": {"api-4", "api-5", "api-6"}}
		},
		"unproved": func(in *plan.Input) {
			in.Interrupted = true
			in.Observed = observed("v2")
			in.Past = map[string]plan.Past{
				"api": {Hash: "api-v1"}, "db": {Hash: "db-v2"}, "gateway": {Hash: "gateway-v2"}, "worker": {Hash: "worker-v2"},
			}
		},
		"dead-unit": func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Observed.Units["api"][1].State = stack.Exited
		},
		"stale-pin": func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Stale = map[string]bool{"api": true}
		},
		"stale-in-one-of-two-gateways": func(in *plan.Input) {
			in.Observed = observed("v2")
			in.Serving = map[string][]string{"api": {"api-1", "api-2", "api-3"}}
			in.Stale = map[string]bool{"api": true}
		},
		"two-gateways-apart": func(in *plan.Input) {
			// Killed between the switch of the one and of the other.
			in.Interrupted = true
			in.Observed.Units["api"] = append(running("api", "v1", 1, 3), running("api", "v2", 4, 3)...)
			in.Serving = map[string][]string{"api": {"api-1", "api-2", "api-3", "api-4", "api-5", "api-6"}}
		},
		"all-ill": func(in *plan.Input) {
			in.Observed = observed("v2")
			for i := range in.Observed.Units["api"] {
				in.Observed.Units["api"][i].Health = stack.HealthFailed
			}
		},
		"replicas-on-one-port": func(in *plan.Input) { in.Desired.Services["gateway"].Replicas = 3 },
		"interrupted-before-a-dependent": func(in *plan.Input) {
			in.Observed, in.Interrupted = observed("v2"), true
			in.Past = map[string]plan.Past{"db": {Hash: "db-v1"}, "worker": {Hash: "worker-v2"}, "api": {Hash: "api-v2"}}
			in.Desired.Services["worker"].DependsOn[0].Restart = true
			in.Observed.Units["db"][0].Created = time.Unix(2000, 0)
			in.Observed.Units["worker"][0].Created = time.Unix(1000, 0)
		},
		"memory-for-two": func(in *plan.Input) {
			limited(in, 4<<30)
			in.FreeMemory = 9 << 30
		},
		"memory-for-none": func(in *plan.Input) {
			limited(in, 4<<30)
			in.FreeMemory = 3 << 30
			in.Away = map[string]time.Duration{"api": 8400 * time.Millisecond}
		},
		"ports-for-one-by-one": func(in *plan.Input) { in.Desired.Services["api"].HostPorts = []string{"8080-8083/tcp"} },
		"memory-for-all":       func(in *plan.Input) { limited(in, 512<<20) },
		"gpu": func(in *plan.Input) {
			in.Desired.Services["worker"].Update.Order = stack.StartFirst
			var c types.ServiceConfig
			c.Gpus = []types.DeviceRequest{{Count: -1}}
			in.Desired.Project.Services["worker"] = c
			in.Away = map[string]time.Duration{"worker": 152 * time.Second}
		},
		"drift": func(in *plan.Input) {
			in.Settled = true
			in.Past = map[string]plan.Past{"api": {Hash: "api-v2"}, "worker": {Hash: "worker-v1"}}
		},
		"drift-adopted": func(in *plan.Input) {
			in.Settled, in.Adopt = true, true
			in.Past = map[string]plan.Past{"api": {Hash: "api-v1", Replicas: 2}}
		},
		"migrates": func(in *plan.Input) {
			in.FreeMemory = 5 << 30
			limited(in, 512<<20)
			in.Desired.Services["db"].Ext.Backups = &stack.Backups{}
			in.Desired.Services["api"].Ext.Migrate = &stack.Migrate{Command: []string{"alembic", "upgrade", "head"}}
		},
		"container-name": func(in *plan.Input) {
			in.Desired.Services["worker"].ContainerName = "the-worker"
			in.Desired.Services["worker"].Update.Order = stack.StartFirst
		},
	}
	for name, edit := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			in := plan.Input{Desired: quickstart(), Observed: observed("v1")}
			edit(&in)
			got := plan.Make(in).String()
			path := filepath.Join("testdata", name+".txt")
			if *golden {
				require.NoError(t, os.WriteFile(path, []byte(got), 0o644))
			}
			want, err := os.ReadFile(path)
			require.NoError(t, err)
			assert.Equal(t, string(want), got)
		})
	}
}

// What is pulled is known to who asks the registries.
func TestPrint_Pulls(t *testing.T) {
	t.Parallel()
	p := plan.Plan{Steps: []plan.Step{{Service: "api", Action: plan.Create, Replicas: 1}}, Pulls: []plan.Pull{
		{Service: "api", Image: "registry.example/api@sha256:2222222222222222", Bytes: 45 << 20},
		{Service: "web", Image: "registry.example/web@sha256:2222222222222222", Bytes: 900},
		{Service: "llm", Image: "registry.example/llm@sha256:2222222222222222"},
	}}
	assert.Equal(t, `  api      pull               45 MiB of registry.example/api@sha256:222222222222
  web      pull               1 KiB of registry.example/web@sha256:222222222222
  llm      pull               registry.example/llm@sha256:222222222222
  api      create 1
`, p.String())
}

func TestMake_IsDeterministic(t *testing.T) {
	t.Parallel()
	first := plan.Make(plan.Input{Desired: quickstart(), Observed: observed("v1")})
	for range 50 {
		assert.Equal(t, first, plan.Make(plan.Input{Desired: quickstart(), Observed: observed("v1")}))
	}
}

// Who restarts with another does so once: not when that other one was not replaced
// since the last verified release, and not when the restart is done.
func TestMake_RestartsADependentOnce(t *testing.T) {
	t.Parallel()
	for name, edit := range map[string]func(*plan.Input){
		"not interrupted":          func(in *plan.Input) { in.Interrupted = false },
		"the other did not change": func(in *plan.Input) { in.Past["db"] = plan.Past{Hash: "db-v2"} },
		"restarted already":        func(in *plan.Input) { in.Observed.Units["worker"][0].Created = time.Unix(3000, 0) },
		"does not restart with it": func(in *plan.Input) { in.Desired.Services["worker"].DependsOn[0].Restart = false },
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Interrupted: true}
		in.Past = map[string]plan.Past{"db": {Hash: "db-v1"}, "worker": {Hash: "worker-v2"}, "api": {Hash: "api-v2"}}
		in.Desired.Services["worker"].DependsOn[0].Restart = true
		in.Observed.Units["db"][0].Created = time.Unix(2000, 0)
		in.Observed.Units["worker"][0].Created = time.Unix(1000, 0)
		assert.Equal(t, plan.StopFirst, plan.Make(in).Step("worker").Action, "what the cases change")
		edit(&in)
		assert.Equal(t, plan.Unchanged, plan.Make(in).Step("worker").Action, name)
	}
}

func TestMake_RefusesMoreUnitsThanPorts(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		ports    []string
		replicas int
		refused  bool
	}{
		{[]string{"80/tcp"}, 1, false}, {[]string{"80/tcp"}, 2, true}, {[]string{"8080-8082/tcp"}, 3, false},
		{[]string{"8080-8082/tcp"}, 4, true}, {[]string{"8080-8082/tcp", "53/udp"}, 2, true}, {nil, 9, false},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2")}
		in.Desired.Services["gateway"].HostPorts, in.Desired.Services["gateway"].Replicas = c.ports, c.replicas
		assert.Equal(t, c.refused, len(plan.Make(in).Refusals) > 0, "%+v", c)
		in.Only = []string{"db"}
		assert.Empty(t, plan.Make(in).Refusals, "what is not released is nobody's business")
	}
}

// Whatever is done to a service, a gateway with addresses that nobody has is led to
// who serves first.
func TestMake_StaleIsSaidWhateverIsDone(t *testing.T) {
	t.Parallel()
	for action, edit := range map[plan.Action]func(*plan.Input){
		plan.Heal:   func(*plan.Input) {},
		plan.Surge:  func(in *plan.Input) { in.Observed = observed("v1") },
		plan.Reload: func(in *plan.Input) { in.Live = map[string][]string{"api": {"/etc/api.yml"}} },
		plan.Gate: func(in *plan.Input) {
			in.Interrupted, in.Past = true, map[string]plan.Past{"api": {Hash: "api-v1"}}
		},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Stale: map[string]bool{"api": true}}
		edit(&in)
		step := plan.Make(in).Step("api")
		assert.Equal(t, action, step.Action)
		assert.True(t, step.Stale, action)
	}
}

func TestMake_NeverTouchesOneOffUnits(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v2"), RemoveOrphans: true}
	shell := stack.Unit{ID: "shell", Service: "api", State: stack.Running, OneOff: true}
	in.Observed.Units["api"] = append(in.Observed.Units["api"], shell)
	in.Observed.Units["gone"] = []stack.Unit{shell}
	assert.True(t, plan.Make(in).Empty())
}

func TestMake_GatewayComesAfterWhatItBalances(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: stack.Observed{}}
	in.Desired.Order = []string{"gateway", "db", "worker", "api"}
	var order []string
	for _, s := range plan.Make(in).Steps {
		order = append(order, s.Service)
	}
	assert.Equal(t, []string{"db", "api", "gateway", "worker"}, order)
}

func TestMake_GatewayBefore_WhenTheBackendDependsOnIt(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: stack.Observed{}}
	in.Desired.Services["api"].DependsOn = []stack.Dependency{{Service: "gateway"}}
	in.Desired.Order = []string{"db", "gateway", "api", "worker"}
	assert.Len(t, plan.Make(in).Steps, 4, "a loop of depends_on and gateway must not lose a service")
}
