// Package github tells GitHub where a release is: as a deployment of an
// environment, and as a status of the commit.
package github

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shiksha/actions/pkg/report"
)

// The modes of deployments.
const (
	// Auto makes a deployment unless the job's own `environment` made one.
	Auto = "auto"
	// On makes one in any case, Off never.
	On, Off = "on", "off"
)

// Config says as whom and about what GitHub is told.
type Config struct {
	// Token is the job's, API the address that GITHUB_API_URL names; empty is
	// github.com.
	Token, API string
	// Repository is owner/name, Commit the full SHA that the run was started for. What
	// is released may be another one: the report names it.
	Repository, Commit string
	// RunID is the number of the run, RunURL its page.
	RunID, RunURL string
	// Environment is where the release goes; without one there is no deployment.
	Environment, EnvironmentURL string
	// Mode is Auto, On or Off.
	Mode string
	// Status asks for a status of the commit.
	Status bool
	// HTTP has timeouts and retries.
	HTTP *http.Client
}

// GitHub tells one release. Its methods are called one after the other.
type GitHub struct {
	Config
	client      *github.Client
	owner, repo string
	// deployment is the number of the one that was made, theirs of the one that
	// the job's environment made.
	deployment, theirs int64
	// denied are the permissions that the token turned out to lack.
	denied map[string]bool
}

// New makes a GitHub that has told nothing yet.
func New(c Config) (*GitHub, error) {
	owner, repo, ok := strings.Cut(c.Repository, "/")
	if !ok || owner == "" || repo == "" {
		return nil, fmt.Errorf("%q is not the name of a repository", c.Repository)
	}
	client := github.NewClient(c.HTTP).WithAuthToken(c.Token)
	if c.API != "" {
		var err error
		// A GitHub of one's own has its API below /api/v3, which GITHUB_API_URL names.
		if client, err = client.WithEnterpriseURLs(c.API, c.API); err != nil {
			return nil, fmt.Errorf("the API of GitHub at %q: %w", c.API, err)
		}
	}
	return &GitHub{Config: c, client: client, owner: owner, repo: repo, denied: map[string]bool{}}, nil
}

// Started tells that a release has begun.
func (g *GitHub) Started(ctx context.Context, r *report.Release) error {
	err := g.deploy(ctx, r)
	return errors.Join(err, g.status(ctx, "pending", r))
}

// Finished tells what came of it. A release that was refused before its first
// change is no deployment.
func (g *GitHub) Finished(ctx context.Context, r *report.Release) error {
	deployed, committed := states(r.Outcome)
	var err error
	if r.Number > 0 && r.Outcome != "unchanged" {
		if g.deployment == 0 {
			err = g.deploy(ctx, r)
		}
		err = errors.Join(err, g.move(ctx, deployed, r.Sentence()))
	}
	err = errors.Join(err, g.status(ctx, committed, r))
	// Older ones come last: where GitHub is slow there may be no time for them.
	if r.Outcome == "verified" {
		err = errors.Join(err, g.supersede(ctx, r))
	}
	return err
}

// states are those of the deployment and of the commit for an outcome.
func states(outcome string) (deployment, commit string) {
	switch outcome {
	case "verified", "unchanged":
		return "success", "success"
	case "interrupted", "locked":
		return "error", "error"
	}
	return "failure", "failure"
}

// status writes the commit's status; each environment has its own.
func (g *GitHub) status(ctx context.Context, state string, r *report.Release) error {
	if !g.Status || r.Commit == "" || g.denied[statuses] {
		return nil
	}
	name := "shiksha"
	if g.Environment != "" {
		name += "/" + g.Environment
	}
	_, _, err := g.client.Repositories.CreateStatus(ctx, g.owner, g.repo, r.Commit, &github.RepoStatus{
		State: &state, TargetURL: optional(g.RunURL), Description: github.String(short(r.Sentence())), Context: &name,
	})
	return g.refused(err, statuses, "the commit's status could not be set")
}

// maxDescription is how many characters a description may have.
const maxDescription = 140

func short(text string) string {
	runes := []rune(text)
	if len(runes) <= maxDescription {
		return text
	}
	return string(runes[:maxDescription-3]) + "..."
}

func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
