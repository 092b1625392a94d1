package rollback

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/strict"
)

// Checks that came with a release are not mended where they are told to be wrong; the way out is
// to go back without them. What is wrong with an input keeps its own hint.
func TestStoredChecksThatAreNotUnderstood(t *testing.T) {
	t.Parallel()
	type checks struct {
		Checks []struct{ Name string }
	}
	read := func(text string) error {
		root, err := strict.Parse("deploy/compose.yaml", []byte(text))
		assert.NoError(t, err)
		p := &strict.Problems{File: "deploy/compose.yaml"}
		p.Decode(root, &checks{})
		return p.Err()
	}
	theirs, without := &stack.Checks{File: "deploy/compose.yaml"}, "verify: false"
	for name, c := range map[string]struct {
		err    error
		checks *stack.Checks
		hint   string
	}{
		"one mistake":        {read("checks: [{nam: a}]"), theirs, without},
		"several":            {read("checks: [{nam: a}, {nam: b}]"), theirs, without},
		"an input":           {fault.New(fault.Input, "skip", "there are: a", "there is no check %q", "b"), theirs, "there are: a"},
		"no address":         {fault.New(fault.Input, "url", "give the input url", "no release was made with one"), theirs, "give the input url"},
		"none that it wrote": {fault.New(fault.Input, "", "leave one", "no check is left"), nil, "leave one"},
		"something else":     {errors.New("no"), theirs, ""},
	} {
		err := stored(c.err, &stack.Stack{Checks: c.checks}, release.Record{Number: 11, Version: "v1"})
		assert.ErrorIs(t, err, c.err, name)
		assert.Equal(t, fault.Of(c.err), fault.Of(err), name)
		if c.hint != without {
			assert.Equal(t, c.hint, fault.Hint(err), name)
			continue
		}
		assert.Contains(t, fault.Hint(err), without, name)
		assert.ErrorContains(t, err, "the checks that release 11 (v1) was made with are not understood", name)
		assert.ErrorContains(t, err, "deploy/compose.yaml", name)
	}
}
