package verify

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/verify/kind"
)

// These tests run on the clock of testing/synctest: seconds pass in no time, and
// exactly.

// reads the checks of a file.
func reads(t *testing.T, text string) []kind.Check {
	t.Helper()
	checks, err := kind.ReadFile("verify.yml", []byte(text))
	require.NoError(t, err)
	return checks
}

// fakeService is a service that is up or down by a timetable.
type fakeService struct {
	begun time.Time
	up    func(since time.Duration) bool
	looks atomic.Int64
}

func (f *fakeService) Dial(context.Context, string, string) (net.Conn, error) {
	f.looks.Add(1)
	if !f.up(time.Since(f.begun)) {
		return nil, errors.New("connection refused")
	}
	near, _ := net.Pipe()
	return near, nil
}

// always, never, from and but are timetables.
func always(time.Duration) bool { return true }
func never(time.Duration) bool  { return false }
func from(at time.Duration) func(time.Duration) bool {
	return func(since time.Duration) bool { return since >= at }
}
func but(down, up time.Duration) func(time.Duration) bool {
	return func(since time.Duration) bool { return since < down || since >= up }
}

// flapping is up and down in turns of so long.
func flapping(turn time.Duration) func(time.Duration) bool {
	return func(since time.Duration) bool { return since/turn%2 == 0 }
}

func TestContract(t *testing.T) {
	t.Parallel()
	// A connection is watched for a quarter of a second, so a look that connects
	// takes that long.
	const look = 250 * time.Millisecond
	for name, c := range map[string]struct {
		check   string
		up      func(time.Duration) bool
		outcome check.Outcome
		took    time.Duration
		looks   int
		found   string
	}{
		"three looks in a row, through the window of 10 s": {"", always, check.Pass, 10*time.Second + look, 9, "connected"},
		"it may take its time to come":                     {"", from(20 * time.Second), check.Pass, 30*time.Second + look, 29, "connected"},
		"one look that fails begins the row anew":          {"", but(7400*time.Millisecond, 7600*time.Millisecond), check.Pass, 18*time.Second + 3*look, 16, "connected"},
		"flapping, 2 s up and 2 s down, never passes":      {"", flapping(2 * time.Second), check.Fail, 40*time.Second + look, 36, "refused"},
		"flapping slower than the row takes":               {"", flapping(9 * time.Second), check.Fail, 40 * time.Second, 36, "refused"},
		"who is up only at the end was not up long enough": {"", from(35 * time.Second), check.Fail, 40*time.Second + look, 40, "5 in 5.3s, before that: connection refused"},
		"never":                      {"", never, check.Fail, 40 * time.Second, 41, "connection refused"},
		"timeout, not the window":    {"timeout: 5s", never, check.Fail, 15 * time.Second, 16, "connection refused"},
		"interval":                   {"timeout: 10s\n  window: 0s\n  interval: 4s", never, check.Fail, 8 * time.Second, 3, "connection refused"},
		"passes":                     {"window: 0s\n  passes: 5", always, check.Pass, 4*time.Second + 5*look, 5, "connected"},
		"one pass and no window":     {"window: 0s\n  passes: 1", always, check.Pass, look, 1, "connected"},
		"a window of its own":        {"window: 2s", always, check.Pass, 2*time.Second + 3*look, 3, "connected"},
		"a row longer than the time": {"window: 0s\n  passes: 100\n  timeout: 3s", always, check.Fail, 26*time.Second + 27*look, 27, "27 in 32.8s"},
		"it only informs":            {"level: warn\n  window: 0s\n  timeout: 1s", never, check.Warn, time.Second, 2, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				service := &fakeService{begun: time.Now(), up: c.up}
				scene := &kind.Scene{Dial: service.Dial, Window: 10 * time.Second}
				report := run(t.Context(), scene, reads(t, "- name: it\n  tcp: {address: 'shop:80'}\n  "+c.check), func(check.Result) {})
				r := report.Results[0]
				assert.Equal(t, c.outcome, r.Outcome, "%+v", r)
				assert.Contains(t, r.Found, c.found)
				assert.Equal(t, c.took, time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
				assert.Equal(t, c.looks, r.Attempts)
				assert.EqualValues(t, c.looks, service.looks.Load())
				assert.NotEmpty(t, r.Expected)
				assert.Equal(t, name == "a row longer than the time", strings.Contains(r.Hint, "raise its timeout"), r.Hint)
				assert.Equal(t, min(c.looks, keptEvidence), len(r.Evidence), "the last looks are kept")
				synctest.Wait()
			})
		})
	}
}

// fakeUnits are one unit that starts again by a timetable.
type fakeUnits struct{ starts []time.Time }

func (f *fakeUnits) unit() stack.Unit {
	u := stack.Unit{ID: "a", Name: "shop-api-1", Service: "api", State: stack.Running, Health: stack.NoHealth, Restarts: -1}
	for _, at := range f.starts {
		if !at.After(time.Now()) {
			u.StartedAt = at
			u.Restarts++
		}
	}
	return u
}

func (f *fakeUnits) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"api": {f.unit()}}}, nil
}
func (f *fakeUnits) Inspect(context.Context, string) (stack.Unit, error) { return f.unit(), nil }

// every lists restarts every so often, for an hour.
func every(d time.Duration) (starts []time.Duration) {
	for at := time.Duration(0); at < time.Hour; at += d {
		starts = append(starts, at)
	}
	return starts
}

func TestContract_RestartWithinTheWindow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		starts  []time.Duration
		outcome check.Outcome
		took    time.Duration
		found   string
	}{
		"up for an hour, no waiting":   {[]time.Duration{-time.Hour}, check.Pass, 0, "1 units of 1 services"},
		"just started, waited out":     {[]time.Duration{-4 * time.Second}, check.Pass, 6 * time.Second, "1 units"},
		"restarted while it is looked": {[]time.Duration{-6 * time.Second, 2 * time.Second}, check.Pass, 12 * time.Second, "1 units"},
		"a crash loop":                 {every(7 * time.Second), check.Fail, 40 * time.Second, "restarts, the last"},
		"a crash loop that idles long": {every(9900 * time.Millisecond), check.Fail, 40 * time.Second, "restarts, the last"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				units := &fakeUnits{}
				for _, at := range c.starts {
					units.starts = append(units.starts, time.Now().Add(at))
				}
				scene := &kind.Scene{Units: units, Window: 10 * time.Second, Services: map[string]release.ServiceRecord{"api": {Replicas: 1}}}
				r := run(t.Context(), scene, reads(t, "- name: it\n  containers: {}"), func(check.Result) {}).Results[0]
				assert.Equal(t, c.outcome, r.Outcome, "%+v", r)
				assert.Equal(t, c.took, time.Duration(r.Seconds*float64(time.Second)).Round(time.Millisecond))
				assert.Contains(t, r.Found, c.found)
			})
		})
	}
}

// fakeShell answers commands after a while; "forever" never.
type fakeShell struct {
	units
	now, most atomic.Int64
}

// units are one running unit.
type units struct{}

func (units) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: map[string][]stack.Unit{"api": {{ID: "a", Name: "shop-api-1", Service: "api", State: stack.Running}}}}, nil
}
func (units) Inspect(context.Context, string) (stack.Unit, error) {
	return stack.Unit{}, errors.New("not asked here")
}

func (f *fakeShell) ExecEnv(ctx context.Context, _ string, argv, _ []string, _ []byte) (string, string, int, error) {
	f.most.Store(max(f.most.Load(), f.now.Add(1)))
	defer f.now.Add(-1)
	took, err := time.ParseDuration(argv[0])
	if err != nil {
		took = time.Hour
	}
	select {
	case <-ctx.Done():
		return "", "", 0, context.Cause(ctx)
	case <-time.After(took):
		return "done", "", 0, nil
	}
}

func (*fakeShell) Logs(context.Context, string, time.Time, func(string, bool)) error { return nil }

// commands are checks of which each takes so long.
func commands(t *testing.T, took ...string) []kind.Check {
	text := ""
	for i, d := range took {
		text += fmt.Sprintf("- {name: c%02d, exec: {service: api, command: [%s]}}\n", i, d)
	}
	return reads(t, text)
}

// What was never released is not waited for: the ledger was read before the first look.
func TestContract_NothingWasReleased(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		scene := &kind.Scene{Units: &fakeUnits{}, Project: "shop", Window: 10 * time.Second}
		r := run(t.Context(), scene, reads(t, "- name: it\n  containers: {}\n"), func(check.Result) {}).Results[0]
		assert.Equal(t, check.Unknown, r.Outcome, "%+v", r)
		assert.Equal(t, 1, r.Attempts)
		assert.Zero(t, r.Seconds)
	})
}

func TestContract_ResultsComeInTheOrderOfTheChecks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shell := &fakeShell{}
		var told, listed []string
		report := run(t.Context(), &kind.Scene{Units: shell, Shell: shell}, commands(t, "3s", "1s", "4s", "2s"), func(r check.Result) { told = append(told, r.Name) })
		for _, r := range report.Results {
			listed = append(listed, r.Name)
			assert.Equal(t, check.Pass, r.Outcome)
		}
		assert.Equal(t, []string{"c00", "c01", "c02", "c03"}, listed, "in the report as they were written")
		assert.Equal(t, []string{"c01", "c03", "c00", "c02"}, told, "on the console as each one ends")
		assert.Equal(t, check.Schema, report.Schema)
	})
}

// What has passed every look is not given up because the clock left too little for the
// last of them: a host that is busy with a release answers late.
func TestContract_SlowLooksThatPass(t *testing.T) {
	t.Parallel()
	for took, c := range map[string]struct {
		outcome check.Outcome
		looks   int
	}{
		"13s": {check.Pass, 3},
		"29s": {check.Fail, 2},
	} {
		t.Run(took, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shell := &fakeShell{}
				checks := reads(t, "- {name: it, passes: 3, exec: {service: api, command: ["+took+"]}}")
				r := run(t.Context(), &kind.Scene{Units: shell, Shell: shell}, checks, func(check.Result) {}).Results[0]
				assert.Equal(t, c.outcome, r.Outcome, "%+v", r)
				assert.Equal(t, c.looks, r.Attempts)
			})
		})
	}
}

func TestContract_LooksAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shell, begun := &fakeShell{}, time.Now()
		took := make([]string, 3*atOnce)
		for i := range took {
			took[i] = "2s"
		}
		report := run(t.Context(), &kind.Scene{Units: shell, Shell: shell}, commands(t, took...), func(check.Result) {})
		assert.EqualValues(t, atOnce, shell.most.Load(), "so many at once and no more")
		assert.Equal(t, 6*time.Second, time.Since(begun), "and no fewer")
		assert.Equal(t, len(took), report.Count(check.Pass))
	})
}

// A look that never ends holds nothing up for longer than its check may take.
func TestContract_BudgetOfALook(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		check string
		took  time.Duration
		looks int
		found string
	}{
		"as long as the check has":             {"timeout: 7s, exec: {service: api, command: [forever]}", 7 * time.Second, 1, "no answer within 7s"},
		"no look longer than half a minute":    {"timeout: 2m, exec: {service: api, command: [forever]}", 2 * time.Minute, 4, "no answer within"},
		"but one that reads a dump to its end": {"timeout: 2m, backup: {service: api, dir: /dumps}", 2 * time.Minute, 1, "no answer within 2m0s"},
		"or does so in a part":                 {"timeout: 2m, all: [{backup: {service: api, dir: /dumps}}, {disk: {}}]", 2 * time.Minute, 1, "no answer within 2m0s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				shell, begun := &fakeShell{}, time.Now()
				checks := reads(t, "- {name: it, "+c.check+"}")
				r := run(t.Context(), &kind.Scene{Units: shell, Shell: shell}, checks, func(check.Result) {}).Results[0]
				assert.Equal(t, check.Unknown, r.Outcome, "who does not answer is not known to be broken, and never passes")
				assert.Contains(t, r.Found, c.found)
				assert.Equal(t, c.looks, r.Attempts)
				assert.LessOrEqual(t, time.Since(begun), c.took+time.Second)
			})
		})
	}
}

// What is not over when the time for all checks is up is unknown, with what was
// found until then.
func TestContract_TheTimeForAllIsUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		shell := &fakeShell{}
		service := &fakeService{begun: time.Now(), up: never}
		scene := &kind.Scene{Units: shell, Shell: shell, Dial: service.Dial, Window: 10 * time.Second}
		checks := append(commands(t, "1s", "forever"), reads(t, "- {name: down, tcp: {address: 'shop:80'}}")...)
		begun := time.Now()
		report := run(ctx, scene, checks, func(check.Result) {})
		assert.Equal(t, 5*time.Second, time.Since(begun))
		assert.Equal(t, check.Pass, report.Results[0].Outcome)
		assert.Equal(t, check.Unknown, report.Results[1].Outcome)
		assert.Equal(t, "the time for all checks was up", report.Results[1].Found)
		assert.Equal(t, check.Unknown, report.Results[2].Outcome)
		assert.Equal(t, "the time for all checks was up; before: connection refused", report.Results[2].Found)
		assert.Contains(t, report.Results[2].Hint, "give all checks more time")
		assert.Equal(t, check.Unknown, report.Worst(check.Fail))
	})
}

// A warning in a row of looks stays one, wherever in the row it was.
func TestContract_AWarningIsNotLostInTheRow(t *testing.T) {
	t.Parallel()
	for name, warns := range map[string]time.Duration{"first": 0, "middle": time.Second, "last": 2 * time.Second} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				up := func(since time.Duration) bool { return since < warns || since >= warns+500*time.Millisecond }
				service := &fakeService{begun: begun, up: up}
				checks := reads(t, "- {name: it, window: 0s, passes: 3, interval: 1s, all: [{level: warn, tcp: {address: 'shop:80', expect: x}}]}")
				// What answers at once, so that looks are a second apart.
				scene := &kind.Scene{Dial: func(ctx context.Context, network, addr string) (net.Conn, error) {
					c, err := service.Dial(ctx, network, addr)
					if err != nil {
						return nil, err
					}
					near, far := net.Pipe()
					go func() { _, _ = far.Write([]byte("x\n")); _ = far.Close() }()
					return near, errors.Join(c.Close())
				}}
				r := run(t.Context(), scene, checks, func(check.Result) {}).Results[0]
				assert.Equal(t, check.Warn, r.Outcome)
				assert.Contains(t, r.Found, "refused")
				assert.Equal(t, 3, r.Attempts)
			})
		})
	}
}

// What is left out is told, with the reason, and decides nothing.
func TestContract_LeftOut(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		shell := &fakeShell{}
		checks := commands(t, "1s", "forever", "forever")
		require.NoError(t, Settings{Only: []string{"c00", "c01"}, Skip: []string{"c01"}}.choose(checks))
		report := run(t.Context(), &kind.Scene{Units: shell, Shell: shell}, checks, func(check.Result) {})
		assert.Equal(t, []check.Outcome{check.Pass, check.Skip, check.Skip}, []check.Outcome{report.Results[0].Outcome, report.Results[1].Outcome, report.Results[2].Outcome})
		assert.Equal(t, "left out by the input skip", report.Results[1].Found)
		assert.Equal(t, "left out by the input only", report.Results[2].Found)
		assert.Equal(t, check.Pass, report.Worst(check.Warn))
		assert.EqualValues(t, 1, shell.most.Load(), "nothing was asked of them")
	})
}

// fakeBroken are units that a mistake of ours waits behind.
type fakeBroken struct{ units }

func (fakeBroken) Observe(context.Context, string) (stack.Observed, error) {
	panic("index out of range at s3cret-value")
}

// A mistake of ours in one check is not known to be one of the service, ends nothing
// and is no pass.
func TestContract_APanicIsUnknown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		scene := &kind.Scene{Units: fakeBroken{}}
		scene.Hide("s3cret-value")
		service := &fakeService{begun: time.Now(), up: always}
		scene.Dial = service.Dial
		checks := reads(t, "- {name: odd, timeout: 2s, exec: {service: api, command: [x]}}\n- {name: even, tcp: {address: 'shop:80'}}")
		report := run(t.Context(), scene, checks, func(check.Result) {})
		r := report.Results[0]
		assert.Equal(t, check.Unknown, r.Outcome, "%+v", r)
		assert.Equal(t, `the check "odd" broke: index out of range at ***`, r.Found)
		assert.NotEmpty(t, r.Expected)
		assert.Contains(t, r.Hint, "report it")
		assert.Equal(t, check.Pass, report.Results[1].Outcome, "the others are looked at")
		assert.Equal(t, check.Unknown, report.Worst(check.Fail))
	})
}
