package swarmlab

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// What a killed process left is swept, what a living one has is not.
func TestSweep(t *testing.T) {
	dead := exec.Command("true")
	require.NoError(t, dead.Run())
	left, mine := fmt.Sprintf("sweep-%d-dead", os.Getpid()), fmt.Sprintf("sweep-%d-mine", os.Getpid())
	leftDir, mineDir := t.TempDir(), t.TempDir()
	require.NoError(t, own(left, leftDir))
	require.NoError(t, own(mine, mineDir))
	t.Cleanup(func() { assert.NoError(t, disown(mine, mineDir)) })
	require.NoError(t, os.WriteFile(filepath.Join(runRoot, left, "owner"), fmt.Appendf(nil, "%d %s", dead.Process.Pid, leftDir), 0o644))

	unlock, err := sweep()
	require.NoError(t, err)
	require.NoError(t, unlock())
	assert.NoDirExists(t, filepath.Join(runRoot, left))
	assert.NoDirExists(t, leftDir)
	assert.DirExists(t, filepath.Join(runRoot, mine))
	assert.DirExists(t, mineDir)
}
