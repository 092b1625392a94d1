package plan_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// Of some services only: what runs in the network of one that is replaced, or links to it,
// would be left without, and nobody would say so.
func TestMake_RefusesToReplaceWhatOthersAreBoundTo(t *testing.T) {
	t.Parallel()
	const shares = "worker shares the network or the processes of db, which is replaced, and would be left with those of a unit that is gone: " +
		"name worker in services too"
	const links = "worker links to db, which is replaced, and would be left with the address of a unit that is gone: name worker in services too"
	const restart = "worker is to restart with db (depends_on.restart), and is not among the services of this release: it runs on as it is"
	mine := func(in *plan.Input) *stack.Service { return in.Desired.Services["worker"] }
	share := func(in *plan.Input) {
		mine(in).Shares = []string{"db"}
		c := in.Desired.Project.Services["worker"]
		c.NetworkMode = "service:db"
		in.Desired.Project.Services["worker"] = c
	}
	for name, c := range map[string]struct {
		edit          func(*plan.Input)
		refused, note string
	}{
		"shares": {edit: share, refused: shares},
		"links":  {edit: func(in *plan.Input) { mine(in).DependsOn[0].Linked = true }, refused: links},
		"links to a name of its own": {edit: func(in *plan.Input) {
			mine(in).DependsOn[0].Linked, in.Desired.Services["db"].ContainerName = true, "db"
		}, note: strings.Replace(restart, "depends_on.restart", "links", 1)},
		"and has the default network": {edit: func(in *plan.Input) {
			mine(in).DependsOn[0].Linked, in.Desired.Services["db"].ContainerName, mine(in).NetworkMode = true, "db", "bridge"
		}, refused: links},
		"restarts with it":        {edit: func(in *plan.Input) { mine(in).DependsOn[0].Restart = true }, note: restart},
		"takes its volumes":       {edit: func(in *plan.Input) { mine(in).Shares = []string{"db"} }},
		"only depends on it":      {edit: func(*plan.Input) {}},
		"is released too":         {edit: func(in *plan.Input) { share(in); in.Only = []string{"db", "worker"} }},
		"all are":                 {edit: func(in *plan.Input) { share(in); in.Only = nil }},
		"does not run":            {edit: func(in *plan.Input) { share(in); in.Observed.Units["worker"] = nil }},
		"the other stays":         {edit: func(in *plan.Input) { share(in); in.Observed = observed("v2") }},
		"the other is not chosen": {edit: func(in *plan.Input) { share(in); in.Only = []string{"api"} }},
		"a way back":              {edit: func(in *plan.Input) { share(in); in.Back = true }},
		"a Swarm has neither":     {edit: func(in *plan.Input) { share(in); mine(in).DependsOn[0].Linked, in.Observed.Scheduled = true, true }},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v1"), Only: []string{"db"}}
		in.Observed.Units["db"] = running("db", "v1", 1, 1)
		c.edit(&in)
		p := plan.Make(in)
		if c.refused == "" {
			assert.Empty(t, p.Refusals, name)
		} else {
			assert.Equal(t, []string{c.refused}, p.Refusals, name)
		}
		if c.note == "" {
			assert.Empty(t, p.Notes, name)
		} else {
			assert.Equal(t, []string{c.note}, p.Notes, name)
		}
	}
}
