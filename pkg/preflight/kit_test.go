package preflight_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/preflight"
	"github.com/shiksha/actions/pkg/stack"
)

// now is when the tests look at certificates.
var now = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// files is a workspace: path to content.
type files map[string]string

// with is the workspace with some files changed or added.
func (f files) with(more files) files {
	out := files{}
	for _, set := range []files{f, more} {
		for name, content := range set {
			out[name] = content
		}
	}
	return out
}

func workspace(t *testing.T, f files) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range f {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

// load reads the stack of a workspace; env is the content of env-file.
func load(t *testing.T, f files, env string) (*stack.Stack, string, error) {
	t.Helper()
	dir := workspace(t, f)
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", EnvFile: []byte(env), StateDir: "/var/lib/shiksha"})
	return st, dir, err
}

// look runs the static preflight over a workspace.
func look(t *testing.T, f files, env string) *check.Report {
	t.Helper()
	st, dir, err := load(t, f, env)
	require.NoError(t, err)
	return preflight.Static(t.Context(), st, preflight.Options{Workspace: dir, Now: now})
}

// about gives the results of one check.
func about(r *check.Report, name string) []check.Result {
	var out []check.Result
	for _, result := range r.Results {
		if result.Name == name || strings.HasPrefix(result.Name, name+" ") {
			out = append(out, result)
		}
	}
	return out
}

// reported asserts that a check finds fault once: the outcome, where, and a part of
// what it says; and that the finding says how it is mended.
func reported(t *testing.T, r *check.Report, name string, outcome check.Outcome, where, says string) {
	t.Helper()
	for _, result := range about(r, name) {
		at := result.File
		if result.Line > 0 {
			at += ":" + itoa(result.Line)
		}
		if result.Outcome == outcome && strings.Contains(result.Found, says) && at == where {
			assert.NotEmpty(t, result.Hint, "it says the mend")
			return
		}
	}
	t.Errorf("%s does not say %q at %s as %s; it says %+v", name, says, where, outcome, about(r, name))
}

// sound asserts that a check has looked and found nothing.
func sound(t *testing.T, r *check.Report, name string) {
	t.Helper()
	for _, result := range about(r, name) {
		if result.Outcome != check.Pass && result.Outcome != check.Skip {
			t.Errorf("%s finds fault with the sound one: %+v", name, result)
		}
	}
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + itoa(n%10)
}
