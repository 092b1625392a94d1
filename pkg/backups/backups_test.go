package backups

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// A dump that failed is a refusal; one that was told to stop was interrupted, although
// the store calls it a refusal too.
func TestWhatATakeEndedWith(t *testing.T) {
	t.Parallel()
	refused := fault.New(fault.Refused, "", "mend it", "no backup of shop was made")
	require.NoError(t, ended(t.Context(), nil))
	assert.Equal(t, fault.Refused, fault.Of(ended(t.Context(), refused)))
	assert.Equal(t, fault.Refused, fault.Of(ended(t.Context(), errors.New("no engine"))))
	assert.Equal(t, fault.Failed, fault.Of(ended(t.Context(), fault.New(fault.Failed, "", "", "backup 7 is not proven"))))

	stopped, stop := context.WithCancel(t.Context())
	stop()
	assert.Equal(t, fault.Interrupted, fault.Of(ended(stopped, refused)))
	assert.EqualError(t, ended(stopped, refused), refused.Error())
	require.NoError(t, ended(stopped, nil), "what was done was done")
}

// fakeDumps is a store whose proofs and dumps fail as a test says; a real one has no room or
// no server only on a host that is ill.
type fakeDumps struct {
	taking, proving, copying error
	did                      []string
}

func (f *fakeDumps) Take(context.Context, backup.Source) (backup.Backup, error) {
	f.did = append(f.did, "take")
	return backup.Backup{ID: "db-1"}, f.taking
}

func (f *fakeDumps) Prove(_ context.Context, b backup.Backup, _ stack.Unit) (backup.Backup, error) {
	f.did = append(f.did, "prove")
	return b, f.proving
}

func (f *fakeDumps) CopyAll(context.Context, backup.Source) error {
	f.did = append(f.did, "copy")
	return f.copying
}

func (*fakeDumps) Find(_ context.Context, id string, _ ...*stack.Copy) (backup.Backup, error) {
	return backup.Backup{ID: id, CopiedTo: "vault"}, nil
}

// A proof that could not be tried says nothing of the dump, whose copy leaves the host all the
// same; one that found it bad keeps it from there.
func TestWhatIsCopiedAfterAProof(t *testing.T) {
	t.Parallel()
	untried := fault.New(fault.Failed, "", "free some", "db-1 is not proven: %w: no room", backup.ErrUntried)
	bad, vault := errors.New("rows differ"), errors.New("the vault is away")
	for name, c := range map[string]struct {
		fake fakeDumps
		did  string
		errs []error
	}{
		"well":                  {fakeDumps{}, "take prove copy", nil},
		"no dump":               {fakeDumps{taking: bad}, "take", []error{bad}},
		"no room to prove it":   {fakeDumps{proving: untried}, "take prove copy", []error{untried}},
		"neither room nor copy": {fakeDumps{proving: untried, copying: vault}, "take prove copy", []error{untried, vault}},
		"a bad dump":            {fakeDumps{proving: bad}, "take prove", []error{bad}},
	} {
		b, err := Options{Prove: true}.one(t.Context(), &c.fake, target.Database{})
		assert.Equal(t, c.did, strings.Join(c.fake.did, " "), name)
		assert.Equal(t, len(c.errs) == 0, err == nil, name)
		for _, want := range c.errs {
			assert.ErrorIs(t, err, want, name)
		}
		assert.Equal(t, c.fake.taking == nil, b.CopiedTo == "vault", name)
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	fake := fakeDumps{proving: untried}
	_, err := Options{Prove: true}.one(stopped, &fake, target.Database{})
	require.ErrorIs(t, err, untried)
	assert.Equal(t, []string{"take", "prove"}, fake.did)
	away := target.Database{}
	away.Options.Copy = &stack.Copy{}
	for _, db := range []target.Database{{}, away} {
		_, err = Options{}.one(stopped, &fakeDumps{}, db)
		assert.Equal(t, db.Options.Copy != nil, errors.Is(err, context.Canceled), "it has no copy: %v", err)
	}
}
