package plan

import (
	"testing"

	"github.com/stretchr/testify/assert"
)

// A way back makes first what comes back, takes away last what goes, and undoes
// the rest in the opposite order.
func TestReverse(t *testing.T) {
	t.Parallel()
	p := &Plan{Steps: []Step{
		{Service: "cache", Action: Create}, {Service: "postgres", Action: Unchanged}, {Service: "api", Action: Surge},
		{Service: "search", Action: Create}, {Service: "nginx", Action: Reload}, {Service: "new", Action: Remove}, {Service: "other", Action: Keep},
	}}
	p.Reverse()
	var names []string
	for _, s := range p.Steps {
		names = append(names, s.Service)
	}
	assert.Equal(t, []string{"cache", "search", "nginx", "api", "postgres", "new", "other"}, names)
}
