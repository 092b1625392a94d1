package kind

import (
	"cmp"
	"fmt"
	"strings"

	"github.com/shiksha/actions/pkg/backup"
	"github.com/shiksha/actions/pkg/stack"
)

// Postgres asks a PostgreSQL server with the programs of its own unit.
type Postgres struct {
	Service     string  `yaml:"service" jsonschema:"required" help:"Service whose units are PostgreSQL."`
	User        string  `yaml:"user" help:"Default: the unit's POSTGRES_USER or POSTGRES_USER_FILE, else postgres."`
	Database    string  `yaml:"database" help:"Default: the unit's POSTGRES_DB or POSTGRES_DB_FILE, else the user's name."`
	Password    *Secret `yaml:"password" help:"Where the password is. Default: none is given, and the local socket is used."`
	Port        int     `yaml:"port" jsonschema:"exclusiveMinimum=0" help:"Default: 5432."`
	Role        string  `yaml:"role" jsonschema:"enum=primary,enum=standby,enum=any" help:"What the server has to be. Default: primary."`
	Connections float64 `yaml:"connections" jsonschema:"exclusiveMinimum=0" help:"Share of max_connections that may be used. Default: 0.8."`
	Indexes     *bool   `yaml:"indexes" help:"Whether an invalid index fails. Default: true."`
	Queries     []Query `yaml:"queries" help:"More questions."`
}

// Query is one question to a database and what its answer has to be.
type Query struct {
	SQL    string `yaml:"sql" jsonschema:"required" help:"A statement that gives one value."`
	Expect Match  `yaml:"expect" jsonschema:"required" help:"What the value has to be. No row and NULL count as missing (no row also as empty); an empty string does not."`
}

// Manner is how it is looked at.
func (p *Postgres) Manner() Manner { return brisk(InUnit) }

// Check tells what cannot be asked.
func (p *Postgres) Check() error { return share("connections", p.Connections) }

// Look asks every unit.
func (p *Postgres) Look(s *Sight) {
	units, err := s.running(s.Ctx, p.Service)
	if err != nil {
		s.blind(err)
		return
	}
	for _, u := range units {
		s.at(u.Name)
		p.unit(s, u)
	}
}

// session is how one unit is spoken to.
type session struct {
	*Sight
	unit stack.Unit
	args []string
	env  []string
}

func (p *Postgres) unit(s *Sight, u stack.Unit) {
	close, err := s.Units.Inspect(s.Ctx, u.ID)
	if err != nil {
		s.blind(err)
		return
	}
	given := func(said, variable, otherwise string) string {
		if said == "" && err == nil {
			said, err = backup.Given(close, variable, func(argv []string) (string, string, int, error) {
				return s.Shell.ExecEnv(s.Ctx, close.ID, argv, nil, nil)
			})
		}
		return cmp.Or(said, otherwise)
	}
	user := given(p.User, "POSTGRES_USER", "postgres")
	database := given(p.Database, "POSTGRES_DB", user)
	if err != nil {
		s.blind(err)
		return
	}
	db := session{Sight: s, unit: u, args: []string{"-U", user, "-d", database, "-p", fmt.Sprint(cmp.Or(p.Port, 5432))}}
	if p.Password != nil {
		password, err := s.reveal(p.Password, p.Service)
		if err != nil {
			s.blind(err)
			return
		}
		db.args, db.env = append(db.args, "-h", "127.0.0.1"), []string{"PGPASSWORD=" + password}
	}
	out, exit, ok := s.run(u, append([]string{"pg_isready", "-t", "5"}, db.args...), db.env, nil)
	if !ok || !s.need("postgres.ready", exit == 0, "a server that accepts connections", quoted(out)) {
		return
	}
	db.ask("SELECT 1 answers", "SELECT 1", "postgres.answer", func(v string) (bool, string) { return v == "1", "1 from SELECT 1" })
	if role := cmp.Or(p.Role, "primary"); role != "any" {
		standby := map[string]string{"primary": "f", "standby": "t"}[role]
		db.ask("pg_is_in_recovery() is", "SELECT pg_is_in_recovery()", "postgres.role", func(v string) (bool, string) { return v == standby, "a " + role })
	}
	limit := cmp.Or(p.Connections, 0.8)
	db.ask("in use are", fmt.Sprintf("SELECT count(*) < %g * current_setting('max_connections')::int, count(*) || ' of ' || current_setting('max_connections') FROM pg_stat_activity WHERE backend_type = 'client backend'", limit),
		"postgres.connections", func(v string) (bool, string) {
			return strings.HasPrefix(v, "t|"), fmt.Sprintf("less than %g of max_connections in use", limit)
		})
	if p.Indexes == nil || *p.Indexes {
		db.ask("invalid are", "SELECT coalesce(string_agg(indexrelid::regclass::text, ', '), '') FROM pg_index WHERE NOT indisvalid", "postgres.indexes",
			func(v string) (bool, string) { return v == "", "no invalid index" })
	}
	for _, q := range p.Queries {
		db.query(q)
	}
	s.settle("pass", "a server that answers", fmt.Sprintf("answers, and %d queries of yours", len(p.Queries)), "")
}

// null is how psql is to print NULL: as COPY writes it.
const null = `\N`

// psql runs a statement and gives what it answers, as it was printed: no row is
// nothing, an empty value an empty line.
func (d session) psql(sql string) (string, int, bool) {
	argv := append([]string{"psql", "-X", "-A", "-t", "-q", "-w", "-v", "ON_ERROR_STOP=1", "-P", "null=" + null, "-c", sql}, d.args...)
	return d.print(d.unit, argv, d.env, nil)
}

// ask asks for one value and lets judge say whether it holds; what introduces the
// value in the report.
func (d session) ask(what, sql, point string, judge func(string) (holds bool, expected string)) {
	out, exit, ok := d.psql(sql)
	if !ok {
		return
	}
	out = strings.TrimSpace(out)
	holds, expected := judge(out)
	d.need(point, holds && exit == 0, expected, what+" "+quoted(strings.TrimPrefix(out, "f|")))
}

func (d session) query(q Query) {
	sql, err := d.expand(q.SQL)
	if err != nil {
		d.blind(err)
		return
	}
	out, exit, ok := d.psql(sql)
	if ok && d.need("postgres.query", exit == 0, "an answer to "+sql, quoted(out)) {
		value, exists := rowsOf(out)
		q.Expect.checkRows(d.Sight, "the answer to "+sql, value, exists, out == "")
	}
}

// rowsOf gives the rows that were printed, and whether there is a value in them: no
// row has none, and NULL is none.
func rowsOf(out string) (value string, exists bool) {
	if out == "" {
		return "", false
	}
	rows := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
	for i, row := range rows {
		if row == null {
			rows[i] = ""
		} else {
			exists = true
		}
	}
	return strings.TrimSpace(strings.Join(rows, "\n")), exists
}
