package kind

import (
	"cmp"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/stack"
)

// Backup looks at dumps of databases: those that shiksha takes on the host, by
// their manifests, or those that a service writes, with the programs of its unit.
type Backup struct {
	Service string   `yaml:"service" jsonschema:"required" help:"Without dir: the database's service, whose backups by shiksha are looked at. With dir: the service whose unit has that folder, and pg_restore for dumps of pg_dump -Fc."`
	Dir     string   `yaml:"dir" help:"Folder in the unit where a service of the team's own keeps its dumps."`
	Pattern Pattern  `yaml:"pattern" help:"With dir: regular expression for the names of dumps. Default: \\.(dump|sql|sql\\.gz)$."`
	Age     Duration `yaml:"age" jsonschema:"exclusiveMinimum=0" help:"How old the newest may be. Default: 26h."`
	Shrink  *float64 `yaml:"shrink" help:"Smallest size allowed, as a share of the one before. 0 allows any size. Default: 0.5."`
	Keep    int      `yaml:"keep" jsonschema:"exclusiveMinimum=0" help:"How many there have to be. Default: 1."`
	Read    *bool    `yaml:"read" help:"Whether to read the newest to its end. Without dir: its checksum, which it had when it was read back whole. With dir: pg_restore for -Fc; gzip -t and the last line of pg_dump for SQL. A large dump takes longer than the timeout of 30s: give the check more. Default: true."`
	Proven  Duration `yaml:"proven" help:"Without dir: some backup has to have been restored into a throwaway server within this time (shiksha backup --prove). Default: not asked."`
}

// Manner is how it is looked at.
func (b *Backup) Manner() Manner {
	m := Manner{Place: InUnit, Interval: 5 * time.Second, Passes: 1, Long: true}
	if b.Dir == "" {
		m.Place = OnHost
	}
	return m
}

// Check tells what cannot be looked at.
func (b *Backup) Check() error {
	switch {
	case b.Dir != "" && !path.IsAbs(b.Dir):
		return errors.New("dir has to be an absolute path in the unit")
	case b.Dir == "" && b.Pattern.given():
		return errors.New("pattern needs dir: backups by shiksha have their own names")
	case b.Shrink != nil && *b.Shrink < 0:
		return errors.New("shrink has to be 0, for any size, or more")
	case b.Dir != "" && b.Proven != 0:
		return errors.New("proven is for backups by shiksha, which dir leads away from")
	}
	return nil
}

var dumpName = mustPattern(`\.(dump|sql|sql\.gz)$`)

// dump is one file of the folder.
type dump struct {
	name string
	at   time.Time
	size int64
}

// Look asks the host, or the first unit.
func (b *Backup) Look(s *Sight) {
	if b.Dir == "" {
		b.ours(s)
		return
	}
	units, err := s.running(s.Ctx, b.Service)
	if err != nil {
		s.blind(err)
		return
	}
	u := units[0]
	s.at(u.Name)
	dumps, ok := b.list(s, u)
	if !ok || !b.judge(s, dumps) {
		return
	}
	if b.Read == nil || *b.Read {
		b.read(s, u, path.Join(b.Dir, dumps[0].name))
	}
	dumps[0].sound(s)
}

// judge compares what all dumps have; false when there is none.
func (b *Backup) judge(s *Sight, dumps []dump) bool {
	keep := cmp.Or(b.Keep, 1)
	where, hint := "the host's backups of "+b.Service, "take one with shiksha backup"
	if b.Dir != "" {
		where, hint = b.Dir, "see why "+b.Service+" writes none: docker logs of its unit"
	}
	s.need("backup.count", len(dumps) >= keep, fmt.Sprintf("%d dumps in %s", keep, where), fmt.Sprintf("%d dumps", len(dumps)), hint)
	if len(dumps) == 0 {
		return false
	}
	newest := dumps[0]
	s.at(newest.name)
	age := time.Since(newest.at)
	// A dump of the future would stay fresh whatever came after it.
	s.need("backup.age", age.Abs() < b.Age.or(26*time.Hour), "a dump of the last "+Duration(b.Age.or(26*time.Hour)).String(), fmt.Sprintf("the newest is %s old", age.Round(time.Minute)), hint)
	s.need("backup.size", newest.size > 0, "a dump with content", "an empty file")
	if len(dumps) > 1 {
		share := float64(newest.size) / max(1, float64(dumps[1].size))
		least := given(b.Shrink, 0.5)
		s.need("backup.shrink", share >= least, fmt.Sprintf("at least %g of the size of the one before", least), fmt.Sprintf("%.2f: %d bytes after %d", share, newest.size, dumps[1].size))
	}
	return true
}

// sound says what passed.
func (d dump) sound(s *Sight) {
	s.at(d.name)
	s.settle("pass", "a fresh dump that can be read", fmt.Sprintf("%d bytes, %s old", d.size, time.Since(d.at).Round(time.Second)), "")
}

// ours looks at the manifests on the host. Only what was dumped to its end and read
// back whole has one.
func (b *Backup) ours(s *Sight) {
	s.at("the host")
	if s.Backups == nil {
		s.blind(errors.New("nobody knows where the host keeps backups"))
		return
	}
	store, ground, err := s.Backups(s.Ctx, b.Service)
	if err != nil {
		s.blind(err)
		return
	}
	all, err := store.List(s.Ctx)
	if err != nil {
		s.blind(err)
		return
	}
	place := "the host"
	if store.Node != "" {
		place = "node " + store.Node
	}
	all = slices.DeleteFunc(all, func(k backup.Backup) bool { return k.Service != b.Service })
	var dumps []dump
	for _, k := range all {
		s.saw("backup "+k.ID, fmt.Sprintf("%d bytes of %s, proven %s %s", k.Bytes, k.Taken.Format(time.RFC3339), when(k.Proven), k.Lost))
		s.at(k.ID)
		s.need("backup.lost", k.Lost == "", "a dump as it was taken", k.Lost, "take another with shiksha backup, and remove "+path.Join(store.Dir, k.ID+".json")+
			" on "+place+" (once it is older than keep-days, a backup does that)")
		dumps = append(dumps, dump{k.ID, k.Taken, k.Bytes})
	}
	s.at(place)
	if !b.judge(s, dumps) {
		return
	}
	if b.Read == nil || *b.Read {
		b.sum(s, ground, path.Join(store.Dir, all[0].ID+".dump"), all[0].SHA256)
	}
	s.at(place)
	b.proof(s, all)
	dumps[0].sound(s)
}

// sum compares the dump with what it was when it was read back whole.
func (b *Backup) sum(s *Sight, on Ground, file, wanted string) {
	out, err := on.Run(s.Ctx, []string{"sha256sum", "--", file}, nil)
	if err != nil {
		s.blind(err)
		return
	}
	found, _, _ := strings.Cut(string(out.Stdout), " ")
	if s.know("backup.sum-read", out.Exit == 0, "to read "+file, quoted(string(out.Stderr))) {
		s.need("backup.sum", found == wanted, "the checksum "+wanted, found+": it was changed since it was taken", "take another with shiksha backup")
	}
}

// proof looks for a backup that was really restored.
func (b *Backup) proof(s *Sight, all []backup.Backup) {
	if b.Proven == 0 {
		return
	}
	newest := time.Time{}
	for _, k := range all {
		if k.Proven.After(newest) {
			newest = k.Proven
		}
	}
	s.need("backup.proven", time.Since(newest) < time.Duration(b.Proven), "a backup restored within "+b.Proven.String(), "the last was restored: "+when(newest), "prove one with shiksha backup --prove")
}

func when(at time.Time) string {
	if at.IsZero() {
		return "never"
	}
	return at.UTC().Format(time.RFC3339)
}

// list gives the dumps, the newest first. The loop is read by the unit's shell;
// the folder is an argument of it and never part of its text.
func (b *Backup) list(s *Sight, u stack.Unit) ([]dump, bool) {
	const script = `cd -- "$1" || exit 9; for f in *; do [ -f "$f" ] && stat -c '%Y %s %n' -- "$f"; done; true`
	out, exit, ok := s.run(u, []string{"sh", "-c", script, "sh", b.Dir}, nil, nil)
	if !ok || !s.need("backup.dir", exit == 0, "the folder "+b.Dir, quoted(out)) {
		return nil, false
	}
	pattern := b.Pattern
	if !pattern.given() {
		pattern = dumpName
	}
	var dumps []dump
	for _, line := range strings.Split(out, "\n") {
		fields := strings.SplitN(line, " ", 3)
		if len(fields) < 3 || !pattern.MatchString(fields[2]) {
			continue
		}
		at, err := strconv.ParseInt(fields[0], 10, 64)
		size, wrong := strconv.ParseInt(fields[1], 10, 64)
		if err == nil && wrong == nil {
			dumps = append(dumps, dump{fields[2], time.Unix(at, 0), size})
		}
	}
	slices.SortFunc(dumps, func(x, y dump) int { return y.at.Compare(x.at) })
	return dumps, true
}

// read reads a dump to its end: a list of its contents would not notice that the
// end is missing.
func (b *Backup) read(s *Sight, u stack.Unit, file string) {
	switch {
	case strings.HasSuffix(file, ".gz"):
		out, exit, ok := s.run(u, []string{"sh", "-c", `gzip -t -- "$1" && gzip -dc -- "$1" | tail -n 20`, "sh", file}, nil, nil)
		if ok && s.need("backup.gzip", exit == 0, "a gzip file that is whole", quoted(out)) {
			b.complete(s, out)
		}
	case strings.HasSuffix(file, ".sql"):
		if out, _, ok := s.run(u, []string{"tail", "-n", "20", file}, nil, nil); ok {
			b.complete(s, out)
		}
	default:
		out, exit, ok := s.run(u, []string{"pg_restore", "-f", "/dev/null", file}, nil, nil)
		if ok {
			s.need("backup.read", exit == 0, "a dump that pg_restore reads to its end", quoted(out))
		}
	}
}

// complete looks for the line that pg_dump writes last.
func (b *Backup) complete(s *Sight, tail string) {
	s.need("backup.complete", strings.Contains(tail, "PostgreSQL database dump complete"), "the line that pg_dump writes last", quoted(tail))
}
