package inputs

import (
	"net/url"

	"github.com/shiksha/actions/pkg/fault"
)

// Telling is who hears of a release besides its caller. It is embedded in the
// inputs of every verb that releases.
type Telling struct {
	Environment    string `name:"environment" group:"telling" help:"Name of the environment that this release goes to, like production. Without it there is no deployment at GitHub. GitHub's deployment, the commit's status and every notification name it."`
	EnvironmentURL string `name:"environment-url" group:"telling" placeholder:"URL" help:"Where users find what was released; notifications and the deployment link to it."`

	GitHubToken      Secret `name:"github-token" group:"telling" placeholder:"@FILE" example:"${{ github.token }}" help:"Token to write to GitHub with: a deployment of the environment and a status of the commit. The job needs the permissions deployments: write and statuses: write. Default: nothing is written to GitHub."`
	GitHubDeployment string `name:"github-deployment" group:"telling" default:"auto" enum:"auto,on,off" help:"Whether to create a deployment at GitHub. auto creates one unless the job has an environment of its own, for which GitHub creates one."`
	CommitStatus     bool   `name:"commit-status" group:"telling" default:"true" negatable:"" help:"Set a status of the commit, with github-token."`
	PlanComment      bool   `name:"plan-comment" group:"telling" default:"true" negatable:"" help:"With github-token, show the plan of a dry run as one comment of the pull request, updated in place. The job needs the permission pull-requests: write; a fork's token can only read, so its plan is in the job summary alone."`

	SlackToken   Secret `name:"slack-token" group:"telling" placeholder:"@FILE" help:"Token of a Slack bot (xoxb-..., scope chat:write) that posts start and end to slack-channel, in one thread."`
	SlackChannel string `name:"slack-channel" group:"telling" placeholder:"CHANNEL" help:"Channel for slack-token, by id or by name."`
	SlackWebhook Secret `name:"slack-webhook" group:"telling" placeholder:"@FILE" help:"Address of an incoming webhook of Slack, instead of slack-token; start and end are then two messages."`

	PagerDutyKey Secret `name:"pagerduty-routing-key" group:"telling" placeholder:"@FILE" help:"Integration key (Events API v2) of a PagerDuty service. Triggers an event when a release failed and could not be rolled back (exit code 6), if the environment is not given or is production by its name: it begins with prod (not with product, but with production), or a word of it is prod, production, prd or live (prodeu, prod-2, eu-production; not pre-prod, non-prod). For another name the run warns that nobody was called. An interrupted one (exit code 5) calls nobody, also where users may get no answer: tell somebody by a step that asks for the outcome interrupted."`

	GrafanaURL   string `name:"grafana-url" group:"telling" placeholder:"URL" help:"Address of Grafana. Each release becomes an annotation there, from start to end."`
	GrafanaToken Secret `name:"grafana-token" group:"telling" placeholder:"@FILE" help:"Token of a Grafana service account that may write annotations."`
}

// Check tells which halves are missing and what is no address.
func (t *Telling) Check() []error {
	var problems []error
	pair := func(name, value, other, otherValue string) {
		if value == "" && otherValue != "" {
			problems = append(problems, fault.New(fault.Input, name, "give both or neither", "is required with %s", other))
		}
	}
	pair("slack-channel", t.SlackChannel, "slack-token", string(t.SlackToken))
	pair("slack-token", string(t.SlackToken), "slack-channel", t.SlackChannel)
	pair("grafana-url", t.GrafanaURL, "grafana-token", string(t.GrafanaToken))
	pair("grafana-token", string(t.GrafanaToken), "grafana-url", t.GrafanaURL)
	if t.GitHubDeployment == "on" {
		pair("github-token", string(t.GitHubToken), "github-deployment: on", "on")
		pair("environment", t.Environment, "github-deployment: on", "on")
	}
	if t.SlackToken != "" && t.SlackWebhook != "" {
		problems = append(problems, fault.New(fault.Input, "slack-webhook", "leave one of them out", "cannot be used together with slack-token"))
	}
	for _, a := range [][2]string{{"environment-url", t.EnvironmentURL}, {"slack-webhook", string(t.SlackWebhook)}, {"grafana-url", t.GrafanaURL}} {
		if u, err := url.Parse(a[1]); a[1] != "" && (err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https") {
			// It may be a secret, so it is not repeated.
			problems = append(problems, fault.New(fault.Input, a[0], "give an address like https://example.org/", "is not an address of http or https"))
		}
	}
	return problems
}
