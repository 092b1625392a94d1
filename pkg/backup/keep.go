package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// settle does what follows a backup: the metric, and letting old ones go. Neither
// makes the backup worse, so trouble is a warning.
func (s *Store) settle(ctx context.Context, b Backup, from Source) {
	if err := s.metric(ctx, b); err != nil {
		s.say(event.Warning, "the metric of the backup could not be written: %v", err)
	}
	if err := s.sweep(ctx); err != nil {
		s.say(event.Warning, "%v", err)
	}
	if from.Spare {
		return
	}
	if err := s.prune(ctx, from.Service, from.Options, time.Now()); err != nil {
		s.say(event.Warning, "old backups could not be removed: %v", err)
	}
}

// metric writes the textfile that node_exporter takes up, b being the newest backup.
func (s *Store) metric(ctx context.Context, b Backup) error {
	if err := s.Files.MkdirAll(ctx, s.Metrics, 0o755); err != nil {
		return err
	}
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	labels := fmt.Sprintf(`{project=%q,service=%q,database=%q}`, b.Project, b.Service, b.Database)
	text := "# HELP shiksha_backup_last_success_timestamp_seconds When the last backup was dumped and read back whole.\n" +
		"# TYPE shiksha_backup_last_success_timestamp_seconds gauge\n" +
		fmt.Sprintf("shiksha_backup_last_success_timestamp_seconds%s %d\n", labels, b.Taken.Unix()) +
		"# HELP shiksha_backup_last_size_bytes Size of the last backup.\n# TYPE shiksha_backup_last_size_bytes gauge\n" +
		fmt.Sprintf("shiksha_backup_last_size_bytes%s %d\n", labels, b.Bytes)
	if i := slices.IndexFunc(all, func(c Backup) bool { return c.Service == b.Service && !c.Copied.IsZero() }); i >= 0 {
		text += "# HELP shiksha_backup_last_copy_timestamp_seconds When the last backup that has a copy off the host was taken.\n" +
			"# TYPE shiksha_backup_last_copy_timestamp_seconds gauge\n" +
			fmt.Sprintf("shiksha_backup_last_copy_timestamp_seconds%s %d\n", labels, all[i].Taken.Unix())
	}
	return s.Files.Write(ctx, path.Join(s.Metrics, "shiksha_backup_"+b.Project+"_"+b.Service+".prom"), []byte(text), 0o644)
}

// sweep removes what dumps that were cut short left: every file without a manifest.
func (s *Store) sweep(ctx context.Context) error {
	infos, err := s.Files.List(ctx, s.Dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list the backups: %w", err)
	}
	whole := map[string]bool{}
	for _, info := range infos {
		if id, ok := strings.CutSuffix(info.Name(), ".json"); ok {
			whole[id] = true
		}
	}
	var errs []error
	for _, info := range infos {
		id, rest, ok := strings.Cut(info.Name(), ".dump")
		if ok && (rest != "" || !whole[id]) {
			errs = append(errs, s.Files.Remove(ctx, path.Join(s.Dir, info.Name())))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove what an interrupted backup left: %w", err)
	}
	return nil
}

// prune forgets the backups of a service that are older than its options keep. It
// is called only after a newer one was made, and leaves the newest least.
func (s *Store) prune(ctx context.Context, service string, o stack.Backups, now time.Time) error {
	all, err := s.List(ctx)
	if err != nil {
		return err
	}
	var errs []error
	for _, b := range outdated(all, service, o, now) {
		// The manifest first: without it the dump is nothing, and goes with the next sweep.
		errs = append(errs, s.Files.Remove(ctx, s.manifest(b.ID)))
		if err := s.Files.Remove(ctx, s.dump(b.ID)); !errors.Is(err, fs.ErrNotExist) { // somebody may have removed it by hand
			errs = append(errs, err)
		}
		s.say(event.Info, "backup %s of %s is let go", b.ID, b.Taken.Format(time.DateOnly))
	}
	return errors.Join(errs...)
}

// outdated picks the backups to forget out of all, the newest first. One that has
// lost its file does not count among those to keep, and goes when it would have gone.
func outdated(all []Backup, service string, o stack.Backups, now time.Time) []Backup {
	var old []Backup
	kept := 0
	for _, b := range all {
		if b.Service != service {
			continue
		}
		if kept >= max(o.Least, 1) && now.Sub(b.Taken) > o.Keep {
			old = append(old, b)
		} else if b.Lost == "" {
			kept++
		}
	}
	return old
}
