package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

// edit changes a file of the ledger as a disk or a person would.
func edit(t *testing.T, state, name string, change func([]byte) []byte) {
	t.Helper()
	file := filepath.Join(state, "shop", name)
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, change(data), 0o600))
}

func remove(t *testing.T, state, name string) {
	t.Helper()
	require.NoError(t, os.Remove(filepath.Join(state, "shop", name)))
}

// schemaKey is the number as a file of the ledger has it.
var schemaKey = fmt.Sprintf(`"schema": %d`, Schema)

func swap(old, now string) func([]byte) []byte {
	return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(now), 1) }
}

// forge replaces a record by one that is right in itself.
func forge(t *testing.T, state string, n int, change func(*Record)) {
	t.Helper()
	edit(t, state, fmt.Sprintf("releases/%d.json", n), func(b []byte) []byte {
		r, err := readRecord(b, n, "shop")
		require.NoError(t, err)
		change(&r)
		b, err = r.seal()
		require.NoError(t, err)
		return b
	})
}

// damages is what can happen to four releases of which the second failed, and
// what is to be told and left: the first damage, the records to trust, the latest
// verified one and whether the newest is unreadable.
var damages = map[string]struct {
	do   func(t *testing.T, state string)
	want damaged
}{
	"newest truncated": {func(t *testing.T, s string) { edit(t, s, "releases/4.json", half) },
		damaged{"release 4: cut off or not JSON", []int{1, 2, 3}, 3, true}},
	"newest empty": {func(t *testing.T, s string) { edit(t, s, "releases/4.json", func([]byte) []byte { return nil }) },
		damaged{"release 4: cut off or not JSON", []int{1, 2, 3}, 3, true}},
	"newest lost": {func(t *testing.T, s string) { remove(t, s, "releases/4.json") },
		damaged{"release 4: missing", []int{1, 2, 3}, 3, true}},
	"oldest lost": {func(t *testing.T, s string) { remove(t, s, "releases/1.json") },
		damaged{"release 1: missing", []int{2, 3, 4}, 4, false}},
	"two lost": {func(t *testing.T, s string) { remove(t, s, "releases/2.json"); remove(t, s, "releases/3.json") },
		damaged{"releases 2 to 3: missing", []int{1, 4}, 4, false}},
	"outcome edited": {func(t *testing.T, s string) { edit(t, s, "releases/2.json", swap(`"failed"`, `"verified"`)) },
		damaged{"release 2: its checksum does not fit", []int{1, 3, 4}, 4, false}},
	"digest edited": {func(t *testing.T, s string) { edit(t, s, "releases/3.json", swap("api:v3", "api:v1")) },
		damaged{"release 3: its checksum does not fit", []int{1, 2, 4}, 4, false}},
	"key's case flipped": {func(t *testing.T, s string) { edit(t, s, "releases/3.json", swap(`"actor"`, `"Actor"`)) },
		damaged{"release 3: not as it was written", []int{1, 2, 4}, 4, false}},
	"field added": {func(t *testing.T, s string) {
		edit(t, s, "releases/3.json", swap(schemaKey, schemaKey+`, "x": 1`))
	},
		damaged{"release 3: not as it was written", []int{1, 2, 4}, 4, false}},
	"newer schema": {func(t *testing.T, s string) { edit(t, s, "releases/4.json", swap(schemaKey, `"schema": 99`)) },
		damaged{"release 4: written by a newer version of shiksha (schema 99, this one knows " + strconv.Itoa(Schema) + ")", []int{1, 2, 3}, 3, true}},
	"replaced with fresh sums": {func(t *testing.T, s string) {
		forge(t, s, 3, func(r *Record) { r.Services = nil })
	},
		damaged{"release 3: not the record that a later one follows", []int{1, 2, 4}, 4, false}},
	"copied over another": {func(t *testing.T, s string) {
		b, err := os.ReadFile(filepath.Join(s, "shop", "releases/1.json"))
		require.NoError(t, err)
		edit(t, s, "releases/4.json", func([]byte) []byte { return b })
	},
		damaged{"release 4: it is release 1 of project shop under another name", []int{1, 2, 3}, 3, true}},
	"no chain file": {func(t *testing.T, s string) { remove(t, s, "chain.json") },
		damaged{"chain.json: missing", []int{1, 2, 3, 4}, 4, false}},
	"chain file edited": {func(t *testing.T, s string) { edit(t, s, "chain.json", swap(`"head": 4`, `"head": 3`)) },
		damaged{"chain.json: its checksum does not fit", []int{1, 2, 3, 4}, 4, false}},
}

type damaged struct {
	damage   string
	trusted  []int
	verified int
	unsure   bool
}

func half(b []byte) []byte { return b[:len(b)/2] }

func TestDamageIsToldAndTheRestStaysUsable(t *testing.T) {
	t.Parallel()
	for name, c := range damages {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			l := open(t, state)
			releases(t, l, Verified, Failed, Verified, Verified)
			c.do(t, state)

			l = open(t, state)
			damage := l.Damage()
			require.Len(t, damage, 1)
			assert.Contains(t, damage[0].String(), c.want.damage)
			assert.False(t, damage[0].Noted)
			assert.Equal(t, c.want.trusted, numbers(l.All()))
			verified, ok := l.LatestVerified()
			require.True(t, ok)
			assert.Equal(t, c.want.verified, verified.Number)
			assert.Equal(t, c.want.unsure, l.Uncertain())
			if n := damage[0].Number; n > 0 {
				_, err := l.Get(n)
				assert.ErrorContains(t, err, fmt.Sprintf("the record of release %d cannot be used", n))
			}

			next := record("v5")
			require.NoError(t, l.Append(t.Context(), next), "the damage must not stop the next release")
			assert.Equal(t, 5, next.Number, "a number is never used twice")
			require.Len(t, next.Breaks, 1)
			assert.Equal(t, damage[0].Reason, next.Breaks[0].Reason)
			next.Outcome = Verified
			require.NoError(t, l.Update(t.Context(), next))

			again := open(t, state)
			for _, d := range again.Damage() {
				assert.True(t, d.Noted, "%s", d)
			}
			assert.Equal(t, append(c.want.trusted, 5), numbers(again.All()))
			assert.False(t, again.Uncertain())
			releases(t, again, Verified)
			latest, _ := again.Latest()
			assert.Empty(t, latest.Breaks, "noted once")
		})
	}
}

// Every single bit of a record counts.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	t.Parallel()
	l := open(t, t.TempDir())
	releases(t, l, Verified)
	r, _ := l.Latest()
	data, err := encode(r)
	require.NoError(t, err)
	_, err = readRecord(data, 1, "shop")
	require.NoError(t, err)
	for i := range data {
		for bit := range 8 {
			data[i] ^= 1 << bit
			_, err := readRecord(data, 1, "shop")
			require.Error(t, err, "byte %d bit %d: %s", i, bit, data[max(0, i-10):min(len(data), i+10)])
			data[i] ^= 1 << bit
		}
	}
}

func TestNewerChainFileIsNotOverwritten(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	l := open(t, state)
	releases(t, l, Verified)
	edit(t, state, "chain.json", swap(schemaKey, `"schema": 99`))
	l = open(t, state)
	assert.Equal(t, []int{1}, numbers(l.All()))
	err := l.Append(t.Context(), record("v2"))
	assert.Equal(t, fault.Refused, fault.Of(err))
	assert.ErrorContains(t, err, "newer version of shiksha")
}

// A ledger that a newer version went on with is refused, whichever of its files that wrote; not
// one in which a run of this version knew of it, nor one that is only damaged.
func TestNewer(t *testing.T) {
	t.Parallel()
	newer := swap(fmt.Sprintf(`"schema": %d`, Schema), `"schema": 99`)
	for name, c := range map[string]struct {
		files  []string
		change func([]byte) []byte
		what   string
	}{
		"nothing":                    {nil, nil, ""},
		"the newest record":          {[]string{"releases/4.json"}, newer, "release 4 of shop was written by a newer version of shiksha (schema 99, this one knows"},
		"the chain":                  {[]string{"chain.json"}, newer, "chain.json was written by a newer version of shiksha"},
		"both":                       {[]string{"releases/3.json", "releases/4.json", "chain.json"}, newer, "release 4 of shop was written"},
		"all":                        {[]string{"releases/1.json", "releases/2.json", "releases/3.json", "releases/4.json", "chain.json"}, newer, "release 4 of shop was written"},
		"one that this one followed": {[]string{"releases/3.json"}, newer, ""},
		"a torn one":                 {[]string{"releases/4.json"}, half, ""},
		"a torn chain":               {[]string{"chain.json"}, half, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			releases(t, open(t, state), Verified, Verified, Verified, Verified)
			for _, file := range c.files {
				edit(t, state, file, c.change)
			}
			err := open(t, state).Newer()
			if c.what == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.what)
			assert.Equal(t, fault.Refused, fault.Of(err))
			assert.Contains(t, fault.Hint(err), "that version of shiksha")
		})
	}
}

func TestCrashBetweenRecordAndChainFileIsNoDamage(t *testing.T) {
	t.Parallel()
	for name, outcomes := range map[string][]Outcome{"first": nil, "third": {Verified, Failed}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			state := t.TempDir()
			l := open(t, state)
			releases(t, l, outcomes...)
			l.files = fakeFullDisk{Files: localFiles{}, writes: 1}
			require.Error(t, l.Append(t.Context(), record("vx")))

			l = open(t, state)
			assert.Empty(t, l.Damage())
			latest, ok := l.Latest()
			require.True(t, ok)
			assert.Equal(t, len(outcomes)+1, latest.Number)
			assert.Equal(t, Started, latest.Outcome)
			latest.Outcome = Interrupted
			require.NoError(t, l.Update(t.Context(), &latest))
			releases(t, l, Verified)
			assert.Empty(t, open(t, state).Damage())
		})
	}
}

// fakeFullDisk takes so many writes, then none.
type fakeFullDisk struct {
	Files
	writes int
}

func (f fakeFullDisk) Write(ctx context.Context, name string, data []byte, perm fs.FileMode) error {
	if strings.HasSuffix(name, "chain.json") && f.writes == 1 {
		return errors.New("no space left on device")
	}
	return f.Files.Write(ctx, name, data, perm)
}

// A host keeps the records of an older program, and goes on.
func TestRecordsOfAnOlderSchemaAreRead(t *testing.T) {
	t.Parallel()
	for _, old := range []int{2, 3} {
		state := t.TempDir()
		releases(t, open(t, state), Failed, Verified)
		forge(t, state, 2, func(r *Record) { r.Schema = old })
		age(t, state, old)

		l := open(t, state)
		require.Empty(t, l.Damage())
		require.NoError(t, l.Append(t.Context(), record("v3")))
		l = open(t, state)
		require.Empty(t, l.Damage())
		var schemas []int
		for _, r := range l.All() {
			schemas = append(schemas, r.Schema)
		}
		assert.Equal(t, []int{Schema, old, Schema}, schemas)
	}
}

// age makes chain.json one that an older program wrote.
func age(t *testing.T, state string, schema int) {
	t.Helper()
	edit(t, state, "chain.json", func(b []byte) []byte {
		c, err := readChain(b)
		require.NoError(t, err)
		c.Schema, c.Sum = schema, ""
		c.Sum, err = sumOf(c)
		require.NoError(t, err)
		b, err = encode(c)
		require.NoError(t, err)
		return b
	})
}

// A program that cannot read a sealed stack has to learn it of the chain, before it begins a
// release that it could not take back: also where no release was recorded since.
func TestSealedByANewerProgramIsInTheChain(t *testing.T) {
	t.Parallel()
	state := t.TempDir()
	releases(t, open(t, state), Verified)
	age(t, state, 3)
	l := open(t, state)
	require.NoError(t, l.WriteSealed(t.Context(), 1, []byte("model")))
	data, err := os.ReadFile(filepath.Join(state, "shop", ChainFile))
	require.NoError(t, err)
	assert.Contains(t, string(data), schemaKey)
	assert.Empty(t, open(t, state).Damage())

	l.files = fakeFullDisk{Files: localFiles{}, writes: 1}
	require.NoError(t, l.WriteSealed(t.Context(), 1, []byte("model")), "once")
}

// What the host was left with is what the last release made of it that may have
// changed something, unless a later record is damaged.
func TestLatestChange(t *testing.T) {
	t.Parallel()
	verified, refused := Record{Outcome: Verified}, Record{Outcome: Refused, RestoresDatabase: "b1"}
	old := Record{Outcome: Failed} // what a record of schema 2 calls a refused one
	rolled := Record{Outcome: Failed, Steps: []Step{{Name: "start"}}}
	for name, c := range map[string]struct {
		records []Record
		damage  []Damage
		want    int
		unsure  bool
	}{
		"nothing released":        {nil, nil, 0, false},
		"verified":                {[]Record{rolled, verified}, nil, 2, false},
		"refused after it":        {[]Record{verified, refused, refused}, nil, 1, false},
		"refused before schema 3": {[]Record{verified, old, refused}, nil, 1, false},
		"only refused":            {[]Record{refused}, nil, 0, false},
		"failed in the middle":    {[]Record{verified, rolled}, nil, 2, false},
		"cut short":               {[]Record{verified, {Outcome: Interrupted}}, nil, 2, false},
		"refused after a cut":     {[]Record{verified, {Outcome: Started}, refused}, nil, 2, false},
		"migrated":                {[]Record{verified, {Outcome: Failed, Migrations: []Migration{{}}}}, nil, 2, false},
		"brought back":            {[]Record{verified, {Outcome: Failed, RestoresDatabase: "b1"}}, nil, 2, false},
		"damaged, then refused":   {[]Record{verified, refused}, []Damage{{Number: 3, Through: 4, Noted: true}}, 1, true},
		"damaged before it":       {[]Record{{}, rolled}, []Damage{{Number: 1}}, 2, false},
		"the chain is damaged":    {[]Record{verified}, []Damage{{}}, 1, false},
	} {
		l := &Ledger{records: c.records, damage: c.damage}
		for i := range l.records {
			l.records[i].Number = i + 1
		}
		got, ok := l.LatestChange()
		assert.Equal(t, c.want, got.Number, name)
		assert.Equal(t, c.want > 0, ok, name)
		assert.Equal(t, c.unsure, l.Uncertain(), name)
	}
}

// Who waited for the lock, or looked a while, is told what was done meanwhile, and not what
// was there before or changed nothing.
func TestWhatWasDoneSince(t *testing.T) {
	t.Parallel()
	verified, refused, begun := Record{Outcome: Verified}, Record{Outcome: Refused}, Record{Outcome: Started}
	rolled := Record{Outcome: Failed, Steps: []Step{{Name: "start"}}}
	for name, c := range map[string]struct {
		before, now []Record
		want        []int
	}{
		"nothing":                    {[]Record{verified}, []Record{verified}, nil},
		"nothing was ever":           {nil, nil, nil},
		"the first":                  {nil, []Record{verified}, []int{1}},
		"one that was under way":     {[]Record{verified, begun}, []Record{verified, verified}, []int{2}},
		"it is under way still":      {[]Record{verified, begun}, []Record{verified, begun}, nil},
		"it was refused":             {[]Record{verified, begun}, []Record{verified, refused}, nil},
		"it went back, then another": {[]Record{verified, begun}, []Record{verified, rolled, verified}, []int{2, 3}},
		"one that was cut off":       {[]Record{verified, refused}, []Record{verified, refused, begun}, []int{3}},
		"one that was refused":       {[]Record{verified}, []Record{verified, refused}, nil},
	} {
		numbered := func(records []Record) *Ledger {
			l := &Ledger{records: slices.Clone(records)}
			for i := range l.records {
				l.records[i].Number = i + 1
			}
			return l
		}
		seen, _ := numbered(c.before).LatestChange()
		var got []int
		for _, r := range numbered(c.now).Since(seen) {
			got = append(got, r.Number)
		}
		assert.Equal(t, c.want, got, name)
	}
}
