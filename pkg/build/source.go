package build

import (
	"errors"
	"strings"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing"

	"github.com/shiksha/actions/pkg/checkout"
)

// Git is the commit that is built. What is empty is read from the workspace's
// .git folder, and so is all of it where another commit is checked out; no git
// program is needed.
type Git struct {
	// Commit is the full SHA, Ref the full reference ("refs/heads/main",
	// "refs/tags/v1.2.3", "refs/pull/12/merge"), Source the repository's address.
	Commit, Ref, Source string
	// Time is when the commit was made.
	Time time.Time
	// Versions are the tags of the repository, as far as the checkout has them.
	Versions []string
}

// complete fills in what the workspace's repository knows. A workspace that is
// none leaves everything as it is.
func (g Git) complete(workspace string) Git {
	repo, err := checkout.Open(workspace)
	if err != nil {
		return g
	}
	if head, err := repo.Head(); err == nil && g.Commit != head.Hash().String() {
		g.checkedOut(repo, head)
	}
	if commit, err := repo.CommitObject(plumbing.NewHash(g.Commit)); err == nil {
		g.Time = commit.Committer.When.UTC()
	}
	if g.Source == "" {
		g.Source = checkout.Origin(repo)
	}
	tags, err := repo.Tags()
	if err != nil {
		return g
	}
	nameless := g.Ref == detached
	_ = tags.ForEach(func(ref *plumbing.Reference) error {
		g.Versions = append(g.Versions, ref.Name().Short())
		if nameless && commitOf(repo, ref) == g.Commit && (g.Ref == detached || newer(ref.Name(), plumbing.ReferenceName(g.Ref))) {
			g.Ref = ref.Name().String()
		}
		return nil
	})
	return g
}

// detached is the name of a HEAD that is on no branch.
const detached = "HEAD"

// checkedOut takes over what HEAD is, where that is not the commit that was given: a
// workflow may build something else than its event's commit, like the tag of a version,
// and the names of the event belong to what it did not build. A pull request is the same
// one by its head as by the merge that GitHub makes of it, so its name stays.
func (g *Git) checkedOut(repo *git.Repository, head *plumbing.Reference) {
	g.Commit = head.Hash().String()
	from := checkout.Origin(repo)
	foreign := g.Source != "" && from != "" && !checkout.Same(from, g.Source)
	if foreign {
		g.Source = from
	}
	switch {
	case strings.HasPrefix(g.Ref, "refs/pull/"):
	case foreign:
		// Who may name a branch or a tag in a fork must not take "main" or "latest" here.
		g.Ref = ""
	default:
		g.Ref = head.Name().String()
	}
}

// newer tells whether a tag is the better name of a commit that has both: v1.2.0 rather
// than v1, which moves, or v1.2.0-rc.1.
func newer(tag, than plumbing.ReferenceName) bool {
	v, err := version(tag.Short())
	if err != nil {
		return false
	}
	o, err := version(than.Short())
	return err != nil || v.GreaterThan(o)
}

// commitOf follows an annotated tag to its commit.
func commitOf(repo *git.Repository, ref *plumbing.Reference) string {
	tag, err := repo.TagObject(ref.Hash())
	if errors.Is(err, plumbing.ErrObjectNotFound) {
		return ref.Hash().String()
	}
	if err != nil {
		return ""
	}
	return tag.Target.String()
}
