package deploy

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/pkg/check"
)

type looking struct {
	Deploy    Command          `cmd:""`
	Preflight PreflightCommand `cmd:""`
}

func openDatabase(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"),
		[]byte("services:\n  db:\n    image: postgres:15\n    ports:\n      - 5432:5432\n"), 0o600))
	return dir
}

func TestPreflight(t *testing.T) {
	t.Parallel()
	dir := openDatabase(t)
	o := enterLooking(t, dir, "preflight", "--project=shop")
	assert.Equal(t, 2, o.code)
	assert.Contains(t, o.stdout, "port 5432 of a database is open")
	assert.Contains(t, o.stdout, "at       compose.yaml:5")
	assert.Contains(t, o.stdout, "do       write \"127.0.0.1:5432:5432\"")
	assert.NotContains(t, o.stdout, "pass     ")
	assert.Contains(t, o.stderr, "shiksha: this stack would be refused")

	o = enterLooking(t, dir, "preflight", "--project=shop", "--json")
	assert.Equal(t, 2, o.code)
	var told check.Report
	require.NoError(t, json.Unmarshal([]byte(o.stdout), &told))
	assert.Equal(t, 1, told.Count(check.Fail))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte("services:\n  db:\n    image: postgres:15\n"), 0o600))
	assert.Zero(t, enterLooking(t, dir, "preflight").code, "warnings stop nothing")
	assert.Equal(t, 2, enterLooking(t, dir, "preflight", "--strict").code)
	assert.Equal(t, 3, enterLooking(t, t.TempDir(), "preflight").code)
}

func TestDeployLooksBeforeItConnects(t *testing.T) {
	t.Parallel()
	dir := openDatabase(t)
	o := enterLooking(t, dir, "deploy", "--host=nobody@127.0.0.1:1", "--host-fingerprint=SHA256:x")
	assert.Equal(t, 2, o.code)
	assert.Contains(t, o.stderr, "P02.database-ports db compose.yaml:5: port 5432")
	assert.Contains(t, o.stderr, "preflight: warn")
	for _, mode := range []string{"warn", "off"} {
		o = enterLooking(t, dir, "deploy", "--host=nobody@127.0.0.1:1", "--host-fingerprint=SHA256:x", "--preflight="+mode)
		assert.NotContains(t, o.stderr, "shiksha: P02", "it goes on to the host")
		assert.Equal(t, mode == "warn", strings.Contains(o.stderr, "warning: P02.database-ports"), o.stderr)
	}
}

func enterLooking(t *testing.T, dir string, args ...string) ended {
	t.Helper()
	var out, errs strings.Builder
	d := &door.Door{Args: args, Getenv: func(string) string { return "" }, Stdout: &out, Stderr: &errs, Dir: dir,
		Exit: func(int) { t.Error("exits") }}
	code := d.Main(&looking{})
	return ended{code, out.String(), errs.String()}
}

// A file that is not in the repository is read once a step before wrote it: as env_file,
// as env-file and as a secret, in a sparse checkout too, and in a folder that it left out.
func TestAFileThatAStepBeforeWrote(t *testing.T) {
	t.Parallel()
	git := func(dir string, args ...string) {
		out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=lab", "-c", "user.email=lab@example.org"}, args...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	put := func(dir, name, content string, mode os.FileMode) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), mode))
	}
	origin, checkout := t.TempDir(), filepath.Join(t.TempDir(), "shop")
	git(origin, "init", "-q", "-b", "main")
	put(origin, "app/main.py", "", 0o644)
	put(origin, ".gitignore", ".env\ndb.txt\n", 0o644)
	put(origin, "ops/compose.yaml", `name: shop
services:
  api:
    image: team/api:${VERSION}
    env_file: .env
    environment: {FROM_INPUT: "${DB_PASSWORD:?}"}
    secrets: [db]
secrets: {db: {file: ../app/db.txt}}
`, 0o644)
	git(origin, "add", ".")
	git(origin, "commit", "-qm", "one")
	git(filepath.Dir(checkout), "clone", "-q", "--no-checkout", origin, checkout)
	git(checkout, "sparse-checkout", "set", "ops")
	git(checkout, "checkout", "-q", "main")
	require.NoDirExists(t, filepath.Join(checkout, "app"))

	release := func() ended {
		return enter(t, &commands{}, map[string]string{"GITHUB_ACTIONS": "true", "GITHUB_WORKSPACE": checkout, "GITHUB_REPOSITORY": "team/shop",
			"INPUT_COMPOSE-FILE": "ops/compose.yaml", "INPUT_ENV-FILE": "ops/.env", "INPUT_VERSION": "v1", "INPUT_DRY-RUN": "true"}, "/elsewhere", "deploy")
	}
	o := release()
	assert.Equal(t, 3, o.code)
	assert.Contains(t, o.stdout, "env-file: ")
	put(checkout, "ops/.env", "DB_PASSWORD=correct-horse-battery\n", 0o600)
	o = release()
	assert.Equal(t, 3, o.code)
	assert.Contains(t, o.stdout, "secrets.db.file: app/db.txt: cannot be read: no such file or directory")
	assert.NotContains(t, o.stdout, "commit")
	put(checkout, "app/db.txt", "another-horse-battery", 0o600)
	o = release()
	assert.Zero(t, o.code, o.stdout)
	assert.Contains(t, o.stdout, "create 1")
	for line := range strings.Lines(o.stdout) {
		assert.False(t, strings.Contains(line, "horse-battery") && !strings.HasPrefix(line, "::add-mask::"), line)
	}

	outside := t.TempDir()
	put(outside, "db.txt", "another-horse-battery", 0o600)
	require.NoError(t, os.Remove(filepath.Join(checkout, "app/db.txt")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "db.txt"), filepath.Join(checkout, "app/db.txt")))
	o = release()
	assert.Equal(t, 3, o.code)
	assert.Contains(t, o.stdout, "secrets.db.file: app/db.txt: leaves the workspace")
}

func TestAPlanNeedsNoHost(t *testing.T) {
	t.Parallel()
	dir := openDatabase(t)
	o := enterLooking(t, dir, "deploy", "--dry-run", "--project=shop")
	assert.Zero(t, o.code, o.stderr)
	assert.Contains(t, o.stdout, "plan for shop on an empty host")
	assert.Contains(t, o.stdout, "create 1")
	assert.Contains(t, o.stderr, "P02.database-ports", "a plan tells what would refuse the release")
	o = enterLooking(t, dir, "deploy", "--dry-run", "--preflight=strict", "--project=shop")
	assert.Equal(t, 2, o.code, "strict refuses the plan as well")
	assert.Contains(t, o.stdout, "create 1", "which is shown all the same")
	assert.Contains(t, o.stderr, "shiksha: P02.")
	o = enterLooking(t, dir, "deploy", "--project=shop")
	assert.Equal(t, 3, o.code)
	assert.Contains(t, o.stderr, "host: is required")
}
