package kind

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/stack"
)

func TestSight_Variables(t *testing.T) {
	t.Parallel()
	f := look{check: "exec: {on: host, command: [echo, '{{release}} {{version}} {{project}}'], stdout: 2 v2 shop}", scene: func(*testing.T) *Scene { return local(nil) }}.at(t, "")
	assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
	f = look{check: "exec: {on: host, command: [echo, '{{release}}']}", scene: func(*testing.T) *Scene { s := local(nil); s.Number = 0; return s }}.at(t, "")
	assert.Contains(t, f.Found, "{{release}} has no value here", "before the first release there is no number")
}

// A report stays short however much was looked at, and keeps the newest.
func TestSight_EvidenceIsBounded(t *testing.T) {
	t.Parallel()
	var ids []string
	for i := range maxEvidence + 3 {
		ids = append(ids, fmt.Sprint("unit", i))
	}
	shell := fakeShell{exec: func(id string, _, _ []string) (string, string, int) { return id, "", 0 }}
	const one = "exec: {service: it, command: [hostname]}"
	f := sees(t, one, shell, ids...)
	require.Len(t, f.Evidence, maxEvidence)
	assert.Contains(t, f.Evidence[maxEvidence-1].Found, ids[len(ids)-1])
	f = sees(t, "all: [{"+one+"}, {"+one+"}, {"+one+"}]", shell, ids...)
	assert.Len(t, f.Evidence, 2*maxEvidence)
}

func TestSight_Parts(t *testing.T) {
	t.Parallel()
	shell := fakeShell{exec: func(_ string, argv, _ []string) (string, string, int) {
		return argv[0], "", map[string]int{"false": 1}[argv[0]]
	}}
	part := func(command, more string) string {
		return "{exec: {service: it, command: ['" + command + "']}" + more + "}"
	}
	for name, c := range map[string]struct {
		parts    string
		outcome  check.Outcome
		expected string
	}{
		"all pass":                          {part("true", "") + ", " + part("date", ", name: clock"), check.Pass, "all parts to pass"},
		"a part that may warn and does not": {part("true", ", level: warn"), check.Pass, "all parts to pass"},
		"a part that may only warn":         {part("false", ", level: warn") + ", " + part("true", ""), check.Warn, "exec: exit code 0 of false"},
		"a failure counts more":             {part("false", ", level: warn") + ", " + part("false", ", name: second"), check.Fail, "second: exit code 0 of false"},
		"a failure is not passed over":      {part("false", "") + ", " + part("true", ""), check.Fail, "exec: exit code 0 of false"},
	} {
		f := sees(t, "all: ["+c.parts+"]", shell, "a")
		assert.Equal(t, c.outcome, f.Outcome, name)
		assert.Equal(t, c.expected, f.Expected, name)
		assert.Equal(t, c.outcome != check.Pass, f.Where == "shop-a", "%s: who it was", name)
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "two words", cut(" two\n\twords "))
	assert.Equal(t, strings.Repeat("x", maxText), cut(strings.Repeat("x", maxText)))
	assert.Equal(t, strings.Repeat("x", maxText)+" ...", cut(strings.Repeat("x", maxText+1)))
	for shift := range 3 {
		short := cut(strings.Repeat("x", shift) + strings.Repeat("\u20ac", maxText))
		assert.True(t, utf8.ValidString(short), "a letter is not cut in two")
		assert.Greater(t, len(short), maxText-3)
	}
	assert.Equal(t, " ...", cut(strings.Repeat("\x80", maxText+1)), "bytes that are no text end somewhere")
}

// What is said is sent, and what is not said is not.
func TestTCP_Send(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				line, _ := bufio.NewReader(c).ReadString('\n')
				_, _ = fmt.Fprintf(c, "heard %s", line)
				_ = c.Close()
			}()
		}
	}()
	at := func(more string) Finding {
		return look{check: "tcp: {address: '" + l.Addr().String() + "'" + more + "}", scene: func(*testing.T) *Scene { return local(nil) }}.at(t, "")
	}
	f := at(`, send: "hello\n", expect: ^heard hello`)
	assert.Equal(t, check.Pass, f.Outcome, "%+v", f)
	f = at("")
	assert.Equal(t, check.Pass, f.Outcome, "it waits for what nobody sends: %+v", f)
}

// countedUnits tells how often the host was asked.
type countedUnits struct {
	*fakeUnits
	n atomic.Int64
}

func (c *countedUnits) Observe(ctx context.Context, project string) (stack.Observed, error) {
	c.n.Add(1)
	return c.fakeUnits.Observe(ctx, project)
}

func TestScene_Units(t *testing.T) {
	t.Parallel()
	units := &countedUnits{fakeUnits: &fakeUnits{units: map[string][]stack.Unit{"api": {
		{ID: "a", State: stack.Running}, {ID: "b", State: stack.Running, OneOff: true}, {ID: "c", State: stack.Exited},
	}}}}
	s := local(nil)
	s.Units = units
	for range 5 {
		running, err := s.running(t.Context(), "api")
		require.NoError(t, err)
		assert.Equal(t, []stack.Unit{{ID: "a", State: stack.Running}}, running, "one that runs a command once is no unit")
	}
	assert.EqualValues(t, 1, units.n.Load(), "checks of one moment share a look")
}

func TestScene_ShortValuesAreNoSecrets(t *testing.T) {
	t.Parallel()
	s := local(nil)
	s.Stack = &stack.Stack{Services: map[string]*stack.Service{"api": {Environment: map[string]string{"KEY_SIZE": "2048", "API_KEY": "long-enough", "LOG_LEVEL": "information"}}}}
	s.HideEnvironment()
	assert.Equal(t, "2048 *** information", s.Clean("2048 long-enough information"))
}

// A pattern captures what its first group matches, and all of it without one; what is a
// secret is hidden just so.
func TestSight_Captures(t *testing.T) {
	t.Parallel()
	const body = "token=one-of-them, other=two-of-them"
	for pattern, want := range map[string]string{`=(\S+), other=(\S+)`: "one-of-them", `token=(\S+),`: "one-of-them", `one-\S+them`: "one-of-them", `token=(\S+)(?:, )?(never)?`: "one-of-them,"} {
		s := local(nil).Begin(t.Context(), "it")
		captures := map[string]Pattern{"token": mustPattern(pattern)}
		s.conceal(captures, body)
		s.learn(captures, body)
		assert.Equal(t, want, s.Vars["token"], pattern)
		assert.NotContains(t, s.Clean(body), want, pattern)
	}
}
