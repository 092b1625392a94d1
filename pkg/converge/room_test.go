package converge

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/fault"
)

func TestFits(t *testing.T) {
	t.Parallel()
	assert.NoError(t, fits("/var/lib/docker", 5<<30, 1_000_000))
	for name, err := range map[string]error{
		"disk":   fits("/var/lib/docker", 200<<20, 1_000_000),
		"inodes": fits("/var/lib/docker", 5<<30, 12),
	} {
		assert.Equal(t, fault.Refused, fault.Of(err), name)
		assert.ErrorContains(t, err, "/var/lib/docker", name)
		assert.NotEmpty(t, fault.Hint(err), name)
	}
}
