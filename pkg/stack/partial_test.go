package stack_test

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/stack"
)

func tiny(hash string, names ...string) *stack.Stack {
	s := &stack.Stack{Name: "shop", Services: map[string]*stack.Service{}, Project: &types.Project{Services: types.Services{}}}
	for _, n := range names {
		s.Order = append(s.Order, n)
		s.Services[n] = &stack.Service{Name: n, Hash: hash}
		s.Project.Services[n] = types.ServiceConfig{Name: n}
	}
	return s
}

func TestPartial_KeepsWhatWasNotSelected(t *testing.T) {
	t.Parallel()
	now, before := tiny("new", "db", "api", "extra"), tiny("old", "db", "api", "gone")
	got := now.Partial(before, []string{"api"})
	assert.Equal(t, []string{"db", "api"}, got.Order, "what was never released is not in it")
	assert.Equal(t, "new", got.Services["api"].Hash)
	assert.Equal(t, "old", got.Services["db"].Hash)
	assert.Len(t, got.Project.Services, 2)
	assert.Equal(t, []string{"db", "api", "extra"}, now.Order, "the stack itself is unchanged")
}

func TestPartial_OfAFirstRelease(t *testing.T) {
	t.Parallel()
	assert.Equal(t, []string{"api"}, tiny("new", "db", "api").Partial(nil, []string{"api"}).Order)
}
