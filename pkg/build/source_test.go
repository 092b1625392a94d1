package build

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// actions/checkout sets extensions with sparse-checkout, and older versions of git with
// filter: none of them keeps the commit from being read. One that may is not guessed at.
func TestTheCommitOfACheckoutWithExtensions(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)
	for name, c := range map[string]struct {
		config string
		read   bool
	}{
		"none":             {"", true},
		"sparse":           {"[extensions]\n\tworktreeConfig = true\n", true},
		"sparse, format 1": {"[core]\n\trepositoryformatversion = 1\n[extensions]\n\tworktreeConfig = true\n", true},
		"partial":          {"[core]\n\trepositoryformatversion = 1\n[extensions]\n\tpartialClone = origin\n", true},
		"another format":   {"[core]\n\trepositoryformatversion = 1\n[extensions]\n\tworktreeConfig = true\n\trefStorage = reftable\n", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			repo, err := git.PlainInit(dir, false)
			require.NoError(t, err)
			_, err = repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{"https://x:password@github.example/team/shop.git"}})
			require.NoError(t, err)
			tree, err := repo.Worktree()
			require.NoError(t, err)
			hash, err := tree.Commit("one", &git.CommitOptions{AllowEmptyCommits: true, Author: &object.Signature{Name: "lab", Email: "lab@example.org", When: at}})
			require.NoError(t, err)
			_, err = repo.CreateTag("v1.2.3", hash, nil)
			require.NoError(t, err)
			below := filepath.Join(dir, "deploy", "shop")
			require.NoError(t, os.MkdirAll(below, 0o755))
			file, err := os.OpenFile(filepath.Join(dir, ".git", "config"), os.O_APPEND|os.O_WRONLY, 0)
			require.NoError(t, err)
			_, err = file.WriteString(c.config)
			require.NoError(t, err)
			require.NoError(t, file.Close())

			want := Git{}
			if c.read {
				want = Git{Commit: hash.String(), Ref: "refs/heads/master", Source: "https://github.example/team/shop", Time: at, Versions: []string{"v1.2.3"}}
			}
			assert.Equal(t, want, Git{}.complete(dir))
			assert.Equal(t, want, Git{}.complete(below), "the workspace may be a folder of the checkout")
		})
	}
}
