package github

import (
	"context"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/shiksha/actions/pkg/report"
)

// Comment shows a plan on a pull request: one comment for each project and
// environment, which every later plan replaces.
type Comment struct {
	*GitHub
	// Number is the pull request's.
	Number int
}

// Started tells nothing: a plan has no first change.
func (c *Comment) Started(context.Context, *report.Release) error { return nil }

// Finished writes the comment, or writes the one that is there anew.
func (c *Comment) Finished(ctx context.Context, r *report.Release) error {
	body := c.mark(r.Project) + "\n" + r.Comment()
	const what = "the plan could not be written to the pull request; it is in the job summary"
	id, err := c.find(ctx, r.Project)
	if err != nil {
		return c.refused(err, pullRequests, what)
	}
	comment := &github.IssueComment{Body: &body}
	if id != 0 {
		_, _, err = c.client.Issues.EditComment(ctx, c.owner, c.repo, id, comment)
	} else {
		_, _, err = c.client.Issues.CreateComment(ctx, c.owner, c.repo, c.Number, comment)
	}
	return c.refused(err, pullRequests, what)
}

// opening and closing are around what a comment of ours is about.
const (
	opening = "<!-- shiksha plan "
	closing = " -->"
)

// mark is the first line of our comments and is not shown.
func (c *Comment) mark(project string) string {
	return opening + inMark(project) + "/" + inMark(c.Environment) + closing
}

// inMark is a name without what could end the mark.
func inMark(name string) string {
	return strings.Join(strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '>' || r == '<' }), "_")
}

// find looks for our comment of an earlier run: that of the project, or else the only one
// that may be. A Compose file that cannot be read has no name: what is said of it takes
// the place of a plan of the environment, and the next plan takes its.
func (c *Comment) find(ctx context.Context, project string) (int64, error) {
	ours, err := c.ours(ctx)
	if err != nil {
		return 0, err
	}
	var others []int64
	for _, comment := range ours {
		about, _, _ := strings.Cut(strings.TrimPrefix(comment.GetBody(), opening), closing)
		name, environment, _ := strings.Cut(about, "/")
		switch {
		case environment != inMark(c.Environment):
		case name == inMark(project):
			return comment.GetID(), nil
		case name == "" || project == "":
			others = append(others, comment.GetID())
		}
	}
	if len(others) == 1 {
		return others[0], nil
	}
	return 0, nil
}

// ours are our comments of earlier runs. Anybody may write one that looks like it, so
// it has to be of whom this token is: of a bot, or of the same person.
func (c *Comment) ours(ctx context.Context) (ours []*github.IssueComment, err error) {
	o := &github.IssueListCommentsOptions{ListOptions: github.ListOptions{PerPage: 100}}
	var me string
	for {
		list, answer, err := c.client.Issues.ListComments(ctx, c.owner, c.repo, c.Number, o)
		if err != nil {
			return nil, err
		}
		for _, comment := range list {
			if !strings.HasPrefix(comment.GetBody(), opening) {
				continue
			}
			if me == "" && comment.GetUser().GetType() != "Bot" {
				me = c.login(ctx)
			}
			if comment.GetUser().GetType() == "Bot" || comment.GetUser().GetLogin() == me {
				ours = append(ours, comment)
			}
		}
		if answer.NextPage == 0 {
			return ours, nil
		}
		o.Page = answer.NextPage
	}
}

// login is whose token it is; a workflow's own is nobody's and may not ask.
func (c *Comment) login(ctx context.Context) string {
	user, _, err := c.client.Users.Get(ctx, "")
	if err != nil {
		return "?"
	}
	return user.GetLogin()
}
