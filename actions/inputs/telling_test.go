package inputs

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestTellingCheck(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		in   Telling
		want []string
	}{
		"nothing":        {Telling{GitHubDeployment: "auto"}, nil},
		"all":            {Telling{Environment: "production", GitHubToken: "t", GitHubDeployment: "on", SlackToken: "t", SlackChannel: "#c", GrafanaURL: "https://g", GrafanaToken: "t"}, nil},
		"no channel":     {Telling{SlackToken: "t"}, []string{"slack-channel: is required with slack-token"}},
		"no bot":         {Telling{SlackChannel: "#c"}, []string{"slack-token: is required with slack-channel"}},
		"half a Grafana": {Telling{GrafanaURL: "https://g"}, []string{"grafana-token: is required with grafana-url"}},
		"other half":     {Telling{GrafanaToken: "t"}, []string{"grafana-url: is required with grafana-token"}},
		"two Slacks":     {Telling{SlackToken: "t", SlackChannel: "#c", SlackWebhook: "https://s"}, []string{"slack-webhook: cannot be used together with slack-token"}},
		"where to":       {Telling{GitHubToken: "t", GitHubDeployment: "on"}, []string{"environment: is required with github-deployment: on"}},
		"no addresses": {Telling{EnvironmentURL: "shop.example.org", SlackWebhook: "secret-thing"},
			[]string{"environment-url: is not an address of http or https", "slack-webhook: is not an address of http or https"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []string
			for _, err := range c.in.Check() {
				got = append(got, err.Error())
			}
			assert.Equal(t, c.want, got)
		})
	}
}
