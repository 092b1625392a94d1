package extension

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

func TestCopiesOfBackups(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for name, c := range map[string]struct {
		in   map[string]any
		want *stack.Copy
	}{
		"none":    {map[string]any{}, nil},
		"short":   {map[string]any{"copy": "sftp://backup@vault.example.org/srv/backups/"}, &stack.Copy{Address: "backup@vault.example.org", Dir: "/srv/backups", Keep: stack.DefaultKeep, Least: stack.DefaultLeast}},
		"as here": {map[string]any{"keep-days": 2, "keep-least": 5, "copy": map[string]any{"to": "sftp://b@v:2222/x"}}, &stack.Copy{Address: "b@v:2222", Dir: "/x", Keep: 2 * day, Least: 5}},
		"its own": {map[string]any{"copy": map[string]any{"to": "sftp://b@[::1]:22/x", "keep-days": 90, "keep-least": 12}}, &stack.Copy{Address: "b@[::1]:22", Dir: "/x", Keep: 90 * day, Least: 12}},
	} {
		got, wrong := parseBackups(c.in)
		require.Nil(t, wrong, name)
		assert.Equal(t, c.want, got.Copy, name)
	}
}

func TestCopiesThatCannotBe(t *testing.T) {
	t.Parallel()
	for says, v := range map[string]any{
		"has to be the address of a folder on another host": "s3://bucket/folder",
		"sftp://user@host/folder":                           "sftp://vault.example.org/srv",
		"contains a password":                               "sftp://b:secret@vault.example.org/srv",
		"names no folder":                                   "sftp://b@vault.example.org/",
		"not by its plain path":                             "sftp://b@vault.example.org/srv/../etc",
		"x-shiksha.backups.copy":                            map[string]any{"keep-days": 3},
		"keep-days has to be a number":                      map[string]any{"to": "sftp://b@v/x", "keep-days": "many"},
		"retention":                                         map[string]any{"to": "sftp://b@v/x", "retention": 3},
	} {
		_, wrong := parseBackups(map[string]any{"copy": v})
		require.NotNil(t, wrong, says)
		assert.Contains(t, wrong.Text, says)
		assert.NotContains(t, wrong.Text, "secret")
	}
}

// A lock timeout of 0 is none: no options for the session, which poolers refuse.
func TestNoLockTimeout(t *testing.T) {
	t.Parallel()
	own := map[string]string{"PGOPTIONS": "-c jit=off"}
	for text, c := range map[any]struct {
		limit time.Duration
		want  map[string]string
	}{
		0:    {0, map[string]string{}},
		"0":  {0, map[string]string{}},
		"0s": {0, map[string]string{}},
		"2s": {2 * time.Second, map[string]string{"PGOPTIONS": "-c jit=off -c lock_timeout=2000"}},
	} {
		m, wrong := parseMigrate(map[string]any{"command": []any{"up"}, "lock-timeout": text})
		require.Nil(t, wrong, text)
		assert.Equal(t, c.limit, m.LockTimeout, text)
		assert.Equal(t, c.want, m.Session(own), text)
	}
	for _, text := range []any{5, "-1s", "soon", false} {
		_, wrong := parseMigrate(map[string]any{"command": []any{"up"}, "lock-timeout": text})
		require.NotNil(t, wrong, text)
	}
}
