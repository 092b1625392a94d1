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

	"github.com/shiksha/actions/pkg/stack"
)

// Backup looks at the dumps that a service writes, with the programs of its unit.
type Backup struct {
	Service string   `yaml:"service" jsonschema:"required" help:"Service whose unit has the folder of the dumps, and pg_restore for those of pg_dump -Fc."`
	Dir     string   `yaml:"dir" jsonschema:"required" help:"Folder of the dumps in the unit."`
	Pattern Pattern  `yaml:"pattern" help:"Regular expression for the names of dumps. Default: \\.(dump|sql|sql\\.gz)$."`
	Age     Duration `yaml:"age" help:"How old the newest may be. Default: 26h."`
	Shrink  float64  `yaml:"shrink" help:"How large it has to be, of the one before. Default: 0.5."`
	Keep    int      `yaml:"keep" help:"How many there have to be. Default: 1."`
	Read    *bool    `yaml:"read" help:"Whether to read the newest to its end: pg_restore for -Fc; gzip -t and the last line of pg_dump for SQL. Default: true."`
}

// Manner is how it is looked at.
func (b *Backup) Manner() Manner { return Manner{Place: InUnit, Interval: 5 * time.Second, Passes: 1} }

// Check tells what cannot be looked at.
func (b *Backup) Check() error {
	if !path.IsAbs(b.Dir) {
		return errors.New("dir has to be an absolute path in the unit")
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

// Look asks the first unit.
func (b *Backup) Look(s *Sight) {
	units, err := s.running(s.Ctx, b.Service)
	if err != nil {
		s.blind(err)
		return
	}
	u := units[0]
	s.at(u.Name)
	dumps, ok := b.list(s, u)
	if !ok {
		return
	}
	keep := cmp.Or(b.Keep, 1)
	if !s.need("backup.count", len(dumps) >= keep, fmt.Sprintf("%d dumps in %s", keep, b.Dir), fmt.Sprint(len(dumps))) || len(dumps) == 0 {
		return
	}
	newest := dumps[0]
	s.at(newest.name)
	age := time.Since(newest.at)
	s.need("backup.age", age < b.Age.or(26*time.Hour), "a dump of the last "+Duration(b.Age.or(26*time.Hour)).String(), fmt.Sprintf("the newest is %s old", age.Round(time.Minute)))
	s.need("backup.size", newest.size > 0, "a dump with content", "an empty file")
	if len(dumps) > 1 {
		share := float64(newest.size) / max(1, float64(dumps[1].size))
		s.need("backup.shrink", share >= cmp.Or(b.Shrink, 0.5), fmt.Sprintf("at least %g of the size of the one before", cmp.Or(b.Shrink, 0.5)), fmt.Sprintf("%.2f: %d bytes after %d", share, newest.size, dumps[1].size))
	}
	if b.Read == nil || *b.Read {
		b.read(s, u, path.Join(b.Dir, newest.name))
	}
	s.settle("pass", "a fresh dump that can be read", fmt.Sprintf("%d bytes, %s old", newest.size, age.Round(time.Second)), "")
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
