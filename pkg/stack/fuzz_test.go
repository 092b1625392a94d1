package stack

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
)

// FuzzExtension: whatever stands under x-shiksha is either understood or
// refused with a sentence.
func FuzzExtension(f *testing.F) {
	for _, seed := range []string{
		"gateway: nginx\nport: 8000\ndrain: 30s\nreload: nginx", "reload: {test: [nginx, -t], signal: HUP}",
		"port: 1e3", "[]", "null", "drain: -1s", "reload: {test: [], signal: []}", "? [a]\n: b", "backups: 1",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var value any
		if yaml.Unmarshal(data, &value) != nil {
			return
		}
		ext, bad := parseExtension(value)
		if bad != nil {
			require.NotEmpty(t, bad.Text)
			return
		}
		require.GreaterOrEqual(t, ext.Drain.Nanoseconds(), int64(0))
		require.Equal(t, ext.Gateway != "", ext.Port != 0)
		_, err := json.Marshal(ext)
		require.NoError(t, err)
	})
}

// FuzzLoad: no Compose file, however broken, does more than give bad input.
func FuzzLoad(f *testing.F) {
	everything, err := os.ReadFile("testdata/everything/compose.yaml")
	require.NoError(f, err)
	f.Add(everything)
	for _, tc := range errorCases {
		f.Add([]byte(tc.files["compose.yaml"]))
	}
	for _, seed := range []string{
		"a: &a [*a]", "services: {a: &a {image: x, <<: *a}}", "services: {a: null}", "services: []", "include: {}", "include: [[[]]]",
		"services: {a: {image: x, volumes: [{}]}}", "services: {a: {image: x, extends: {}}}", "? {a: b}\n: c", "services: {a: {image: x, volumes: [':']}}",
		"services: {a: {image: '${'}}", "services: {a: {image: '${A:-${B:-${C}}}'}}", "\x00", "--- \n---\nservices: {a: {image: x}}\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), data, 0o600))
		s, err := Load(t.Context(), LoadOptions{Workspace: dir, StateDir: "/s", Project: "fuzz", EnvFile: []byte("VERSION=1\nREGION=r\nDB_PASSWORD=p\n")})
		if err != nil {
			var e *fault.Error
			require.True(t, errors.As(err, &e), err)
			require.Equal(t, fault.Input, e.Kind)
			require.NotContains(t, err.Error(), dir)
			return
		}
		_, err = pinned(t, s).Seal()
		require.NoError(t, err)
		_, err = s.Redacted()
		require.NoError(t, err)
	})
}
