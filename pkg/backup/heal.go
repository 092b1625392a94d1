package backup

import (
	"context"
	"crypto/sha256"
	"fmt"
	"regexp"
	"strings"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// SessionName is the variable of libpq that names the sessions of a project's task. A
// client that is killed leaves its statement at work in the server, and even its commit:
// by their name such sessions are found and ended, and those of other projects are not.
func SessionName(task, project string) (variable, value string) {
	return "PGAPPNAME", "shiksha-" + task + "/" + inSession(project)
}

// inSession is a project in the name of a session. PostgreSQL cuts that at its limit: the
// sum keeps projects with long names apart, and its dot from those with short ones.
func inSession(project string) string {
	const whole, kept = 40, 23
	if len(project) <= whole {
		return project
	}
	return fmt.Sprintf("%s.%.8x", project[:kept], sha256.Sum256([]byte(project)))
}

// unfinished is the comment of a database that a restore still fills, restoredFrom
// begins the comment of one that was swapped in.
const (
	unfinished   = "shiksha: unfinished restore"
	restoredFrom = "shiksha: backup "
)

// beyond is the database to connect to for what is done to the one in use: nobody can rename
// the database that they are connected to.
const beyond = `beyond=postgres; [ "$PGDATABASE" != postgres ] || beyond=template1
`

// healScript ends what a killed run of the project left at work in the server, lets
// everybody connect again where a swap had shut them out, drops databases that no restore
// filled to its end, and prints "name<tab>comment" of those that are left. Before the
// names of sessions had the project in them, only the database said whose they are.
const healScript = beyond + `set -eo pipefail; export PGOPTIONS="-c client_min_messages=warning"
p() { psql -AtXq -v ON_ERROR_STOP=1 -v db="$1" -v like="$2" -v mark="$3" -v project="$4" -d "$beyond" -f -; }
i=0
while :; do
n=$(p "$@" <<'SQL'
SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND (application_name IN ('shiksha-migrate/' || :'project', 'shiksha-backup/' || :'project',
  'shiksha-restore/' || :'project', 'shiksha-swap/' || :'project')
OR application_name IN ('shiksha-migrate', 'shiksha-backup', 'shiksha-restore', 'shiksha-swap') AND (datname = :'db' OR datname ~ :'like'))
SQL
) || { echo "sessions of an interrupted run may still be at work"; exit 15; }
[ "$n" != 0 ] || break
i=$((i + 1)); [ $i -lt 100 ] || { echo "sessions of an interrupted run do not end"; exit 15; }; sleep 0.2; done
p "$@" <<'SQL'
SELECT format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname) FROM pg_database
WHERE NOT datallowconn AND (datname = :'db' OR datname ~ :'like')
\gexec
SELECT format('DROP DATABASE %I', datname) FROM pg_database WHERE datname ~ :'like' AND shobj_description(oid, 'pg_database') = :'mark'
\gexec
SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = :'db' OR datname ~ :'like' ORDER BY datname
SQL`

// State is how a database stands after an interrupted run was healed.
type State struct {
	Database string
	// Backup is the one that it was brought back to, "" when it never was.
	Backup string
	// Replaced are the databases that restores put aside.
	Replaced []string
}

// String says it in a sentence.
func (s State) String() string {
	if s.Backup == "" {
		return fmt.Sprintf("database %s is the one from before", s.Database)
	}
	text := fmt.Sprintf("database %s is that of backup %s", s.Database, s.Backup)
	if len(s.Replaced) > 0 {
		text += ", the replaced one is kept as " + s.Replaced[len(s.Replaced)-1]
	}
	return text
}

// Heal ends what an interrupted run left at work in a database's server and says
// which database has the name in use. Nothing of a database that was in use is
// changed. Call it under the project's lock, after its tasks were cleared.
func (s *Store) Heal(ctx context.Context, from Source) (State, error) {
	access, err := s.access(ctx, from)
	if err != nil {
		return State{}, err
	}
	state := State{Database: access["PGDATABASE"]}
	if err := s.Engine.ClearTasks(ctx, s.Project); err != nil {
		return state, err
	}
	like := "^" + regexp.QuoteMeta(beside(state.Database, "")) + `_(restored|replaced)_[0-9]{8}t[0-9]{6}$`
	ended, err := s.tool(ctx, from, access, "heal", healScript, state.Database, like, unfinished, inSession(s.Project))
	if err == nil && ended.Exit != 0 {
		err = fmt.Errorf("it ended with %d: %s", ended.Exit, strings.TrimSpace(ended.Output))
	}
	if err != nil {
		return state, fault.New(fault.Refused, "service "+from.Service, fmt.Sprintf("look at its sessions in pg_stat_activity, end those named shiksha-.../%s (an older version: shiksha-... in database %s) "+
			"as a user that may (pg_terminate_backend), and run it again", inSession(s.Project), state.Database),
			"what an interrupted run left in database %s could not be ended: %w", state.Database, err)
	}
	for line := range strings.Lines(ended.Output) {
		name, comment, _ := strings.Cut(strings.TrimSpace(line), "|")
		switch id, swapped := strings.CutPrefix(comment, restoredFrom); {
		case name == state.Database && swapped:
			state.Backup = id
		case strings.Contains(name, "_replaced_"):
			state.Replaced = append(state.Replaced, name)
		}
	}
	return state, nil
}

// tool runs a script in a container of the database's image, beside its unit.
func (s *Store) tool(ctx context.Context, from Source, access map[string]string, name, script string, args ...string) (stack.Ended, error) {
	if err := s.Files.MkdirAll(ctx, s.Dir, 0o700); err != nil {
		return stack.Ended{}, fmt.Errorf("make the folder for backups: %w", err)
	}
	variable, session := SessionName(name, s.Project)
	env := map[string]string{variable: session}
	for k, v := range access {
		env[k] = v
	}
	return s.Engine.RunImage(ctx, s.Project, stack.Task{
		Name: name, Image: from.Unit.ImageID, Network: "container:" + from.Unit.ID, User: s.User, Binds: []string{s.Dir}, Env: env,
		Command: append([]string{"bash", "-c", script, name}, args...),
	})
}

// longestName is PostgreSQL's limit for a name, in bytes.
const longestName = 63

// beside makes the name of a database beside another; without a suffix it is the
// part of the name that all of them share.
func beside(database, suffix string) string {
	const longest = len("_restored_20060102t150405")
	return database[:min(len(database), longestName-longest)] + suffix
}
