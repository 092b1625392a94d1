package github

import (
	"context"
	"fmt"
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
	mark := c.mark(r)
	body := mark + "\n" + r.Comment()
	const what = "the plan could not be written to the pull request; it is in the job summary"
	id, err := c.find(ctx, mark)
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

// mark begins our comments and is not shown.
func (c *Comment) mark(r *report.Release) string {
	name := strings.Join(strings.FieldsFunc(r.Project+"/"+c.Environment, func(r rune) bool { return r == '-' || r == '>' || r == '<' }), "_")
	return fmt.Sprintf("<!-- shiksha plan %s -->", name)
}

// find looks for our comment of an earlier run. Anybody may write one that looks like
// it, so it has to be of whom this token is: of a bot, or of the same person.
func (c *Comment) find(ctx context.Context, mark string) (int64, error) {
	o := &github.IssueListCommentsOptions{ListOptions: github.ListOptions{PerPage: 100}}
	var me string
	for {
		list, answer, err := c.client.Issues.ListComments(ctx, c.owner, c.repo, c.Number, o)
		if err != nil {
			return 0, err
		}
		for _, comment := range list {
			if !strings.HasPrefix(comment.GetBody(), mark) {
				continue
			}
			if comment.GetUser().GetType() == "Bot" {
				return comment.GetID(), nil
			}
			if me == "" {
				me = c.login(ctx)
			}
			if comment.GetUser().GetLogin() == me {
				return comment.GetID(), nil
			}
		}
		if answer.NextPage == 0 {
			return 0, nil
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
