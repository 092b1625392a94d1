package verify

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/verify/kind"
)

// The thirteen checks of the ShikshaSetu stack need no code of their own.
func TestShikshaSetuIsExpressible(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("testdata/shikshasetu.verify.yml")
	require.NoError(t, err)
	checks, err := kind.ReadFile("shikshasetu.verify.yml", content)
	require.NoError(t, err)
	assert.Len(t, checks, 13)
}

// A verification looks for the project that a deploy of the same files released,
// also where only the checkout's name says what it is called.
func TestProjectOfTheComposeFile(t *testing.T) {
	t.Parallel()
	const nameless = "services: {a: {image: a}}\n"
	for name, test := range map[string]struct{ text, folder, given, want string }{
		"named":                    {"name: shop\n" + nameless, "other", "", "shop"},
		"called like the checkout": {nameless, "Shiksha.Setu", "", "shikshasetu"},
		"given":                    {nameless, "other", "shop", "shop"},
		"no Compose file":          {"", "other", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := Options{Workspace: t.TempDir(), Folder: test.folder, Settings: Settings{Project: test.given}}
			if test.text != "" {
				require.NoError(t, os.WriteFile(filepath.Join(o.Workspace, "compose.yaml"), []byte(test.text), 0o600))
			}
			_, err := o.compose()
			require.NoError(t, err)
			assert.Equal(t, test.want, o.Project)
		})
	}
}

// shop is a released stack of one service that promises a port.
func shop() *stack.Stack {
	web := types.ServiceConfig{Name: "web"}
	web.Ports = []types.ServicePortConfig{{Published: "8080", Target: 80}}
	return &stack.Stack{Name: "shop", Order: []string{"web"}, Services: map[string]*stack.Service{"web": {Name: "web", Replicas: 1}},
		Project: &types.Project{Services: types.Services{"web": web}}}
}

const twoChecks = `checks:
  - {name: database, postgres: {service: postgres}}
  - {name: page, http: {service: web, port: 80}}
`

// What is wrong with the choice of checks is bad input, with what would be right.
func TestSettings_BadInput(t *testing.T) {
	t.Parallel()
	one := "checks:\n  - {name: page, http: {service: web, port: 80}}\n"
	for name, c := range map[string]struct {
		settings          Settings
		where, says, hint string
	}{
		"skip what is not there":            {Settings{Content: []byte(one), File: "v.yml", Skip: []string{"pgae"}}, "skip", `there is no check "pgae"`, `did you mean "page"?`},
		"only what is not there":            {Settings{Content: []byte(one), File: "v.yml", Only: []string{"else"}}, "only", `there is no check "else"`, "there are: page"},
		"skip what is not promised":         {Settings{Skip: []string{"web port 8081"}}, "skip", `there is no check "web port 8081"`, `did you mean "web port 8080"?`},
		"nothing is left":                   {Settings{Content: []byte(one), File: "v.yml", Skip: []string{"page"}}, "skip", "no check is left", "leave at least one check of page"},
		"only and skip leave nothing":       {Settings{Only: []string{"containers"}, Skip: []string{"containers"}}, "skip", "no check is left", "leave at least one"},
		"a service that is not released":    {Settings{Content: []byte(twoChecks), File: "v.yml"}, "v.yml:2", `check "database": there is no service "postgres" in the stack`, "there are: web"},
		"a kind that does not exist":        {Settings{Content: []byte("checks:\n  - name: x\n    postgress: {service: db}\n"), File: "v.yml"}, "v.yml:3", `unknown key "postgress"`, `did you mean "postgres"?`},
		"a file without a check":            {Settings{Content: []byte("checks: []\n"), File: "v.yml"}, "v.yml:1", "there are no checks in the list", "write at least one"},
		"a file that is empty":              {Settings{Content: nil, File: "v.yml"}, "v.yml", "is empty", ""},
		"a list without the key checks":     {Settings{Content: []byte("check: []\n"), File: "v.yml"}, "", `unknown key "check"`, ""},
		"a secret in the place of its name": {Settings{Content: []byte("checks:\n  - name: x\n    redis: {service: web, password: hunter2-and-more}\n"), File: "v.yml"}, "v.yml:3", "a secret is not written into a check", "name where it is"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := c.settings.resolve(shop())
			require.Error(t, err)
			assert.Equal(t, fault.Input, fault.Of(err))
			assert.Contains(t, err.Error(), c.says)
			assert.Contains(t, fault.Hint(err), c.hint)
			assert.True(t, strings.HasPrefix(err.Error(), c.where), err.Error())
			assert.NotContains(t, err.Error()+fault.Hint(err), "hunter2")
		})
	}
}

// Where nothing was released nobody knows which services there are.
func TestSettings_ServicesOfNoRelease(t *testing.T) {
	t.Parallel()
	s := Settings{Content: []byte(twoChecks), File: "v.yml"}
	for _, st := range []*stack.Stack{nil, {}} {
		checks, err := s.resolve(st)
		require.NoError(t, err)
		assert.Len(t, checks, 2)
	}
}

// The verdict names what does not hold, what was expected and found, and what to do.
func TestVerdict(t *testing.T) {
	t.Parallel()
	bad := func(name string, o check.Outcome, hint string) check.Result {
		return check.Result{Name: name, Required: true, Outcome: o, Where: "w-1", Expected: "x", Found: "y", Hint: hint}
	}
	pass := check.Result{Name: "p", Required: true, Outcome: check.Pass}
	told := check.Result{Name: "s", Outcome: check.Skip}
	for name, c := range map[string]struct {
		results    []check.Result
		failOn     check.Outcome
		says, hint string
	}{
		"passed": {[]check.Result{pass, told}, check.Fail, "", ""},
		"one failed, without a hint of its own": {[]check.Result{pass, bad("a", check.Fail, "")}, check.Fail,
			"verification failed: a: w-1: expected x, found y", "what was asked last, and the answers, are in the job summary and in the report (--json)"},
		"one failed": {[]check.Result{bad("a", check.Fail, "do this"), bad("b", check.Unknown, "not this")}, check.Fail, "verification failed: a: w-1: expected x, found y", "do this"},
		"two failed, one knows what to do": {[]check.Result{bad("a", check.Fail, ""), bad("b", check.Fail, "do this")}, check.Fail,
			"verification failed: a: w-1: expected x, found y; b: w-1: expected x, found y", "b: do this"},
		"many": {[]check.Result{bad("a", check.Fail, ""), bad("b", check.Fail, ""), bad("c", check.Fail, ""), bad("d", check.Fail, ""), bad("e", check.Fail, "")}, check.Fail,
			"c: w-1: expected x, found y; and 2 more", ""},
		"unknown":       {[]check.Result{pass, bad("a", check.Unknown, "")}, check.Fail, "verification could not decide, which is not a pass: a: w-1: expected x, found y", "what was asked"},
		"a warning":     {[]check.Result{pass, bad("a", check.Warn, "")}, check.Fail, "", ""},
		"fail-on: warn": {[]check.Result{pass, bad("a", check.Warn, "renew it")}, check.Warn, "verification failed: a: w-1: expected x, found y", "renew it"},
		"fail-on: warn, and nothing known": {[]check.Result{pass, told, {Name: "a", Outcome: check.Unknown, Expected: "x", Found: "y", Hint: "look there"}}, check.Warn,
			"verification could not decide, which is not a pass: a: expected x, found y", "look there"},
		"required and skipped by itself": {[]check.Result{bad("a", check.Skip, "")}, check.Fail, "could not decide", ""},
		"nothing was checked":            {nil, check.Fail, "could not decide, which is not a pass: nothing was checked", ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := Verdict(&check.Report{Results: c.results}, c.failOn)
			if c.says == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.says)
			assert.Equal(t, fault.Failed, fault.Of(err))
			assert.Contains(t, fault.Hint(err), c.hint)
		})
	}
}
