package verify

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

// A rollback is refused before it changes anything where a check that decides needs an
// address that nobody knows; the one that the release was made with is known.
func TestGate_Addressed(t *testing.T) {
	t.Parallel()
	for text, refused := range map[string]bool{
		"[{name: front, http: {path: /}}]":                                                        true,
		"[{name: front, all: [{http: {path: /}}]}]":                                               true,
		"[{name: front, http: {url: '{{url}}/x'}}]":                                               true,
		"[{name: front, rate-limit: {path: /}}]":                                                  true,
		"[{name: front, level: warn, http: {path: /}}]":                                           false,
		"[{name: front, http: {service: web, port: 80, path: /}}]":                                false,
		"[{name: front, http: {url: 'https://x.example.org', path: /}}]":                          false,
		"[{name: front, all: [{level: warn, http: {path: /}}, {tcp: {service: web, port: 80}}]}]": false,
	} {
		var doc yaml.Node
		require.NoError(t, yaml.Unmarshal([]byte(text), &doc))
		st := &stack.Stack{Checks: &stack.Checks{File: "compose.yaml", Node: doc.Content[0]}}
		gate, err := NewGate(st, Settings{})
		if !assert.NoError(t, err, text) {
			continue
		}
		err = gate.Addressed()
		if !refused {
			assert.NoError(t, err, text)
			continue
		}
		require.Equal(t, fault.Input, fault.Of(err), text)
		assert.Contains(t, fault.Hint(err), "skip-checks")

		st.URL = "https://user:hush@shop.example.org"
		var secrets []string
		gate, err = NewGate(st, Settings{Protect: func(s ...string) { secrets = append(secrets, s...) }})
		require.NoError(t, err)
		require.NoError(t, gate.Addressed(), text)
		assert.Equal(t, st.URL, gate.settings.URL)
		assert.Equal(t, []string{"hush"}, secrets)
	}
	gate, err := NewGate(&stack.Stack{URL: "https://shop.example.org"}, Settings{})
	require.NoError(t, err)
	assert.Len(t, gate.checks, 1, "nobody asked for a check of the address")
}
