package target

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/stack"
)

func TestPinsOfTwoGateways(t *testing.T) {
	t.Parallel()
	runs := func(id, addr string) stack.Unit {
		return stack.Unit{ID: id, State: stack.Running, Addresses: map[string]string{"edge": addr}}
	}
	old, young := runs("old", "10.0.0.1"), runs("young", "10.0.0.2")
	ended := runs("ended", "10.0.0.3")
	ended.State = stack.Exited
	six := runs("six", "fd00::4")
	units := []stack.Unit{old, young, ended, six}
	for name, c := range map[string]struct {
		first, second []string
		serving       []string
		stale         bool
	}{
		"the same":                        {[]string{"10.0.0.1"}, []string{"10.0.0.1"}, []string{"old"}, false},
		"a switch was cut off":            {[]string{"10.0.0.2"}, []string{"10.0.0.1"}, []string{"young", "old"}, false},
		"one has what no unit has":        {[]string{"10.0.0.1", "10.0.0.2"}, []string{"10.0.0.9"}, []string{"old", "young"}, true},
		"one has what a dead unit had":    {[]string{"10.0.0.3"}, []string{"10.0.0.2"}, []string{"young"}, true},
		"both have what no unit has":      {[]string{"10.0.0.8"}, []string{"10.0.0.9"}, nil, true},
		"one has some that are gone":      {[]string{"10.0.0.1", "10.0.0.9"}, []string{"10.0.0.1"}, []string{"old"}, false},
		"one kept what ended but for one": {[]string{"10.0.0.2"}, []string{"10.0.0.1", "10.0.0.3"}, []string{"young", "old"}, false},
		"one is of IPv6":                  {[]string{"fd00::4"}, []string{"fd00::4"}, []string{"six"}, false},
	} {
		p := Pins{Serving: map[string][]string{}, Stale: map[string]bool{}}
		p.add("api", owners(units, c.first))
		p.add("api", owners(units, c.second))
		assert.Equal(t, c.serving, p.Serving["api"], name)
		assert.Equal(t, c.stale, p.Stale["api"], name)
	}
}
