package target

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/host"
)

// A shell that prints, or runs nothing, is shown with its words: another folder for state would
// only lead to the next thing that cannot be read.
func TestWhereStateBelongsBehindAShellThatPrints(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		out  host.Output
		says string
	}{
		"a greeting":         {host.Output{Stdout: []byte("Welcome to gpu1\n/var/lib/shiksha\n")}, `"Welcome to gpu1"`},
		"a picture":          {host.Output{Stdout: []byte("/\\_/\\ gpu1\n/var/lib/shiksha\n")}, `"/\\_/\\ gpu1"`},
		"no login":           {host.Output{Stdout: []byte("This account is currently not available.\n"), Exit: 1}, `"This account is currently not available."`},
		"another shell":      {host.Output{Stderr: []byte("Unmatched '.\n"), Exit: 1}, `"Unmatched '."`},
		"not one word":       {host.Output{Exit: 1}, `""`},
		"a path that is not": {host.Output{Stdout: []byte("state/shiksha\n")}, `"state/shiksha"`},
	} {
		_, err := stateDir(c.out)
		require.EqualError(t, err, "state-dir: the host does not say where state belongs, it answered "+c.says, name)
		assert.Equal(t, fault.Refused, fault.Of(err), name)
		assert.Contains(t, fault.Hint(err), fault.Shell+"; where it does, name a folder", name)
	}
	dir, err := stateDir(host.Output{Stdout: []byte("/var/lib/shiksha\n"), Stderr: []byte("bash: warning: setlocale\n")})
	require.NoError(t, err)
	assert.Equal(t, "/var/lib/shiksha", dir)
}
