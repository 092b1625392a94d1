package release

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

const keySize = 32

func (l *Ledger) sealed(n int) string { return path.Join(l.folder(), strconv.Itoa(n)+".sealed") }

// sealedHeader ties the content to its release and shows a change of either.
func sealedHeader(n int, data []byte) []byte {
	return fmt.Appendf(nil, "shiksha-sealed 1 %d %x\n", n, sha256.Sum256(data))
}

// WriteSealed keeps what a rollback to release n needs and a reader of the
// ledger must not see (environment and model), mode 0600.
func (l *Ledger) WriteSealed(ctx context.Context, n int, data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(ctx); err != nil {
		return err
	}
	// An older program may not read it, and has to learn so before it begins a release.
	if s := l.chain.Schema; s > 0 && s < Schema {
		if err := l.writeChain(ctx, l.chain); err != nil {
			return err
		}
	}
	if err := l.files.Write(ctx, l.sealed(n), append(sealedHeader(n, data), data...), 0o600); err != nil {
		return stateFault(err, fmt.Sprintf("keep the environment and model of release %d", n))
	}
	return nil
}

// ReadSealed gives what WriteSealed kept. Content that is gone, cut off or
// changed is a fault.Refused: it must not be run.
func (l *Ledger) ReadSealed(ctx context.Context, n int) ([]byte, error) {
	const hint = "deploy the version again from its commit"
	raw, err := l.files.Read(ctx, l.sealed(n))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.New(fault.Refused, "", hint, "the host has no stored environment and model of release %d (%s)", n, l.sealed(n))
	}
	if err != nil {
		return nil, stateFault(err, fmt.Sprintf("read the environment and model of release %d", n))
	}
	_, data, found := bytes.Cut(raw, []byte("\n"))
	if !found || !bytes.HasPrefix(raw, sealedHeader(n, data)) {
		return nil, fault.New(fault.Refused, "", hint, "the stored environment and model of release %d are damaged (%s)", n, l.sealed(n))
	}
	return data, nil
}

// Stack opens the stack of a release for who makes nothing of it (see stack.Open): a dump, a
// look or a question need no hash, also after an upgrade that makes units otherwise.
func (l *Ledger) Stack(ctx context.Context, n int) (*stack.Stack, error) {
	sealed, err := l.ReadSealed(ctx, n)
	if err != nil {
		return nil, err
	}
	return stack.Open(sealed)
}

// Key gives the host's key for the hashes of environment values, 32 bytes made
// once per project and kept with mode 0600: the hashes show that a value changed
// and cannot be tried out by who has only the records.
func (l *Ledger) Key(ctx context.Context) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	file := path.Join(l.dir, "key")
	key, err := l.files.Read(ctx, file)
	if err == nil && len(key) != keySize {
		return nil, fault.New(fault.Refused, "state-dir", "remove the file: a new key is made, and every environment value shows as changed once",
			"%s is damaged: %d bytes, not %d", file, len(key), keySize)
	}
	if err == nil {
		return key, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, stateFault(err, "read the ledger's key")
	}
	key = make([]byte, keySize)
	rand.Read(key) // never fails: crypto/rand ends the program instead
	if err := l.files.Write(ctx, file, key, 0o600); err != nil {
		return nil, stateFault(err, "make the ledger's key")
	}
	return key, nil
}

// Prune removes the records and sealed files of old releases and gives their
// numbers. The newest keep records stay (at least one), and whatever their age
// the two newest verified ones, what was done to a database since the older of them,
// those that have not ended, and damaged ones, which are evidence.
func (l *Ledger) Prune(ctx context.Context, keep int) ([]int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.writable(ctx); err != nil {
		return nil, err
	}
	gone := l.prunable(max(keep, 1))
	if len(gone) > 0 {
		c := l.chain
		c.Pruned = slices.Clone(c.Pruned)
		for _, r := range gone {
			c.prune(r)
		}
		// Before the files: what is listed and still there is known to be left over.
		if err := l.writeChain(ctx, c); err != nil {
			return nil, err
		}
	}
	l.records = slices.DeleteFunc(l.records, func(r Record) bool {
		_, pruned := l.chain.pruned(r.Number)
		return pruned
	})
	return l.sweep(ctx)
}

func (l *Ledger) prunable(keep int) []Record {
	if len(l.records) <= keep {
		return nil
	}
	spared := map[int]bool{}
	newest, _ := l.verifiedBefore(l.top + 1)
	before, _ := l.verifiedBefore(newest.Number)
	spared[newest.Number], spared[before.Number] = true, true
	var gone []Record
	for _, r := range l.records[:len(l.records)-keep] {
		// Whether the older one can read today's schema is asked because of these.
		asked := r.Number > cmp.Or(before.Number, newest.Number) && (len(r.Migrations) > 0 || r.RestoresDatabase != "")
		if !spared[r.Number] && !asked && r.Outcome != Started {
			gone = append(gone, r)
		}
	}
	return gone
}

// sweep removes the files of every pruned release, also those that an earlier
// pruning did not get to.
func (l *Ledger) sweep(ctx context.Context) ([]int, error) {
	infos, err := l.files.List(ctx, l.folder())
	if err != nil {
		return nil, stateFault(err, "prune the ledger")
	}
	var removed []int
	for _, info := range infos {
		n, isRecord := recordNumber(info.Name())
		if !isRecord {
			n, _ = sealedNumber(info.Name())
		}
		if _, pruned := l.chain.pruned(n); !pruned {
			continue
		}
		file := path.Join(l.folder(), info.Name())
		if err := l.files.Remove(ctx, file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return removed, stateFault(err, "prune the ledger")
		}
		if isRecord {
			removed = append(removed, n)
		}
	}
	slices.Sort(removed)
	return removed, nil
}

func sealedNumber(name string) (int, bool) {
	const suffix = ".sealed"
	if path.Ext(name) != suffix {
		return 0, false
	}
	return recordNumber(name[:len(name)-len(suffix)] + ".json")
}
