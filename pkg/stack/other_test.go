package stack_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/stack"
)

// A task of a service that is of no stack has no project to name.
func TestOtherSaysWhoseItIs(t *testing.T) {
	t.Parallel()
	for want, o := range map[string]stack.Other{
		"db; docker stop db":                               {Name: "db"},
		"a-db-1 of project a; docker stop a-db-1":          {Name: "a-db-1", Project: "a", Service: "db"},
		"a_db.1.x of stack a; docker service scale a_db=0": {Name: "a_db.1.x", Project: "a", Task: "a_db"},
		"alone.1.x; docker service scale alone=0":          {Name: "alone.1.x", Task: "alone"},
	} {
		assert.Equal(t, want, o.String()+"; "+o.StopIt())
	}
}
