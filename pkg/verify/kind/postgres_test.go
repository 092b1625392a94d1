package kind

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/stack"
)

// The database and the user are those that the unit was given, also by files: the database
// postgres is always there and well.
func TestPostgres_WhichDatabase(t *testing.T) {
	t.Parallel()
	files := map[string]string{"/run/secrets/db": "shop\n", "/run/secrets/user": "seller\n"}
	for name, c := range map[string]struct {
		env   map[string]string
		check string
		want  string
	}{
		"nothing is said":         {nil, "", "-U postgres -d postgres "},
		"by variables":            {map[string]string{"POSTGRES_USER": "seller", "POSTGRES_DB": "shop"}, "", "-U seller -d shop "},
		"the database by a file":  {map[string]string{"POSTGRES_DB_FILE": "/run/secrets/db"}, "", "-U postgres -d shop "},
		"the user by a file":      {map[string]string{"POSTGRES_USER_FILE": "/run/secrets/user"}, "", "-U seller -d seller "},
		"the check says it":       {map[string]string{"POSTGRES_USER_FILE": "/gone", "POSTGRES_DB_FILE": "/gone"}, ", user: a, database: b", "-U a -d b "},
		"a file that is not read": {map[string]string{"POSTGRES_DB_FILE": "/gone"}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked []string
			shell := fakeShell{exec: func(_ string, argv, _ []string) (string, string, int) {
				if argv[0] == "cat" {
					if text, ok := files[argv[1]]; ok {
						return text, "", 0
					}
					return "", "cat: " + argv[1] + ": No such file", 1
				}
				asked = append(asked, strings.Join(argv, " "))
				return map[bool]string{true: "1"}[strings.Contains(strings.Join(argv, " "), "SELECT 1")], "", 0
			}}
			f := look{check: "postgres: {service: it" + c.check + "}", scene: func(*testing.T) *Scene {
				s := local(&fakeUnits{units: map[string][]stack.Unit{"it": {{ID: "a", Name: "shop-it-1", Service: "it", State: stack.Running, Env: c.env}}}})
				s.Shell = shell
				return s
			}}.at(t, "")
			if c.want == "" {
				assert.Equal(t, check.Unknown, f.Outcome, "%+v", f)
				assert.Contains(t, f.Found, "POSTGRES_DB_FILE of shop-it-1 cannot be read: cat: /gone: No such file")
				assert.Empty(t, asked)
				return
			}
			assert.NotEmpty(t, asked)
			for _, line := range asked {
				assert.Contains(t, line, c.want)
			}
		})
	}
}
