package kind

import (
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
func TestNeedsURL(t *testing.T) {
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
		assert.Equal(t, needs, only(t, text).NeedsURL(), text)
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
