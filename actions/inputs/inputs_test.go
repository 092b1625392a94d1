package inputs

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

// verb is a command with an input of every type.
type verb struct {
	Connection

	Files    List          `name:"files" group:"stack"`
	Images   Content       `name:"images" group:"stack"`
	EnvFile  EnvFile       `name:"env-file" group:"stack"`
	Strategy string        `name:"strategy" group:"rollout" default:"rolling" enum:"rolling,replace"`
	DryRun   bool          `name:"dry-run" group:"rollout" default:"false"`
	Rollback bool          `name:"rollback-on-failure" group:"rollout" default:"true" negatable:""`
	Keep     int           `name:"keep" group:"rollout" default:"5" min:"1" max:"9"`
	Wait     time.Duration `name:"wait" group:"rollout" default:"10m"`
	JSON     bool          `name:"json" person:""`
}

type fixture struct {
	runner bool
	env    map[string]string
	files  map[string]string
}

func (f fixture) parse(t *testing.T, args ...string) (*verb, *kong.Context, error) {
	t.Helper()
	var cli struct {
		Verb verb `cmd:""`
	}
	source := Source{Runner: f.runner, Input: func(name string) string { return f.env[name] },
		ReadFile: func(path string) ([]byte, error) {
			if text, ok := f.files[path]; ok {
				return []byte(text), nil
			}
			return nil, &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
		}}
	p, err := NewParser(&cli, source, io.Discard, io.Discard, func(int) { t.Error("exits") }, kong.Name("shiksha"))
	require.NoError(t, err)
	ctx, err := p.Parse(append([]string{"verb"}, args...))
	return &cli.Verb, ctx, err
}

func TestDefaults(t *testing.T) {
	t.Parallel()
	v, _, err := fixture{}.parse(t, "--host=a@b")
	require.NoError(t, err)
	assert.Equal(t, &verb{Connection: Connection{Host: "a@b"}, Strategy: "rolling", Rollback: true, Keep: 5, Wait: 10 * time.Minute}, v)
}

func TestFlags(t *testing.T) {
	t.Parallel()
	f := fixture{files: map[string]string{"key": "KEY\n", "my keys/known": "gpu1 ssh-ed25519 AAAA\n", "env": "A=1\nB=2\n"}}
	v, _, err := f.parse(t, "--host", "a@b", "--ssh-key=@key", "--known-hosts", "@my keys/known", "--files=a.yaml,b.yaml", "--files", "c.yaml",
		"--env-file=@env", "--strategy=replace", "--dry-run", "--no-rollback-on-failure", "--keep=2", "--wait=90s", "--images=api=x", "--json")
	require.NoError(t, err)
	assert.Equal(t, &verb{
		Connection: Connection{Host: "a@b", SSHKey: "KEY", KnownHosts: "gpu1 ssh-ed25519 AAAA"},
		Files:      List{"a.yaml", "b.yaml", "c.yaml"}, Images: "api=x", EnvFile: EnvFile{Content: "A=1\nB=2"},
		Strategy: "replace", DryRun: true, Keep: 2, Wait: 90 * time.Second, JSON: true,
	}, v)
}

func TestAuthorityOnTheCommandLine(t *testing.T) {
	t.Parallel()
	v, _, err := fixture{}.parse(t, "--host=a@b", "--known-hosts=@cert-authority * ssh-ed25519 AAAA")
	require.NoError(t, err)
	assert.Equal(t, Content("@cert-authority * ssh-ed25519 AAAA"), v.KnownHosts, "this is no file's name")
}

func TestRunnerInputs(t *testing.T) {
	t.Parallel()
	f := fixture{runner: true, env: map[string]string{
		"host": "a@b", "ssh-key": "-----BEGIN\nx\n-----END", "known-hosts": "@cert-authority * ssh-ed25519 AAAA",
		"files": " a.yaml\nb.yaml , a.yaml\n\n", "images": "api=x\nweb=y", "env-file": "A=@x\nB=2", "strategy": "replace",
		"dry-run": "true", "rollback-on-failure": "False", "keep": "9", "wait": "1h", "json": "true", "unknown": "ignored",
	}}
	v, _, err := f.parse(t)
	require.NoError(t, err)
	assert.Equal(t, &verb{
		Connection: Connection{Host: "a@b", SSHKey: "-----BEGIN\nx\n-----END", KnownHosts: "@cert-authority * ssh-ed25519 AAAA"},
		Files:      List{"a.yaml", "b.yaml"}, Images: "api=x\nweb=y", EnvFile: EnvFile{Content: "A=@x\nB=2"},
		Strategy: "replace", DryRun: true, Keep: 9, Wait: time.Hour,
	}, v)

	v, _, err = f.parse(t, "--dry-run=false", "--files=z.yaml")
	require.NoError(t, err)
	assert.False(t, v.DryRun, "an argument wins over the environment")
	assert.Equal(t, List{"z.yaml"}, v.Files)
}

func TestProblemsAreToldTogether(t *testing.T) {
	t.Parallel()
	_, _, err := fixture{runner: true, env: map[string]string{
		"dry-run": "yes", "strategy": "fast", "keep": "many", "wait": "10", "rollback-on-failure": "1",
	}}.parse(t)
	require.Error(t, err)
	assert.Equal(t, fault.Input, fault.Of(err))
	assert.Empty(t, fault.Hint(err), "each line has its own")
	for _, line := range []string{
		`dry-run: "yes" is neither true nor false`, `strategy: "fast" is none of rolling, replace`, `keep: "many" is not a whole number`,
		`wait: "10" is not a length of time (write it with its unit`, `rollback-on-failure: "1"`,
		"host: is required (for example host: deploy@gpu1.example.org)", "ssh-key: is required", "known-hosts: is required",
	} {
		assert.Contains(t, err.Error(), "\n  - "+line)
	}
	assert.Equal(t, 8, strings.Count(err.Error(), "\n  - "))
}

func TestBadValues(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ args, where, says string }{
		"range":           {"--keep=0", "keep", "less than 1"},
		"upper range":     {"--keep=10", "keep", "more than 9"},
		"negative time":   {"--wait=-1s", "wait", "negative"},
		"missing file":    {"--known-hosts=@nowhere", "known-hosts", "cannot read nowhere"},
		"secret":          {"--ssh-key=hunter2", "ssh-key", "visible to everybody"},
		"env content":     {"--env-file=TOKEN=hunter2", "env-file", "visible to everybody"},
		"unknown flag":    {"--strategi=x", "", `did you mean "--strategy"`},
		"stray argument":  {"stray", "", "unexpected argument stray"},
		"no value":        {"--keep", "", "needs a value"},
		"people have one": {"--dry-run=perhaps", "dry-run", "neither true nor false"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := fixture{}.parse(t, "--host=a@b", c.args)
			require.ErrorContains(t, err, c.says)
			var f *fault.Error
			require.ErrorAs(t, err, &f)
			assert.Equal(t, c.where, f.Where)
			assert.Equal(t, fault.Input, f.Kind)
			assert.NotContains(t, err.Error()+fault.Hint(err), "hunter2", "a secret is never repeated")
		})
	}
}

// No shell replaces a ~ that stands behind an @, and the message says so.
func TestHomeBehindAt(t *testing.T) {
	t.Parallel()
	_, _, err := fixture{}.parse(t, "--host=a@b", "--ssh-key=@~/.ssh/nowhere")
	assert.ErrorContains(t, err, "ssh-key: cannot read ~/.ssh/nowhere")
	assert.Contains(t, fault.Hint(err), "$HOME")
}

func TestSecretsPrintAsStars(t *testing.T) {
	t.Parallel()
	c := Connection{SSHKey: "hunter2", SSHKeyPassphrase: "hunter2"}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		assert.NotContains(t, fmt.Sprintf(format, c), "hunter2", format)
		assert.NotContains(t, fmt.Sprintf(format, c), "68756e746572", format)
	}
}

func TestSecretsOfACommand(t *testing.T) {
	t.Parallel()
	_, ctx, err := fixture{runner: true, env: map[string]string{
		"host": "a@b", "ssh-key": "KEY", "ssh-key-passphrase": "PHRASE", "known-hosts": "x", "env-file": "DB_PASSWORD=hunter2\nLOG_LEVEL=info",
	}}.parse(t)
	require.NoError(t, err)
	assert.Equal(t, []string{"KEY", "PHRASE", "hunter2"}, Secrets(ctx))
}

func TestSecretValues(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		file string
		want []string
	}{
		"by their name":         {"# PASSWORD=no\nLOG_LEVEL=info\nAPI_KEY='hunter2'\nTOKEN_TTL=3600\nAUTH=true\nEMPTY_SECRET=\nno line", []string{"hunter2"}},
		"called PWD":            {"PWD=/srv/shop\nexport OLDPWD=/srv\nexport DB_PWD=Summer#2026", []string{"Summer#2026"}},
		"of webhooks":           {"SLACK_WEBHOOK_URL=https://hooks.example.org/services/T/B/x", []string{"https://hooks.example.org/services/T/B/x"}},
		"in an address":         {"URL=postgres://u:p4ss@db/x", []string{"p4ss"}},
		"long and random":       {"SENTRY=abcdefghij0123456789xyz\nNAME=a sentence of many words 1", []string{"abcdefghij0123456789xyz"}},
		"with a comment":        {"PASSWORD=hunter2 # ours", []string{"hunter2", "hunter2 # ours"}},
		"of a shell":            {"export PASSWORD=hunter2", []string{"hunter2"}},
		"with escapes":          {`PASSWORD="hun\"ter"`, []string{`hun"ter`, `hun\"ter`}},
		"made of another":       {"P=hunter2\nURL=redis://:${P}@redis", []string{"${P}", "hunter2"}},
		"of several lines":      {"KEY=\"-----BEGIN\nabc\n-----END\"", []string{"-----BEGIN", "-----END", "abc"}},
		"of a file with a slip": {"PASSWORD=hunter2\nthis is = no = line\nTOKEN=t0ken", []string{"hunter2", "t0ken"}},
	} {
		assert.Equal(t, c.want, SecretValues(c.file), name)
	}
}

func FuzzSecretValues(f *testing.F) {
	f.Add("PASSWORD=hunter2 # ours\nexport A='b'\nURL=redis://:${PASSWORD}@redis\nKEY=\"a\nb\"")
	f.Fuzz(func(t *testing.T, file string) {
		for _, secret := range SecretValues(file) {
			assert.NotEmpty(t, strings.TrimSpace(secret))
			assert.NotContains(t, secret, "\n")
		}
	})
}

func TestEnvFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prod.env"), []byte("A=1\n"), 0o600))
	for name, c := range map[string]struct {
		file EnvFile
		want string
		err  string
	}{
		"none":            {},
		"content":         {file: EnvFile{Content: "A=1"}, want: "A=1\n"},
		"path":            {file: EnvFile{Path: "prod.env"}, want: "A=1\n"},
		"its whole path":  {file: EnvFile{Path: filepath.Join(dir, "prod.env")}, want: "A=1\n"},
		"elsewhere":       {file: EnvFile{Path: "/elsewhere/prod.env"}, err: "cannot read /elsewhere/prod.env in the workspace"},
		"beside it":       {file: EnvFile{Path: dir + "2/prod.env"}, err: "in the workspace"},
		"not there":       {file: EnvFile{Path: "other.env"}, err: "cannot read other.env in the workspace"},
		"out of the tree": {file: EnvFile{Path: "../x.env"}, err: "cannot read ../x.env"},
	} {
		data, err := c.file.Bytes(dir)
		if c.err != "" {
			require.ErrorContains(t, err, c.err, name)
			continue
		}
		require.NoError(t, err, name)
		assert.Equal(t, c.want, string(data), name)
	}
	assert.Equal(t, "env-file", EnvFile{Content: "A=1"}.Name(dir))
	assert.Equal(t, "prod.env", EnvFile{Path: filepath.Join(dir, "prod.env")}.Name(dir), "an annotation knows no other path")
	assert.Equal(t, "../x.env", EnvFile{Path: "../x.env"}.Name(dir))
}

// A file of checks may be named by its whole path, as ${{ github.workspace }} makes it, and
// may be in no other folder.
func TestReadChecks(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "ops"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "ops", "checks.yaml"), []byte("[]\n"), 0o600))
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(dir, "link")))
	for _, path := range []string{"ops/checks.yaml", "./ops/checks.yaml", filepath.Join(dir, "ops", "checks.yaml")} {
		got, err := ReadChecks(dir, path)
		require.NoError(t, err, path)
		assert.Equal(t, Checks{filepath.Clean("ops/checks.yaml"), []byte("[]\n")}, got, path)
	}
	for _, path := range []string{"/etc/hostname", "../x.yaml", dir, dir + "2/checks.yaml", "link", filepath.Join(dir, "link")} {
		_, err := ReadChecks(dir, path)
		require.ErrorContains(t, err, "cannot read "+path, path)
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hosts := filepath.Join(dir, "known_hosts")
	require.NoError(t, os.WriteFile(hosts, []byte("mine"), 0o600))
	person := &Person{AgentSocket: "/run/agent", KnownHosts: hosts}

	c := (&Connection{Host: "a@b"}).Config(person)
	assert.Equal(t, "/run/agent", c.AgentSocket)
	assert.Equal(t, "mine", string(c.KnownHosts))

	c = (&Connection{Host: "a@b", SSHKey: "KEY\nssh-ed25519-cert-v01@openssh.com AAAA x", KnownHosts: "given", JumpHost: "j"}).Config(person)
	assert.Empty(t, c.AgentSocket, "a given key is the only one that is tried")
	assert.Equal(t, "given", string(c.KnownHosts))
	assert.Equal(t, "KEY\n", string(c.Key))
	assert.Equal(t, "ssh-ed25519-cert-v01@openssh.com AAAA x\n", string(c.Certificate))
	assert.Equal(t, "j", c.Jump)

	c = (&Connection{Host: "a@b", HostFingerprint: "SHA256:x"}).Config(person)
	assert.Empty(t, c.KnownHosts, "the fingerprint is the only pin")

	c = (&Connection{Host: "a@b"}).Config(nil)
	assert.Empty(t, c.AgentSocket+string(c.KnownHosts), "a runner's account offers nothing")
}
