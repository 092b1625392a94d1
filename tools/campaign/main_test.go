package main

import (
	"bytes"
	"errors"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestFuzzersAreFound(t *testing.T) {
	t.Chdir("../..")
	attacks, err := fuzzers(t.Context(), time.Second)
	require.NoError(t, err)
	var names []string
	for _, a := range attacks {
		names = append(names, a.name)
	}
	for _, parser := range []string{"pkg/release FuzzRecord", "pkg/gateway FuzzSight", "pkg/host FuzzKnownHosts", "actions/inputs FuzzSecretValues",
		"pkg/compose FuzzLoad", "pkg/verify/kind FuzzReadFile", "pkg/extension FuzzService"} {
		assert.Contains(t, names, parser)
	}
}

func TestAFuzzerWhoseTimeEnds(t *testing.T) {
	t.Parallel()
	assert.Regexp(t, ranOut, "fuzz: elapsed: 2m10s, execs: 18942 (0/sec), new interesting: 6 (total: 135)\n--- FAIL: FuzzEdit (129.73s)\n    context deadline exceeded\nFAIL\nexit status 1\n")
	for _, found := range []string{
		"--- FAIL: FuzzEdit (3.20s)\n    --- FAIL: FuzzEdit (0.00s)\n        edit_test.go:9: x\n    \n    Failing input written to testdata/fuzz/FuzzEdit/58ad\nFAIL\n",
		"--- FAIL: FuzzEdit (3.20s)\n    fuzzing process hung or terminated unexpectedly: exit status 2\nFAIL\n",
		"--- FAIL: TestKilled (3.20s)\n    context deadline exceeded\nFAIL\n",
	} {
		assert.NotRegexp(t, ranOut, found)
	}
}

func TestAFailureIsToldAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	a := attack{name: "nothing", args: []string{"./not-there"}}
	assert.Error(t, a.run(t.Context(), &bytes.Buffer{}))
	_, err := run(t.Context(), []string{"-help"}, &bytes.Buffer{})
	assert.True(t, errors.Is(err, flag.ErrHelp))
}
