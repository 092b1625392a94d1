package shikshasetu

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// asked are the blocks of the documents that ask a host with shiksha.
var asked = regexp.MustCompile("(?s)```sh shiksha\n(.*?)```")

// wrapper stands in the place of shiksha for the documents' commands: their names of
// host, project, files and version become the lab's, and the lab's key is given. The
// lab's registry asks for no login.
const wrapper = `#!/bin/sh
verb=$1 left=
for word do
  shift
  [ -z "$left" ] || { left=; continue; }
  case $word in
    deploy@gpu1.example.org) word=$LAB_HOST ;;
    shikshasetu) word=$LAB_PROJECT ;;
    docker-compose.production.yml,docker-compose.exporters.yml) word=$LAB_FILES ;;
    .env.production) word=$LAB_ENV ;;
    https://shikshasetu.example.org) word=$LAB_URL ;;
    v1.0.0) word=$LAB_VERSION ;;
    --registry | --registry-username | --registry-password) left=1; continue ;;
  esac
  set -- "$@" "$word"
done
case $verb in
  preflight) set -- "$@" ;;
  plan | deploy) set -- "$@" --project "$LAB_PROJECT" --ssh-key "$LAB_KEY" --known-hosts "$LAB_KNOWN" --state-dir "$LAB_STATE" ;;
  *) set -- "$@" --ssh-key "$LAB_KEY" --known-hosts "$LAB_KNOWN" --state-dir "$LAB_STATE" ;;
esac
exec "$LAB_SHIKSHA" "$@"
`

// documented runs the commands of the documents as they stand, on what runs.
func (s *site) documented() {
	t := s.t
	bin := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(bin, "shiksha"), []byte(wrapper), 0o755))
	program, err := s.Lab.Shiksha(t.Context())
	require.NoError(t, err)
	env := append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"), "LAB_SHIKSHA="+program, "LAB_HOST="+s.Host.Address, "LAB_PROJECT="+s.Project,
		"LAB_FILES="+s.files, "LAB_ENV=lab.env", "LAB_URL="+s.url(""), "LAB_VERSION="+s.serving(), "LAB_KEY=@"+s.Host.KeyFile,
		"LAB_KNOWN=@"+s.Host.KnownHostsFile, "LAB_STATE="+s.Host.StateDir)
	before, ran := s.MustUnits(), 0
	for _, name := range []string{"PRODUCTION_DEPLOYMENT.md", "DEPLOYMENT_RUNBOOK.md"} {
		text, err := os.ReadFile(filepath.Join(s.Dir, "docs", name))
		require.NoError(t, err)
		for _, block := range asked.FindAllStringSubmatch(string(text), -1) {
			cmd := exec.CommandContext(t.Context(), "sh", "-euxc", block[1])
			cmd.Dir, cmd.Env = s.Dir, env
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s: %s\n%s", name, block[1], out)
			ran += strings.Count(block[1], "\nshiksha ") + 1
		}
	}
	t.Logf("%d commands of the documents ran as they stand", ran)
	status, err := os.ReadFile(filepath.Join(s.Dir, "docs", "DEPLOYMENT_STATUS.md"))
	require.NoError(t, err)
	for service := range units {
		assert.Contains(t, string(status), service)
	}
	assert.Contains(t, string(status), s.serving())
	assert.Equal(t, before, s.MustUnits(), "none of them changed what runs")
}

// renew hands over a renewed certificate with the hook of the documents.
func (s *site) renew() error {
	text, err := os.ReadFile(filepath.Join(s.Dir, "docs", "PRODUCTION_DEPLOYMENT.md"))
	if err != nil {
		return err
	}
	_, hook, _ := strings.Cut(string(text), "<<'END'\n")
	hook, _, found := strings.Cut(hook, "\nEND\n")
	if !found {
		return fmt.Errorf("the documents have no hook for a renewed certificate")
	}
	for old, new := range map[string]string{"/etc/shikshasetu/tls": certificates, "compose.project=shikshasetu": "compose.project=" + s.Project} {
		if !strings.Contains(hook, old) {
			return fmt.Errorf("the hook has no %s any more", old)
		}
		hook = strings.ReplaceAll(hook, old, new)
	}
	renewed, err := os.MkdirTemp("", "renewed-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(renewed) }()
	if err := os.CopyFS(renewed, os.DirFS(certificates)); err != nil {
		return err
	}
	cmd := exec.Command("sh", "-c", hook)
	cmd.Env = append(os.Environ(), "RENEWED_LINEAGE="+renewed)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("the hook for a renewed certificate: %w\n%s", err, out)
	}
	return nil
}
