// Package checkout reads which commit of which repository a workspace has; no git
// program is needed.
package checkout

import (
	"errors"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/storage/filesystem"
)

// Commit is the one that is checked out of a repository (owner/name, or its address). It
// is "" where the workspace has none, or one of another repository: that commit says
// nothing here.
func Commit(workspace, repository string) string {
	repo, err := Open(workspace)
	if err != nil || !Same(Origin(repo), repository) {
		return ""
	}
	head, err := repo.Head()
	if err != nil {
		return ""
	}
	return head.Hash().String()
}

// Same tells whether two addresses are of one repository. Only owner and name count: an
// address may lead over a mirror.
func Same(one, other string) bool {
	name := func(address string) string { return path.Base(path.Dir(address)) + "/" + path.Base(address) }
	return strings.EqualFold(name(one), name(other))
}

// Open is the repository that a workspace is in. The library refuses every extension
// that it does not know, also those that leave commits and references as they are.
func Open(workspace string) (*git.Repository, error) {
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

// Origin is the address of the remote "origin" for people: https, and without the
// password that a checkout may have put in it.
func Origin(repo *git.Repository) string {
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
