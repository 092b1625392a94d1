package outcome

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/converge"
)

func TestServingWithoutAVersion(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "release 12", Tell(&converge.Result{Release: 12, Previous: 11, Outcome: converge.Verified}, About{}, nil).Serving)
	assert.Equal(t, "release 11", Tell(&converge.Result{Release: 12, Previous: 11, Outcome: "failed"}, About{}, nil).Serving)
	assert.Empty(t, Tell(&converge.Result{Release: 1, Outcome: "failed"}, About{}, nil).Serving)
}
