package kind

import (
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var write = flag.Bool("write", false, "write the generated schema instead of comparing it")

// The schema that editors use is the one that the program reads by.
func TestSchema(t *testing.T) {
	schema, err := Schema()
	require.NoError(t, err)
	if *write {
		require.NoError(t, os.WriteFile("../schema.json", schema, 0o644))
	}
	have, err := os.ReadFile("../schema.json")
	require.NoError(t, err)
	assert.Equal(t, string(schema), string(have), "run go generate ./...")
}
