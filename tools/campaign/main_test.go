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

func TestAFailureIsToldAndTheRestGoesOn(t *testing.T) {
	t.Parallel()
	a := attack{name: "nothing", args: []string{"./not-there"}}
	assert.Error(t, a.run(t.Context(), &bytes.Buffer{}))
	_, err := run(t.Context(), []string{"-help"}, &bytes.Buffer{})
	assert.True(t, errors.Is(err, flag.ErrHelp))
}
