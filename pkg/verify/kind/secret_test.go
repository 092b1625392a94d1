package kind

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// canary is a secret that nothing may show. It is in the environment of the unit of
// every service of these tests.
const canary = "hunter2-and-more"

// echo answers with all that it was told, as a server in debug mode does.
func echo(w http.ResponseWriter, r *http.Request) {
	w.WriteHeader(http.StatusInternalServerError)
	body, _ := io.ReadAll(r.Body)
	_, _ = fmt.Fprintf(w, "%v %s", r.Header, body)
}

// A server, or a program, that repeats a secret does not get it into the report: not
// in what was found, not in the evidence, not in an error.
func TestSecretsAreShownNowhere(t *testing.T) {
	t.Parallel()
	repeats := map[string]string{}
	for _, e := range []string{"", "[REDISCLI_AUTH=" + canary + "] ", "[PGPASSWORD=" + canary + "] ", "[TOKEN=" + canary + "] "} {
		for _, program := range []string{"redis-cli", "pg_isready", "psql", "celery", "env"} {
			repeats[e+program] = "!" + program + ": refused: " + canary
		}
	}
	repeats["cat /run/secrets/key"] = canary + "\n"
	for name, text := range map[string]string{
		"header by reference":         "http: {path: /, headers: {X-Api: {env: PASSWORD, service: api}}}",
		"header by reference, prefix": "http: {path: /, headers: {Authorization: {env: PASSWORD, service: api, prefix: 'Bearer '}}}",
		"header from a file":          "http: {path: /, headers: {X-Api: {file: /run/secrets/key, service: api}}}",
		"header that was written out": "http: {path: /, headers: {Authorization: 'Bearer " + canary + "'}}",
		"cookie that was written out": "http: {path: /, headers: {Cookie: 'session=" + canary + "'}}",
		"key that was written out":    "http: {path: /, headers: {X-Api-Key: " + canary + "}}",
		"rate limit":                  "rate-limit: {path: /, requests: 2, headers: {Authorization: {env: PASSWORD, service: api, prefix: 'Bearer '}}}",
		"redis":                       "redis: {service: api, password: {env: PASSWORD}}",
		"postgres":                    "postgres: {service: api, password: {env: PASSWORD}}",
		"celery":                      "celery: {service: api, app: app, env: {TOKEN: {env: PASSWORD}}}",
		"exec":                        "exec: {service: api, command: [env], env: {TOKEN: {env: PASSWORD}}}",
		"grafana's token":             "grafana: {url: '{{url}}', token: {env: PASSWORD, service: api}}",
		"grafana's password":          "grafana: {url: '{{url}}', user: admin, password: {env: PASSWORD, service: api}}",
		"logs":                        "all:\n  - exec: {service: api, command: [env], env: {TOKEN: {env: PASSWORD}}}\n  - logs: {services: [api], forbid: [password]}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := handled(echo)(t)
			units := one("api", repeats)(t)
			s.Units, s.Shell = units.Units, units.Shell
			units.Shell.(*fakeUnits).log = "the password is " + canary
			var told []string
			s.Protect = func(secrets ...string) { told = append(told, secrets...) }
			f := look{check: text, scene: func(*testing.T) *Scene { return s }}.at(t, "")
			assert.NotEqual(t, check.Pass, f.Outcome, "%+v", f)
			assert.NotContains(t, fmt.Sprintf("%+v", f), canary)
			assert.NotEmpty(t, f.Evidence, "the probe is shown")
			assert.Contains(t, strings.Join(told, " "), canary, "who prints more is told what to hide")
		})
	}
}

// A secret at the place where a long text is cut is not shown in half.
func TestSecretsAreNotCutInHalf(t *testing.T) {
	t.Parallel()
	for at := maxText - len(canary) - 2; at <= maxText+2; at++ {
		s := served(500, nil, strings.Repeat("x", at)+canary)(t)
		s.Hide(canary)
		f := look{check: "http: {path: /}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
		assert.NotContains(t, fmt.Sprintf("%+v", f), canary[:4])
	}
}

// Variables of the stack that are secrets by their names are hidden though no check
// names them.
func TestSecretsOfTheStackAreHidden(t *testing.T) {
	t.Parallel()
	s := served(500, nil, "FATAL: password "+canary+" is wrong, level information")(t)
	s.Stack = &stack.Stack{Services: map[string]*stack.Service{"api": {Environment: map[string]string{"DB_PASSWORD": canary, "LOG_LEVEL": "information", "KEY": "short"}}}}
	s.HideEnvironment()
	f := look{check: "http: {path: /}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
	assert.NotContains(t, fmt.Sprintf("%+v", f), canary)
	assert.Contains(t, f.Found, "level information", "what is no secret stays")
}

// A password in an address and a variable that is called AUTH are hidden in what a unit
// logs and in what a command quotes, though verify is given no env-file.
func TestSecretsInAddressesOfTheStackAreHidden(t *testing.T) {
	t.Parallel()
	for name, stacks := range map[string]*stack.Stack{
		"service":   {Services: map[string]*stack.Service{"api": {Environment: map[string]string{"DATABASE_URL": "postgres://u:" + canary + "@db/shop"}}}},
		"auth":      {Services: map[string]*stack.Service{"api": {Environment: map[string]string{"HTTP_BASIC_AUTH": canary}}}},
		"file":      {Project: &types.Project{Environment: types.Mapping{"BROKER": "redis://:" + canary + "@redis"}}},
		"in secret": {Project: &types.Project{Secrets: types.Secrets{"db": {Content: canary}}}},
	} {
		units := one("api", map[string]string{"env": "!cannot reach postgres://u:" + canary + "@db/shop, level information"})(t)
		units.Shell.(*fakeUnits).log = "FATAL: cannot reach postgres://u:" + canary + "@db/shop"
		units.Stack = stacks
		units.HideEnvironment()
		for _, text := range []string{"exec: {service: api, command: [env]}", "logs: {services: [api], forbid: [FATAL]}"} {
			f := look{check: text, scene: func(*testing.T) *Scene { return units }}.at(t, "")
			assert.Equal(t, check.Fail, f.Outcome, "%s: %+v", name, f)
			assert.NotContains(t, fmt.Sprintf("%+v", f), canary, name)
			assert.Contains(t, f.Found, "reach postgres://u:***@db/shop", "what is no secret stays")
		}
	}
}

// What one part captures and another sends as a secret is one from the answer on that
// it was captured in, whether the parts pass or not, and whatever its length.
func TestSecretsThatAreCapturedAreHidden(t *testing.T) {
	t.Parallel()
	const login = "http: {path: /login, capture: {it: 'is (\\S+)'}}"
	for name, c := range map[string]struct {
		first, second string
		shown         bool
	}{
		"sent as a header":         {login, "http: {path: /, headers: {Authorization: 'Bearer {{it}}'}}", false},
		"sent as a header, spaced": {login, "http: {path: /, headers: {Authorization: 'Bearer {{ it }}'}}", false},
		"in a cookie":              {login, "http: {path: /, headers: {Cookie: 'session={{it}}'}}", false},
		"of many requests":         {login, "rate-limit: {path: /, requests: 2, headers: {X-Api-Key: '{{it}}'}}", false},
		"printed by a command":     {"exec: {service: api, command: [env], capture: {it: 'is (\\S+)'}}", "http: {path: /, headers: {Authorization: 'Bearer {{it}}'}}", false},
		"called a secret":          {"http: {path: /login, capture: {token: 'is (\\S+)'}}", "http: {path: /, body: '{{token}}'}", false},
		"the login fails":          {"http: {path: /login, expect: {status: 201}, capture: {it: 'is (\\S+)'}}", "http: {path: /, headers: {Authorization: 'Bearer {{it}}'}}", false},
		"no secret":                {login, "http: {path: /, headers: {X-Mine: 'a {{it}}'}}", true},
	} {
		s := handled(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/login" {
				_, _ = fmt.Fprint(w, strings.Repeat("x", maxText-31), " it is captured-value ")
				return
			}
			echo(w, r)
		})(t)
		units := one("api", map[string]string{"env": "it is captured-value"})(t)
		s.Units, s.Shell = units.Units, units.Shell
		f := look{check: "all:\n  - " + c.first + "\n  - " + c.second, scene: func(*testing.T) *Scene { return s }}.at(t, "")
		assert.NotEqual(t, check.Pass, f.Outcome, "%s: %+v", name, f)
		require.NotEmpty(t, f.Evidence, name)
		assert.Equal(t, c.shown, strings.Contains(fmt.Sprintf("%+v", f), "captured"), "%s: %+v", name, f)
	}
}

// What every report names is not hidden because it is sent in a secret header, and what
// stands beside it is.
func TestSecretsBesideWhatIsToldAnyway(t *testing.T) {
	t.Parallel()
	s := handled(echo)(t)
	s.Version = "v2-of-the-shop"
	f := look{check: "http: {path: /, headers: {X-Api-Key: '{{version}} " + canary + "', X-Token: '{{version}}'}}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
	assert.NotContains(t, fmt.Sprintf("%+v", f), canary)
	assert.Equal(t, "the version is v2-of-the-shop", s.Clean("the version is v2-of-the-shop"))
	f = look{check: "http: {path: /, headers: {Authorization: 'Bearer {{nobody}}'}}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
	assert.Equal(t, "{{nobody}} has no value here, as project, release, url, version have", f.Found)
}

// A secret that cannot be had is no pass, and says where it was looked for.
func TestSecretsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	for text, found := range map[string]string{
		"{env: NOBODY, service: api}":           "the secret NOBODY of api is empty",
		"{env: PASSWORD, service: gone}":        "the secret PASSWORD cannot be read: service gone has no running unit",
		"{env: PASSWORD}":                       "the secret PASSWORD names no service",
		"{file: /run/secrets/no, service: api}": "the file /run/secrets/no of shop-api-1 cannot be read",
	} {
		s := handled(echo)(t)
		units := one("api", map[string]string{"cat": "!cat: no such file"})(t)
		s.Units, s.Shell = units.Units, units.Shell
		f := look{check: "http: {path: /, headers: {X-Api: " + text + "}}", scene: func(*testing.T) *Scene { return s }}.at(t, "")
		assert.NotEqual(t, check.Pass, f.Outcome)
		assert.Contains(t, f.Found, found)
	}
}

// What is written where a reference to a secret belongs is not repeated: it may be
// the secret itself.
func TestSecretsInTheFileAreNotRepeated(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"redis: {service: redis, password: " + canary + "}",
		"redis: {service: redis, password: [" + canary + "]}",
		"redis: {service: redis, password: {env: A, file: " + canary + "}}",
		"redis: {service: redis, password: {file: " + canary + "}}",
		"redis: {service: redis, password: {value: " + canary + "}}",
		"http: {url: 'ftp://user:" + canary + "@h/'}",
		"http: {url: 'http://user:" + canary + "@h:port/'}",
		"postgres: {service: db, password: '${PASSWORD:-" + canary + "}'}",
		"exec: {service: api, command: [x], env: {TOKEN: " + canary + "}}",
	} {
		_, err := ReadFile("verify.yml", []byte("- name: it\n  "+text))
		require.Error(t, err, text)
		assert.Equal(t, fault.Input, fault.Of(err))
		assert.NotContains(t, err.Error()+fault.Hint(err), canary, text)
		assert.Contains(t, err.Error(), "verify.yml:")
	}
}
