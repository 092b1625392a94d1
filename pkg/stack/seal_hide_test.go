package stack

import (
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
)

func TestHide(t *testing.T) {
	t.Parallel()
	s := &Stack{Name: "shop", Project: &types.Project{Environment: types.Mapping{"TAG": "sekrit-value"}}, Services: map[string]*Service{"api": {
		Environment: map[string]string{"DATABASE_URL": "postgres://u:pw-1@db/shop", "API_TOKEN": "tok-123456", "MODE": "production"},
	}}}
	assert.Equal(t, "connect postgres://u:***@db/shop with *** in production, ***",
		s.Hide("connect postgres://u:pw-1@db/shop with tok-123456 in production, sekrit-value"))
}
