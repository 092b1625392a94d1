package backup

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// Vault is the files of the host that copies go to.
type Vault interface {
	Files
	// Sum gives the SHA-256 of a file, counted where it is; an error where that
	// host runs no commands.
	Sum(ctx context.Context, path string) (string, error)
	Close() error
}

const (
	// readAhead is how much of a dump is asked for at once, in bytes: one piece
	// after the other would cost a round trip each.
	readAhead = 4 << 20
	// abandoned is how old a part of a copy is that nobody writes any more.
	abandoned = 24 * time.Hour
)

// vault opens the place of a copy as a store of its own.
func (s *Store) vault(ctx context.Context, c *stack.Copy) (*Store, Vault, error) {
	if s.Dial == nil {
		return nil, nil, fmt.Errorf("no way to %s is known", c)
	}
	v, err := s.Dial(ctx, c.Address)
	if err != nil {
		return nil, nil, fmt.Errorf("the host for copies of backups, %s, cannot be reached: %w", c, err)
	}
	return &Store{Project: s.Project, Dir: path.Join(c.Dir, s.Project), Files: v, Sink: s.Sink}, v, nil
}

// Away lists what is copied to a place, the newest first.
func (s *Store) Away(ctx context.Context, c *stack.Copy) ([]Backup, error) {
	store, v, err := s.vault(ctx, c)
	if err != nil {
		return nil, err
	}
	defer v.Close()
	all, err := store.List(ctx)
	for i := range all {
		all[i].Away, all[i].CopiedTo = true, c.String()
	}
	return all, err
}

// CopyOut copies one backup of a database to the place that its options name: a release
// does not wait for what others left without a copy. See CopyAll.
func (s *Store) CopyOut(ctx context.Context, from Source, id string) error {
	return s.copies(ctx, from, func(b Backup) bool { return b.ID == id })
}

// CopyAll copies the backups of a database that have no copy yet to the place that
// its options name, the newest first, and lets copies go as the options say. It
// does nothing where they name none. An error takes nothing away: the backups on
// the host are as good as before.
func (s *Store) CopyAll(ctx context.Context, from Source) error {
	return s.copies(ctx, from, func(Backup) bool { return true })
}

func (s *Store) copies(ctx context.Context, from Source, wanted func(Backup) bool) error {
	c := from.Options.Copy
	if c == nil {
		return nil
	}
	own, err := s.List(ctx)
	own = slices.DeleteFunc(own, func(b Backup) bool { return b.Service != from.Service || b.Lost != "" || !wanted(b) })
	if err == nil {
		err = s.copyOut(ctx, from, c, own)
	}
	if err != nil {
		return fault.New(fault.Failed, "", "mend it and take the next with shiksha backup: it copies what has no copy yet",
			"some of the backups of %s have no copy off the host: %w", from.Service, err)
	}
	return nil
}

// unfit is a fault of one backup. What others there are can be copied all the same, which after
// any other fault would only cost each of them as much time as this one.
type unfit struct{ error }

func (u unfit) Unwrap() error { return u.error }

// copyOut copies what has no copy of own, the newest first.
func (s *Store) copyOut(ctx context.Context, from Source, c *stack.Copy, own []Backup) error {
	bare := slices.DeleteFunc(slices.Clone(own), func(b Backup) bool { return !b.Copied.IsZero() && b.CopiedTo == c.String() })
	store, v, err := s.vault(ctx, c)
	if err == nil {
		defer v.Close()
		// A copy under way does not hold up who cancels.
		defer context.AfterFunc(ctx, func() { _ = v.Close() })()
		err = v.MkdirAll(ctx, store.Dir, 0o700)
	}
	if err != nil {
		return fmt.Errorf("%w; without one: %s", err, names(bare))
	}
	var failed []error
	behind := false
	for _, b := range bare {
		err := s.copyOne(ctx, b, store, v, from.Options.Timeout, c.String())
		if err == nil {
			continue
		}
		behind = behind || b.ID == own[0].ID
		failed = append(failed, fmt.Errorf("%s: %w", b.ID, err))
		if ctx.Err() != nil {
			return errors.Join(failed...)
		}
		if !errors.As(err, &unfit{}) {
			break
		}
	}
	var settling []error
	if len(own) > 0 {
		settling = append(settling, s.metric(ctx, own[0]))
	}
	settling = append(settling, store.sweepParts(ctx, time.Now()))
	if !behind && !from.Spare { // old copies go only after a newer one was made
		settling = append(settling, store.prune(ctx, from.Service, stack.Backups{Keep: c.Keep, Least: c.Least}, time.Now()))
	}
	if err := errors.Join(settling...); err != nil {
		s.say(event.Warning, "the metric of the copy could not be written, or old copies not be removed: %v", err)
	}
	return errors.Join(failed...)
}

// names lists backups by their names.
func names(all []Backup) string {
	var ids []string
	for _, b := range all {
		ids = append(ids, b.ID)
	}
	return strings.Join(ids, ", ")
}

// copyOne copies one backup; its manifest goes last and makes the copy a backup.
func (s *Store) copyOne(ctx context.Context, b Backup, to *Store, v Vault, limit time.Duration, where string) error {
	if there, err := to.read(ctx, b.ID); err == nil && there.SHA256 != b.SHA256 {
		return unfit{fmt.Errorf("%s has another backup of the name %s: give each host a folder of its own", where, b.ID)}
	}
	limited, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it took longer than %s (x-shiksha.backups.timeout)", limit))
	defer cancel()
	began := time.Now()
	s.say(event.Info, "copying backup %s (%.1f MB) to %s", b.ID, float64(b.Bytes)/1e6, where)
	if err := transfer(limited, s, to, b, v.Sum); err != nil {
		return err
	}
	b.Copied, b.CopiedTo = time.Now().UTC().Truncate(time.Second), where
	if err := to.write(ctx, b); err != nil {
		return err
	}
	s.say(event.Notice, "backup %s is copied to %s and read back whole there, in %.1f s", b.ID, where, time.Since(began).Seconds())
	return s.write(ctx, b)
}

// fetch brings a backup back of which the host has only the copy.
func (s *Store) fetch(ctx context.Context, b Backup, c *stack.Copy) error {
	from, v, err := s.vault(ctx, c)
	if err != nil {
		return err
	}
	defer v.Close()
	defer context.AfterFunc(ctx, func() { _ = v.Close() })()
	if err := s.begin(ctx); err != nil {
		return err
	}
	s.say(event.Info, "fetching backup %s (%.1f MB) from %s", b.ID, float64(b.Bytes)/1e6, c)
	// The restore counts its checksum on the host before it begins.
	if err := transfer(ctx, from, s, b, nil); err != nil {
		return err
	}
	return s.write(ctx, b)
}

// transfer copies a dump from one store to another. Its name is given only after
// what was read and what was written are known to be the dump. sum counts a file
// where it is; without it, or where it fails, the file is read back.
func transfer(ctx context.Context, from, to *Store, b Backup, sum func(context.Context, string) (string, error)) error {
	part := to.dump(b.ID) + ".part"
	read, err := pour(ctx, from, to, b, part)
	if err == nil && read != b.SHA256 {
		err = unfit{fmt.Errorf("the dump of backup %s is not what was taken: its checksum does not fit", b.ID)}
	}
	if err == nil {
		err = intact(ctx, to, part, b, sum)
	}
	if err != nil {
		return errors.Join(err, to.Files.Remove(context.WithoutCancel(ctx), part))
	}
	return to.Files.Rename(ctx, part, to.dump(b.ID))
}

// pour copies a dump's bytes and gives the checksum of what was read.
func pour(ctx context.Context, from, to *Store, b Backup, part string) (string, error) {
	in, err := from.Files.Open(ctx, from.dump(b.ID))
	if err != nil {
		return "", unfit{err}
	}
	defer in.Close()
	out, err := to.Files.Create(ctx, part, 0o600)
	if err != nil {
		return "", err
	}
	counted := sha256.New()
	_, err = io.Copy(out, io.LimitReader(io.TeeReader(bufio.NewReaderSize(until{ctx, in}, readAhead), counted), b.Bytes+1))
	return hex.EncodeToString(counted.Sum(nil)), errors.Join(err, out.Close())
}

// intact makes sure that a written file is the dump.
func intact(ctx context.Context, store *Store, file string, b Backup, sum func(context.Context, string) (string, error)) error {
	got, err := "", errors.ErrUnsupported
	if sum != nil {
		got, err = sum(ctx, file)
	}
	if err != nil {
		if got, err = readBack(ctx, store, file); err != nil {
			return fmt.Errorf("read the copy of backup %s back: %w", b.ID, err)
		}
	}
	if got != b.SHA256 {
		return fmt.Errorf("the copy of backup %s is not what was sent: its checksum does not fit", b.ID)
	}
	return nil
}

func readBack(ctx context.Context, store *Store, file string) (string, error) {
	in, err := store.Files.Open(ctx, file)
	if err != nil {
		return "", err
	}
	defer in.Close()
	counted := sha256.New()
	_, err = io.Copy(counted, bufio.NewReaderSize(until{ctx, in}, readAhead))
	return hex.EncodeToString(counted.Sum(nil)), err
}

// sweepParts removes parts that copies left which were cut short; a fresh one may
// be of somebody else.
func (s *Store) sweepParts(ctx context.Context, now time.Time) error {
	infos, err := s.Files.List(ctx, s.Dir)
	errs := []error{err}
	for _, info := range infos {
		if strings.HasSuffix(info.Name(), ".part") && now.Sub(info.ModTime()) > abandoned {
			errs = append(errs, s.Files.Remove(ctx, path.Join(s.Dir, info.Name())))
		}
	}
	return errors.Join(errs...)
}

// until reads until its context ends.
type until struct {
	ctx context.Context
	r   io.Reader
}

func (u until) Read(p []byte) (int, error) {
	if u.ctx.Err() != nil {
		return 0, context.Cause(u.ctx)
	}
	return u.r.Read(p)
}
