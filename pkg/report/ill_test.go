package report

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A verified release does not hide what it went past.
func TestAVerifiedReleaseNamesWhatIsIll(t *testing.T) {
	t.Parallel()
	r := Release{Number: 3, Outcome: "verified", Seconds: 8, Services: []Service{{Name: "worker", Result: Ill}, {Name: "api", Result: "done"}}}
	assert.Equal(t, "release 3 verified in 8.0s, but for what is ill as before: worker", r.Sentence())
}
