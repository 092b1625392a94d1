package release

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/shiksha/actions/pkg/fault"
)

// Ledger is the list of a project's releases on its host. Use one per run, under
// the project's lock for anything that writes.
type Ledger struct {
	files   Files
	dir     string
	project string

	mu      sync.Mutex
	guard   func(context.Context) error
	records []Record // trusted, ascending
	damage  []Damage
	chain   chain
	future  bool // chain.json is of a newer version: reading only
	top     int  // highest number seen anywhere
}

// readers is how many records are read at once: one after the other would cost
// several round trips each.
const readers = 8

// Open reads the ledger of a project and makes its folder (mode 0700) when there
// is none. Damage does not fail it: Damage tells, and the other records stay
// usable. A folder that cannot be made is a fault.Refused about state-dir.
func Open(ctx context.Context, files Files, stateDir, project string) (*Ledger, error) {
	dir, err := Dir(stateDir, project)
	if err != nil {
		return nil, err
	}
	l := &Ledger{files: files, dir: dir, project: project}
	return l, l.Reload(ctx)
}

// Reload reads the ledger again, as after getting the lock that somebody else
// had held.
func (l *Ledger) Reload(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	infos, err := l.files.List(ctx, l.folder())
	if errors.Is(err, fs.ErrNotExist) {
		infos, err = nil, l.files.MkdirAll(ctx, l.folder(), 0o700)
	}
	if err != nil {
		return stateFault(err, "open the ledger")
	}
	var numbers []int
	for _, info := range infos {
		if n, ok := recordNumber(info.Name()); ok && info.Mode().IsRegular() {
			numbers = append(numbers, n)
		}
	}
	return l.load(ctx, numbers)
}

func (l *Ledger) folder() string { return path.Join(l.dir, "releases") }

func (l *Ledger) file(n int) string { return path.Join(l.folder(), strconv.Itoa(n)+".json") }

// ChainFile is the file in a project's folder that says of its ledger that a release was
// recorded: the folders are made by whoever looks.
const ChainFile = "chain.json"

func (l *Ledger) chainFile() string { return path.Join(l.dir, ChainFile) }

func recordNumber(name string) (int, bool) {
	base, ok := strings.CutSuffix(name, ".json")
	n, err := strconv.Atoi(base)
	return n, ok && err == nil && n > 0 && strconv.Itoa(n) == base
}

func (l *Ledger) load(ctx context.Context, numbers []int) error {
	chainDamage, err := l.loadChain(ctx, len(numbers) > 1)
	if err != nil {
		return err
	}
	read, broken, err := l.readAll(ctx, numbers)
	if err != nil {
		return err
	}
	l.records, l.damage = verify(read, append(chainDamage, broken...), l.chain)
	l.top = l.chain.Head
	for _, n := range numbers {
		l.top = max(l.top, n)
	}
	return nil
}

// loadChain reads chain.json. It may be missing only before the first append was
// through.
func (l *Ledger) loadChain(ctx context.Context, needed bool) ([]Damage, error) {
	l.chain, l.future = chain{}, false
	data, err := l.files.Read(ctx, l.chainFile())
	if errors.Is(err, fs.ErrNotExist) {
		if needed {
			return []Damage{{Reason: "missing, so pruned releases cannot be told from lost ones"}}, nil
		}
		return nil, nil
	}
	if err != nil {
		return nil, stateFault(err, "read the ledger")
	}
	c, err := readChain(data)
	if err != nil {
		l.future = errors.Is(err, errFuture)
		return []Damage{{Reason: err.Error() + ", so pruned releases cannot be told from lost ones"}}, nil
	}
	l.chain = c
	return nil, nil
}

// readAll reads the records with the given numbers, several at once. What
// cannot be read for the host's sake (the connection) is an error; what can be
// read but not trusted is damage.
func (l *Ledger) readAll(ctx context.Context, numbers []int) (map[int]Record, []Damage, error) {
	var (
		mu     sync.Mutex
		group  sync.WaitGroup
		read   = map[int]Record{}
		broken []Damage
		failed error
	)
	slots := make(chan struct{}, readers)
	for _, n := range numbers {
		if _, pruned := l.chain.pruned(n); pruned {
			continue // a pruning that was cut short: the next one ends it
		}
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			data, err := l.files.Read(ctx, l.file(n))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = stateFault(err, "read the ledger")
				return
			}
			if r, err := readRecord(data, n, l.project); err != nil {
				broken = append(broken, Damage{Number: n, Reason: err.Error(), newer: errors.Is(err, errFuture)})
			} else {
				read[n] = r
			}
		})
	}
	group.Wait()
	return read, broken, failed
}

// Guard sets what is asked before every write, as Lock.Check: a run that lost
// its lock must not write into somebody else's release.
func (l *Ledger) Guard(check func(context.Context) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.guard = check
}

// All gives the records that can be trusted, oldest first.
func (l *Ledger) All() []Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Record(nil), l.records...)
}

// Damage gives what cannot be trusted, by number.
func (l *Ledger) Damage() []Damage {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Damage(nil), l.damage...)
}

// Latest gives the newest record that can be trusted (see Uncertain).
func (l *Ledger) Latest() (Record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.records) == 0 {
		return Record{}, false
	}
	return l.records[len(l.records)-1], true
}

// LatestVerified gives the newest trusted record of a release that was verified.
func (l *Ledger) LatestVerified() (Record, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.verifiedBefore(l.top + 1)
}

// verifiedBefore gives the newest trusted record with a number below n of a
// release that was verified.
func (l *Ledger) verifiedBefore(n int) (Record, bool) {
	for i := len(l.records) - 1; i >= 0; i-- {
		if r := l.records[i]; r.Number < n && r.Outcome == Verified {
			return r, true
		}
	}
	return Record{}, false
}

// Get gives one record. A number that is not there or cannot be trusted is a
// fault.Refused that says which.
func (l *Ledger) Get(n int) (Record, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.records {
		if r.Number == n {
			return r, nil
		}
	}
	const hint = "`shiksha history` lists the releases that the host remembers"
	for _, d := range l.damage {
		if d.covers(Damage{Number: n}) {
			return Record{}, fault.New(fault.Refused, "", hint, "the record of release %d cannot be used: %s", n, d.Reason)
		}
	}
	return Record{}, fault.New(fault.Refused, "", hint, "the host has no release %d", n)
}

// Pruned tells whether a release was forgotten by Prune.
func (l *Ledger) Pruned(n int) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, pruned := l.chain.pruned(n)
	return pruned
}

// Next is the number that the next appended record gets.
func (l *Ledger) Next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.top + 1
}

// Append adds a record as the newest and fills in its number, project, place in
// the chain and, where they are empty, outcome (Started) and time. Damage that no
// record tells of yet is noted in it. The newest record must have ended: an
// interrupted one is updated first, since it cannot be afterwards.
func (l *Ledger) Append(ctx context.Context, r *Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(ctx); err != nil {
		return err
	}
	last := Record{}
	if len(l.records) > 0 {
		last = l.records[len(l.records)-1]
	}
	if last.Number == l.top && last.Outcome == Started {
		return fmt.Errorf("append a release: release %d has not ended in the ledger", last.Number)
	}
	if r.Number != 0 && r.Number != l.top+1 {
		return fmt.Errorf("append a release: number %d, but the next is %d", r.Number, l.top+1)
	}
	next := *r
	next.Schema, next.Number, next.Project = Schema, l.top+1, l.project
	next.Follows, next.PrevSum, next.Breaks = last.Number, last.Sum, l.unnoted()
	if next.Outcome == "" {
		next.Outcome = Started
	}
	if next.Started.IsZero() {
		next.Started = time.Now()
	}
	if _, err := l.files.Read(ctx, l.file(next.Number)); err == nil {
		return fault.New(fault.Interrupted, "", "run it again", "release %d was written by somebody else meanwhile", next.Number)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return stateFault(err, fmt.Sprintf("append release %d", next.Number))
	}
	if err := l.write(ctx, &next); err != nil {
		return err
	}
	*r = next
	l.records, l.top = append(l.records, next), next.Number
	note(l.records, l.damage)
	// After the record: a head without its record would look like a lost one.
	c := l.chain
	c.Head = next.Number
	return l.writeChain(ctx, c)
}

func (l *Ledger) unnoted() []Damage {
	var open []Damage
	for _, d := range l.damage {
		if !d.Noted {
			open = append(open, d)
		}
	}
	return open
}

// Update writes the newest record again: how it ended, its steps and what was
// measured. What was fixed when it was appended must not differ, and an ended
// release does not start again.
func (l *Ledger) Update(ctx context.Context, r *Record) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(ctx); err != nil {
		return err
	}
	if len(l.records) == 0 || l.records[len(l.records)-1].Number != r.Number || r.Number != l.top {
		return fmt.Errorf("update release %d: only the newest record may be updated, which is %d", r.Number, l.top)
	}
	old := &l.records[len(l.records)-1]
	if r.Outcome == Started && old.Outcome != Started {
		return fmt.Errorf("update release %d: it has ended as %s", r.Number, old.Outcome)
	}
	next, err := r.normal()
	if err != nil {
		return fmt.Errorf("update release %d: %w", r.Number, err)
	}
	if sum, err := next.startSum(); err != nil || sum != old.StartSum {
		return fmt.Errorf("update release %d: what was released is fixed once it was appended (version, services, model, chain)", r.Number)
	}
	if err := l.write(ctx, &next); err != nil {
		return err
	}
	*r, *old = next, next
	return nil
}

func (l *Ledger) writable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	if l.future {
		return fault.New(fault.Refused, "state-dir", "use that version of shiksha, or a newer one",
			"%s was written by a newer version of shiksha", l.chainFile())
	}
	if l.guard == nil {
		return nil
	}
	return l.guard(ctx)
}

func (l *Ledger) write(ctx context.Context, r *Record) error {
	if !r.Outcome.known() {
		return fmt.Errorf("write release %d: unknown outcome %q", r.Number, r.Outcome)
	}
	normal, err := r.normal()
	if err != nil {
		return fmt.Errorf("write release %d: %w", r.Number, err)
	}
	*r = normal
	data, err := r.seal()
	if err != nil {
		return fmt.Errorf("write release %d: %w", r.Number, err)
	}
	if err := l.files.Write(ctx, l.file(r.Number), data, 0o600); err != nil {
		return stateFault(err, fmt.Sprintf("write release %d", r.Number))
	}
	return nil
}

func (l *Ledger) writeChain(ctx context.Context, c chain) error {
	c.Schema = Schema
	data, err := c.bytes()
	if err != nil {
		return fmt.Errorf("write the ledger: %w", err)
	}
	if err := l.files.Write(ctx, l.chainFile(), data, 0o600); err != nil {
		return stateFault(err, "write the ledger")
	}
	l.chain = c
	return nil
}
