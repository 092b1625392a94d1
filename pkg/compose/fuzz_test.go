package compose

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

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
