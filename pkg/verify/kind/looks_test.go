package kind

import (
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/stack"
)

// A look is one look of a kind at a part: sound, or broken in the way that one
// comparison is for.
type look struct {
	// point is the comparison that has to notice; "" for a sound part.
	point string
	// check is the kind with its settings, as a file of checks has it.
	check   string
	scene   func(t *testing.T) *Scene
	outcome check.Outcome
	// found is part of what the report says.
	found string
}

// all are the looks at parts that need no container.
func all() map[string]look {
	out := map[string]look{}
	for _, list := range []map[string]look{httpLooks(), tlsLooks(), tcpLooks(), unitLooks(), logLooks(), execLooks(), storeLooks(), ownBackupLooks(), monitorLooks(), hostLooks()} {
		for name, l := range list {
			if _, twice := out[name]; twice {
				panic("two looks are called " + name)
			}
			out[name] = l
		}
	}
	return out
}

func (l look) at(t *testing.T, mute string) Finding {
	t.Helper()
	text := "- name: it\n  " + strings.ReplaceAll(strings.TrimSpace(l.check), "\n", "\n  ")
	checks, err := ReadFile("verify.yml", []byte(text))
	require.NoError(t, err, text)
	scene := l.scene(t)
	scene.mute = mute
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	s := scene.Begin(ctx, "it")
	checks[0].Look(s)
	return s.Finding
}

func (l look) holds(f Finding) bool {
	return f.Outcome == l.outcome && strings.Contains(f.Where+" "+f.Found, l.found)
}

func TestLooks(t *testing.T) {
	t.Parallel()
	for name, l := range all() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := l.at(t, "")
			assert.Equal(t, l.outcome, f.Outcome, "%+v", f)
			assert.Contains(t, f.Where+" "+f.Found, l.found)
			assert.NotContains(t, fmt.Sprintf("%+v", f), "hunter2-and-more", "a secret is shown nowhere")
			if l.outcome != check.Pass {
				assert.NotEmpty(t, f.Expected, "it says what was expected")
				assert.NotEmpty(t, f.Found, "and what was found")
			}
		})
	}
}

// Every comparison is turned off in turn; a look that was made for it has to come
// out different then, which is a test of TestLooks that fails.
func TestEveryComparisonIsNeeded(t *testing.T) {
	t.Parallel()
	points, made := comparisons(t), map[string][]string{}
	looks := all()
	for name, l := range looks {
		if l.point != "" {
			made[l.point] = append(made[l.point], name)
			assert.Contains(t, points, l.point, "%s is for a comparison that does not exist", name)
		}
	}
	for _, point := range points {
		t.Run(point, func(t *testing.T) {
			t.Parallel()
			require.NotEmpty(t, made[point], "no look fails without the comparison")
			for _, name := range made[point] {
				f := looks[name].at(t, point)
				assert.False(t, looks[name].holds(f), "%s finds the same without the comparison: %+v", name, f)
			}
		})
	}
}

// pointName is how comparisons are called.
var pointName = regexp.MustCompile(`^"(([a-z-]+\.)[a-z0-9-]+|running|capture)"$`)

// comparisons finds the points of the kinds in their source: the names that calls
// of comparing methods are given.
func comparisons(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	points := map[string]bool{}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		ast.Inspect(tree, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			name := ""
			switch f := call.Fun.(type) {
			case *ast.SelectorExpr:
				name = f.Sel.Name
			case *ast.Ident:
				name = f.Name
			}
			if !slices.Contains([]string{"need", "want", "know", "point", "absent", "ask", "json"}, name) {
				return true
			}
			for _, arg := range call.Args {
				if text, ok := arg.(*ast.BasicLit); ok {
					if m := pointName.FindStringSubmatch(text.Value); m != nil {
						points[m[1]] = true
					}
				}
			}
			return true
		})
	}
	for operator := range operators {
		points["match."+operator] = true
	}
	// These are put together from the kind's name.
	for _, p := range []string{"prometheus.metric", "prometheus.reload", "alertmanager.metric", "alertmanager.reload"} {
		points[p] = true
	}
	require.Greater(t, len(points), 60)
	return slices.Sorted(maps.Keys(points))
}

// here is this machine as the host of a test.
type here struct{}

func (h here) DialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

func (h here) Run(ctx context.Context, argv []string, stdin io.Reader) (host.Output, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdin = stdin
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		err = nil
	}
	return host.Output{Stdout: []byte(out.String()), Stderr: []byte(errs.String()), Exit: cmd.ProcessState.ExitCode()}, err
}

// fakeHost answers commands with what a test says, for faults that this machine
// cannot be given: a full disk, no memory.
type fakeHost struct {
	here
	answers map[string]string
}

func (h fakeHost) Run(_ context.Context, argv []string, _ io.Reader) (host.Output, error) {
	line := strings.Join(argv, " ")
	for prefix, answer := range h.answers {
		if strings.HasPrefix(line, prefix) {
			return host.Output{Stdout: []byte(answer)}, nil
		}
	}
	return host.Output{Exit: 1, Stderr: []byte("no such thing")}, nil
}

// fakeUnits are units whose state and programs a test makes up, for faults that a
// real one does not show on demand (killed for memory, a save that failed, a GPU).
type fakeUnits struct {
	units   map[string][]stack.Unit
	answers map[string]string // what a command beginning with the key prints; "!" before it: with exit code 1, "!!" as timeout ends it
	log     string
	logCut  bool
	err     error

	scheduled bool
}

func (f *fakeUnits) Observe(context.Context, string) (stack.Observed, error) {
	return stack.Observed{Units: f.units, Scheduled: f.scheduled}, f.err
}

func (f *fakeUnits) Inspect(_ context.Context, id string) (stack.Unit, error) {
	for _, list := range f.units {
		for _, u := range list {
			if u.ID == id {
				return u, nil
			}
		}
	}
	return stack.Unit{}, fmt.Errorf("look at %s: %w", id, errGone{})
}

// errGone is what the engine's client says of a container that is gone.
type errGone struct{}

func (errGone) Error() string { return "no such container" }
func (errGone) NotFound()     {}

func (f *fakeUnits) ExecEnv(_ context.Context, _ string, argv, env []string, _ []byte) (string, string, int, error) {
	line := strings.Join(argv, " ")
	for _, e := range env {
		line = "[" + e + "] " + line
	}
	best := ""
	for prefix := range f.answers {
		if strings.HasPrefix(line, prefix) && len(prefix) > len(best) {
			best = prefix
		}
	}
	if best == "" {
		return "", "not found", 127, nil
	}
	answer := f.answers[best]
	if text, inVain := strings.CutPrefix(answer, "!!"); inVain {
		return text, "", 124, nil
	}
	if text, failed := strings.CutPrefix(answer, "!"); failed {
		return text, "", 1, nil
	}
	return answer, "", 0, nil
}

func (f *fakeUnits) Logs(_ context.Context, _ string, _ time.Time, each func(string, bool)) error {
	for line := range strings.Lines(f.log) {
		each(strings.TrimSuffix(line, "\n"), f.logCut)
	}
	return f.err
}

// local is a scene of this machine with the given units.
func local(units *fakeUnits) *Scene {
	if units == nil {
		units = &fakeUnits{}
	}
	return &Scene{Ground: here{}, Units: units, Shell: units, Dial: (&net.Dialer{}).DialContext, Project: "shop", Version: "v2", Number: 2}
}

// one is a service with one running unit that answers commands.
func one(service string, answers map[string]string) func(*testing.T) *Scene {
	return func(*testing.T) *Scene {
		return local(&fakeUnits{answers: answers, units: map[string][]stack.Unit{service: {
			{ID: "0123456789abcdef", Name: "shop-" + service + "-1", Service: service, State: stack.Running, Addresses: map[string]string{"net": "127.0.0.1"},
				Env: map[string]string{"PASSWORD": "hunter2-and-more"}},
		}}})
	}
}
