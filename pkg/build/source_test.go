package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
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

// What is checked out is what is built: a workflow that was started on main and builds the
// tag of a version must not give its image the names of main.
func TestACheckoutOfAnotherCommitThanTheEvents(t *testing.T) {
	t.Parallel()
	dir, old, merge := history(t)
	const started = "ffffffffffffffffffffffffffffffffffffffff" // not in a shallow checkout
	const here = "https://github.example/Team/Shop"
	for name, c := range map[string]struct {
		at          plumbing.ReferenceName
		commit      plumbing.Hash
		ref, origin string
		given       string
		tags        []string
		note        bool
	}{
		"a version, from main":      {"", old, "refs/heads/main", "", started, []string{"1.2.0", "1.2", "1", "latest", "sha-" + old.String()[:7]}, true},
		"a commit, from main":       {"", merge, "refs/heads/main", "", started, []string{"sha-" + merge.String()[:7]}, true},
		"a branch, from main":       {"refs/heads/next", merge, "refs/heads/main", "", started, []string{"next", "sha-" + merge.String()[:7]}, true},
		"a commit of the workflow":  {"refs/heads/master", merge, "refs/heads/master", "", started, []string{"master", "sha-" + merge.String()[:7]}, true},
		"a pull request's head":     {"", old, "refs/pull/12/merge", "", started, []string{"pr-12", "sha-" + old.String()[:7]}, true},
		"its head in a fork":        {"", old, "refs/pull/12/merge", "https://github.example/meera/shop", started, []string{"pr-12", "sha-" + old.String()[:7]}, true},
		"a fork's tag, from main":   {"", old, "refs/heads/main", "https://github.example/meera/shop", started, []string{"sha-" + old.String()[:7]}, true},
		"a mirror, from main":       {"", old, "refs/heads/main", "git@mirror.example:team/shop.git", started, []string{"1.2.0", "1.2", "1", "latest", "sha-" + old.String()[:7]}, true},
		"a pull request's merge":    {"", merge, "refs/pull/12/merge", "", merge.String(), []string{"pr-12", "sha-" + merge.String()[:7]}, false},
		"the event's, with its tag": {"", old, "refs/heads/main", "", old.String(), []string{"main", "sha-" + old.String()[:7]}, false},
		"no event, a tag":           {"", old, "", "", "", []string{"1.2.0", "1.2", "1", "latest", "sha-" + old.String()[:7]}, false},
	} {
		moveHead(t, dir, c.at, c.commit, c.origin)
		var heard event.Recorder
		r := &run{o: Options{Workspace: dir, Git: Git{Commit: c.given, Ref: c.ref, Source: here}}, sink: &heard, result: &Result{}}
		require.NoError(t, r.prepare(t.Context()), name)
		assert.Equal(t, c.tags, r.o.Git.tags(), name)
		assert.Equal(t, c.commit.String(), r.result.Commit, name)
		labels := r.labels()
		assert.Equal(t, c.commit.String(), labels["org.opencontainers.image.revision"], name)
		assert.NotEmpty(t, labels["org.opencontainers.image.created"], name)
		assert.Equal(t, c.note, len(r.result.Notes) > 0, "%s: %s", name, r.result.Notes)
		source := here
		if strings.Contains(c.origin, "meera") {
			source = c.origin
		}
		assert.Equal(t, source, labels["org.opencontainers.image.source"], name)
	}
}

// history is a repository of two commits: the first is v1.2.0 (and what moves with it), the
// second a merge, as GitHub makes of a pull request.
func history(t *testing.T) (dir string, version, merge plumbing.Hash) {
	t.Helper()
	dir = workspace(t, "services: {api: {build: ./api, image: ghcr.io/team/shop}}\n", nil)
	repo, err := git.PlainInit(dir, false)
	require.NoError(t, err)
	tree, err := repo.Worktree()
	require.NoError(t, err)
	who := &object.Signature{Name: "lab", Email: "lab@example.org", When: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	version, err = tree.Commit("one", &git.CommitOptions{AllowEmptyCommits: true, Author: who})
	require.NoError(t, err)
	for _, tag := range []string{"stable", "v1", "v1.2.0-rc.1", "v1.2.0", "zero"} {
		_, err = repo.CreateTag(tag, version, nil)
		require.NoError(t, err)
	}
	who.When = who.When.Add(time.Hour)
	merge, err = tree.Commit("two", &git.CommitOptions{AllowEmptyCommits: true, Author: who, Parents: []plumbing.Hash{version, version}})
	require.NoError(t, err)
	return dir, version, merge
}

// moveHead moves HEAD to a branch at a commit, or to the commit alone, of a repository that
// was cloned from origin.
func moveHead(t *testing.T, dir string, branch plumbing.ReferenceName, commit plumbing.Hash, origin string) {
	t.Helper()
	repo, err := git.PlainOpen(dir)
	require.NoError(t, err)
	_ = repo.DeleteRemote("origin") // there is none at first
	if origin == "" {
		origin = "https://github.example/team/shop"
	}
	_, err = repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{origin}})
	require.NoError(t, err)
	head := plumbing.NewHashReference(plumbing.HEAD, commit)
	if branch != "" {
		require.NoError(t, repo.Storer.SetReference(plumbing.NewHashReference(branch, commit)))
		head = plumbing.NewSymbolicReference(plumbing.HEAD, branch)
	}
	require.NoError(t, repo.Storer.SetReference(head))
}
