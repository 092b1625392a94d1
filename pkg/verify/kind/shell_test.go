package kind

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/stack"
)

// fakeShell answers commands in units by a function, for answers that depend on what
// was asked before, on the unit or on standard error.
type fakeShell struct {
	exec func(id string, argv, env []string) (stdout, stderr string, exit int)
	logs func(since time.Time) string
}

func (f fakeShell) ExecEnv(_ context.Context, id string, argv, env []string, _ []byte) (string, string, int, error) {
	stdout, stderr, exit := f.exec(id, argv, env)
	return stdout, stderr, exit, nil
}

func (f fakeShell) Logs(_ context.Context, _ string, since time.Time, each func(string, bool)) error {
	for line := range strings.Lines(f.logs(since)) {
		each(strings.TrimSuffix(line, "\n"), false)
	}
	return nil
}

// sees looks at running units, whose IDs are given, through a shell.
func sees(t *testing.T, text string, shell Shell, ids ...string) Finding {
	t.Helper()
	return look{check: text, scene: func(*testing.T) *Scene {
		units := map[string][]stack.Unit{}
		for _, id := range ids {
			units["it"] = append(units["it"], stack.Unit{ID: id, Name: "shop-" + id, Service: "it", State: stack.Running, Env: map[string]string{"PASSWORD": "hunter2-and-more"}})
		}
		s := local(&fakeUnits{units: units})
		s.Shell, s.Began = shell, time.Now().Add(-time.Minute)
		return s
	}}.at(t, "")
}

// fakeRedis keeps keys as Redis does, and can be made to lie about each.
type fakeRedis struct {
	password, policy, most string
	set, got, gone         string // what is answered instead
	keys                   map[string]string
}

func (r *fakeRedis) exec(_ string, argv, env []string) (string, string, int) {
	known := ""
	for _, e := range env {
		known = strings.TrimPrefix(e, "REDISCLI_AUTH=")
	}
	words := argv[slices.Index(argv, "-p")+2:]
	switch {
	case len(env) > 0 && r.password == "" && argv[0] != "env":
		return "ERR AUTH <password> called without any password configured", "", 0
	case known != r.password:
		return "NOAUTH Authentication required.", "", 0
	}
	or := func(lie, truth string) (string, string, int) {
		if lie != "" {
			truth = lie
		}
		return truth, "", 0
	}
	switch strings.Join(words[:min(len(words), 2)], " ") {
	case "PING":
		return "PONG", "", 0
	case "INFO persistence":
		return "rdb_last_bgsave_status:ok\naof_enabled:0", "", 0
	case "INFO memory":
		return fmt.Sprintf("used_memory:10\nmaxmemory:%s\nmaxmemory_policy:%s", r.most, r.policy), "", 0
	}
	value, had := r.keys[words[1]]
	switch words[0] {
	case "SET":
		r.keys[words[1]] = words[2]
		return or(r.set, "OK")
	case "GET":
		return or(r.got, value)
	default:
		delete(r.keys, words[1])
		return or(r.gone, map[bool]string{true: "1", false: "0"}[had])
	}
}

func TestRedis(t *testing.T) {
	t.Parallel()
	const locked, open = "redis: {service: it, password: {env: PASSWORD}}", "redis: {service: it}"
	for name, c := range map[string]struct {
		check   string
		change  func(r *fakeRedis)
		outcome check.Outcome
		found   string
	}{
		"sound":                         {locked, func(*fakeRedis) {}, check.Pass, "answers"},
		"sound without a password":      {open, func(r *fakeRedis) { r.password = "" }, check.Pass, "answers"},
		"a password where none is":      {locked, func(r *fakeRedis) { r.password = "" }, check.Fail, "PONG"},
		"none where one is":             {open, func(*fakeRedis) {}, check.Fail, "NOAUTH"},
		"does not write":                {locked, func(r *fakeRedis) { r.set = "READONLY" }, check.Fail, "READONLY"},
		"reads something else":          {locked, func(r *fakeRedis) { r.got = "old" }, check.Fail, "OK; old; 1"},
		"does not delete":               {locked, func(r *fakeRedis) { r.gone = "0" }, check.Fail, "; 0"},
		"a canary that is asked for":    {"redis: {service: it, password: {env: PASSWORD}, canary: true}", func(r *fakeRedis) { r.gone = "0" }, check.Fail, "; 0"},
		"a canary that is not wanted":   {"redis: {service: it, password: {env: PASSWORD}, canary: false}", func(r *fakeRedis) { r.gone = "0" }, check.Pass, "answers"},
		"no limit of memory":            {locked, func(r *fakeRedis) { r.most = "0" }, check.Pass, "answers"},
		"memory in use":                 {locked, func(r *fakeRedis) { r.most = "11" }, check.Fail, "0.91 of it"},
		"a policy that loses queues":    {locked, func(r *fakeRedis) { r.policy = "allkeys-lru" }, check.Warn, "allkeys-lru"},
		"a policy that the file allows": {"redis: {service: it, password: {env: PASSWORD}, policy: '^allkeys-lru$'}", func(r *fakeRedis) { r.policy = "allkeys-lru" }, check.Pass, "answers"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &fakeRedis{password: "hunter2-and-more", policy: "noeviction", most: "1000", keys: map[string]string{}}
			c.change(r)
			f := sees(t, c.check, fakeShell{exec: r.exec}, "a")
			assert.Equal(t, c.outcome, f.Outcome, "%+v", f)
			assert.Contains(t, f.Found, c.found)
			if r.set+r.got+r.gone == "" {
				assert.Empty(t, r.keys, "it leaves nothing behind")
			}
		})
	}
}

func TestExec_Units(t *testing.T) {
	t.Parallel()
	second := fakeShell{exec: func(id string, _, _ []string) (string, string, int) {
		return "", "", map[bool]int{true: 7}[id == "b"]
	}}
	assert.Equal(t, check.Pass, sees(t, "exec: {service: it, units: first, command: [x]}", second, "a", "b").Outcome)
	f := sees(t, "exec: {service: it, command: [x]}", second, "a", "b")
	assert.Equal(t, check.Fail, f.Outcome)
	assert.Equal(t, "shop-b", f.Where)
}

func TestRun_ExitCodes(t *testing.T) {
	t.Parallel()
	as := func(stdout, stderr string, exit int) Finding {
		return sees(t, "gpu: {service: it}", fakeShell{exec: func(string, []string, []string) (string, string, int) { return stdout, stderr, exit }}, "a")
	}
	for _, exit := range []int{126, 127} {
		f := as("", "", exit)
		assert.Equal(t, check.Unknown, f.Outcome, "a program that is not there or may not run says nothing of the part")
		assert.Contains(t, f.Found, "shop-a has no nvidia-smi")
	}
	f := as("GPU-1, 1, 2", "a warning, 3, 4", 0)
	assert.Equal(t, check.Pass, f.Outcome)
	assert.Contains(t, f.Found, "1 GPUs", "what it warns of is no answer")
	assert.Contains(t, as("", "NVML: no devices", 9).Found, "NVML: no devices")
}

func TestLogs_Since(t *testing.T) {
	t.Parallel()
	for text, back := range map[string]time.Duration{
		"logs: {services: [it], forbid: [Traceback], since: 1h}": time.Hour,
		"logs: {services: [it], forbid: [Traceback]}":            time.Minute,
	} {
		var asked time.Time
		f := sees(t, text, fakeShell{logs: func(since time.Time) string {
			asked = since
			return "ready\nTraceback 1\nTraceback 2\nready"
		}}, "a")
		assert.WithinDuration(t, time.Now().Add(-back), asked, 20*time.Second, text)
		assert.Equal(t, check.Fail, f.Outcome)
		require.NotEmpty(t, f.Evidence)
		assert.Equal(t, "Traceback 2", f.Evidence[0].Found, "the last such line is kept")
	}
}

func TestCelery_Answers(t *testing.T) {
	t.Parallel()
	const text = "celery: {service: it, app: app, queues: [default]}"
	asked := 0
	f := sees(t, text, fakeShell{exec: func(string, []string, []string) (string, string, int) {
		asked++
		return "", "Error: No nodes replied within time constraint", 69
	}}, "0123456789ab")
	assert.Equal(t, check.Fail, f.Outcome)
	assert.Equal(t, 1, asked, "where nobody answers nobody is asked for queues")

	f = sees(t, text, fakeShell{exec: func(_ string, argv, _ []string) (string, string, int) {
		if slices.Contains(argv, "ping") {
			return "null\n" + `{"w@0123456789ab": {"ok": "pong"}}`, "", 0
		}
		return "warning: null\n" + `{"w@0123456789ab": [{"name": "default"}]}`, "", 0
	}}, "0123456789ab")
	assert.Equal(t, check.Pass, f.Outcome, "what is printed around the answer is not the answer: %+v", f)
}
