package deploy

import (
	"flag"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/actions/manifest"
	"github.com/shiksha/actions/actions/outcome"
)

var write = flag.Bool("write", false, "write the generated files instead of comparing them")

// declared gives the inputs of the command deploy as they are declared.
func declared(t *testing.T) []manifest.Input {
	t.Helper()
	var cli struct {
		Deploy Command `cmd:""`
	}
	return manifest.Declared(t, &cli)
}

func TestGenerated(t *testing.T) {
	in := declared(t)
	var outs []manifest.Output
	for _, o := range outcome.Outputs {
		outs = append(outs, manifest.Output{Name: o.Name, Help: o.Help})
	}
	door := manifest.Action{
		Name:        "Shiksha deploy",
		Description: "Release a Docker Compose stack on your own host over SSH without losing a request, and go back by itself when it fails.",
		Icon:        "upload-cloud", Color: "blue", Image: "../../Dockerfile", Args: []string{"deploy"}, Outputs: outs,
	}
	manifest.Generated(t, *write, door, in, nil)
}

// The names are an interface: workflows use them.
func TestInputNames(t *testing.T) {
	var names []string
	for _, in := range declared(t) {
		names = append(names, in.Name)
		assert.NotEmpty(t, in.Help, in.Name)
		assert.NotEmpty(t, in.Group, in.Name)
	}
	assert.ElementsMatch(t, []string{
		"host", "ssh-key", "ssh-key-passphrase", "known-hosts", "host-fingerprint", "jump-host", "backup-ssh-key", "engine", "compose-file",
		"project", "env-file", "version", "images", "registry", "registry-username", "registry-password",
		"services", "strategy", "preflight", "adopt", "dry-run", "rollback-on-failure", "keep-releases", "state-dir", "lock-wait",
		"wait-timeout", "remove-orphans", "checks", "skip-checks", "check-timeout", "stability-window", "url", "fail-on", "probe-url", "probe-rate", "probe-budget",
		"environment", "environment-url", "github-token", "github-deployment", "commit-status", "plan-comment", "slack-token", "slack-channel",
		"slack-webhook", "pagerduty-routing-key", "grafana-url", "grafana-token",
	}, names)
	var outs []string
	for _, o := range outcome.Outputs {
		outs = append(outs, o.Name)
	}
	assert.Equal(t, []string{"release", "previous-release", "outcome", "changed-services", "plan", "report",
		"probe-requests", "probe-failures"}, outs)
}
