package backup

import (
	"context"
	"strings"
)

// hasQuery asks for what a dump needs and has not: the roles that it names, and the other
// databases of the server. The user that made the server is in no list of what depends on
// it; a table of its own tells that the dump names it. Our own that earlier restores put
// aside do not count, nor does the one that every server has.
const hasQuery = `SELECT DISTINCT 'role', r.rolname FROM pg_roles r
WHERE r.rolname !~ '^pg_' AND r.rolname !~ E'[\\t\\n]' AND (
  EXISTS (SELECT 1 FROM pg_shdepend d WHERE d.refclassid = 'pg_authid'::regclass AND d.refobjid = r.oid
    AND d.dbid = (SELECT oid FROM pg_database WHERE datname = current_database()))
  OR r.oid = 10 AND EXISTS (SELECT 1 FROM pg_class c WHERE c.relowner = r.oid AND c.oid >= 16384 AND c.relpersistence <> 't'
    AND NOT EXISTS (SELECT 1 FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.deptype IN ('e', 'i'))))
UNION ALL SELECT 'database', datname FROM pg_database
WHERE NOT datistemplate AND datname NOT IN ('postgres', current_database()) AND datname !~ E'[\\t\\n]'
  AND datname !~ '_(restored|replaced)_[0-9]{8}t[0-9]{6}$'
ORDER BY 1, 2;`

// has reads what hasQuery found; nothing where the server did not say.
func (s *Store) has(ctx context.Context, id string) (roles, databases []string) {
	data, err := s.Files.Read(ctx, s.dump(id)+".has")
	if err != nil {
		return nil, nil
	}
	for line := range strings.Lines(string(data)) {
		switch kind, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t"); kind {
		case "role":
			roles = append(roles, name)
		case "database":
			databases = append(databases, name)
		}
	}
	return roles, databases
}

// lacksScript ends with 15, and the names, where the server lacks roles of $4, one a line:
// pg_restore would fail at the first.
const lacksScript = `lacks=$(psql -AtXq -v ON_ERROR_STOP=1 -v roles="$4" -d postgres -f - <<'SQL'
SELECT string_agg(r, ', ') FROM unnest(string_to_array(:'roles', E'\n')) r WHERE r NOT IN (SELECT rolname FROM pg_roles)
SQL
) || exit 12
[ -z "$lacks" ] || { echo "$lacks"; exit 15; }
`

// lacksRoles is what a script ends with after lacksScript.
const lacksRoles = 15

// makeRoles makes roles that nobody logs in as, where a throwaway server lacks them.
func makeRoles(roles []string) string {
	var quoted []string
	for _, r := range roles {
		quoted = append(quoted, "'"+strings.ReplaceAll(r, "'", "''")+"'")
	}
	return "SELECT format('CREATE ROLE %I NOLOGIN', r) FROM unnest(ARRAY[" + strings.Join(quoted, ", ") +
		"]::text[]) r WHERE r NOT IN (SELECT rolname FROM pg_roles)\n\\gexec\n"
}
