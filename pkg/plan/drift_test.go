package plan_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// A way back runs no job again, so what the newer release left of one when it ended stays
// there: nobody changed that by hand. One that somebody has at work is another thing.
func TestMake_WhatAJobLeftIsNoDrift(t *testing.T) {
	t.Parallel()
	then := func(in *plan.Input) { in.Past["worker"] = plan.Past{Hash: "worker-v1", Replicas: 1, Job: true} }
	now := func(in *plan.Input) { in.Desired.Services["worker"].Job = true }
	for name, c := range map[string]struct {
		edit  func(*plan.Input)
		state stack.State
		drift int
	}{
		"a job, then and now":           {func(in *plan.Input) { then(in); now(in) }, stack.Exited, 0},
		"nobody waits for it any more":  {then, stack.Exited, 0},
		"somebody waits for it now":     {now, stack.Exited, 0},
		"a Swarm has forgotten its end": {then, stack.Dead, 0},
		"no job":                        {func(*plan.Input) {}, stack.Exited, 1},
		"it is at work":                 {then, stack.Running, 1},
		"it is at work again and again": {then, stack.Restarting, 1},
		"it waits":                      {then, stack.Paused, 1},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Settled: true, Past: map[string]plan.Past{"worker": {Hash: "worker-v1", Replicas: 1}}}
		in.Observed.Units["worker"][0].State = c.state
		c.edit(&in)
		p := plan.Make(in)
		assert.Len(t, p.Drift, c.drift, name)
		assert.Len(t, p.Refusals, c.drift, name)
	}
}

// The hash of a unit that shares another's network is of the container that it shares with, and
// the record's is not: to give such a service a network of its own undoes nobody's work.
func TestMake_WhatSharedANetworkIsNoDrift(t *testing.T) {
	t.Parallel()
	for _, sharing := range []bool{true, false} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Settled: true, Past: map[string]plan.Past{"worker": {Hash: "worker-v1", Replicas: 1, Sharing: sharing}}}
		in.Observed.Units["worker"][0].Hash = "of the container"
		p := plan.Make(in)
		assert.Equal(t, sharing, len(p.Drift) == 0, p.Drift)
		assert.Equal(t, sharing, len(p.Refusals) == 0, p.Refusals)
	}
}
