package backup

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/pkg/backup"
	verb "github.com/shiksha/actions/pkg/backups"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

type commands struct {
	Backup  TakeCommand `cmd:""`
	Backups ListCommand `cmd:""`
}

// told is what a command left, and what the verb was asked.
type told struct {
	options     verb.Options
	code        int
	out, errors string
}

// enter runs a command as a person would, with a verb that gives a result. A last
// argument INPUT_...=... is of the environment, where secrets belong.
func enter(t *testing.T, result *verb.Result, err error, args ...string) (got told) {
	t.Helper()
	env := map[string]string{"INPUT_SSH-KEY": "KEY"}
	if i := len(args) - 1; strings.HasPrefix(args[i], "INPUT_") {
		name, value, _ := strings.Cut(args[i], "=")
		env[name], args = value, args[:i]
	}
	do := func(_ context.Context, o verb.Options, _ event.Sink) (*verb.Result, error) {
		got.options = o
		return result, err
	}
	var out, errs strings.Builder
	d := &door.Door{Args: append(args, "--host=deploy@gpu1", "--host-fingerprint=SHA256:x"), Getenv: func(k string) string { return env[k] },
		Stdout: &out, Stderr: &errs, Dir: t.TempDir(), Exit: func(int) { t.Error("exits") }}
	got.code = d.Main(&commands{TakeCommand{Verb: do}, ListCommand{Verb: do}})
	got.out, got.errors = out.String(), errs.String()
	return got
}

func made() *verb.Result {
	taken := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	return &verb.Result{Project: "shop", Host: "deploy@gpu1:22", Backups: []backup.Backup{{ID: "db-20260301T090000Z", Service: "db", Database: "shop", Taken: taken,
		Bytes: 4_200_000, Rows: map[string]int64{"orders": 20_000, "users": 7}, Release: 12, Version: "v2", Node: "node2", CopiedTo: "sftp://backup@vault/srv"}}}
}

func TestBackup(t *testing.T) {
	t.Parallel()
	got := enter(t, made(), nil, "backup", "--project=shop", "--prove", "--lock-wait=1m", "--state-dir=/srv/state", "INPUT_BACKUP-SSH-KEY=OTHER")
	require.Zero(t, got.code, got.errors)
	o := got.options
	assert.Equal(t, []any{"shop", "/srv/state", true, time.Minute}, []any{o.Project, o.StateDir, o.Prove, o.LockWait})
	assert.Equal(t, "deploy@gpu1", o.Host.Address)
	assert.Equal(t, "KEY\n", string(o.Host.Key))
	assert.Equal(t, "OTHER\n", string(o.Vault.Key))
	assert.Empty(t, o.Vault.Address+o.Vault.Fingerprint, "they are of the host")
	for _, words := range []string{"db-20260301T090000Z", "20,007", "12 v2", "sftp://backup@vault/srv", "node2"} {
		assert.Contains(t, got.out, words)
	}
	assert.NotContains(t, got.out+got.errors, "KEY")
	assert.Equal(t, "KEY\n", string(enter(t, made(), nil, "backup", "--project=shop").options.Vault.Key), "the host's key does where no other is given")
}

// What was made is told although a later part failed; the exit code is the error's.
func TestBackupThatFails(t *testing.T) {
	t.Parallel()
	got := enter(t, made(), fault.New(fault.Failed, "", "mend it", "the backups of db have no copy off the host"), "backup", "--project=shop")
	assert.Equal(t, 1, got.code)
	assert.Contains(t, got.out, "db-20260301T090000Z")
	assert.Contains(t, got.errors, "no copy off the host")
	got = enter(t, &verb.Result{}, fault.New(fault.Refused, "", "mend it", "no backup of db was made"), "backup", "--project=shop")
	assert.Equal(t, 2, got.code)
	assert.Empty(t, got.out)
	for _, wrong := range [][]string{{"backup"}, {"backup", "--project=Shop!"}, {"backups", "--project=shop", "--state-dir=x"}} {
		assert.Equal(t, 3, enter(t, made(), nil, wrong...).code, wrong)
	}
}

func TestBackups(t *testing.T) {
	t.Parallel()
	got := enter(t, made(), nil, "backups", "--project=shop", "--json")
	require.Zero(t, got.code, got.errors)
	var listed verb.Result
	require.NoError(t, json.Unmarshal([]byte(got.out), &listed))
	assert.Equal(t, made(), &listed)
	assert.Contains(t, enter(t, made(), nil, "backups", "--project=shop").out, "read back whole")
	assert.Equal(t, 2, enter(t, nil, fault.New(fault.Refused, "", "", "no"), "backups", "--project=shop").code)
}
