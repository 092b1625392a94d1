package rollback

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/disk"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
)

// ledger writes releases: each has one service whose hash is its version.
func ledger(t *testing.T, releases ...release.Record) (*release.Ledger, string) {
	t.Helper()
	dir := t.TempDir()
	l, err := release.Open(t.Context(), disk.Files{}, dir, "shop")
	require.NoError(t, err)
	for _, r := range releases {
		outcome := r.Outcome
		r.Outcome = release.Started
		if r.Services == nil {
			r.Services = map[string]release.ServiceRecord{"api": {Hash: r.Version, Replicas: 1}, "once": {Replicas: 1}}
		}
		r.Model = []byte(`{"services": {"api": {"depends_on": {"once": {"condition": "service_completed_successfully"}}}}}`)
		require.NoError(t, l.Append(t.Context(), &r))
		if outcome != release.Started {
			r.Outcome = outcome
			if outcome == failed {
				r.Steps = []release.Step{{Name: "surge", Service: "api"}}
			}
			require.NoError(t, l.Update(t.Context(), &r))
		}
	}
	return l, dir
}

func runs(version string) stack.Observed {
	if version == "" {
		return stack.Observed{Units: map[string][]stack.Unit{"api": {{State: stack.Exited, Hash: "v2"}}}}
	}
	return stack.Observed{Units: map[string][]stack.Unit{"api": {
		{State: stack.Running, Hash: version}, {State: stack.Exited, Hash: "dead"}, {State: stack.Running, Hash: "x", OneOff: true},
	}}}
}

const (
	good   = release.Verified
	failed = release.Failed
)

func TestChoose(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		past     []release.Record
		runs     string
		ask      Options
		to, from int
		refused  string
	}{
		"the one before": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}}, "v2", Options{}, 1, 2, ""},
		"failed ones are no place to go": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: failed}, {Version: "v3", Outcome: good}},
			"v3", Options{}, 1, 3, ""},
		"a failure that was taken back": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}, {Version: "v3", Outcome: failed}},
			"v2", Options{}, 1, 2, ""},
		"a failure that still runs": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}, {Version: "v3", Outcome: failed}},
			"v3", Options{}, 2, 3, ""},
		"an interruption": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}, {Version: "v3", Outcome: release.Started}},
			"v3", Options{}, 2, 3, ""},
		"an interrupted rollback goes on": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good},
			{Version: "v1", Outcome: release.Interrupted, RollsBack: 2, Restores: 1}}, "v1", Options{}, 1, 3, ""},
		"an interruption, then a refused rollback": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good},
			{Version: "v3", Outcome: release.Interrupted}, {Version: "v1", Outcome: release.Refused, RollsBack: 3, Restores: 1}}, "v3", Options{}, 2, 3, ""},
		"a refusal changed nothing": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}, {Version: "v3", Outcome: release.Refused}},
			"v2", Options{}, 1, 2, ""},
		"an interruption that left nothing": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good},
			{Version: "v3", Outcome: release.Started}}, "", Options{}, 2, 3, ""},
		"stuck, and what runs is the verified one": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good},
			{Version: "v3", Outcome: release.Stuck}}, "v2", Options{}, 1, 2, ""},
		"taken back, and down since then": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good},
			{Version: "v3", Outcome: failed}}, "", Options{}, 1, 2, ""},
		"twice is two back": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}, {Version: "v3", Outcome: good},
			{Version: "v2", Outcome: good, RollsBack: 3, Restores: 2}}, "v2", Options{}, 1, 4, ""},
		"never to the bad one": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good},
			{Version: "v1", Outcome: good, RollsBack: 2, Restores: 1}}, "v1", Options{}, 0, 0, "no verified release before release 3 (v1)"},
		"by number": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}, {Version: "v3", Outcome: good}},
			"v3", Options{Release: 1}, 1, 3, ""},
		"by version": {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}, {Version: "v3", Outcome: good}},
			"v3", Options{Version: "v1"}, 1, 3, ""},
		"an unknown number":  {[]release.Record{{Version: "v1", Outcome: good}}, "v1", Options{Release: 7}, 0, 0, "no release 7"},
		"an unknown version": {[]release.Record{{Version: "v1", Outcome: good}}, "v1", Options{Version: "v7"}, 0, 0, `"v7"`},
		"a failed number":    {[]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: failed}}, "v1", Options{Release: 2}, 0, 0, "ended as failed"},
		"nothing verified":   {[]release.Record{{Version: "v1", Outcome: failed}}, "", Options{}, 0, 0, "ever verified"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, _ := ledger(t, c.past...)
			got, err := choose(l, runs(c.runs), nil, c.ask)
			if c.refused != "" {
				require.ErrorContains(t, err, c.refused)
				assert.NotEmpty(t, fault.Hint(err))
				return
			}
			require.NoError(t, err)
			assert.Equal(t, [2]int{c.to, c.from}, [2]int{got.to.Number, got.from})
		})
	}
}

// A release that failed, or got stuck, and left a unit of its own that is ill is undone
// first: the last verified one is where that leads, and not the one before it.
func TestChooseAfterUnitsThatWereLeftIll(t *testing.T) {
	t.Parallel()
	past := []release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}}
	serving := stack.Unit{State: stack.Running, Hash: "v2"}
	for name, c := range map[string]struct {
		outcome release.Outcome
		units   []stack.Unit
		to      int
	}{
		"alone":                    {failed, []stack.Unit{{State: stack.Running, Health: stack.HealthFailed, Hash: "v3"}}, 2},
		"beside what serves":       {failed, []stack.Unit{serving, {State: stack.Running, Health: stack.HealthStart, Hash: "v3"}}, 2},
		"one that starts again":    {failed, []stack.Unit{serving, {State: stack.Restarting, Hash: "v3"}}, 2},
		"by a stuck release":       {release.Stuck, []stack.Unit{{State: stack.Running, Health: stack.HealthFailed, Hash: "v3"}}, 2},
		"it has ended":             {failed, []stack.Unit{serving, {State: stack.Exited, Hash: "v3"}}, 1},
		"a command of it":          {failed, []stack.Unit{serving, {State: stack.Running, Hash: "v3", OneOff: true}}, 1},
		"the verified one's own":   {failed, []stack.Unit{{State: stack.Running, Health: stack.HealthFailed, Hash: "v2"}}, 1},
		"of a release before that": {failed, []stack.Unit{serving, {State: stack.Running, Health: stack.HealthFailed, Hash: "v1"}}, 1},
	} {
		l, _ := ledger(t, append(slices.Clone(past), release.Record{Version: "v3", Outcome: c.outcome})...)
		got, err := choose(l, stack.Observed{Units: map[string][]stack.Unit{"api": c.units}}, nil, Options{})
		require.NoError(t, err, name)
		assert.Equal(t, [2]int{c.to, c.to + 1}, [2]int{got.to.Number, got.from}, name)
	}
}

// What a later release changed and no hash shows, live files and how many units there
// are, is undone first where it is there still.
func TestChooseAfterAChangeThatNoHashShows(t *testing.T) {
	t.Parallel()
	const conf = "/etc/nginx/nginx.conf"
	made := func(sum string, replicas int) map[string]release.ServiceRecord {
		return map[string]release.ServiceRecord{"api": {Hash: "api", Replicas: replicas}, "gateway": {Hash: "gateway", Replicas: 1, Files: map[string]string{conf: sum}}, "once": {Replicas: 1}}
	}
	without := func(service string) map[string]release.ServiceRecord {
		services := made("2", 2)
		delete(services, service)
		return services
	}
	for name, c := range map[string]struct {
		outcome  release.Outcome
		services map[string]release.ServiceRecord
		changed  []string
		units    int
		ask      Options
		to, from int
	}{
		"a file, interrupted":           {release.Interrupted, made("3", 2), []string{conf}, 2, Options{}, 2, 3},
		"a file, killed":                {release.Started, made("3", 2), []string{conf}, 2, Options{}, 2, 3},
		"a file, stuck":                 {release.Stuck, made("3", 2), []string{conf}, 2, Options{}, 2, 3},
		"a file, paused":                {failed, made("3", 2), []string{conf}, 2, Options{}, 2, 3},
		"a file, paused, and by number": {failed, made("3", 2), []string{conf}, 2, Options{Release: 2}, 2, 3},
		"a file that was put back":      {failed, made("3", 2), nil, 2, Options{}, 1, 2},
		"a file that was not reached":   {release.Interrupted, made("3", 2), nil, 2, Options{}, 1, 2},
		"a file, by hand":               {failed, made("2", 2), []string{conf}, 2, Options{}, 1, 2},
		"fewer units, interrupted":      {release.Interrupted, made("2", 1), nil, 1, Options{}, 2, 3},
		"more units, interrupted":       {release.Interrupted, made("2", 4), nil, 3, Options{}, 2, 3},
		"more units, paused":            {failed, made("2", 4), nil, 4, Options{}, 2, 3},
		"as many again":                 {failed, made("2", 4), nil, 2, Options{}, 1, 2},
		"a service that left, paused":   {failed, without("api"), nil, 0, Options{}, 2, 3},
		"it came back":                  {failed, without("api"), nil, 2, Options{}, 1, 2},
		"a job that left":               {failed, without("once"), nil, 2, Options{}, 1, 2},
		"fewer by themselves":           {failed, made("2", 2), nil, 1, Options{}, 1, 2},
	} {
		l, _ := ledger(t, release.Record{Version: "v1", Outcome: good}, release.Record{Version: "v2", Outcome: good, Services: made("2", 2)},
			release.Record{Version: "v3", Outcome: c.outcome, Services: c.services})
		units := map[string][]stack.Unit{"gateway": {{State: stack.Running, Hash: "gateway"}}, "api": {{State: stack.Exited, Hash: "api"}}}
		for range c.units {
			units["api"] = append(units["api"], stack.Unit{State: stack.Running, Hash: "api"})
		}
		got, err := choose(l, stack.Observed{Units: units}, map[string][]string{"gateway": c.changed}, c.ask)
		require.NoError(t, err, name)
		assert.Equal(t, [2]int{c.to, c.from}, [2]int{got.to.Number, got.from}, name)
	}
}

// A unit of the verified release that crashed after a failure was taken back is there still:
// nothing of the later release is left to undo. What an unfinished run left ended may be
// what that run stopped.
func TestChooseAfterACrashSinceTheWayBack(t *testing.T) {
	t.Parallel()
	made := func(replicas int) map[string]release.ServiceRecord {
		return map[string]release.ServiceRecord{"api": {Hash: "api", Replicas: 1}, "worker": {Hash: "worker", Replicas: replicas}}
	}
	gone := map[string]release.ServiceRecord{"api": {Hash: "api", Replicas: 1}}
	for name, c := range map[string]struct {
		outcome  release.Outcome
		services map[string]release.ServiceRecord
		states   []stack.State
		hash     string
		to       int
	}{
		"one starts again and again":      {failed, made(4), []stack.State{stack.Running, stack.Restarting}, "worker", 1},
		"one has ended":                   {failed, made(4), []stack.State{stack.Running, stack.Exited}, "worker", 1},
		"one was paused":                  {failed, made(4), []stack.State{stack.Running, stack.Paused}, "worker", 1},
		"both have ended":                 {failed, made(4), []stack.State{stack.Exited, stack.Dead}, "worker", 1},
		"beside what was left over":       {failed, made(4), []stack.State{stack.Running, stack.Running, stack.Exited}, "worker", 1},
		"it was to go":                    {failed, gone, []stack.State{stack.Exited, stack.Exited}, "worker", 1},
		"fewer, paused":                   {failed, made(1), []stack.State{stack.Running}, "worker", 2},
		"more, paused, and ill":           {failed, made(4), []stack.State{stack.Running, stack.Running, stack.Restarting, stack.Restarting}, "worker", 2},
		"what ended is of another":        {failed, made(1), []stack.State{stack.Exited, stack.Exited}, "old", 2},
		"fewer, interrupted":              {release.Interrupted, made(1), []stack.State{stack.Running, stack.Exited}, "worker", 2},
		"stuck":                           {release.Stuck, made(1), []stack.State{stack.Running, stack.Exited}, "worker", 2},
		"interrupted, one starts again":   {release.Interrupted, made(4), []stack.State{stack.Running, stack.Restarting}, "worker", 1},
		"interrupted, and more are there": {release.Interrupted, made(4), []stack.State{stack.Running, stack.Running, stack.Restarting}, "worker", 2},
	} {
		l, _ := ledger(t, release.Record{Version: "v1", Outcome: good}, release.Record{Version: "v2", Outcome: good, Services: made(2)},
			release.Record{Version: "v3", Outcome: c.outcome, Services: c.services})
		units := map[string][]stack.Unit{"api": {{State: stack.Running, Hash: "api"}}, "worker": {{State: stack.Exited, Hash: "worker", OneOff: true}}}
		for _, state := range c.states {
			units["worker"] = append(units["worker"], stack.Unit{State: state, Hash: c.hash})
		}
		got, err := choose(l, stack.Observed{Units: units}, nil, Options{})
		require.NoError(t, err, name)
		assert.Equal(t, [2]int{c.to, c.to + 1}, [2]int{got.to.Number, got.from}, name)
	}
}

// A damaged newest record is judged by what runs.
func TestChooseWithADamagedLedger(t *testing.T) {
	t.Parallel()
	for version, want := range map[string]int{"v2": 1, "v3": 2} {
		_, dir := ledger(t, release.Record{Version: "v1", Outcome: good}, release.Record{Version: "v2", Outcome: good}, release.Record{Version: "v3", Outcome: good})
		require.NoError(t, os.WriteFile(filepath.Join(dir, "shop", "releases", "3.json"), []byte("{"), 0o600))
		l, err := release.Open(t.Context(), disk.Files{}, dir, "shop")
		require.NoError(t, err)
		got, err := choose(l, runs(version), nil, Options{})
		require.NoError(t, err)
		assert.Equal(t, want, got.to.Number, "%s runs", version)
		_, err = choose(l, runs(version), nil, Options{Release: 3})
		assert.Equal(t, fault.Refused, fault.Of(err))
	}
}

// Workers that a run which did not end may have told to take no more work look as well as
// ever: the release that they are of is where that leads, and not the one before it.
func TestChooseAfterWorkersWereTold(t *testing.T) {
	t.Parallel()
	drain := func(outcome release.Outcome, steps ...release.Step) release.Record {
		return release.Record{Version: "v3", Outcome: outcome, Steps: steps, Services: map[string]release.ServiceRecord{"api": {Hash: "v3", Replicas: 1, Action: "drain"}}}
	}
	with := func(action string, replicas int, steps ...release.Step) release.Record {
		r := drain(release.Interrupted, steps...)
		r.Services = map[string]release.ServiceRecord{"api": {Hash: "v2", Replicas: replicas, Action: action}}
		return r
	}
	for name, c := range map[string]struct {
		later []release.Record
		to    int
	}{
		"it was under way":          {[]release.Record{drain(release.Interrupted, release.Step{Name: "drain", Service: "api"})}, 2},
		"killed":                    {[]release.Record{drain(release.Started)}, 2},
		"it was not come to":        {[]release.Record{drain(release.Interrupted, release.Step{Name: "surge", Service: "web"})}, 1},
		"of another":                {[]release.Record{drain(release.Interrupted, release.Step{Name: "drain", Service: "web"})}, 1},
		"then one was refused":      {[]release.Record{drain(release.Interrupted), {Outcome: release.Refused}}, 2},
		"then one went back":        {[]release.Record{drain(release.Interrupted), drain(failed)}, 1},
		"then one did not end":      {[]release.Record{drain(release.Interrupted), {Outcome: release.Interrupted}}, 2},
		"it failed, and went back":  {[]release.Record{drain(failed)}, 1},
		"told by another action":    {[]release.Record{with("stop-first", 1, release.Step{Name: "drain", Service: "api"})}, 2},
		"told of fewer":             {[]release.Record{with("scale", 1, release.Step{Name: "drain", Service: "api"})}, 2},
		"to be fewer, and killed":   {[]release.Record{with("scale", 0)}, 2},
		"left alone":                {[]release.Record{with("unchanged", 1, release.Step{Name: "drain", Service: "api"})}, 1},
		"another action, cut short": {[]release.Record{{Version: "v3", Outcome: release.Interrupted}}, 1},
	} {
		l, _ := ledger(t, append([]release.Record{{Version: "v1", Outcome: good}, {Version: "v2", Outcome: good}}, c.later...)...)
		got, err := choose(l, runs("v2"), nil, Options{})
		require.NoError(t, err, name)
		assert.Equal(t, c.to, got.to.Number, name)
	}
}

// The hash of a sidecar is of the container that it shares with, which a release that failed
// and went back has made anew: what served before is whole all the same.
func TestChooseAfterASidecarWasMadeAnew(t *testing.T) {
	t.Parallel()
	services := map[string]release.ServiceRecord{"api": {Hash: "v2", Replicas: 1}, "proxy": {Hash: "of the container before", Replicas: 1}}
	for model, to := range map[string]int{`{"services": {"proxy": {"network_mode": "service:api"}}}`: 1, `{"services": {"proxy": {}}}`: 2} {
		l, _ := ledger(t, release.Record{Version: "v1", Outcome: good})
		for _, r := range []release.Record{{Version: "v2", Outcome: good, Services: services}, {Version: "v3", Outcome: failed, Steps: []release.Step{{Name: "surge", Service: "api"}}}} {
			r.Model = []byte(model)
			require.NoError(t, l.Append(t.Context(), &r))
		}
		seen := runs("v2")
		seen.Units["proxy"] = []stack.Unit{{State: stack.Running, Hash: "of the one now"}}
		c, err := choose(l, seen, nil, Options{Project: "shop"})
		require.NoError(t, err)
		assert.Equal(t, to, c.to.Number, model)

		// One that did not come to its end may have left it of its version.
		require.NoError(t, l.Append(t.Context(), &release.Record{Version: "v4", Outcome: release.Interrupted, Model: []byte(model)}))
		c, err = choose(l, seen, nil, Options{Project: "shop"})
		require.NoError(t, err)
		assert.Equal(t, 2, c.to.Number, model)
	}
}

// A unit that somebody started beside the releases does not make a rollback after a failed
// release one to the release that serves.
func TestChooseBesideUnitsOfNoRelease(t *testing.T) {
	t.Parallel()
	l, _ := ledger(t, release.Record{Version: "v1", Outcome: good}, release.Record{Version: "v2", Outcome: good}, release.Record{Version: "v3", Outcome: failed})
	for service, to := range map[string]int{"pgadmin": 1, "api": 2} {
		seen := runs("v2")
		seen.Units[service] = append(seen.Units[service], stack.Unit{State: stack.Running, Hash: "by hand"})
		c, err := choose(l, seen, nil, Options{Project: "shop"})
		require.NoError(t, err)
		assert.Equal(t, to, c.to.Number, service)
	}
}
