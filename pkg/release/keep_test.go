package release

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

func TestPrune(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		outcomes []Outcome
		keep     int
		gone     []int
		stay     []int
	}{
		"keeps the newest":                  {[]Outcome{Verified, Verified, Verified, Verified, Verified}, 3, []int{1, 2}, []int{3, 4, 5}},
		"nothing to do":                     {[]Outcome{Verified, Verified}, 5, nil, []int{1, 2}},
		"the two newest verified stay":      {[]Outcome{Verified, Verified, Verified, Failed, Failed, Failed}, 1, []int{1, 4, 5}, []int{2, 3, 6}},
		"none verified":                     {[]Outcome{Failed, Failed, Refused}, 1, []int{1, 2}, []int{3}},
		"keep 0 still keeps the newest":     {[]Outcome{Failed, Verified, Failed, Verified, Failed}, 0, []int{1, 3}, []int{2, 4, 5}},
		"one that has not ended stays, too": {[]Outcome{Failed, Failed, Started}, 1, []int{1, 2}, []int{3}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			l := open(t, state)
			releases(t, l, c.outcomes...)
			for n := range l.Next() {
				require.NoError(t, l.WriteSealed(t.Context(), n, []byte("secret")))
			}
			gone, err := l.Prune(t.Context(), c.keep)
			require.NoError(t, err)
			assert.Equal(t, c.gone, gone)
			assert.Equal(t, c.stay, numbers(l.All()))
			for _, n := range gone {
				assert.NoFileExists(t, filepath.Join(state, "shop", "releases", fmt.Sprintf("%d.json", n)))
				assert.NoFileExists(t, filepath.Join(state, "shop", "releases", fmt.Sprintf("%d.sealed", n)))
			}
			l = open(t, state)
			assert.Empty(t, l.Damage(), "pruned is not lost")
			assert.Equal(t, c.stay, numbers(l.All()))
			for _, n := range c.stay {
				_, err := l.ReadSealed(t.Context(), n)
				assert.NoError(t, err)
			}
		})
	}
}

// started makes an old record look as if its run never ended it.
func TestPruneLeavesOldOnesThatHaveNotEnded(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	releases(t, l, Failed, Failed, Failed, Failed)
	l.records[1].Outcome = Started
	gone, err := l.Prune(t.Context(), 1)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 3}, gone)
}

// What failed releases did to a database stays for as long as somebody may go back
// over it.
func TestPruneKeepsWhatWasDoneToADatabase(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	releases(t, l, Failed, Verified, Failed, Failed, Failed, Verified)
	for i := range 3 {
		l.records[i].Migrations = []Migration{{Service: "api"}}
	}
	l.records[4].RestoresDatabase = "b1"
	gone, err := l.Prune(t.Context(), 1)
	require.NoError(t, err)
	assert.Equal(t, []int{1, 4}, gone)
	assert.Equal(t, []int{2, 3, 5, 6}, numbers(l.All()))
	releases(t, l, Verified, Verified)
	_, err = l.Prune(t.Context(), 1)
	require.NoError(t, err)
	assert.Equal(t, []int{7, 8}, numbers(l.All()), "nobody can go back over it any more")
}

func TestPrunedChainIsStillChecked(t *testing.T) {
	t.Parallel()
	// 2, 3 and 6 stay; 1, 4 and 5 are pruned.
	prepare := func(t *testing.T) string {
		state := t.TempDir()
		l := open(t, state)
		releases(t, l, Verified, Verified, Verified, Failed, Failed, Failed)
		_, err := l.Prune(t.Context(), 1)
		require.NoError(t, err)
		return state
	}
	t.Run("before the gap", func(t *testing.T) {
		t.Parallel()
		state := prepare(t)
		forge(t, state, 3, func(r *Record) { r.Version = "v0" })
		l := open(t, state)
		assert.Equal(t, []int{2, 6}, numbers(l.All()))
		assert.Contains(t, fmt.Sprint(l.Damage()), "release 3: not the record that a later one follows")
	})
	t.Run("after the gap", func(t *testing.T) {
		t.Parallel()
		state := prepare(t)
		forge(t, state, 6, func(r *Record) { r.PrevSum = strings.Repeat("0", 64) })
		l := open(t, state)
		assert.Equal(t, []int{2, 3}, numbers(l.All()))
		assert.Contains(t, fmt.Sprint(l.Damage()), "release 6: does not fit the pruned release 5")
	})
	t.Run("a long life", func(t *testing.T) {
		t.Parallel()
		state := prepare(t)
		for range 12 {
			l := open(t, state)
			releases(t, l, Failed, Verified)
			_, err := l.Prune(t.Context(), 3)
			require.NoError(t, err)
			assert.LessOrEqual(t, len(l.chain.Pruned), 5)
		}
		l := open(t, state)
		assert.Empty(t, l.Damage())
		assert.Equal(t, []int{28, 29, 30}, numbers(l.All()))
	})
}

func TestPruneCutShortIsEndedByTheNext(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	l := open(t, state)
	releases(t, l, Verified, Verified, Verified, Verified)
	kept, err := os.ReadFile(filepath.Join(state, "shop", "releases", "1.json"))
	require.NoError(t, err)
	_, err = l.Prune(t.Context(), 2)
	require.NoError(t, err)
	left := filepath.Join(state, "shop", "releases", "1.json")
	require.NoError(t, os.WriteFile(left, kept, 0o600))

	l = open(t, state)
	assert.Empty(t, l.Damage())
	assert.Equal(t, []int{3, 4}, numbers(l.All()))
	gone, err := l.Prune(t.Context(), 2)
	require.NoError(t, err)
	assert.Equal(t, []int{1}, gone)
	assert.NoFileExists(t, left)
}

func TestSealed(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	l := open(t, state)
	secret := []byte("PASSWORD=x\nwith\x00every byte")
	require.NoError(t, l.WriteSealed(t.Context(), 1, secret))
	got, err := l.ReadSealed(t.Context(), 1)
	require.NoError(t, err)
	assert.Equal(t, secret, got)
	info, err := os.Stat(filepath.Join(state, "shop/releases/1.sealed"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm())

	_, err = l.ReadSealed(t.Context(), 2)
	assert.Equal(t, fault.Refused, fault.Of(err))
	for name, change := range map[string]func([]byte) []byte{
		"cut":   func(b []byte) []byte { return b[:len(b)-1] },
		"empty": func([]byte) []byte { return nil },
		"bit":   func(b []byte) []byte { b[len(b)-3] ^= 1; return b },
	} {
		require.NoError(t, l.WriteSealed(t.Context(), 1, secret))
		edit(t, state, "releases/1.sealed", change)
		_, err = l.ReadSealed(t.Context(), 1)
		assert.Equal(t, fault.Refused, fault.Of(err), name)
		assert.NotContains(t, err.Error(), "PASSWORD")
	}
	require.NoError(t, l.WriteSealed(t.Context(), 1, secret))
	require.NoError(t, os.Rename(filepath.Join(state, "shop/releases/1.sealed"), filepath.Join(state, "shop/releases/2.sealed")))
	_, err = l.ReadSealed(t.Context(), 2)
	assert.ErrorContains(t, err, "of release 2 are damaged", "another release's")
}

func TestKeyIsMadeOnce(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	key, err := open(t, state).Key(t.Context())
	require.NoError(t, err)
	assert.Len(t, key, 32)
	assert.NotEqual(t, make([]byte, 32), key)
	again, err := open(t, state).Key(t.Context())
	require.NoError(t, err)
	assert.Equal(t, key, again)
	info, err := os.Stat(filepath.Join(state, "shop/key"))
	require.NoError(t, err)
	assert.Equal(t, fs.FileMode(0o600), info.Mode().Perm())
	edit(t, state, "key", func(b []byte) []byte { return b[:5] })
	_, err = open(t, state).Key(t.Context())
	assert.Equal(t, fault.Refused, fault.Of(err), "a new key would hide that values changed")
}
