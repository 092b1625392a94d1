package verify

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/verify/kind"
)

// The thirteen checks of the ShikshaSetu stack need no code of their own.
func TestShikshaSetuIsExpressible(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/shikshasetu.verify.yml")
	require.NoError(t, err)
	checks, err := kind.ReadFile("shikshasetu.verify.yml", content)
	require.NoError(t, err)
	assert.Len(t, checks, 13)
}
