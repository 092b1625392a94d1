package deploy

import (
	"context"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/converge"
	verb "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
)

// A workflow that is started on main and checks the tag of a version out releases that
// version: the ledger, the commit's status and "What changed" are about its commit. Of
// another repository no commit is known here, and of a pull request the merge is.
func TestTheCommitIsThatOfTheCheckout(t *testing.T) {
	t.Parallel()
	const started = "ffffffffffffffffffffffffffffffffffffffff" // not in a shallow checkout
	for name, c := range map[string]struct {
		origin, ref, commit string
		own                 bool
	}{
		"a tag, from main":        {"https://x:password@github.example/team/Shop.git", "refs/heads/main", started, true},
		"with a deploy key":       {"git@github.example:team/shop.git", "refs/heads/main", started, true},
		"another repository":      {"https://github.example/team/stacks", "refs/heads/main", started, false},
		"nobody knows whose":      {"", "refs/heads/main", started, false},
		"a pull request's head":   {"https://github.example/team/shop", "refs/pull/12/merge", started, false},
		"nothing is checked out":  {"none", "refs/heads/main", started, false},
		"a person, in a checkout": {"https://github.example/team/shop", "", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			head := tagged(t, dir, c.origin)
			env := map[string]string{
				"GITHUB_WORKSPACE": dir, "GITHUB_SHA": c.commit, "GITHUB_REF": c.ref, "GITHUB_REPOSITORY": "team/shop",
				"INPUT_HOST": "a@b", "INPUT_SSH-KEY": "KEY", "INPUT_HOST-FINGERPRINT": "SHA256:x",
			}
			if c.commit != "" {
				env["GITHUB_ACTIONS"] = "true"
			}
			var got verb.Options
			cli := &commands{Deploy: Command{Verb: func(_ context.Context, o verb.Options, _ event.Sink) (*converge.Result, error) {
				got = o
				return result(), nil
			}}}
			var args []string
			if c.commit == "" {
				args = []string{"--host=a@b", "--host-fingerprint=SHA256:x"}
			}
			o := enter(t, cli, env, dir, append([]string{"deploy"}, args...)...)
			require.Zero(t, o.code, o.stdout+o.stderr)
			want := c.commit
			if c.own {
				want = head
			}
			assert.Equal(t, want, got.Run.Commit)
		})
	}
}

// tagged makes a checkout of a tag, cloned from origin ("" for none), in a folder; it makes
// nothing where the origin is "none".
func tagged(t *testing.T, dir, origin string) string {
	t.Helper()
	if origin == "none" {
		return ""
	}
	repo, err := git.PlainInit(dir, false)
	require.NoError(t, err)
	if origin != "" {
		_, err = repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{origin}})
		require.NoError(t, err)
	}
	tree, err := repo.Worktree()
	require.NoError(t, err)
	who := &object.Signature{Name: "lab", Email: "lab@example.org", When: time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)}
	hash, err := tree.Commit("one", &git.CommitOptions{AllowEmptyCommits: true, Author: who})
	require.NoError(t, err)
	require.NoError(t, repo.Storer.SetReference(plumbing.NewHashReference(plumbing.HEAD, hash)))
	return hash.String()
}
