package verify

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/actions/manifest"
	"github.com/shiksha/actions/pkg/verify/kind"
)

var write = flag.Bool("write", false, "write the generated files instead of comparing them")

func declared(t *testing.T) []manifest.Input {
	t.Helper()
	var cli struct {
		Verify Command `cmd:""`
	}
	return manifest.Declared(t, &cli)
}

func TestGenerated(t *testing.T) {
	var outs []manifest.Output
	for _, o := range Outputs {
		outs = append(outs, manifest.Output{Name: o.Name, Help: o.Help})
	}
	action := manifest.Action{
		Name:        "Shiksha verify",
		Description: "Look whether what runs on your own host is what was released and works, over SSH, without installing anything.",
		Icon:        "check-circle", Color: "blue", Image: "../../Dockerfile", Args: []string{"verify"}, Outputs: outs,
	}
	manifest.Generated(t, *write, action, declared(t), map[string]string{"kinds": kind.Tables()})
}

// The names are an interface: workflows use them.
func TestNames(t *testing.T) {
	var names, outs []string
	for _, in := range declared(t) {
		names = append(names, in.Name)
		assert.NotEmpty(t, in.Help, in.Name)
		assert.NotEmpty(t, in.Group, in.Name)
	}
	assert.ElementsMatch(t, []string{
		"host", "ssh-key", "ssh-key-passphrase", "known-hosts", "host-fingerprint", "jump-host", "engine", "compose-file",
		"project", "state-dir", "checks", "only", "skip", "timeout", "stability-window", "url", "junit", "fail-on",
	}, names)
	for _, o := range Outputs {
		outs = append(outs, o.Name)
	}
	assert.Equal(t, []string{"outcome", "passed", "failed", "unknown", "restores", "report", "junit"}, outs)
}
