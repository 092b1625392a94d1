package backups

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// fakeSight is fakeNodes with one database that runs.
type fakeSight struct{ fakeNodes }

func (fakeSight) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"db": {{ID: "db", ImageID: "sha256:db", State: stack.Running}}}}, nil
}

// sealedShop is a stack with one database, as the ledger has it.
func sealedShop(t *testing.T, state string) []byte {
	t.Helper()
	ws := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(ws, "compose.yaml"), []byte("services: {db: {image: postgres, x-shiksha: {backups: {}}}}\n"), 0o600))
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: ws, Project: "shop", StateDir: state})
	require.NoError(t, err)
	require.NoError(t, st.Pin(map[string]string{"db": "postgres@sha256:" + strings.Repeat("1", 64)}))
	sealed, err := st.Seal()
	require.NoError(t, err)
	return sealed
}

// Where a record cannot be read that may be of what serves, the databases that are known are
// dumped and nothing is let go for it; it ends with an error whatever becomes of the dumps.
func TestWhenWhatServesIsNotKnown(t *testing.T) {
	t.Parallel()
	torn := func(b []byte) []byte { return b[:len(b)/2] }
	newer := func(b []byte) []byte {
		return bytes.Replace(b, fmt.Appendf(nil, `"schema": %d`, release.Schema), []byte(`"schema": 99`), 1)
	}
	const spared = "so the databases are those of release 1, and no older backup is let go"
	verified, failed, refused := release.Verified, release.Failed, release.Refused
	for name, c := range map[string]struct {
		outcomes []release.Outcome
		spoil    map[int]func([]byte) []byte
		says     []string
	}{
		"all of it can be read":     {[]release.Outcome{verified, verified}, nil, nil},
		"an older one is torn":      {[]release.Outcome{verified, verified}, map[int]func([]byte) []byte{1: torn}, nil},
		"the newest is torn":        {[]release.Outcome{verified, verified}, map[int]func([]byte) []byte{2: torn}, []string{"release 2: cut off or not JSON", spared}},
		"nothing came of one later": {[]release.Outcome{verified, verified, refused}, map[int]func([]byte) []byte{2: torn}, []string{"release 2: cut off or not JSON", spared}},
		"a later one went back":     {[]release.Outcome{verified, verified, failed}, map[int]func([]byte) []byte{2: torn}, []string{"release 2: cut off or not JSON", spared}},
		"a newer version's":         {[]release.Outcome{verified, verified}, map[int]func([]byte) []byte{2: newer}, []string{"release 2 of shop was written by a newer version", spared}},
		"none is left":              {[]release.Outcome{verified}, map[int]func([]byte) []byte{1: newer}, []string{"release 1 of shop was written by a newer version", "and none is dumped"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			l, err := release.Open(t.Context(), disk.Files{}, state, "shop")
			require.NoError(t, err)
			for i, outcome := range c.outcomes {
				r := release.Record{Outcome: outcome}
				if outcome == release.Failed {
					r.Steps = []release.Step{{Name: "start"}}
				}
				require.NoError(t, l.Append(t.Context(), &r))
				require.NoError(t, l.WriteSealed(t.Context(), i+1, sealedShop(t, state)))
			}
			for n, spoil := range c.spoil {
				file := filepath.Join(state, "shop", "releases", fmt.Sprintf("%d.json", n))
				data, err := os.ReadFile(file)
				require.NoError(t, err)
				require.NoError(t, os.WriteFile(file, spoil(data), 0o600))
			}
			require.NoError(t, l.Reload(t.Context()))
			found, unsure, err := Options{Project: "shop"}.databases(t.Context(), &target.Target{}, fakeSight{}, l)
			if c.says == nil {
				require.NoError(t, err)
				require.Empty(t, unsure)
				require.Len(t, found, 1)
				assert.False(t, found[0].Spare)
				return
			}
			if c.says[1] == spared {
				require.NoError(t, err)
				require.Len(t, found, 1)
				assert.Equal(t, []any{true, 1}, []any{found[0].Spare, found[0].Release})
				require.Len(t, unsure, 1)
				err = unsure[0]
			}
			for _, words := range c.says {
				require.ErrorContains(t, err, words)
			}
			assert.Equal(t, fault.Refused, fault.Of(err))
			assert.NotEmpty(t, fault.Hint(err))
		})
	}
}
