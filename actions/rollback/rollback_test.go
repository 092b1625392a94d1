package rollback

import (
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/manifest"
	"github.com/shiksha/actions/actions/outcome"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
	verb "github.com/shiksha/actions/pkg/rollback"
)

var write = flag.Bool("write", false, "write the generated files instead of comparing them")

type commands struct {
	Rollback Command `cmd:""`
}

func TestGenerated(t *testing.T) {
	var outs []manifest.Output
	for _, o := range outcome.Outputs {
		outs = append(outs, manifest.Output{Name: o.Name, Help: o.Help})
	}
	door := manifest.Action{
		Name:        "Shiksha rollback",
		Description: "Bring an earlier release of a Docker Compose stack back as a whole, over SSH, without losing a request and without a checkout.",
		Icon:        "rotate-ccw", Color: "blue", Image: "../../Dockerfile", Args: []string{"rollback"}, Outputs: outs,
	}
	manifest.Generated(t, *write, door, manifest.Declared(t, &commands{}), nil)
}

// enter runs the command as a runner would and gives what the verb was told.
func enter(t *testing.T, env map[string]string) (verb.Options, int, string) {
	t.Helper()
	var got verb.Options
	cli := &commands{Rollback: Command{Verb: func(_ context.Context, o verb.Options, _ event.Sink) (*converge.Result, error) {
		got = o
		return converge.Begin("v1"), nil
	}}}
	env["GITHUB_ACTIONS"], env["INPUT_HOST"], env["INPUT_SSH-KEY"], env["INPUT_HOST-FINGERPRINT"] = "true", "a@b", "KEY", "SHA256:x"
	var out, errs strings.Builder
	d := &door.Door{Args: []string{"rollback"}, Getenv: func(k string) string { return env[k] }, Stdout: &out, Stderr: &errs, Dir: t.TempDir(),
		Exit: func(int) { t.Error("exits") }}
	code := d.Main(cli)
	return got, code, out.String() + errs.String()
}

func TestOptions(t *testing.T) {
	t.Parallel()
	got, code, said := enter(t, map[string]string{
		"GITHUB_SHA": "abc", "GITHUB_ACTOR": "meera", "INPUT_PROJECT": "shop", "INPUT_RELEASE": "7", "INPUT_REASON": "orders are slow",
		"INPUT_DRY-RUN": "true", "INPUT_REGISTRY": "ghcr.io", "INPUT_REGISTRY-USERNAME": "u", "INPUT_REGISTRY-PASSWORD": "p",
		"INPUT_LOCK-WAIT": "1m", "INPUT_PROBE-URL": "http://x/", "INPUT_PROBE-RATE": "50", "INPUT_URL": "https://shop.example.org",
	})
	require.Zero(t, code, said)
	assert.Equal(t, "shop", got.Project)
	assert.Equal(t, 7, got.Release)
	assert.Equal(t, "orders are slow", got.Reason)
	assert.True(t, got.DryRun)
	assert.Equal(t, "https://shop.example.org", got.URL)
	assert.Equal(t, time.Minute, got.LockWait)
	assert.Equal(t, 50, got.Probe.Rate)
	assert.Equal(t, "p", got.Registry.Password)
	assert.Equal(t, "meera", got.Run.Actor)
	assert.Empty(t, got.Run.Commit, "the commit is that of the release that comes back")
}

func TestBadInputs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env  map[string]string
		says string
	}{
		"no project":       {map[string]string{}, "project"},
		"a wrong project":  {map[string]string{"INPUT_PROJECT": "Shop!"}, "project"},
		"a wrong number":   {map[string]string{"INPUT_PROJECT": "shop", "INPUT_RELEASE": "-2"}, "release"},
		"half a login":     {map[string]string{"INPUT_PROJECT": "shop", "INPUT_REGISTRY-USERNAME": "u"}, "registry-password"},
		"a relative state": {map[string]string{"INPUT_PROJECT": "shop", "INPUT_STATE-DIR": "x"}, "state-dir"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, code, said := enter(t, c.env)
			assert.Equal(t, 3, code)
			assert.Contains(t, said, c.says)
		})
	}
}
