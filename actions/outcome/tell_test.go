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

// Where nobody knows what serves no version is named, nor the release before.
func TestServingWhereNobodyKnows(t *testing.T) {
	t.Parallel()
	for _, version := range []string{"v1", ""} {
		unsure := &converge.Result{Release: 12, Previous: 11, Outcome: "stuck", Serving: version, Unsure: true, Changed: []string{"api"}}
		told := Tell(unsure, About{}, nil)
		assert.Empty(t, told.Serving)
		assert.Equal(t, "release 12 stuck after 0.0s, what serves is not known", told.Sentence())
	}
}
