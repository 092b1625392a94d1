package image_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/preflight/image"
	"github.com/shiksha/actions/pkg/stack"
)

const shop = `
services:
  web:
    image: nginx:1.22
    command: [nginx, -g, daemon off;]
    volumes: ["./nginx.conf:/etc/nginx/nginx.conf:ro", "certs:/etc/certs"]
    networks: [edge]
    links: ["api:app", "db:store"]
    external_links: ["other_api_1:other"]
    x-shiksha: {reload: {test: [nginx, -t], signal: HUP}}
  api:
    image: example/api:v1
    networks: {edge: {aliases: [backend]}}
    deploy: {replicas: 2}
    x-shiksha: {migrate: [python, -m, alembic, upgrade, head]}
  db: {image: "postgres:15", networks: [data]}
  prometheus: {image: "prom/prometheus:v2", volumes: ["./prometheus.yml:/etc/prometheus/prometheus.yml"]}
  alerts: {image: "prom/alertmanager:v0.26", command: ["--config.file=/etc/am.yml"]}
networks: {edge: {}, data: {}}
volumes: {certs: {}}
`

// fakeEngine ends each command as it is told, for faults that no image has on demand.
type fakeEngine struct {
	ends  map[string]stack.Ended
	errs  map[string]error
	mu    sync.Mutex
	asked map[string]stack.Task
}

func (f *fakeEngine) RunService(_ context.Context, _ *stack.Stack, service string, t stack.Task) (stack.Ended, error) {
	f.mu.Lock()
	f.asked[service] = t
	f.mu.Unlock()
	return f.ends[service], f.errs[service]
}

func load(t *testing.T) *stack.Stack {
	t.Helper()
	return loadText(t, shop)
}

func loadText(t *testing.T, text string) *stack.Stack {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"compose.yaml": text, "nginx.conf": "events {}\n", "prometheus.yml": "scrape_configs: []\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644))
	}
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", StateDir: "/var/lib/shiksha"})
	require.NoError(t, err)
	return st
}

func look(t *testing.T, f *fakeEngine, p func(*stack.Stack) *plan.Plan) map[string]check.Result {
	t.Helper()
	f.asked = map[string]stack.Task{}
	st := load(t)
	found, err := image.Look(t.Context(), st, p(st), image.Host{Runner: f, Kept: func(f stack.File) string { return "/kept/" + f.Sum[:3] }})
	require.NoError(t, err)
	out := map[string]check.Result{}
	for _, r := range found {
		name, _, _ := strings.Cut(r.Name, " ")
		out[name] = r
	}
	return out
}

func first(st *stack.Stack) *plan.Plan {
	return plan.Make(plan.Input{Desired: st, Observed: stack.Observed{Project: "shop"}})
}

func TestEachIsAskedInItsOwnImage(t *testing.T) {
	t.Parallel()
	f := &fakeEngine{ends: map[string]stack.Ended{"api": {Output: "INFO  [alembic] x\n3f (head)\n"}}}
	found := look(t, f, first)
	require.Len(t, found, 4)
	for _, r := range found {
		assert.Equal(t, check.Pass, r.Outcome, r.Found)
	}
	assert.Equal(t, []string{"-g", "daemon off;"}, f.asked["web"].Command[4:])
	assert.Equal(t, []string{"promtool", "check", "config", "/etc/prometheus/prometheus.yml"}, f.asked["prometheus"].Command)
	assert.Equal(t, []string{"amtool", "check-config", "/etc/am.yml"}, f.asked["alerts"].Command)
	assert.Equal(t, []string{"python", "-m", "alembic", "heads"}, f.asked["api"].Command)
	trial := f.asked["web"].Trial
	for _, name := range []string{"api", "backend", "shop-api-1", "shop-api-2", "web", "app", "other"} {
		assert.Contains(t, trial.Hosts, name)
	}
	assert.NotContains(t, trial.Hosts, "db", "it is on another network, as nginx will find")
	assert.NotContains(t, trial.Hosts, "store", "nor does a link to it")
	assert.NotContains(t, trial.Hosts, "shop-api-3")
	assert.Equal(t, []string{"certs"}, trial.Volumes, "the host does not have it yet")
	assert.Contains(t, trial.Sources["/etc/nginx/nginx.conf"], "/kept/", "its own place has what runs now")
}

func TestWhatIsFound(t *testing.T) {
	t.Parallel()
	f := &fakeEngine{
		ends: map[string]stack.Ended{
			"web":        {Exit: 1, Output: "nginx: [emerg] host not found in upstream \"vllm\" in /etc/nginx/nginx.conf:12\nnginx: configuration file /etc/nginx/nginx.conf test failed\n"},
			"api":        {Output: "3f (head)\n9c (head)\n"},
			"prometheus": {Exit: 1, Output: "Checking /etc/prometheus/prometheus.yml\n  FAILED: parsing YAML file /etc/prometheus/prometheus.yml: yaml: line 3: found a tab\n"},
		},
		errs: map[string]error{"alerts": errors.New(`exec: "amtool": executable file not found in $PATH: unknown`)},
	}
	found := look(t, f, first)
	web := found["P05.test"]
	assert.Equal(t, check.Fail, web.Outcome)
	assert.Equal(t, `nginx: [emerg] host not found in upstream "vllm" in /etc/nginx/nginx.conf:12`, web.Found)
	assert.Equal(t, "nginx.conf 12", web.File+" "+strconv.Itoa(web.Line))
	assert.NotEmpty(t, web.Hint)
	assert.Equal(t, check.Fail, found["P11.heads"].Outcome)
	assert.Contains(t, found["P11.heads"].Found, "2 heads, and an upgrade needs one: 3f, 9c")
	assert.Equal(t, "prometheus.yml:3", found["P07.promtool"].File+":"+strconv.Itoa(found["P07.promtool"].Line))
	assert.Equal(t, check.Skip, found["P08.amtool"].Outcome, "an image without the tool is no fault")
}

// What of the state folder cannot be mounted for a trial cannot be mounted for a unit; another
// folder of the host the release may make before the unit, by a job.
func TestWhatTheEngineDoesNotSeeIsNoUntriedTest(t *testing.T) {
	t.Parallel()
	f := &fakeEngine{errs: map[string]error{
		"web":        errors.New(`create a container: invalid mount config for type "bind": bind source path does not exist: /var/lib/shiksha/shop/files/3f`),
		"prometheus": errors.New(`create a container: invalid mount config for type "bind": bind source path does not exist: /var/lib/shiksha/shop-certs`),
		"alerts":     errors.New("start a container: no space left on device"),
	}}
	found := look(t, f, first)
	assert.Equal(t, check.Fail, found["P05.test"].Outcome)
	assert.Contains(t, found["P05.test"].Found, "does not exist: /var/lib/shiksha/shop/files/3f")
	assert.Contains(t, found["P05.test"].Hint, "snap")
	assert.Equal(t, check.Warn, found["P07.promtool"].Outcome)
	assert.Contains(t, found["P07.promtool"].Found, "it could not be tried")
	assert.Equal(t, check.Warn, found["P08.amtool"].Outcome)
}

func TestOnlyWhatChangesIsAsked(t *testing.T) {
	t.Parallel()
	f := &fakeEngine{}
	found := look(t, f, func(st *stack.Stack) *plan.Plan {
		return &plan.Plan{Steps: []plan.Step{{Service: "web", Action: plan.Reload}, {Service: "api", Action: plan.Heal}, {Service: "prometheus", Action: plan.Unchanged}}}
	})
	assert.Len(t, found, 1)
	assert.Contains(t, found, "P05.test", "new files are tested before they are handed over")
	assert.NotContains(t, f.asked, "prometheus")
}

// heads is Alembic's own word for several; only an upgrade to the one head needs one.
func TestOnlyAnUpgradeToTheHeadNeedsOne(t *testing.T) {
	t.Parallel()
	for command, asked := range map[string]bool{
		"[alembic, upgrade, head]": true, "[alembic, upgrade, --tag, x, head]": true, "[alembic, upgrade, heads]": false,
		"[alembic, upgrade, 3f2a]": false, "[alembic, upgrade, shop@head]": false, "[alembic, upgrade]": false,
	} {
		t.Run(command, func(t *testing.T) {
			t.Parallel()
			st := loadText(t, "services:\n  api:\n    image: example/api:v1\n    x-shiksha: {migrate: "+command+"}\n")
			f := &fakeEngine{ends: map[string]stack.Ended{"api": {Output: "3f (head)\n9c (head)\n"}}, asked: map[string]stack.Task{}}
			found, err := image.Look(t.Context(), st, first(st), image.Host{Runner: f})
			require.NoError(t, err)
			assert.Equal(t, asked, len(found) == 1, "%+v", found)
		})
	}
}
