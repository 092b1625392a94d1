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
		"a_b.c.2.x; docker service scale a_b.c=0":          {Name: "a_b.c.2.x", Task: "a_b.c"},
		"t_edge.k3n0de.x of stack t; docker service update --constraint-add node.id==none t_edge": {
			Name: "t_edge.k3n0de.x", Project: "t", Task: "t_edge"},
		"what somebody named; docker service scale a_db=0": {Name: "what somebody named", Task: "a_db"},
	} {
		assert.Equal(t, want, o.String()+"; "+o.StopIt())
	}
}

// What a Swarm runs on every node has no number that could be 0. It stays defined, and the one
// command undoes the other: nobody could make a service again that no release has.
func TestWhatRunsOnEveryNodeIsNotScaled(t *testing.T) {
	t.Parallel()
	st := &stack.Stack{Name: "shop"}
	seen := stack.Observed{Scheduled: true, Units: map[string][]stack.Unit{"api": {{Name: "shop_api.1"}}, "agent": {{Name: "shop_agent.n1", Global: true}}}}
	assert.Equal(t, "docker service scale shop_api=0", st.StopIt(seen, "api", "shop_api.1"))
	assert.Equal(t, "docker service scale shop_api=1", st.StartIt(seen, "api", "shop_api.1"))
	assert.Equal(t, "docker service update --constraint-add node.id==none shop_agent", st.StopIt(seen, "agent", "shop_agent.n1"))
	assert.Equal(t, "docker service update --constraint-rm node.id==none shop_agent", st.StartIt(seen, "agent", "shop_agent.n1"))
}
