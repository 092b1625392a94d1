package checkout

import (
	"testing"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/config"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestSame(t *testing.T) {
	t.Parallel()
	const address = "https://github.example/team/shop"
	assert.True(t, Same(address, "Team/Shop"))
	assert.True(t, Same(address, "https://mirror.example/git/team/shop"))
	assert.False(t, Same(address, "team/shop-2"))
	assert.False(t, Same(address, "other/shop"))
	assert.False(t, Same("", "team/shop"))
}

// A repository without a commit, and a folder that is no repository, have none.
func TestACheckoutWithoutACommit(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	assert.Empty(t, Commit(dir, "team/shop"))
	repo, err := git.PlainInit(dir, false)
	require.NoError(t, err)
	_, err = repo.CreateRemote(&config.RemoteConfig{Name: "origin", URLs: []string{"https://github.example/team/shop"}})
	require.NoError(t, err)
	assert.Empty(t, Commit(dir, "team/shop"))
}
