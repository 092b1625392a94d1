package github

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shiksha/actions/pkg/report"
)

// payload is what a deployment of ours carries, so that the next release knows
// which ones it supersedes.
type payload struct {
	Shiksha *mark `json:"shiksha,omitempty"`
}

type mark struct {
	Project  string `json:"project"`
	Host     string `json:"host"`
	Release  int    `json:"release,omitempty"`
	Previous int    `json:"previous_release,omitempty"`
	Version  string `json:"version,omitempty"`
	RunURL   string `json:"run_url,omitempty"`
}

// deploy makes the deployment and moves it to in_progress.
func (g *GitHub) deploy(ctx context.Context, r *report.Release) error {
	if g.Mode == Off || g.Environment == "" || r.Commit == "" || g.denied[deployments] || g.theirs != 0 {
		return nil
	}
	if g.Mode == Auto {
		if err := g.find(ctx); err != nil || g.theirs != 0 {
			return err
		}
	}
	made, _, err := g.client.Repositories.CreateDeployment(ctx, g.owner, g.repo, &github.DeploymentRequest{
		Ref: &r.Commit, Environment: &g.Environment, Task: github.String("deploy"), Description: github.String(short(r.Label())),
		// GitHub would merge the default branch into the commit, and would wait for
		// every status of it, that of this very job included.
		AutoMerge: github.Bool(false), RequiredContexts: &[]string{},
		ProductionEnvironment: github.Bool(report.Production(g.Environment)),
		Payload:               payload{&mark{Project: r.Project, Host: r.Host, Release: r.Number, Previous: r.Previous, Version: r.Version, RunURL: g.RunURL}},
	})
	if err != nil {
		return g.refused(err, deployments, "the deployment could not be made")
	}
	g.deployment = made.GetID()
	return g.move(ctx, "in_progress", r.Sentence())
}

// find looks for the deployment that GitHub makes by itself for a job with an
// `environment`. Nothing says which job made a deployment, but its statuses lead
// to the page of the job, which is below that of this run.
func (g *GitHub) find(ctx context.Context) error {
	list, _, err := g.client.Repositories.ListDeployments(ctx, g.owner, g.repo, &github.DeploymentsListOptions{
		SHA: g.Commit, Environment: g.Environment, ListOptions: github.ListOptions{PerPage: looked},
	})
	if err != nil {
		return g.refused(err, deployments, "the deployments could not be read")
	}
	for _, d := range list {
		if read(d.Payload) != nil {
			continue
		}
		told, _, err := g.client.Repositories.ListDeploymentStatuses(ctx, g.owner, g.repo, d.GetID(), &github.ListOptions{PerPage: looked})
		if err != nil {
			return g.refused(err, deployments, "the deployments could not be read")
		}
		for _, s := range told {
			if g.inRun(s.GetLogURL()) || g.inRun(s.GetTargetURL()) {
				g.theirs = d.GetID()
				return nil
			}
		}
	}
	return nil
}

// inRun tells whether an address is a page of this run.
func (g *GitHub) inRun(address string) bool {
	_, rest, found := strings.Cut(address, "/"+g.Repository+"/actions/runs/"+g.RunID)
	return found && g.RunID != "" && (rest == "" || rest[0] == '/')
}

// move writes a status of the deployment; without one it does nothing.
func (g *GitHub) move(ctx context.Context, state, text string) error {
	if g.deployment == 0 || g.denied[deployments] {
		return nil
	}
	_, _, err := g.client.Repositories.CreateDeploymentStatus(ctx, g.owner, g.repo, g.deployment, &github.DeploymentStatusRequest{
		State: &state, LogURL: optional(g.RunURL), EnvironmentURL: optional(g.EnvironmentURL), Description: github.String(short(text)),
		// It would take deployments of other projects in the same environment for
		// superseded; those of this one are seen to by supersede.
		AutoInactive: github.Bool(false),
	})
	return g.refused(err, deployments, "the deployment could not be moved to "+state)
}

// looked is how many deployments of an environment are looked at for superseded
// ones.
const looked = 10

// supersede ends the deployments that this one took the place of.
func (g *GitHub) supersede(ctx context.Context, r *report.Release) error {
	if g.deployment == 0 || g.denied[deployments] {
		return nil
	}
	list, _, err := g.client.Repositories.ListDeployments(ctx, g.owner, g.repo, &github.DeploymentsListOptions{
		Environment: g.Environment, Task: "deploy", ListOptions: github.ListOptions{PerPage: looked},
	})
	if err != nil {
		return g.refused(err, deployments, "the deployments before could not be read")
	}
	var errs []error
	for _, d := range list {
		m := read(d.Payload)
		if d.GetID() >= g.deployment || m == nil || m.Project != r.Project || m.Host != r.Host {
			continue
		}
		errs = append(errs, g.retire(ctx, d.GetID(), r))
	}
	return errors.Join(errs...)
}

// retire ends a deployment that serves no more. One that is under way still is of a run that was
// killed, or could not tell its end: whoever released held the lock, so no such run is at work.
func (g *GitHub) retire(ctx context.Context, id int64, r *report.Release) error {
	told, _, err := g.client.Repositories.ListDeploymentStatuses(ctx, g.owner, g.repo, id, &github.ListOptions{PerPage: 1})
	state, text := "inactive", "superseded by "+r.Label()
	if err == nil && (len(told) == 0 || told[0].GetState() != "success") {
		if len(told) > 0 && !slices.Contains([]string{"in_progress", "queued", "pending"}, told[0].GetState()) {
			return nil
		}
		state, text = "error", "its end was never told; "+r.Label()+" followed"
	}
	if err == nil {
		_, _, err = g.client.Repositories.CreateDeploymentStatus(ctx, g.owner, g.repo, id, &github.DeploymentStatusRequest{
			State: &state, Description: github.String(short(text)), AutoInactive: github.Bool(false),
		})
	}
	return g.refused(err, deployments, fmt.Sprintf("the older deployment %d could not be moved to %s", id, state))
}

// read gives our mark of a deployment's payload, nil for one of somebody else's.
// GitHub gives a payload back as an object or as a string that holds one.
func read(raw json.RawMessage) *mark {
	var inside string
	if json.Unmarshal(raw, &inside) == nil {
		raw = json.RawMessage(inside)
	}
	var p payload
	if json.Unmarshal(raw, &p) != nil {
		return nil
	}
	return p.Shiksha
}

// The permissions that are needed, as a workflow names them.
const (
	deployments = "deployments"
	statuses    = "statuses"
	// A comment of a pull request is one of the issue that it also is.
	pullRequests = "pull-requests"
)

// refused explains an error. A permission that is missing is told once, with what
// to write into the workflow; then nothing that needs it is tried any more.
func (g *GitHub) refused(err error, permission, what string) error {
	if err == nil {
		return nil
	}
	var answer *github.ErrorResponse
	if !errors.As(err, &answer) || answer.Response == nil {
		return fmt.Errorf("GitHub was not told: %s: %w", what, err)
	}
	switch code := answer.Response.StatusCode; {
	case code == http.StatusUnauthorized:
		g.denied[deployments], g.denied[statuses] = true, true
		return fmt.Errorf("GitHub was not told: it does not accept github-token (%s)", answer.Message)
	case code == http.StatusForbidden || code == http.StatusNotFound:
		g.denied[permission] = true
		return fmt.Errorf("GitHub was not told: %s (%d %s); give the job `permissions: {%s: write}`", what, code, answer.Message, permission)
	}
	return fmt.Errorf("GitHub was not told: %s: %w", what, err)
}
