package compose

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/docker/compose/v5/pkg/api"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

const everythingEnv = "VERSION=1.2.3\nREGION=eu-west\nDB_PASSWORD='s3cr3t-pa$$word'\n"

// everything loads the stack that uses every feature, from a copy of its own.
func everything(t testing.TB) *stack.Stack {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "checkout")
	require.NoError(t, os.CopyFS(dir, os.DirFS("testdata/everything")))
	s, err := Load(t.Context(), LoadOptions{Workspace: dir, EnvFile: []byte(everythingEnv), StateDir: "/var/lib/shiksha"})
	require.NoError(t, err)
	return s
}

// pinned pins every service to an image of its own.
func pinned(t testing.TB, s *stack.Stack) *stack.Stack {
	t.Helper()
	images := map[string]string{}
	for name := range s.Services {
		images[name] = "registry.example/" + name + "@sha256:" + sum([]byte(name))
	}
	require.NoError(t, s.Pin(images))
	return s
}

func hashes(s *stack.Stack) map[string]string {
	all := map[string]string{}
	for name, service := range s.Services {
		all[name] = service.Hash
	}
	return all
}

func TestLoadEverything(t *testing.T) {
	t.Parallel()
	s := everything(t)
	assert.Equal(t, "everything", s.Name)
	assert.Equal(t, "/var/lib/shiksha/everything", s.Dir)
	assert.Equal(t, []string{"db", "migrate", "api", "gateway", "prometheus", "sidecar", "worker"}, s.Order)

	a := s.Services["api"]
	assert.Equal(t, 3, a.Replicas)
	assert.Equal(t, "registry.example/api:1.2.3", a.Image)
	assert.Equal(t, stack.Update{Parallelism: 0, Delay: 90 * time.Second, Order: stack.StartFirst, Monitor: 0, FailureAction: stack.Pause, MaxFailureRatio: 0.1}, a.Update)
	assert.Equal(t, stack.Update{Parallelism: 2, Delay: 90 * time.Second, Order: stack.StartFirst, Monitor: 0, FailureAction: stack.Pause, MaxFailureRatio: 0.1}, a.Rollback)
	assert.Equal(t, 45*time.Second, a.StopGrace)
	assert.Equal(t, &stack.Health{Interval: 2 * time.Second, Timeout: time.Second, StartPeriod: 20 * time.Second, Retries: 5}, a.Health)
	assert.Equal(t, stack.Extension{Gateway: "gateway", Port: 8000, Drain: 15 * time.Second}, a.Ext)
	assert.Equal(t, []stack.Dependency{
		{Service: "db", Condition: stack.Healthy, Restart: true, Required: true},
		{Service: "migrate", Condition: stack.Completed, Required: true},
	}, a.DependsOn)
	assert.Equal(t, map[string]string{
		"LOG_LEVEL": "info", "REGION": "eu-west", "EMPTY": "", "QUOTED": "$NOT_EXPANDED",
		"DATABASE_URL": "postgres://app:s3cr3t-pa$$word@db/app", "FROM_FILE": "eu-west-file", "CHAIN": "eu-west-file",
	}, a.Environment)

	g := s.Services["gateway"]
	assert.Equal(t, []string{"8080/tcp", "8443/tcp"}, g.HostPorts)
	assert.Equal(t, &stack.Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"}, g.Ext.Reload)
	assert.Equal(t, []string{"edge", "inner"}, g.Networks)
	assert.Equal(t, []string{"logs"}, g.Volumes)

	db := s.Services["db"]
	assert.Equal(t, stack.Update{Parallelism: 1, Order: stack.StopFirst, Monitor: stack.DefaultMonitor, FailureAction: stack.Rollback}, db.Update)
	assert.Equal(t, &stack.Health{Interval: 30 * time.Second, Timeout: 30 * time.Second, Retries: 3}, db.Health)
	assert.Equal(t, stack.DefaultGrace, db.StopGrace)
	assert.Empty(t, db.Files, "an absolute bind is the host's")

	assert.True(t, s.Services["migrate"].Job)
	assert.Nil(t, s.Services["sidecar"].Health)
	assert.Equal(t, []string{"db"}, s.Services["sidecar"].Shares)
	assert.Equal(t, []stack.Dependency{{Service: "db", Condition: stack.Started, Restart: true, Required: true}}, s.Services["sidecar"].DependsOn)
	assert.Equal(t, 1, s.Services["worker"].Replicas, "global is one on one host")
	assert.Equal(t, map[string]string{"KIND": "base", "BASE_REGION": "eu-west"}, s.Services["worker"].Environment)

	assert.Equal(t, "everything_data", s.Project.Volumes["data"].Name)
	assert.Equal(t, "shared-logs", s.Project.Volumes["logs"].Name)
	assert.Equal(t, "everything_inner", s.Project.Networks["inner"].Name)
	assert.Len(t, s.Warnings, 3)
}

// TestNothingOfTheProcess: the variables of the runner, its tokens above all,
// reach no Compose file on any way that Compose has to ask for one.
func TestNothingOfTheProcess(t *testing.T) {
	secrets := map[string]string{
		"INPUT_SSH-KEY": "process-ssh-key", "GITHUB_TOKEN": "process-token", "HOME": "/process/home",
		"COMPOSE_PROJECT_NAME": "process", "COMPOSE_PROFILES": "process", "COMPOSE_FILE": "process.yaml", "PWD": "/process/pwd",
	}
	for name, value := range secrets {
		t.Setenv(name, value)
	}
	s := mustLoad(t, map[string]string{
		".env": "GITHUB_TOKEN=process-dotenv\n",
		"compose.yaml": `
include: [more/more.yaml]
services:
  api:
    image: api:${GITHUB_TOKEN:-none}
    env_file: api.env
    environment:
      - INPUT_SSH-KEY
      - GITHUB_TOKEN
      - HOME
      - A=${HOME:-none}
      - B=${INPUT_SSH-KEY}
      - C=${PWD-none}
    build:
      context: .
      args: [GITHUB_TOKEN]
    configs: [c]
  hidden:
    image: hidden
    profiles: [process]
configs:
  c: {content: "${GITHUB_TOKEN:-none}"}
`,
		"more/more.yaml": "services: {more: {image: more, environment: [GITHUB_TOKEN]}}\n",
		"api.env":        "D=${GITHUB_TOKEN:-none}\nE=${HOME:-none}\n",
	}, func(o *LoadOptions) { o.EnvFile = []byte("F=${HOME:-none}\n"); o.Profiles = nil })
	data, err := pinned(t, s).Seal()
	require.NoError(t, err)
	assert.NotContains(t, string(data), "process-")
	assert.NotContains(t, string(data), "/process")
	assert.Equal(t, "shop", s.Name)
	assert.Equal(t, map[string]string{"A": "none", "B": "KEY", "C": "none", "D": "none", "E": "none"}, s.Services["api"].Environment)
	assert.NotContains(t, s.Services, "hidden")

	_, err = loadFiles(t, one("services:\n  a:\n    image: a\n    secrets: [s]\nsecrets:\n  s: {environment: GITHUB_TOKEN}\n"))
	assert.ErrorContains(t, err, "GITHUB_TOKEN")
	_, err = loadFiles(t, one("services:\n  a:\n    image: ${GITHUB_TOKEN}\n"))
	assert.ErrorContains(t, err, "not set")
	_, err = loadFiles(t, one("services:\n  a:\n    image: a\n    volumes: ['~/x:/x']\n"))
	require.Error(t, err)
	assert.NotContains(t, err.Error(), "/process/home")
}

func TestEnvironment(t *testing.T) {
	t.Parallel()
	file := one("services:\n  a:\n    image: a:${V}\n    environment: [A, B, \"C=${COMPOSE_PROJECT_NAME}\", \"D=${EMPTY}x${EMPTY:-d}${EMPTY-d}\"]\n")
	s := mustLoad(t, file, func(o *LoadOptions) {
		o.EnvFile = []byte("V=1\nA=file\nEMPTY=\nNESTED=${V}-${GIVEN}\n")
		o.Environment = map[string]string{"V": "2", "GIVEN": "g"}
	})
	assert.Equal(t, "a:2", s.Services["a"].Image, "what the caller names wins over env-file")
	assert.Equal(t, map[string]string{"A": "file", "C": "shop", "D": "xd"}, s.Services["a"].Environment)
	assert.Nil(t, s.Project.Services["a"].Environment["B"])
	assert.Equal(t, "2-g", s.Project.Environment["NESTED"])
}

func TestProjectName(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		text string
		opts LoadOptions
		want string
	}{
		"input":     {"name: file\n", LoadOptions{Project: "input", EnvFile: []byte("COMPOSE_PROJECT_NAME=env")}, "input"},
		"variable":  {"name: file\n", LoadOptions{EnvFile: []byte("COMPOSE_PROJECT_NAME=env")}, "env"},
		"file":      {"name: My.File\n", LoadOptions{}, "myfile"},
		"templated": {"name: file-${STAGE}\n", LoadOptions{EnvFile: []byte("STAGE=prod")}, "file-prod"},
		"folder":    {"", LoadOptions{}, "shop"},
		"mounted":   {"", LoadOptions{Folder: "Shiksha.Setu"}, "shikshasetu"},
		"file wins": {"name: file\n", LoadOptions{Folder: "other"}, "file"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := mustLoad(t, one(tc.text+"services: {a: {image: a, container_name: 'x-${COMPOSE_PROJECT_NAME}'}}\n"), func(o *LoadOptions) {
				o.Project, o.EnvFile, o.Folder = tc.opts.Project, tc.opts.EnvFile, tc.opts.Folder
			})
			assert.Equal(t, tc.want, s.Name)
			assert.Equal(t, "x-"+tc.want, s.Services["a"].ContainerName)
			assert.Equal(t, tc.want+"_default", s.Project.Networks["default"].Name)
		})
	}
}

func TestComposeFileInTheEnvironment(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, name := range []string{"compose.yaml", "prod.yaml"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("services: {a: {image: a}}\n"), 0o600))
	}
	opts := LoadOptions{Workspace: dir, StateDir: "/s", Project: "shop", EnvFile: []byte("COMPOSE_FILE=compose.yaml:prod.yaml")}
	_, err := Load(t.Context(), opts)
	assert.EqualError(t, err, "env-file: COMPOSE_FILE=compose.yaml:prod.yaml is not read there")
	assert.Equal(t, "say compose-file: compose.yaml,prod.yaml, or take COMPOSE_FILE out", fault.Hint(err))
	opts.EnvFile = []byte("COMPOSE_FILE=compose.yaml")
	_, err = Load(t.Context(), opts)
	assert.NoError(t, err, "it is read anyway")
	opts.EnvFile = []byte("COMPOSE_FILE=compose.yaml:prod.yaml")
	opts.Files = []string{"compose.yaml", "prod.yaml"}
	_, err = Load(t.Context(), opts)
	assert.NoError(t, err)
}

func TestProfiles(t *testing.T) {
	t.Parallel()
	file := one("services:\n  a:\n    image: a\n    depends_on:\n      b: {condition: service_started, required: false}\n  b:\n    image: b\n    profiles: [extra]\n    volumes: ['~/x:/x']\n    env_file: nowhere.env\n")
	s := mustLoad(t, file)
	assert.Equal(t, []string{"a"}, s.Order)
	assert.Empty(t, s.Services["a"].DependsOn)
	assert.Equal(t, map[string][]string{"b": {"extra"}}, s.Inactive)
	for _, change := range []func(*LoadOptions){
		func(o *LoadOptions) { o.Profiles = []string{"extra"} },
		env("COMPOSE_PROFILES=other,extra\n"),
		env("COMPOSE_PROFILES=other, extra\n"),
	} {
		_, err := loadFiles(t, file, change)
		assert.ErrorContains(t, err, "~/x", "an active service may not mount a home folder")
	}
	assert.Empty(t, mustLoad(t, file, env("COMPOSE_PROFILES=\" ,\"\n")).Warnings)
	assert.Equal(t, []string{"profile extr is active and no service has it: did you mean \"extra\"?", "profile monitoring is active and no service has it"},
		mustLoad(t, file, env("COMPOSE_PROFILES=extr, monitoring\n")).Warnings)
	all := one("services:\n  a: {image: a, profiles: [p]}\n")
	for _, active := range []string{"*", "p"} {
		s := mustLoad(t, all, func(o *LoadOptions) { o.Profiles = []string{active} })
		assert.Equal(t, []string{"a"}, s.Order)
		assert.Empty(t, s.Inactive)
		assert.Empty(t, s.Warnings, active)
	}
}

func TestFiles(t *testing.T) {
	t.Parallel()
	t.Run("relative to the first file", func(t *testing.T) {
		t.Parallel()
		s := mustLoad(t, map[string]string{
			"deploy/compose.yaml": "services: {a: {image: a, volumes: ['./x:/x:ro']}}\n", "deploy/x": "1",
			"deploy/prod/override.yaml": "services: {a: {volumes: ['./y:/y:ro']}}\n", "deploy/y": "2",
		}, func(o *LoadOptions) { o.Files = []string{"deploy/compose.yaml", "deploy/prod/override.yaml"} })
		require.Len(t, s.Services["a"].Files, 2)
		assert.Equal(t, "deploy/x", s.Services["a"].Files[0].Source)
		assert.Equal(t, "deploy/y", s.Services["a"].Files[1].Source)
	})
	t.Run("an override beside the default is named, not read", func(t *testing.T) {
		t.Parallel()
		s := mustLoad(t, map[string]string{"compose.yaml": "services: {a: {image: a}}\n", "compose.override.yaml": "services: {a: {image: b}}\n"})
		assert.Equal(t, "a", s.Services["a"].Image)
		require.Len(t, s.Warnings, 1)
		assert.Contains(t, s.Warnings[0], "compose.override.yaml is not read")
	})
	t.Run("an include has its own folder and .env", func(t *testing.T) {
		t.Parallel()
		s := mustLoad(t, map[string]string{
			"compose.yaml": "include:\n  - sub/a.yaml\n  - path: sub/b.yaml\n    env_file: b.env\n    project_directory: other\nservices: {m: {image: m}}\n",
			"sub/a.yaml":   "include: [deeper/c.yaml]\nservices: {a: {image: 'a:${TAG}', volumes: ['./f:/f:ro']}}\n", "sub/f": "a", "sub/.env": "TAG=dotenv\n",
			"sub/deeper/c.yaml": "services: {c: {image: 'c:${TAG}', volumes: ['../f:/f:ro']}}\n",
			"sub/b.yaml":        "services: {b: {image: 'b:${TAG}', volumes: ['./f:/f:ro']}}\n", "b.env": "TAG=named\n", "other/f": "b",
		})
		assert.Equal(t, "a:dotenv", s.Services["a"].Image)
		assert.Equal(t, "b:named", s.Services["b"].Image)
		assert.Equal(t, "c:dotenv", s.Services["c"].Image)
		assert.Equal(t, "sub/f", s.Services["a"].Files[0].Source)
		assert.Equal(t, "other/f", s.Services["b"].Files[0].Source)
		assert.Equal(t, "sub/f", s.Services["c"].Files[0].Source)
	})
	t.Run("an anchor is followed, a reset is not", func(t *testing.T) {
		t.Parallel()
		s := mustLoad(t, map[string]string{
			"compose.yaml": "x-v: &v ['./x:/x:ro']\nservices: {a: {image: a, volumes: *v, environment: {X: \"1\"}}}\n", "x": "1",
			"prod.yaml": "services: {a: {environment: !reset {X: \"${GONE}\"}}}\n",
		}, func(o *LoadOptions) { o.Files = []string{"compose.yaml", "prod.yaml"} })
		assert.Len(t, s.Services["a"].Files, 1)
		assert.Empty(t, s.Services["a"].Environment)
	})
	t.Run("a raw env_file is taken as it stands", func(t *testing.T) {
		t.Parallel()
		s := mustLoad(t, map[string]string{"compose.yaml": "services: {a: {image: a, env_file: [{path: a.env, format: raw}]}}\n", "a.env": "# c\nA='$X' \"y\"\nG\n"}, env("G=given\n"))
		assert.Equal(t, map[string]string{"A": `'$X' "y"`, "G": "given"}, s.Services["a"].Environment)
	})
}

func TestOrder(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, one("services:\n  z: {image: i}\n  a: {image: i, depends_on: [m]}\n  m: {image: i, links: [z]}\n  b: {image: i}\n  c: {image: i, volumes_from: [a]}\n  d: {image: i, ipc: 'service:c'}\n"))
	assert.Equal(t, []string{"b", "z", "m", "a", "c", "d"}, s.Order)
}

func TestLinks(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, one("services:\n  z: {image: i}\n  y: {image: i}\n  alone: {image: i, links: [z]}\n  both: {image: i, links: ['z:database'], depends_on: [z, y]}\n"))
	on := func(name string, linked, restart bool) stack.Dependency {
		return stack.Dependency{Service: name, Condition: stack.Started, Required: true, Restart: restart, Linked: linked}
	}
	assert.Equal(t, []stack.Dependency{on("z", true, true)}, s.Services["alone"].DependsOn)
	assert.Equal(t, []stack.Dependency{on("y", false, false), on("z", true, false)}, s.Services["both"].DependsOn)
}

func TestReplicas(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, one("services:\n  none: {image: i}\n  scale: {image: i, scale: 2}\n  zero: {image: i, deploy: {replicas: 0}}\n  text: {image: i, deploy: {replicas: '${N}'}}\n  global: {image: i, deploy: {mode: global, replicas: 4}}\n"), env("N=5\n"))
	for name, want := range map[string]int{"none": 1, "scale": 2, "zero": 0, "text": 5, "global": 1} {
		assert.Equal(t, want, s.Services[name].Replicas, name)
		c := s.Project.Services[name]
		assert.Equal(t, want, c.GetScale(), name)
	}
}

func TestHealth(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, one("services:\n  none: {image: i}\n  off: {image: i, healthcheck: {test: [NONE]}}\n  times: {image: i, healthcheck: {interval: 0s, start_period: 1m}}\n"))
	assert.Nil(t, s.Services["none"].Health)
	assert.Nil(t, s.Services["off"].Health)
	assert.Equal(t, &stack.Health{Interval: 30 * time.Second, Timeout: 30 * time.Second, StartPeriod: time.Minute, Retries: 3, Inherited: true}, s.Services["times"].Health)
	assert.Equal(t, 4*time.Minute, s.Services["times"].Health.Budget())
}

// TestLabels: what Compose's own commands find units by.
func TestLabels(t *testing.T) {
	t.Parallel()
	s := everything(t)
	assert.Equal(t, map[string]string{
		api.ProjectLabel: "everything", api.ServiceLabel: "api", api.OneoffLabel: "False", api.VersionLabel: api.ComposeVersion,
		api.WorkingDirLabel: "/var/lib/shiksha/everything", api.ConfigFilesLabel: "/var/lib/shiksha/everything/compose.yaml",
	}, map[string]string(s.Project.Services["api"].CustomLabels))
}

func TestCancelled(t *testing.T) {
	t.Parallel()
	dir := workspaceOf(t, one("services: {a: {image: a}}\n"))
	ctx, cancel := contextCancelled(t)
	cancel()
	_, err := Load(ctx, LoadOptions{Workspace: dir, StateDir: "/s"})
	require.Error(t, err)
	assert.NotEqual(t, fault.Input, fault.Of(err), "a cancelled run is not the user's mistake")
}

// A key that a service takes over from elsewhere in the file stands where it is
// written, and one of its own where the service writes it.
func TestPlaceOfMergedKeys(t *testing.T) {
	t.Parallel()
	dir := workspaceOf(t, one(`x-unit: &unit
  restart: always
  deploy: {replicas: 2}
x-log: &log
  driver: json-file
x-more: &more
  <<: *unit
  init: true
services:
  api:
    <<: [*more]
    image: a
    logging: *log
    deploy:
      replicas: 3
`))
	s, err := Load(t.Context(), LoadOptions{Workspace: dir, StateDir: "/s"})
	require.NoError(t, err)
	for key, line := range map[string]int{"restart": 2, "init": 8, "image": 12, "logging": 13, "logging.driver": 5, "deploy": 14, "deploy.replicas": 15, "user": 10} {
		_, at := s.Place("services.api." + key)
		assert.Equal(t, line, at, key)
	}
}

// A container without the variables of a file that may be missing starts on its
// defaults, and is healthy on them: whoever releases it is told.
func TestAnEnvFileThatIsNotThere(t *testing.T) {
	t.Parallel()
	const file = "services:\n  api:\n    image: a\n    env_file:\n      - {path: .env, required: false}\n"
	s := mustLoad(t, one(file), env("DATABASE_URL=postgres://db/app\n"))
	assert.Empty(t, s.Services["api"].Environment, "env-file is for what the Compose file names")
	assert.Equal(t, []string{"service api: its env_file .env is not there (required: false), so the container gets none of the variables that it would hold"}, s.Warnings)
	s = mustLoad(t, map[string]string{"compose.yaml": file, ".env": "A=1\n"})
	assert.Equal(t, map[string]string{"A": "1"}, s.Services["api"].Environment)
	assert.Empty(t, s.Warnings)
}

// A service that is only built runs the image that an input names.
func TestImagesOfWhatIsOnlyBuilt(t *testing.T) {
	t.Parallel()
	const file = "services:\n  api: {build: .}\n  web: {build: ., image: team/web:v1}\n"
	given := func(o *LoadOptions) {
		o.Images = map[string]string{"api": "team/api:v2", "web": "team/web:v2"}
	}
	s := mustLoad(t, one(file), given)
	assert.Equal(t, "team/api:v2", s.Services["api"].Image)
	assert.Equal(t, "team/web:v1", s.Services["web"].Image, "what the file names stays what the file names")
	_, err := loadFiles(t, one(file+"  old: {build: .}\n"), given)
	require.ErrorContains(t, err, "service old has build but no image")
}

// A build asks only for the variables that decide about images.
func TestLoadBuilds(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write := func(text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(text), 0o600))
	}
	write(`
name: shop
services:
  api:
    build: {context: ./api, args: {FROM_ENV: "${BASE:-debian}"}}
    image: r/api:${VERSION}
    ports: ["${PORT}:80"]
    environment: {PASSWORD: "${PASSWORD:?set it}"}
    volumes: ["~/data:/data"]
  worker: {build: ./worker}
`)
	b, err := LoadBuilds(t.Context(), LoadOptions{Workspace: dir, Environment: map[string]string{"VERSION": "v1"}})
	require.NoError(t, err)
	api := b.Project.Services["api"]
	assert.Equal(t, "r/api:v1", api.Image)
	assert.Equal(t, "debian", *api.Build.Args["FROM_ENV"])
	assert.Equal(t, filepath.Join(dir, "api"), api.Build.Context)
	assert.Equal(t, "compose.yaml:5", b.Place("services.api.build"))
	assert.NotNil(t, b.Project.Services["worker"].Build)

	_, err = LoadBuilds(t.Context(), LoadOptions{Workspace: dir})
	require.ErrorContains(t, err, "variable is not set: VERSION (line 6, services.api.image)")
	write("services:\n  api: {build: {context: ., target: \"${STAGE}\"}}\n")
	_, err = LoadBuilds(t.Context(), LoadOptions{Workspace: dir})
	require.ErrorContains(t, err, "STAGE")
}
