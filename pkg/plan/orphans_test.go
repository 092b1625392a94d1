package plan_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
)

// A rollback undoes releases: what none of them made is not theirs to take away, though it
// bears the project's name and stands in no release.
func TestOrphans_AWayBackTakesAwayOnlyWhatWasMadeSince(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v2"), Back: true, RemoveOrphans: true, Made: []string{"api-1", "beat-1", "vllm-1"}, TakenOver: []string{"redis"}}
	in.Desired.Inactive = map[string][]string{"vllm": {"gpu"}, "pgadmin": {"ops", "dev"}}
	for _, name := range []string{"beat", "pgadmin", "postgres", "vllm"} {
		in.Observed.Units[name] = running(name, "v1", 1, 1)
	}
	in.Observed.Units["beat"] = running("beat", "v1", 1, 2) // the second was started by hand
	in.Observed.Units["redis"], in.Made = running("redis", "v1", 1, 1), append(in.Made, "redis-1")
	p := plan.Make(in)
	assert.Equal(t, []string{"beat-1"}, p.Step("beat").Old)
	p.Reverse()
	assert.Equal(t, `  worker    unchanged
  gateway   unchanged
  api       unchanged
  db        unchanged
  beat      remove             not in the release to go back to
  pgadmin   keep               in the file, in the inactive profile ops, dev
  postgres  keep               not made by a release that is undone, so it is left alone
  redis     keep               no release created it, so nothing could make again what ran before: it stays as it is now
  vllm      remove             not in the release to go back to
                               interruption: it is taken away
`, p.String())
}

// A service of an inactive profile stands in the file: it has not left it.
func TestOrphans_AnInactiveProfileIsInTheFile(t *testing.T) {
	t.Parallel()
	for _, remove := range []bool{false, true} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v2"), RemoveOrphans: remove}
		in.Desired.Inactive = map[string][]string{"vllm": {"gpu"}, "pgadmin": {"ops"}}
		in.Observed.Units["vllm"] = running("vllm", "v1", 1, 1)
		p := plan.Make(in)
		assert.Equal(t, plan.Keep, p.Step("vllm").Action)
		assert.Equal(t, []string{"in the file, in the inactive profile gpu"}, p.Step("vllm").Reasons)
		assert.Nil(t, p.Step("pgadmin"), "nothing of it is there")
		assert.True(t, p.Empty())
	}
}

// Why one may not write beside another that the release leaves alone is said as it is.
func TestOrphans_WhatStaysIsNotTakenOver(t *testing.T) {
	t.Parallel()
	in := renamed()
	in.RemoveOrphans, in.Desired.Inactive = true, map[string][]string{"postgres": {"old"}}
	p := plan.Make(in)
	assert.Equal(t, []string{"db would write to volume shop_data beside postgres, which is in the inactive profile old of the Compose file and runs; " +
		"that damages a database: --remove-orphans takes away only what left the file; stop it first (docker stop shop-postgres-1)"}, p.Refusals)
	assert.Empty(t, p.Step("postgres").Before, "nothing goes first that stays")

	in = renamed()
	in.RemoveOrphans, in.Back = true, true
	p = plan.Make(in)
	assert.Equal(t, []string{"db would write to volume shop_data beside postgres, which is not in the release to go back to and runs; " +
		"that damages a database: no release that is undone made postgres; stop it first (docker stop shop-postgres-1)"}, p.Refusals)
	assert.Empty(t, p.Step("postgres").Before)
}

// One of an inactive profile with the same image does the same work, and no input ends it.
func TestOrphans_SaysWhatRunsTwice(t *testing.T) {
	t.Parallel()
	in := plan.Input{Desired: quickstart(), Observed: observed("v2"), RemoveOrphans: true}
	in.Observed.Units["beat"] = running("beat", "v1", 1, 1)
	in.Observed.Units["beat"][0].Image = "registry.example/worker@sha256:1111111111111111"
	in.Desired.Inactive = map[string][]string{"beat": {"cron"}}
	delete(in.Observed.Units, "worker")
	assert.Equal(t, []string{"worker is new, and beat, which is in the inactive profile cron of the Compose file, runs on with the same image: " +
		"if that is the same service by its former name, both are at work now; stop it where it is not to be"}, plan.Make(in).Notes)
}
