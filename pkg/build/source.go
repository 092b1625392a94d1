package build

import (
	"errors"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
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
	repo, err := open(workspace)
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
		g.Source = origin(repo)
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
	from := origin(repo)
	foreign := g.Source != "" && from != "" && repository(from) != repository(g.Source)
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

// repository is owner/name of an address, which may lead over a mirror.
func repository(address string) string {
	return strings.ToLower(path.Base(path.Dir(address)) + "/" + path.Base(address))
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

// open is the repository that a workspace is in. The library refuses every extension
// that it does not know, also those that leave commits and references as they are.
func open(workspace string) (*git.Repository, error) {
	repo, err := git.PlainOpenWithOptions(workspace, &git.PlainOpenOptions{DetectDotGit: true, EnableDotGitCommonDir: true})
	if !errors.Is(err, git.ErrUnknownExtension) && !errors.Is(err, git.ErrUnsupportedExtensionRepositoryFormatVersion) {
		return repo, err
	}
	refused := err
	dir, err := filepath.Abs(workspace)
	if err != nil {
		return nil, err
	}
	for {
		dot := filepath.Join(dir, git.GitDirName)
		if info, err := os.Stat(dot); err == nil && info.IsDir() {
			return git.Open(extended{filesystem.NewStorage(osfs.New(dot), cache.NewObjectLRUDefault())}, nil)
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return nil, refused
		}
		dir = parent
	}
}

// extended is a repository without its harmless extensions. A checkout with
// sparse-checkout has the first, one of an older git with filter the second.
type extended struct{ *filesystem.Storage }

// Config is the repository's, without those extensions.
func (s extended) Config() (*config.Config, error) {
	c, err := s.Storage.Config()
	if err != nil {
		return nil, err
	}
	for _, harmless := range []string{"worktreeConfig", "partialClone", "preciousObjects"} {
		c.Raw.Section("extensions").RemoveOption(harmless)
	}
	return c, nil
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

// origin is the address of the remote "origin" for people: https, and without the
// password that a checkout may have put in it.
func origin(repo *git.Repository) string {
	remote, err := repo.Remote("origin")
	if err != nil || len(remote.Config().URLs) == 0 {
		return ""
	}
	address := strings.TrimSuffix(remote.Config().URLs[0], ".git")
	if rest, ok := strings.CutPrefix(address, "git@"); ok {
		return "https://" + strings.Replace(rest, ":", "/", 1)
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" {
		return ""
	}
	u.User = nil
	return u.String()
}
