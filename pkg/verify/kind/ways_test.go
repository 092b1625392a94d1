package kind

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// only is the check of a file with one.
func only(t *testing.T, text string) *Check {
	t.Helper()
	checks, err := ReadFile("v.yml", []byte("- name: a\n  "+text))
	require.NoError(t, err, text)
	return &checks[0]
}

// A check that decides needs the address of the users where it has a path only, or names it.
func TestVariables_URL(t *testing.T) {
	t.Parallel()
	for text, needs := range map[string]bool{
		"http: {path: /}": true,
		"http: {url: \"https://shop.example.org/\"}":                                          false,
		"http: {url: \"{{url}}/health\"}":                                                     true,
		"http: {service: api, port: 1, path: /}":                                              false,
		"http: {service: a, port: 1, expect: {headers: {Location: {contains: \"{{url}}\"}}}}": true,
		"http: {service: a, port: 1, expect: {headers: {Location: {contains: x}}}}":           false,
		"disk: {}": false,
		"exec: {service: api, command: [curl, \"{{url}}\"]}":     true,
		"exec: {service: api, command: [curl, localhost]}":       false,
		"http: {service: a, port: 1, headers: {A: \"{{url}}\"}}": true,
		"http: {service: a, port: 1, headers: {A: b}}":           false,
		"all: [{disk: {}}, {http: {path: /}}]":                   true,
		"all: [{disk: {}}, {http: {path: /}, level: warn}]":      false,
		"all: [{disk: {}, level: warn}, {http: {path: /}}]":      true,
		"level: warn\n  http: {path: /}":                         false,
		"level: warn\n  all: [{http: {path: /}}]":                false,
	} {
		assert.Equal(t, needs, slices.Contains(only(t, text).Variables(), "url"), text)
	}
}

// What a check names and nothing gives a value is known before a release, wherever it stands
// for one; what is handed on as it is names nothing.
func TestVariables(t *testing.T) {
	t.Parallel()
	for text, names := range map[string][]string{
		"http: {url: \"http://h/{{a}}\"}":                                                                                   {"a"},
		"http: {service: s, port: 1, path: \"/{{ a }}?{{b.c-d}}\"}":                                                         {"a", "b.c-d"},
		"http: {service: s, port: 1, body: \"{{a}}\"}":                                                                      {"a"},
		"http: {service: s, port: 1, headers: {A: \"{{a}}\"}, expect: {body: {not: \"{{b}}\"}}}":                            {"a", "b"},
		"http: {service: s, port: 1, expect: {json: {x: \"{{a}}\", \"{{no}}\": 1}}}":                                        {"a"},
		"exec: {service: s, command: [x, \"{{a}}\"], stdin: \"{{no}}\"}":                                                    {"a"},
		"exec: {on: host, command: [docker, inspect, -f, \"{{.State.Status}}\", x]}":                                        {".State.Status"},
		"tcp: {address: \"{{a}}:1\", send: \"{{no}}\"}":                                                                     {"a"},
		"tls: {address: \"{{a}}:1\"}":                                                                                       {"a"},
		"prometheus: {url: \"{{a}}\", queries: [{query: \"up{v='{{b}}'}\", expect: 1}]}":                                    {"a", "b"},
		"postgres: {service: s, queries: [{sql: \"select '{{a}}'\", expect: {ge: 1}}]}":                                     {"a"},
		"redis: {service: s, commands: [{run: [EVAL, \"{{no}}\"], expect: \"{{a}}\"}]}":                                     {"a"},
		"logs: {services: [s], require: [\"a{{1}}\"]}":                                                                      nil,
		"all: [{exec: {service: s, command: [x], capture: {a: x}}}, {exec: {service: s, command: [\"{{a}}\", \"{{b}}\"]}}]": {"b"},
		"all: [{exec: {service: s, command: [\"{{a}}\"]}}, {http: {url: \"http://h\", capture: {a: x}}}]":                   {"a"},
		"all: [{exec: {service: s, command: [\"{{a}}\"]}, level: warn}, {disk: {}}]":                                        nil,
	} {
		assert.Equal(t, names, only(t, text).Variables(), text)
	}
}

// What a check connects to on the host is known before the release, of the parts that decide.
func TestDials(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"tcp: {service: db, port: 5432}":                             {"db", "5432"},
		"prometheus: {service: prometheus, jobs: [api]}":             {"prometheus", "9090"},
		"prometheus: {service: prometheus, port: 9191, jobs: [api]}": {"prometheus", "9191"},
		"prometheus: {url: \"http://x\", jobs: [api]}":               {"", ""},
		"tcp: {address: \"db:5432\", from: host}":                    {"", "db:5432"},
		"tcp: {address: \"db:5432\"}":                                {"", ""},
		"tcp: {address: \"{{project}}:5432\", from: host}":           {"", ""},
		"disk: {}": {"", ""},
		"all: [{disk: {}}, {tcp: {service: db, port: 5432}}]":                            {"db", "5432"},
		"all: [{tcp: {service: db, port: 5432}, level: warn}, {disk: {}}]":               {"", ""},
		"all: [{tcp: {service: a, port: 1}, level: warn}, {tcp: {service: b, port: 2}}]": {"b", "2"},
	} {
		service, addr := only(t, text).Dials()
		assert.Equal(t, want[0], service, text)
		if want[1] == "" {
			assert.Empty(t, addr, text)
			continue
		}
		assert.Contains(t, addr, want[1], text)
	}
}
