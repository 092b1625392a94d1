// Package act runs the workflows of this repository and of its examples with act,
// offline: real containers of the real image, through `uses: shiksha/actions/deploy@v1`
// with the release tree as that repository, against a sandbox host.
package act

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/peers"
)

func TestMain(m *testing.M) { lab.Main(m) }

const root = "../.."

// stage is what the tests share: act, the image of the actions in the lab's
// registry and the release tree on it.
var stage struct {
	sync.Once
	act, job, image, tree string
	err                   error
}

// wanted skips a test unless it was asked for: act and the image take minutes to
// build, the first time.
func wanted(t *testing.T) {
	t.Helper()
	if os.Getenv("SHIKSHA_ACT") == "" {
		t.Skip("runs act: make act")
	}
}

func set(f *lab.Fixture) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	fail := func(err error) bool { stage.err = errors.Join(stage.err, err); return stage.err != nil }
	var err error
	if stage.act, err = peers.Act(ctx, os.Stderr); fail(err) {
		return
	}
	if stage.job, err = f.JobImage(ctx); fail(err) {
		return
	}
	local, err := f.ActionImage(ctx, "amd64")
	if fail(err) {
		return
	}
	if stage.image, err = f.PublishAction(ctx, local); fail(err) {
		return
	}
	stage.tree = filepath.Join(f.Lab.Dir, "release-tree")
	fail(os.RemoveAll(stage.tree))
	write := exec.CommandContext(ctx, "go", "run", "./tools/release", "tree", "-image", stage.image, "-out", stage.tree)
	write.Dir = f.Root
	if words, err := write.CombinedOutput(); err != nil {
		fail(fmt.Errorf("writing the release tree: %w\n%s", err, words))
	}
}

// workspace is a checkout that act runs workflows of, for one project on the
// sandbox host.
type workspace struct {
	*lab.Fixture
	t    *testing.T
	dir  string
	runs int
}

// stack are the settings by which the quickstart's copy differs from the example:
// a name of its own and shorter waits. The version that dies late lives for three
// seconds: it has to be watched for longer.
func stack(project string) *strings.Replacer {
	return strings.NewReplacer("name: quickstart", "name: "+project, "monitor: 5s", "monitor: 4s", "interval: 2s", "interval: 1s")
}

// checkout makes a repository of the given files of this one, and tells act what
// the environment of a workflow has on GitHub.
func checkout(t *testing.T, f *lab.Fixture, files map[string]string) *workspace {
	t.Helper()
	stage.Do(func() { set(f) })
	require.NoError(t, stage.err, "preparing act")
	// Not below /tmp, as on GitHub: the image has no such folder, and the mount of a
	// workspace that is in it would make it.
	dir, err := os.MkdirTemp("/var/tmp", "checkout-")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, os.RemoveAll(dir)) })
	w := &workspace{Fixture: f, t: t, dir: dir}
	for from, to := range files {
		text, err := os.ReadFile(filepath.Join(root, from))
		require.NoError(t, err)
		if strings.HasSuffix(from, ".yml") {
			// The one setting that only a sandbox needs: host and engine share this folder.
			text = bytes.ReplaceAll(text, []byte("          host:"), []byte("          state-dir: "+f.Host.StateDir+"\n          host:"))
		}
		w.write(to, stack(f.Project).Replace(string(text)))
	}
	w.write(".act/secrets.yaml", "SSH_KEY: |\n"+indent(string(f.Host.Key))+"ENV_FILE: |\n"+
		indent(fmt.Sprintf("REGISTRY=%s\nPORT=%d\nPOSTGRES_PASSWORD=%s\n", f.Registry, f.Port, password)))
	w.write(".act/vars.yaml", fmt.Sprintf("DEPLOY_HOST: %q\nKNOWN_HOSTS: %q\nPROBE_URL: %q\nPROJECT: %q\n",
		f.Host.Address, strings.TrimSpace(string(f.Host.KnownHosts)), f.URL()+"/", f.Project))
	settings, err := os.ReadFile(filepath.Join(root, "examples", "act", ".actrc"))
	require.NoError(t, err)
	const image = "debian:bookworm-slim"
	require.Contains(t, string(settings), image)
	w.write(".actrc", strings.Replace(string(settings), image, stage.job, 1))
	w.git("init", "--quiet", "--initial-branch", "main")
	w.git("remote", "add", "origin", "https://github.com/team/shop.git")
	w.git("add", ".")
	w.git("-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "--quiet", "--message", "stack")
	return w
}

// password is in the secret ENV_FILE: it must be nowhere in a log.
const password = "Kz7-sandbox-password"

func indent(text string) string {
	return "  " + strings.ReplaceAll(strings.TrimRight(text, "\n"), "\n", "\n  ") + "\n"
}

func (w *workspace) write(name, text string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	require.NoError(w.t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(w.t, os.WriteFile(path, []byte(text), 0o644))
}

func (w *workspace) git(args ...string) string {
	w.t.Helper()
	cmd := exec.CommandContext(w.t.Context(), "git", append([]string{"-C", w.dir}, args...)...)
	out, err := cmd.CombinedOutput()
	require.NoError(w.t, err, "git %v: %s", args, out)
	return strings.TrimSpace(string(out))
}

// event writes what GitHub sends with an event and gives act's arguments for it.
func (w *workspace) event(name string, payload any) []string {
	w.t.Helper()
	data, err := json.Marshal(payload)
	require.NoError(w.t, err)
	w.write(".act/event.json", string(data))
	return []string{name, "--eventpath", ".act/event.json"}
}

// entry is a line of act's log.
type entry struct {
	Command, Name, Arg, Content, Msg string
	JobResult                        string
}

// told is what a run of act left.
type told struct {
	exit    int
	outputs map[string]string
	summary string
	jobs    []string // results of the jobs
	log     string
	took    time.Duration
}

// start starts a workflow.
func (w *workspace) start(workflow string, event []string) (wait func() told) {
	w.t.Helper()
	args := append(event, "--json", "--workflows", workflow, "--pull=false", "--no-cache-server",
		"--local-repository", "shiksha/actions@v1="+stage.tree, "--action-cache-path", filepath.Join(w.t.TempDir(), "cache"))
	ctx, cancel := context.WithTimeout(w.t.Context(), 5*time.Minute)
	cmd := exec.CommandContext(ctx, stage.act, args...)
	cmd.Dir = w.dir
	home := w.t.TempDir()
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + home, "XDG_CONFIG_HOME=" + home, "DOCKER_CONFIG=" + home, "DOCKER_HOST=unix://" + lab.Socket}
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	began := time.Now()
	require.NoError(w.t, cmd.Start())
	return func() told {
		defer cancel()
		err := cmd.Wait()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			require.NoError(w.t, err)
		}
		ended := read(&log, cmd.ProcessState.ExitCode())
		ended.took = time.Since(began)
		w.keep(workflow, ended)
		return ended
	}
}

// keep leaves a run's log and summary in .lab/act, for people.
func (w *workspace) keep(workflow string, ended told) {
	w.t.Helper()
	w.runs++
	name := fmt.Sprintf("%s-%d-%s", w.t.Name(), w.runs, strings.TrimSuffix(filepath.Base(workflow), ".yml"))
	dir := filepath.Join(w.Lab.Dir, "act")
	require.NoError(w.t, os.MkdirAll(dir, 0o755))
	for suffix, text := range map[string]string{".log": ended.log, ".md": ended.summary} {
		require.NoError(w.t, os.WriteFile(filepath.Join(dir, name+suffix), []byte(text), 0o644))
	}
}

// run runs a workflow to its end.
func (w *workspace) run(workflow string, event []string) told {
	w.t.Helper()
	return w.start(workflow, event)()
}

func read(log io.Reader, exit int) told {
	ended := told{exit: exit, outputs: map[string]string{}}
	var all strings.Builder
	lines := bufio.NewReader(log)
	for {
		line, err := lines.ReadBytes('\n')
		var e entry
		if json.Unmarshal(line, &e) != nil {
			e.Msg = string(line)
		}
		all.WriteString(strings.TrimRight(e.Msg, "\n") + "\n")
		switch {
		case e.Command == "set-output":
			ended.outputs[e.Name] = e.Arg
		case e.Command == "summary":
			ended.summary += e.Content
		case e.JobResult != "":
			ended.jobs = append(ended.jobs, e.JobResult)
		}
		if err != nil {
			ended.log = all.String()
			return ended
		}
	}
}
