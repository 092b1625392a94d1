package kind

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
)

// expectations are operators that hold for anything but what a test has, and those
// that hold for nothing.
var (
	holdsForMost    = []string{"exists: true", "not: x", "not_matches: x"}
	holdsForNothing = []string{"empty: true", "equals: ''", "matches: '^$'"}
)

// outcomes looks once for each of some expectations at what a command prints.
func outcomes(t *testing.T, format, stdout, stderr string, exit int, expectations ...string) (out []check.Outcome) {
	t.Helper()
	for _, e := range expectations {
		shell := fakeShell{exec: func(_ string, argv, _ []string) (string, string, int) {
			switch line := strings.Join(argv, " "); {
			case strings.Contains(line, "PING"):
				return "PONG", "", 0
			case strings.Contains(line, "INFO"):
				return "rdb_last_bgsave_status:ok\nused_memory:1\nmaxmemory_policy:noeviction", "", 0
			case strings.Contains(line, "SELECT 1"):
				return "1\n", "", 0
			case strings.Contains(line, "SELECT count"):
				return "t|1 of 9\n", "", 0
			case strings.Contains(line, "recovery"):
				return "f\n", "", 0
			case strings.Contains(line, "pg_isready"):
				return "", "", 0
			}
			return stdout, stderr, exit
		}}
		out = append(out, sees(t, fmt.Sprintf(format, "{"+e+"}"), shell, "a").Outcome)
	}
	return out
}

func each(o check.Outcome) []check.Outcome { return []check.Outcome{o, o, o} }

// A key that Redis does not have is not there, whatever is asked of it; an empty text is.
func TestRedis_Nothing(t *testing.T) {
	t.Parallel()
	const text = "redis: {service: it, canary: false, commands: [{run: [GET, beat], expect: %s}]}"
	for _, nothing := range []string{"(nil)\n", "(empty array)\n", "(empty list or set)\n", "1) (nil)\n2) (nil)\n", "1) (empty array)\n2) (nil)\n"} {
		assert.Equal(t, each(check.Fail), outcomes(t, text, nothing, "", 0, holdsForMost...), nothing)
		assert.Equal(t, each(check.Fail), outcomes(t, text, nothing, "", 0, "empty: false", "equals: ''", "matches: '^$'"), nothing)
		assert.Equal(t, []check.Outcome{check.Pass}, outcomes(t, text, nothing, "", 0, "exists: false"), nothing)
		empty := check.Fail
		if strings.HasPrefix(nothing, "(empty") {
			empty = check.Pass
		}
		assert.Equal(t, []check.Outcome{empty, check.Fail}, outcomes(t, text, nothing, "", 0, "empty: true", "empty: true, not: x"), nothing)
	}
	assert.Equal(t, each(check.Fail), outcomes(t, text, "", "", 0, holdsForMost...), "no answer at all")
	for _, something := range []string{`""`, `"\n"`} {
		assert.Equal(t, each(check.Pass), outcomes(t, text, something, "", 0, holdsForMost...), something)
	}
	assert.Equal(t, each(check.Pass), outcomes(t, text, `""`, "", 0, holdsForNothing...), "an empty text is a value")
	assert.Equal(t, each(check.Pass), outcomes(t, text, "1) (nil)\n2) \"a\"\n", "", 0, holdsForMost...), "one of two keys")
	for _, wrong := range []string{"(error) ERR unknown command", "NOPERM this user has no permissions to run the 'info' command", "1) \"a\"\n2) (error) ERR no"} {
		assert.Equal(t, each(check.Fail), outcomes(t, text, wrong, "", 0, holdsForMost...), wrong)
	}
	assert.Equal(t, each(check.Fail), outcomes(t, text, "", "Could not connect", 1, holdsForMost...))
	for _, well := range []string{`"(error) ERR is what it holds"`, `"NOPERM is what it holds"`, "id=1\nNOPERM x", "OK", "A list", "OK 3 usable Sentinels. Quorum is reached"} {
		assert.Equal(t, each(check.Pass), outcomes(t, text, well, "", 0, "exists: true", "not: y", "not_matches: y"), well)
	}
}

// The form that redis-cli has for people is read back to the value.
func TestRedisValue(t *testing.T) {
	t.Parallel()
	for out, want := range map[string]string{
		`"a \"b\"\n\xc3\xa9\x01"`: "a \"b\"\né\x01", "(integer) -2": "-2", "OK": "OK", "1) \"b\"\n2) \"a\"": "b\na",
		"1) (integer) 1\n2) 1) \"a\"\n   2) \"b\"\n3) (nil)": "1\na\nb\n", `"1) (nil)"`: "1) (nil)", `"(nil)"`: "(nil)", "(nil": "(nil", "x (nil)": "x (nil)",
		`"1700000000\n"`: "1700000000", "1) \" a \"\n2) \"b\\n\"": "a\nb",
	} {
		value, exists := redisValue(out)
		assert.Equal(t, want, value, out)
		assert.True(t, exists, out)
	}
}

// A query without a row, and NULL, has no value; an empty text is one.
func TestPostgres_Nothing(t *testing.T) {
	t.Parallel()
	const text = "postgres: {service: it, indexes: false, queries: [{sql: SELECT version, expect: %s}]}"
	for _, nothing := range []string{"", "\\N\n", "\\N\n\\N\n"} {
		assert.Equal(t, each(check.Fail), outcomes(t, text, nothing, "", 0, holdsForMost...), nothing)
		assert.Equal(t, each(check.Fail), outcomes(t, text, nothing, "", 0, "empty: false", "equals: ''", "matches: '^$'"), nothing)
		empty := check.Fail
		if nothing == "" {
			empty = check.Pass
		}
		assert.Equal(t, []check.Outcome{check.Pass, empty}, outcomes(t, text, nothing, "", 0, "exists: false", "empty: true"), nothing)
	}
	assert.Equal(t, each(check.Pass), outcomes(t, text, "\n", "", 0, holdsForMost...), "an empty text is a value")
	assert.Equal(t, each(check.Pass), outcomes(t, text, "\n", "", 0, holdsForNothing...))
	assert.Equal(t, each(check.Pass), outcomes(t, text, "\\N\n a\n", "", 0, "equals: a", "exists: true", "matches: '^a$'"), "one of two rows")
}

// What a command does not print satisfies nothing that it has to be there for; that it
// printed nothing may be asked for, and is a match of nothing. Standard error may be silent.
func TestExec_Nothing(t *testing.T) {
	t.Parallel()
	const stdout, stderr = "exec: {service: it, command: [x], stdout: %s}", "exec: {service: it, command: [x], stderr: %s}"
	assert.Equal(t, []check.Outcome{check.Fail, check.Fail, check.Pass}, outcomes(t, stdout, "\n", "a", 0, holdsForMost...), "that it printed nothing is known")
	assert.Equal(t, each(check.Pass), outcomes(t, stdout, "\n", "a", 0, holdsForNothing...))
	assert.Equal(t, each(check.Pass), outcomes(t, stdout, "a\n", "", 0, holdsForMost...))
	assert.Equal(t, each(check.Fail), outcomes(t, stdout, "a\n", "", 0, holdsForNothing...))
	assert.Equal(t, []check.Outcome{check.Fail, check.Pass, check.Pass}, outcomes(t, stderr, "a", "\n", 0, holdsForMost...))
	assert.Equal(t, each(check.Pass), outcomes(t, stderr, "a", "\n", 0, holdsForNothing...))
	assert.Equal(t, each(check.Pass), outcomes(t, stderr, "", "a\n", 0, holdsForMost...))
	assert.Equal(t, []check.Outcome{check.Pass, check.Fail}, append(outcomes(t, stdout, "", "a", 0, "exists: false"), outcomes(t, stdout, "a", "", 0, "exists: false")...))
	assert.Equal(t, []check.Outcome{check.Fail, check.Fail}, outcomes(t, stdout, "", "", 0, "empty: true, not: x", "empty: true, exists: true"), "all of them have to hold")
}

// Whoever asks for nothing in other words is told how it is asked for.
func TestNothing_Hint(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"{not: x}": absentHint, "{empty: true}": absentHint, "{exists: true}": ""} {
		s := local(nil).Begin(t.Context(), "it")
		parsed(t, text).check(s, "it", "", false)
		assert.Equal(t, want, s.Finding.Hint, text)
	}
}

// A value of a JSON body that is null, and values of a list that has none, are not there,
// whatever is asked of them. A list or an object without members is, and is empty. What
// somebody writes as JSON does is meant so.
func TestHTTP_Nothing(t *testing.T) {
	t.Parallel()
	at := func(body, path, expectation string) check.Outcome {
		t.Helper()
		return look{check: "http: {path: /, expect: {json: {" + path + ": " + expectation + "}}}", scene: served(200, nil, body)}.at(t, "").Outcome
	}
	for body, path := range map[string]string{`{"it": null}`: "it", `{"data": []}`: "data.#.id", `{"data": [{"name": 1}]}`: "data.#.id"} {
		for _, e := range []string{"{exists: true}", "{exists: true, not: x}", "{empty: false}", "''", "{matches: '^'}", "{contains: ''}"} {
			assert.Equal(t, check.Fail, at(body, path, e), "%s: %s", body, e)
		}
		for _, e := range []string{"{exists: false}", "{empty: true}", "{empty: true, exists: false}", "{not: x}", "{not_matches: x}"} {
			assert.Equal(t, check.Pass, at(body, path, e), "%s: %s", body, e)
		}
	}
	for _, hollow := range []string{`{"it": []}`, `{"it": {}}`, `{"it": [ ]}`} {
		for _, e := range []string{"{exists: true}", "{not: x}", "{not_matches: x}", "{empty: true}", "{empty: true, not: x}"} {
			assert.Equal(t, check.Pass, at(hollow, "it", e), "%s: %s", hollow, e)
		}
		for _, e := range []string{"{exists: false}", "{empty: false}", "''"} {
			assert.Equal(t, check.Fail, at(hollow, "it", e), "%s: %s", hollow, e)
		}
	}
	for body, text := range map[string]string{`{"it": null}`: "null", `{"it": []}`: "'[]'", `{"it": {}}`: "{equals: '{}'}", `{"it": "null"}`: "null"} {
		assert.Equal(t, check.Pass, at(body, "it", text), body)
	}
	assert.Equal(t, check.Fail, at(`{}`, "it", "null"), "a path that is not there")
	assert.Equal(t, check.Fail, at(`{}`, "it", "''"))
	assert.Equal(t, check.Fail, at(`{}`, "it", "{empty: true}"))
	for _, something := range []string{`{"it": [1]}`, `{"it": {"a": 1}}`, `{"it": 0}`, `{"it": false}`, `{"it": "a"}`} {
		for _, e := range []string{"{exists: true}", "{not: x}", "{not_matches: x}", "{empty: false}"} {
			assert.Equal(t, check.Pass, at(something, "it", e), "%s: %s", something, e)
		}
		assert.Equal(t, check.Fail, at(something, "it", "{exists: false}"), something)
	}
	assert.Equal(t, check.Pass, at(`{"it": ""}`, "it", "{exists: true, empty: true, not: x}"), "an empty text is a value")
	assert.Equal(t, check.Pass, at(`{"data": []}`, "'data.#'", "0"), "and so is a count")
}
