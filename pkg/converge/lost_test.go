package converge

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// otherwise is the sealed stack of a release that this program makes otherwise: no hash in it
// is that of its service any more.
func otherwise(t *testing.T, st *stack.Stack) []byte {
	t.Helper()
	sealed, err := st.Seal()
	require.NoError(t, err)
	text := string(sealed)
	for _, svc := range st.Services {
		text = strings.ReplaceAll(text, svc.Hash, strings.Repeat("0", len(svc.Hash)))
	}
	_, err = stack.Unseal([]byte(text))
	require.Error(t, err)
	return []byte(text)
}

// fakePlace is a host that does not take each stack.
type fakePlace struct {
	*fakeCutOff
	refuses error
}

func (f fakePlace) Adapt(context.Context, *stack.Stack) error { return f.refuses }

// The release before is opened before anything is changed: that it cannot be brought back is
// told then, and no hint leads to it. A host that does not answer says nothing of it.
func TestTheWayBackIsOpenedBeforehand(t *testing.T) {
	t.Parallel()
	const sealed = "/state/shop/releases/1.sealed"
	for name, c := range map[string]struct {
		breaks func(d *transition, files fakeFiles)
		why    string
		stops  string
	}{
		"whole":   {func(*transition, fakeFiles) {}, "", ""},
		"first":   {func(d *transition, _ fakeFiles) { d.facts.verified = nil }, "", ""},
		"lost":    {func(_ *transition, f fakeFiles) { delete(f, sealed) }, "the host has no stored environment and model of release 1", ""},
		"cut off": {func(_ *transition, f fakeFiles) { f[sealed] = f[sealed][:200] }, "the stored environment and model of release 1 are damaged", ""},
		"otherwise": {func(d *transition, _ fakeFiles) {
			require.NoError(t, d.ledger.WriteSealed(t.Context(), 1, otherwise(t, d.opts.Stack)))
		}, "of the sealed stack shop is made otherwise by this program", ""},
		"no place": {func(d *transition, _ fakeFiles) { d.on = fakePlace{d.on.(*fakeCutOff), errors.New("it needs a Swarm")} }, "it needs a Swarm", ""},
		"away": {func(d *transition, _ fakeFiles) {
			d.on = fakePlace{d.on.(*fakeCutOff), fmt.Errorf("ask the manager: %w", host.ErrConnectionLost)}
		}, "", "ask the manager"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d, _ := afterCutOff(t, map[string]string{"api": "v2", "beat": "v1", "worker": "v1", "search": "v1"})
			files := fakeFiles{}
			ledger, err := release.Open(t.Context(), files, "/state", "shop")
			require.NoError(t, err)
			require.NoError(t, ledger.Append(t.Context(), &release.Record{Version: "v1", Outcome: release.Verified}))
			whole, err := d.opts.Stack.Seal()
			require.NoError(t, err)
			require.NoError(t, ledger.WriteSealed(t.Context(), 1, whole))
			d.ledger, d.plan.Steps = ledger, nil
			d.facts.host.Clock, d.facts.host.Asked = time.Unix(1780315200, 0), time.Unix(1780315200, 0)
			d.Engine = served(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				_, _ = fmt.Fprint(w, `{"Version": "24.0.0"}`)
			}))
			c.breaks(d, files)
			err = d.preflight(t.Context())
			if c.stops != "" {
				require.ErrorContains(t, err, c.stops)
				return
			}
			require.NoError(t, err)
			told := map[string]check.Result{}
			for _, r := range d.result.Preflight.Results {
				told[r.Name] = r
			}
			assert.Equal(t, c.why == "", told["P10.host"].Outcome == check.Pass, "the way back is as it should be")
			assert.Empty(t, d.plan.Refusals, "a good release mends it")
			if c.why == "" {
				assert.NotContains(t, told, "P14.rollback")
				assert.Equal(t, name == "first", d.former("") == "")
				return
			}
			assert.Equal(t, check.Warn, told["P14.rollback"].Outcome)
			assert.Contains(t, told["P14.rollback"].Found, "v1 cannot be brought back: ")
			assert.Contains(t, told["P14.rollback"].Found, c.why)
			assert.Contains(t, strings.Join(d.plan.Notes, "\n"), c.why, "the plan says it")

			err = d.fail(t.Context(), errors.New("api-2 is unhealthy"))
			assert.Equal(t, fault.Stuck, fault.Of(err), "%v", err)
			assert.NotContains(t, fault.Hint(err), "shiksha rollback", "which is refused for the same")
		})
	}
}

// What is read of a release without making any of it needs no hash: what its units were told,
// and what a Swarm has to keep for it.
func TestAReleaseThatIsMadeOtherwiseIsRead(t *testing.T) {
	t.Parallel()
	d, _ := afterCutOff(t, nil)
	st := d.opts.Stack
	st.Services["api"].Environment = map[string]string{"DB_PASSWORD": "of-the-verified"}
	require.NoError(t, d.ledger.WriteSealed(t.Context(), 1, otherwise(t, st)))
	assert.Equal(t, []string{"of-the-verified"}, d.othersSecrets(t.Context()))
	kept, err := d.kept(t.Context())
	require.NoError(t, err)
	require.Len(t, kept, 1)
	assert.Equal(t, st.Order, kept[0].Order)
}
