package outcome

import (
	"net/http"
	"time"

	"github.com/hashicorp/go-retryablehttp"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/action"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/github"
	"github.com/shiksha/actions/pkg/notify"
)

// oneTry bounds one request to somebody who is told.
const oneTry = 5 * time.Second

// listeners are those that the inputs name.
func listeners(s *door.Session, in *inputs.Telling) []Told {
	client := patient()
	var told []Told
	if g := gitHub(s, in); g != nil {
		told = append(told, g)
	}
	if in.SlackToken != "" || in.SlackWebhook != "" {
		told = append(told, &notify.Slack{
			Webhook: string(in.SlackWebhook), Token: string(in.SlackToken), Channel: in.SlackChannel, HTTP: client,
		})
	}
	if in.PagerDutyKey != "" {
		told = append(told, &notify.PagerDuty{RoutingKey: string(in.PagerDutyKey), HTTP: client})
	}
	if in.GrafanaToken != "" {
		told = append(told, &notify.Grafana{URL: in.GrafanaURL, Token: string(in.GrafanaToken), HTTP: client})
	}
	return told
}

// reviewers hear of a plan: whoever reads the pull request that it is about. A fork's
// run has only the summary.
func reviewers(s *door.Session, in *inputs.Telling) []Told {
	run := s.Action.Run()
	if in.GitHubToken == "" || !in.PlanComment || run.PullRequest == 0 {
		return nil
	}
	say := func(level event.Level, text string) {
		s.Sink.Emit(event.Event{Time: time.Now(), Level: level, Phase: "tell", Text: text})
	}
	if run.Fork {
		say(event.Notice, "the plan is in the job summary only: the pull request comes from a fork, and the token of its runs can only read")
		return nil
	}
	g, err := github.New(config(run, in))
	if err != nil {
		say(event.Warning, "the plan is in the job summary only: "+err.Error())
		return nil
	}
	return []Told{&github.Comment{GitHub: g, Number: run.PullRequest}}
}

func config(run action.Run, in *inputs.Telling) github.Config {
	return github.Config{
		Token: string(in.GitHubToken), API: run.API, Repository: run.Repository, Commit: run.Commit, RunID: run.ID, RunURL: run.URL,
		Environment: in.Environment, EnvironmentURL: in.EnvironmentURL, Mode: in.GitHubDeployment, Status: in.CommitStatus, HTTP: patient(),
	}
}

// gitHub is GitHub as a listener, nil where it cannot be told.
func gitHub(s *door.Session, in *inputs.Telling) Told {
	if in.GitHubToken == "" {
		return nil
	}
	say := func(level event.Level, text string) {
		s.Sink.Emit(event.Event{Time: time.Now(), Level: level, Phase: "tell", Text: text})
	}
	run := s.Action.Run()
	switch {
	case run == action.Run{}:
		say(event.Notice, "GitHub is not told of this release: only a workflow's run has a repository")
		return nil
	case run.Fork:
		say(event.Notice, "GitHub is not told of this release: the pull request comes from a fork, and the token of its runs can only read")
		return nil
	}
	g, err := github.New(config(run, in))
	if err != nil {
		say(event.Warning, "GitHub is not told of this release: "+err.Error())
		return nil
	}
	return g
}

// patient is a client that tries a second time where that may help, and then
// gives back the answer that there was.
func patient() *http.Client {
	c := retryablehttp.NewClient()
	c.Logger, c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = nil, 1, 300*time.Millisecond, 2*time.Second
	c.HTTPClient.Timeout = oneTry
	c.ErrorHandler = retryablehttp.PassthroughErrorHandler
	return c.StandardClient()
}
