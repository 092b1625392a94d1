package main

import (
	"encoding/json"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/report"
	"github.com/shiksha/actions/pkg/verify/kind"
)

// What is read here is what the program writes.
func TestTold(t *testing.T) {
	t.Parallel()
	assert.Equal(t, converge.Verified, verified)
	assert.Equal(t, converge.Unchanged, unchanged)
	data, err := (&report.Release{Outcome: converge.Verified, Probe: &report.Probe{Failed: 3, P99Before: 4.5, P99During: 9}}).JSON()
	require.NoError(t, err)
	var got told
	require.NoError(t, json.Unmarshal(data, &got))
	assert.Equal(t, verified, got.Outcome)
	require.NotNil(t, got.Probe)
	assert.Equal(t, 3, got.Probe.Failed)
	assert.InDelta(t, 4.5, got.Probe.P99Before, 0)
	assert.InDelta(t, 9, got.Probe.P99During, 0)
}

func TestResidentMemory(t *testing.T) {
	t.Parallel()
	// dd holds one block of 256 MB: more than this process, also with the race detector in it.
	cmd := exec.CommandContext(t.Context(), "dd", "if=/dev/zero", "of=/dev/null", "bs=256M", "count=1", "status=none")
	require.NoError(t, cmd.Run())
	assert.InDelta(t, 270, residentMemory(cmd.ProcessState), 8)
}

// What is measured are thirteen checks, of kinds that the program knows.
func TestThirteenChecks(t *testing.T) {
	t.Parallel()
	read, err := kind.ReadFile("verify.yml", []byte(thirteen))
	require.NoError(t, err)
	assert.Len(t, read, 13)
}
