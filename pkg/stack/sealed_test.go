package stack_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	sdk "github.com/docker/compose/v5/pkg/compose"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

var write = flag.Bool("write", false, "seal the stack of testdata anew instead of opening it")

// made is what Compose takes a service, a network or a volume for the same by.
type made struct {
	Services, Networks, Volumes map[string]string
}

// madeOf computes the hashes of all that a stack has.
func madeOf(t *testing.T, s *stack.Stack) made {
	t.Helper()
	out := made{map[string]string{}, map[string]string{}, map[string]string{}}
	var err error
	for name, c := range s.Project.Services {
		out.Services[name], err = sdk.ServiceHash(c)
		require.NoError(t, err)
	}
	for name, n := range s.Project.Networks {
		out.Networks[name], err = sdk.NetworkHash(&n)
		require.NoError(t, err)
	}
	for name, v := range s.Project.Volumes {
		out.Volumes[name], err = sdk.VolumeHash(v)
		require.NoError(t, err)
	}
	return out
}

// What an earlier program sealed is opened, and all of it is made as it was. Where a newer
// Compose SDK makes it otherwise, each host meets that once: its next release replaces every
// service, has nothing to go back to, and is refused over a network or volume that was made
// before. Whoever wants that all the same says so to the users, and runs this with -write.
func TestWhatAnEarlierProgramSealed(t *testing.T) {
	t.Parallel()
	sealed, golden := filepath.Join("testdata", "everything.sealed.json"), filepath.Join("testdata", "everything.hashes.json")
	if *write {
		s := pinned(t, everything(t))
		data, err := s.Seal()
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(sealed, append(data, '\n'), 0o644))
		data, err = json.MarshalIndent(madeOf(t, s), "", "  ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(golden, append(data, '\n'), 0o644))
	}
	data, err := os.ReadFile(golden)
	require.NoError(t, err)
	var want made
	require.NoError(t, json.Unmarshal(data, &want))
	data, err = os.ReadFile(sealed)
	require.NoError(t, err)
	s, err := stack.Open(data)
	require.NoError(t, err)
	assert.Equal(t, want, madeOf(t, s), "it is made otherwise than by the program that sealed it")
	s, err = stack.Unseal(data)
	require.NoError(t, err)
	assert.Equal(t, want.Services, hashes(s))
}

// Who makes nothing of a stack reads also one that is made otherwise now; its units stay
// those that it was sealed with.
func TestOpenNeedsNoHash(t *testing.T) {
	t.Parallel()
	s := pinned(t, everything(t))
	data, err := s.Seal()
	require.NoError(t, err)
	otherwise := []byte(strings.Replace(string(data), "LOG_LEVEL: info", "LOG_LEVEL: debug", 1))
	_, err = stack.Unseal(otherwise)
	require.ErrorContains(t, err, "service api of the sealed stack everything is made otherwise by this program: its hash is ")
	back, err := stack.Open(otherwise)
	require.NoError(t, err)
	assert.Equal(t, hashes(s), hashes(back))
	_, err = stack.Open(data[:len(data)/2])
	require.Error(t, err)

	// Why a model cannot be read is told in plans, which more people see than may know values.
	_, err = stack.Open([]byte(strings.Replace(string(data), "stop_grace_period: 45s", "stop_grace_period: s3cr3t-pa$$word", 1)))
	require.ErrorContains(t, err, `the sealed model of everything cannot be read: `)
	require.ErrorContains(t, err, `invalid duration "***"`)
}
