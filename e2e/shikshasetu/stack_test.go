package shikshasetu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/preflight"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/verify/kind"
)

const example = "../../examples/shikshasetu"

// filled is .env.production as the documented command fills it, with what only a
// team can supply made up.
func filled(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{".env.production.example", "fill-env"} {
		content, err := os.ReadFile(filepath.Join(example, name))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), content, 0o755))
	}
	cmd := exec.CommandContext(t.Context(), "sh", "fill-env")
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	for _, name := range []string{"REGISTRY", "VLLM_MODEL_NAME", "SLACK_WEBHOOK_URL", "PAGERDUTY_ROUTING_KEY", "MONITORING_HOST"} {
		assert.Contains(t, string(out), name, "what only the team can supply is said")
	}
	info, err := os.Stat(filepath.Join(dir, ".env.production"))
	require.NoError(t, err)
	assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	text, err := os.ReadFile(filepath.Join(dir, ".env.production"))
	require.NoError(t, err)
	again, err := exec.CommandContext(t.Context(), "sh", "-c", "cd "+dir+" && sh fill-env").CombinedOutput()
	require.Error(t, err, "a filled file is never written over: %s", again)
	return string(text) + "\nREGISTRY=registry.test/setu\nVLLM_MODEL_NAME=m\nSLACK_WEBHOOK_URL=http://slack.test\nPAGERDUTY_ROUTING_KEY=k\n" +
		"MONITORING_HOST=monitoring.test\n"
}

func load(t *testing.T, env string, files ...string) (*stack.Stack, error) {
	t.Helper()
	workspace, err := filepath.Abs(example)
	require.NoError(t, err)
	return loadIn(t, workspace, env, files...)
}

func loadIn(t *testing.T, workspace, env string, files ...string) (*stack.Stack, error) {
	t.Helper()
	return compose.Load(t.Context(), compose.LoadOptions{
		Workspace: workspace, Files: files, EnvFile: []byte(env), Environment: map[string]string{"VERSION": "v1"}, StateDir: "/var/lib/shiksha",
	})
}

func TestStack_IsFifteenUnitsOfTwelveServices(t *testing.T) {
	t.Parallel()
	s, err := load(t, filled(t), "docker-compose.production.yml")
	require.NoError(t, err)
	assert.Empty(t, s.Warnings)
	found, total := map[string]int{}, 0
	for name, service := range s.Services {
		found[name] = service.Replicas
		total += service.Replicas
	}
	assert.Equal(t, units, found)
	assert.Equal(t, 15, total)
}

// What an operator relies on in each service.
func TestStack_EachServiceIsSafe(t *testing.T) {
	t.Parallel()
	s, err := load(t, filled(t), "docker-compose.production.yml")
	require.NoError(t, err)
	for name, c := range s.Project.Services {
		service := s.Services[name]
		assert.NotNil(t, service.Health, "%s: healthcheck", name)
		assert.Equal(t, "unless-stopped", c.Restart, name)
		assert.Equal(t, "json-file", c.Logging.Driver, name)
		assert.NotEmpty(t, c.Logging.Options["max-size"], name)
		assert.NotZero(t, c.Deploy.Resources.Limits.MemoryBytes, "%s: memory", name)
		assert.Empty(t, c.ContainerName, name)
		assert.NotRegexp(t, `(:latest|/[^:]+)$`, service.Image, "%s is pinned", name)
		if name != "nginx" {
			assert.Empty(t, c.Ports, "%s: only nginx has ports on the host", name)
		}
	}
	assert.True(t, bool(s.Project.Networks["backend"].Internal))
	assert.Equal(t, stack.StartFirst, s.Services["api"].Update.Order)
	assert.Equal(t, 3, s.Services["api"].Update.Parallelism)
	for _, name := range []string{"celery_worker", "celery_beat", "postgres", "redis", "vllm", "nginx"} {
		assert.Equal(t, stack.StopFirst, s.Services[name].Update.Order, name)
	}
	assert.Greater(t, s.Services["celery_worker"].StopGrace, 10*time.Minute, "longer than the longest task")
	for _, name := range []string{"nginx", "prometheus", "alertmanager"} {
		assert.NotNil(t, s.Services[name].Ext.Reload, name)
	}
	for name, port := range map[string]int{"api": 8000, "frontend": 3000} {
		assert.Equal(t, "nginx", s.Services[name].Ext.Gateway)
		assert.Equal(t, port, s.Services[name].Ext.Port)
	}
}

// The limits are those of the stack that the example stands for, in CPUs and bytes.
func TestStack_LimitsAreTheOriginals(t *testing.T) {
	t.Parallel()
	s, err := load(t, filled(t), "docker-compose.production.yml")
	require.NoError(t, err)
	type limit struct {
		cpus   float32
		memory int64
	}
	const mega, giga = 1 << 20, 1 << 30
	found := map[string]limit{}
	for name, c := range s.Project.Services {
		found[name] = limit{float32(c.Deploy.Resources.Limits.NanoCPUs), int64(c.Deploy.Resources.Limits.MemoryBytes)}
	}
	assert.Equal(t, map[string]limit{
		"postgres": {2, 2 * giga}, "redis": {1, giga}, "api": {2, 4 * giga}, "celery_worker": {2, 4 * giga}, "celery_beat": {.5, 512 * mega},
		"vllm": {0, 16 * giga}, "frontend": {1, giga}, "prometheus": {1, 2 * giga}, "grafana": {.5, giga}, "alertmanager": {.25, 256 * mega},
		"nginx": {1, 512 * mega}, "postgres_backup": {.5, 512 * mega},
	}, found)
	gpus := s.Project.Services["vllm"].Deploy.Resources.Reservations.Devices
	require.Len(t, gpus, 1)
	assert.Equal(t, []string{"gpu"}, gpus[0].Capabilities)
	assert.EqualValues(t, 1, gpus[0].Count)
	assert.Contains(t, s.Project.Services["prometheus"].Command, "--storage.tsdb.retention.time=30d")
}

func TestStack_ExportersAreAnOverlay(t *testing.T) {
	t.Parallel()
	s, err := load(t, filled(t), released...)
	require.NoError(t, err)
	assert.Len(t, s.Services, 12+6)
}

// released are the files of a release.
var released = []string{"docker-compose.production.yml", "docker-compose.exporters.yml"}

// What Compose cannot say is read by what a release reads it with.
func TestStack_MigratesAndBacksUp(t *testing.T) {
	t.Parallel()
	s, err := load(t, filled(t), released...)
	require.NoError(t, err)
	api, postgres := s.Services["api"].Ext, s.Services["postgres"].Ext
	require.NotNil(t, api.Migrate)
	assert.Equal(t, []string{"python", "-m", "alembic", "upgrade", "head"}, api.Migrate.Command)
	assert.Equal(t, []string{"python", "-m", "alembic", "current"}, api.Migrate.Current)
	assert.Equal(t, 2*time.Second, api.Migrate.LockTimeout)
	assert.False(t, api.Migrate.Elsewhere, "there is no migration without a backup")
	require.NotNil(t, postgres.Backups)
	assert.Equal(t, 7*24*time.Hour, postgres.Backups.Keep)
	assert.Equal(t, 3, postgres.Backups.Least)
	for name, service := range s.Services {
		assert.Equal(t, name == "api", service.Ext.Migrate != nil, name)
		assert.Equal(t, name == "postgres", service.Ext.Backups != nil, name)
	}
}

// The API asks for the model by a name that stays, so that while vLLM is replaced nobody
// asks for one that it does not have, and nothing else is replaced.
func TestStack_AnotherModelChangesVLLMAlone(t *testing.T) {
	t.Parallel()
	env := filled(t)
	one, err := load(t, env, released...)
	require.NoError(t, err)
	other, err := load(t, env+"VLLM_MODEL_NAME=another\n", released...)
	require.NoError(t, err)
	for name, c := range one.Project.Services {
		if name != "vllm" {
			assert.Equal(t, c, other.Project.Services[name], name)
		}
	}
	command, asked := other.Project.Services["vllm"].Command, one.Services["api"].Environment["VLLM_MODEL_NAME"]
	assert.Contains(t, strings.Join(command, " "), "--model another --served-model-name "+asked+" --")
	checks, err := os.ReadFile(filepath.Join(example, "verify.yml"))
	require.NoError(t, err)
	assert.Contains(t, string(checks), "data.0.id: "+asked+"}", "vLLM serves what the API asks for")
	assert.Contains(t, string(checks), `"model": "`+asked+`"`)
}

// The checks are read by what a release reads them with.
func TestVerify_IsThirteenChecks(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join(example, "verify.yml"))
	require.NoError(t, err)
	checks, err := kind.ReadFile("verify.yml", content)
	require.NoError(t, err)
	require.Len(t, checks, 13)
	for i, c := range checks {
		assert.Regexp(t, fmt.Sprintf(`^V%02d `, i+1), c.Name)
	}
	for service := range units {
		assert.Contains(t, string(content), service, "each service is in a check")
	}
}

// What a busy worker or a large dump takes long for does not decide whether a release stays.
func TestVerify_ABusyStackIsWell(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile(filepath.Join(example, "verify.yml"))
	require.NoError(t, err)
	checks, err := kind.ReadFile("verify.yml", content)
	require.NoError(t, err)
	tasks, beats, dumps := 0, 0, 0
	for _, c := range checks {
		for _, part := range append(c.All, kind.Part{Level: c.Level, Probe: c.Probe}) {
			switch {
			case part.Celery != nil && part.Celery.Task != nil:
				assert.NotEqual(t, kind.LevelWarn, part.Level, "%s: the kind itself knows workers that are busy", c.Name)
				tasks++
			case part.Redis != nil && len(part.Redis.Commands) > 0:
				assert.Equal(t, kind.LevelWarn, part.Level, "%s waits for a free slot", c.Name)
				beats++
			case part.Backup != nil:
				require.NotNil(t, part.Backup.Read, c.Name)
				assert.False(t, *part.Backup.Read, "%s: a dump has no largest size", c.Name)
				dumps++
			}
		}
	}
	assert.Equal(t, []int{1, 1, 1}, []int{tasks, beats, dumps})
}

// A team that copies the folder is not refused by our own preflight, and not warned
// either: the workflows are where a repository has them.
func TestPreflight_FindsNothing(t *testing.T) {
	t.Parallel()
	workspace := t.TempDir()
	require.NoError(t, os.CopyFS(workspace, os.DirFS(example)))
	require.NoError(t, os.MkdirAll(filepath.Join(workspace, ".github"), 0o755))
	require.NoError(t, os.Rename(filepath.Join(workspace, "workflows"), filepath.Join(workspace, ".github", "workflows")))
	s, err := loadIn(t, workspace, filled(t), released...)
	require.NoError(t, err)
	report := preflight.Static(t.Context(), s, preflight.Options{Workspace: workspace})
	passed := 0
	for _, r := range report.Results {
		assert.Contains(t, []check.Outcome{check.Pass, check.Skip}, r.Outcome, "%s: %s", r.Name, r.Found)
		if r.Outcome == check.Pass {
			passed++
		}
	}
	assert.Greater(t, passed, 12)
}

// A database that is process 1 takes what a healthcheck leaves for a crashed server
// of its own, and restarts.
func TestStack_TheDatabaseIsNotProcessOne(t *testing.T) {
	t.Parallel()
	s, err := load(t, filled(t), released...)
	require.NoError(t, err)
	c := s.Project.Services["postgres"]
	require.NotNil(t, c.Init)
	assert.True(t, *c.Init)
	assert.Equal(t, "CMD", c.HealthCheck.Test[0], "no shell that is killed beside its command")
}

// Every variable of the stack is in the example with a line of why, none has a
// value that works, and nothing in it is unused.
func TestEnvExample(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(example, ".env.production.example"))
	require.NoError(t, err)
	documented, before := map[string]bool{}, ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if name, value, found := strings.Cut(line, "="); found && !strings.HasPrefix(line, "#") {
			documented[name] = true
			assert.True(t, strings.HasPrefix(before, "#"), "%s needs a line of why above it", name)
			assert.Regexp(t, `^(<[a-z].*>|generate:[0-9]+)?$`, value, "%s must not have a value that works", name)
		}
		before = line
	}
	used := map[string]bool{"VERSION": true}
	for _, file := range released {
		text, err := os.ReadFile(filepath.Join(example, file))
		require.NoError(t, err)
		for _, match := range regexp.MustCompile(`[^$]\$\{([A-Z_]+)|environment: ([A-Z_]+) \}`).FindAllStringSubmatch(string(text), -1) {
			used[match[1]+match[2]] = true
		}
	}
	documented["VERSION"] = true // each release names its own
	for name := range used {
		assert.True(t, documented[name], "%s is used and not explained", name)
	}
	for name := range documented {
		assert.True(t, used[name], "%s is explained and not used", name)
	}
	_, err = load(t, string(text), "docker-compose.production.yml")
	assert.Error(t, err, "as it stands it releases nothing")
}

// A filled copy has strong secrets, none twice, and nothing that says generate.
func TestFillEnv_SecretsAreStrong(t *testing.T) {
	t.Parallel()
	example, err := os.ReadFile(filepath.Join(example, ".env.production.example"))
	require.NoError(t, err)
	text, seen := filled(t), map[string]bool{}
	wanted := regexp.MustCompile(`(?m)^([A-Z_]+)=generate:(\d+)$`).FindAllStringSubmatch(string(example), -1)
	require.Len(t, wanted, 5)
	for _, w := range wanted {
		bytes, err := strconv.Atoi(w[2])
		require.NoError(t, err)
		assert.GreaterOrEqual(t, bytes, 24, w[1])
		found := regexp.MustCompile(`(?m)^` + w[1] + `=(.*)$`).FindStringSubmatch(text)
		require.NotNil(t, found, w[1])
		assert.Regexp(t, fmt.Sprintf(`^[0-9a-f]{%d}$`, 2*bytes), found[1], w[1])
		assert.False(t, seen[found[1]], "%s is another's", w[1])
		seen[found[1]] = true
	}
	assert.NotContains(t, text, "generate:")
	again := filled(t)
	for secret := range seen {
		assert.NotContains(t, again, secret, "each copy has its own")
	}
}

// The original had 480 lines of workflows.
func TestWorkflows_AreShort(t *testing.T) {
	t.Parallel()
	paths, err := filepath.Glob(filepath.Join(example, "workflows", "*.yml"))
	require.NoError(t, err)
	require.Len(t, paths, 4)
	lines := 0
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		lines += strings.Count(string(text), "\n")
		assert.NotContains(t, string(text), "ssh-keyscan")
	}
	assert.Less(t, lines, 160)
}

// The tests run on the image's Python: what its libraries do on another says nothing.
func TestWorkflows_TestOnThePythonThatRuns(t *testing.T) {
	t.Parallel()
	recipe, err := os.ReadFile(filepath.Join(example, "backend", "Dockerfile"))
	require.NoError(t, err)
	runs := regexp.MustCompile(`(?m)^ARG PYTHON=python:([0-9.]+)-`).FindSubmatch(recipe)
	require.NotNil(t, runs)
	tests, err := os.ReadFile(filepath.Join(example, "workflows", "test.yml"))
	require.NoError(t, err)
	assert.Contains(t, string(tests), fmt.Sprintf("python-version: %q", runs[1]))
}

// A registry knows the image by small letters, and shows a private one to those who log in.
func TestWorkflows_ScanWhatWasBuilt(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(example, "workflows", "build.yml"))
	require.NoError(t, err)
	assert.Equal(t, 2, strings.Count(string(text), "ghcr.io/${GITHUB_REPOSITORY,,}"), "what is built and what is scanned")
	assert.NotContains(t, string(text), "ghcr.io/${{ github.repository }}")
	assert.Contains(t, string(text), "TRIVY_PASSWORD")
}

// A variable that is missing is named before anything is touched.
func TestStack_NamesWhatIsMissing(t *testing.T) {
	t.Parallel()
	env := filled(t)
	for _, name := range []string{"POSTGRES_PASSWORD", "REDIS_PASSWORD", "JWT_SECRET_KEY", "GRAFANA_ADMIN_PASSWORD", "TLS_DIR"} {
		without := regexp.MustCompile(`(?m)^`+name+`=.*\n`).ReplaceAllString(env, "")
		_, err := load(t, without, "docker-compose.production.yml")
		assert.ErrorContains(t, err, name, fmt.Sprint("without ", name))
	}
}
