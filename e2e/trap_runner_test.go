package e2e

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

const (
	trapToken  = "ghs_TRAPtokenTRAPtokenTRAPtoken"
	trapUnused = "TRAP-other-secret-of-the-workflow"
)

// trapEnvironment is a runner whose docker points elsewhere, with proxies and
// credential helpers in its config.json and secrets in its environment.
func trapEnvironment(t *testing.T, f *lab.Fixture) (env []string, called string) {
	t.Helper()
	home, bin := t.TempDir(), t.TempDir()
	called = filepath.Join(home, "helper-was-called")
	helper := "#!/bin/sh\ntouch " + called + "\nexit 1\n"
	require.NoError(t, os.WriteFile(filepath.Join(bin, "docker-credential-trap"), []byte(helper), 0o755))
	require.NoError(t, os.MkdirAll(filepath.Join(home, ".docker"), 0o700))
	config, err := json.Marshal(map[string]any{
		"currentContext": "nowhere",
		"credsStore":     "trap",
		"credHelpers":    map[string]string{f.Registry: "trap"},
		"proxies":        map[string]any{"default": map[string]string{"httpProxy": "http://trap-proxy:3128", "noProxy": "*.trap"}},
		"HttpHeaders":    map[string]string{"X-Trap": "trap"},
	})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(home, ".docker", "config.json"), config, 0o600))
	return []string{
		"HOME=" + home, "PATH=" + bin + ":" + os.Getenv("PATH"), "GITHUB_ACTIONS=true", "GITHUB_WORKSPACE=" + f.Dir,
		"GITHUB_OUTPUT=" + filepath.Join(home, "output"), "GITHUB_STEP_SUMMARY=" + filepath.Join(home, "summary"),
		"DOCKER_CONTEXT=nowhere", "DOCKER_HOST=tcp://127.0.0.1:1", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/nowhere",
		"DOCKER_CONFIG=" + filepath.Join(home, ".docker"), "DOCKER_API_VERSION=1.12", "COMPOSE_PROJECT_NAME=trap", "COMPOSE_FILE=trap.yaml",
		"HTTP_PROXY=http://127.0.0.1:1", "HTTPS_PROXY=http://127.0.0.1:1", "http_proxy=http://127.0.0.1:1",
		"GITHUB_TOKEN=" + trapToken, "INPUT_OTHER-SECRET=" + trapUnused, "INPUT_OTHER=" + trapUnused, "VERSION=trap", "REGISTRY=trap",
		"INPUT_HOST=" + f.Host.Address, "INPUT_SSH-KEY=" + string(f.Host.Key), "INPUT_KNOWN-HOSTS=" + string(f.Host.KnownHosts),
		"INPUT_STATE-DIR=" + f.Host.StateDir, "INPUT_PROJECT=" + f.Project, "INPUT_ENV-FILE=" + lab.EnvFile, "INPUT_VERSION=runner-1",
	}, called
}

// What a runner has in its environment and in its docker's config.json changes
// nothing and reaches nothing: not a container, not the host, not the log.
func TestTrap_RunnersEnvironmentReachesNothing(t *testing.T) {
	t.Parallel()
	f := trapQuick(t, lab.Release{Version: "runner-1"})
	trapEdit(t, f, "compose.yaml", "image: nginx:1.22\n", `image: nginx:1.22
    environment:
      TOKEN: ${GITHUB_TOKEN:-none}
      OTHER: ${INPUT_OTHER:-none}
      HOME_OF_RUNNER: ${HOME:-none}
      GITHUB_TOKEN:
`)
	env, called := trapEnvironment(t, f)
	run := trapBegin(t, f, env, "deploy")
	run.exit(t, 0)

	assert.NoFileExists(t, called, "the runner's credential helper was asked")
	units := f.MustUnits()
	assert.Len(t, units["api"], 3)
	secrets := []string{trapToken, trapUnused, strings.Split(string(f.Host.Key), "\n")[2]}
	foreign := append([]string{"trap-proxy", "HTTP_PROXY", "http_proxy", "X-Trap"}, secrets...)
	for service, ids := range units {
		for _, id := range ids {
			told := trapDocker(t, f, "inspect", id)
			for _, word := range foreign {
				assert.NotContains(t, told, word, service)
			}
		}
	}
	var got []string
	require.NoError(t, json.Unmarshal([]byte(trapDocker(t, f, "inspect", "--format", "{{json .Config.Env}}", units["nginx"][0])), &got))
	assert.Contains(t, got, "TOKEN=none")
	assert.Contains(t, got, "OTHER=none")
	assert.Contains(t, got, "HOME_OF_RUNNER=none")
	for _, variable := range got {
		assert.False(t, strings.HasPrefix(variable, "GITHUB_TOKEN="), "a variable without a value takes none from the runner")
	}
	assert.Equal(t, "runner-1", lab.Serving(t.Context(), f.URL()))
	trapNoSecrets(t, "the log", run.output(), secrets)
	trapNoSecretsBelow(t, filepath.Join(f.Host.StateDir, f.Project), secrets)
	for _, name := range []string{"output", "summary"} {
		text, err := os.ReadFile(filepath.Join(filepath.Dir(called), name))
		require.NoError(t, err)
		trapNoSecrets(t, name, string(text), secrets)
	}
}

func trapNoSecrets(t *testing.T, where, text string, secrets []string) {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "::add-mask::") {
			continue // this is how the runner is told what to hide
		}
		for _, secret := range secrets {
			assert.NotContains(t, line, secret, where)
		}
	}
}

func trapNoSecretsBelow(t *testing.T, dir string, secrets []string) {
	t.Helper()
	files := 0
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		trapNoSecrets(t, path, string(text), secrets)
		return err
	}))
	assert.Positive(t, files, "the release is recorded below %s", dir)
}

// trapFiles has one service for each way in which a config or a secret can come.
const trapFiles = `
x-idle: &idle
  image: nginx:1.22
  pull_policy: never
  command: [sleep, infinity]
  stop_signal: SIGKILL
  deploy: { update_config: { monitor: 0s } }
services:
  config-file: { <<: *idle, configs: [{ source: by-file, target: /content }] }
  config-content: { <<: *idle, configs: [{ source: by-content, target: /content }] }
  config-environment: { <<: *idle, configs: [{ source: by-environment, target: /content }] }
  secret-file: { <<: *idle, secrets: [{ source: by-file, target: /content }] }
  secret-environment: { <<: *idle, secrets: [{ source: by-environment, target: /content }] }
  bystander: { <<: *idle }
configs:
  by-file: { file: ./config.txt }
  by-content: { content: "${CONTENT}" }
  by-environment: { environment: CONFIG }
secrets:
  by-file: { file: ./secret.txt }
  by-environment: { environment: SECRET }
`

// Compose's own hash does not see that the content of a config or a secret
// changed. Here each change replaces the service that uses it, and no other one.
func TestTrap_ConfigsAndSecretsDeployWhenTheyChange(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", trapFiles)
	trapWrite(t, f, "config.txt", "config-file 1")
	trapWrite(t, f, "secret.txt", "secret-file 1")
	trapVariables(t, f, "CONTENT=config-content 1", "CONFIG=config-environment 1", "SECRET=secret-environment 1")
	f.Deploy("v1", 0)
	units := f.MustUnits()
	require.Len(t, units, 6)
	content := func(service string) string {
		return trapDocker(t, f, "exec", f.MustUnits()[service][0], "cat", "/content")
	}
	for service := range units {
		if service != "bystander" {
			assert.Equal(t, service+" 1", content(service))
		}
	}
	assert.Contains(t, f.Deploy("v1", 0).Stdout, "nothing to change")
	assert.Equal(t, units, f.MustUnits(), "unchanged content restarts nothing")

	for service, file := range map[string]string{
		"config-file": "config.txt", "secret-file": "secret.txt",
		"config-content": lab.EnvFile, "config-environment": lab.EnvFile, "secret-environment": lab.EnvFile,
	} {
		trapEdit(t, f, file, service+" 1", service+" 2")
		result := f.Deploy("v1", 0)
		after := f.MustUnits()
		assert.NotEqual(t, units[service], after[service], "%s changed and was not replaced", service)
		assert.Equal(t, service+" 2", content(service))
		assert.NotContains(t, result.Stdout+result.Stderr, service+" 2", "content in the log")
		units[service] = after[service]
		assert.Equal(t, units, after, "only %s is replaced", service)
	}
	for _, ids := range units {
		assert.NotContains(t, trapDocker(t, f, "inspect", ids[0]), "secret-environment 2", "a secret that everybody sees who may look at containers")
	}
}
