package release

import (
	"context"
	"fmt"
	"slices"

	"github.com/shiksha/actions/pkg/fault"
)

// Damage is a part of the ledger that cannot be trusted. Number is the record
// (0 for the chain file), Through the last one of several missing in a row.
// Noted is set when a later record was appended in knowledge of it.
type Damage struct {
	Number  int    `json:"number,omitempty"`
	Through int    `json:"through,omitempty"`
	Reason  string `json:"reason"`
	Noted   bool   `json:"-"`
	newer   bool   // a newer version of shiksha wrote it
}

// String says what is damaged and how.
func (d Damage) String() string {
	switch {
	case d.Number == 0:
		return "chain.json: " + d.Reason
	case d.Through > d.Number:
		return fmt.Sprintf("releases %d to %d: %s", d.Number, d.Through, d.Reason)
	}
	return fmt.Sprintf("release %d: %s", d.Number, d.Reason)
}

func (d Damage) covers(other Damage) bool {
	return d.Number <= other.Number && max(d.Number, d.Through) >= max(other.Number, other.Through)
}

// LatestChange gives the newest trusted record of a release that may have changed
// something: those after it left the host as they found it (see Uncertain).
func (l *Ledger) LatestChange() (Record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.latestChange()
}

func (l *Ledger) latestChange() (Record, bool) {
	for _, r := range slices.Backward(l.records) {
		if !r.ChangedNothing() {
			return r, true
		}
	}
	return Record{}, false
}

// Seen reads what is the last release that may have changed something (see LatestChange),
// for a run that then waits for the lock: none is the zero record.
func Seen(ctx context.Context, files Files, stateDir, project string) (Record, error) {
	l, err := Open(ctx, files, stateDir, project)
	if err != nil {
		return Record{}, err
	}
	newest, _ := l.LatestChange()
	return newest, nil
}

// Since gives the releases that may have changed something and that began or ended after
// seen was the last of them, oldest first.
func (l *Ledger) Since(seen Record) (after []Record) {
	for _, r := range l.All() {
		ended := r.Number == seen.Number && r.Outcome != seen.Outcome
		if (ended || r.Number > seen.Number) && !r.ChangedNothing() {
			after = append(after, r)
		}
	}
	return after
}

// Uncertain tells that the record of a release after LatestChange cannot be read: what
// the last run did is then unknown, and the host has to be healed as after an
// interruption.
func (l *Ledger) Uncertain() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, _ := l.latestChange()
	return slices.ContainsFunc(l.damage, func(d Damage) bool { return max(d.Number, d.Through) > last.Number })
}

// Newer refuses a ledger that a newer version of shiksha went on with: what this one reads of
// it ends before what serves. A newer record that one of this version follows is no reason: such
// a run knew of it.
func (l *Ledger) Newer() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	last, what, how := 0, "", errFuture.Error()
	if n := len(l.records); n > 0 {
		last = l.records[n-1].Number
	}
	if l.future {
		what = l.chainFile()
	}
	for _, d := range l.damage {
		if d.newer && d.Number > last {
			what, how = fmt.Sprintf("release %d of %s", d.Number, l.project), d.Reason
		}
	}
	if what == "" {
		return nil
	}
	return fault.New(fault.Refused, "", "run it with that version of shiksha, or a newer one: where that release was made (the `uses:` of its workflow) says which",
		"%s was %s", what, how)
}

// verify sorts what was read into records to trust and damage. It goes from the
// newest down, because a later record vouches for the one it follows: of two
// records that do not fit the later is right, the earlier was changed afterwards.
func verify(read map[int]Record, broken []Damage, c chain) (trusted []Record, damage []Damage) {
	damage = slices.Clone(broken)
	numbers := sortedKeys(read)
	vouched := map[int]string{}
	for _, s := range c.Pruned {
		vouched[s.Follows] = s.PrevSum
	}
	for _, n := range slices.Backward(numbers) {
		r := read[n]
		if sum, ok := vouched[n]; ok && sum != r.Sum {
			damage = append(damage, Damage{Number: n, Reason: "not the record that a later one follows: replaced afterwards"})
			continue
		}
		if s, ok := c.pruned(r.Follows); ok && (s.To != r.Follows || s.Sum != r.PrevSum) {
			damage = append(damage, Damage{Number: n, Reason: fmt.Sprintf("does not fit the pruned release %d that it follows", r.Follows)})
			continue
		}
		vouched[r.Follows] = r.PrevSum
		trusted = append(trusted, r)
	}
	slices.Reverse(trusted)
	damage = append(damage, gaps(numbers, broken, c)...)
	slices.SortStableFunc(damage, func(a, b Damage) int { return a.Number - b.Number })
	note(trusted, damage)
	return trusted, damage
}

// gaps finds the numbers that are neither there nor pruned.
func gaps(numbers []int, broken []Damage, c chain) []Damage {
	type have struct{ from, to int }
	var seen []have
	for _, n := range numbers {
		seen = append(seen, have{n, n})
	}
	for _, d := range broken {
		seen = append(seen, have{d.Number, d.Number})
	}
	for _, s := range c.Pruned {
		seen = append(seen, have{s.From, s.To})
	}
	seen = append(seen, have{c.Head + 1, c.Head + 1})
	slices.SortFunc(seen, func(a, b have) int { return a.from - b.from })
	var missing []Damage
	next := 1
	for _, h := range seen {
		if h.from > next {
			missing = append(missing, Damage{Number: next, Through: h.from - 1, Reason: "missing"})
		}
		next = max(next, h.to+1)
	}
	return missing
}

// note marks the damage that a later record tells of.
func note(trusted []Record, damage []Damage) {
	for i, d := range damage {
		for _, r := range trusted {
			damage[i].Noted = damage[i].Noted || slices.ContainsFunc(r.Breaks, func(b Damage) bool { return b.covers(d) })
		}
	}
}

func sortedKeys(m map[int]Record) []int {
	keys := make([]int, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
