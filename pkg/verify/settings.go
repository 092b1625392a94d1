package verify

import (
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/suggest"
	"github.com/shiksha/actions/pkg/verify/kind"
)

// DefaultTimeout is the time for all checks.
const DefaultTimeout = 5 * time.Minute

// direct dials from where this program runs.
var direct = &net.Dialer{Timeout: 10 * time.Second}

// Settings say which checks run and what counts.
type Settings struct {
	// Project is needed only where no stack is known.
	Project string
	// File is what the file of checks is called and Content what it holds; without
	// it the checks are those of the Compose file, and without those what the file
	// promises.
	File    string
	Content []byte
	// Only names the checks to look at, all where it is empty; Skip leaves out some.
	// What is left out is told as skipped and does not decide.
	Only, Skip []string
	// URL is the base address that users come in by.
	URL string
	// Timeout is for all checks together, Window how long nothing may break.
	Timeout, Window time.Duration
	// FailOn is check.Warn when a warning fails too.
	FailOn check.Outcome
	// Protect is told of every secret that a check reads.
	Protect func(secrets ...string)
}

// recall takes the address that a release was made with where the checks that somebody wrote
// may need one and nobody gives it. Nobody is told its password.
func (s *Settings) recall(st, wanted *stack.Stack) {
	if s.URL == "" && st != nil && !s.promised(wanted) {
		s.URL = st.URL
	}
	if u, err := url.Parse(s.URL); err == nil && s.Protect != nil {
		if password, ok := u.User.Password(); ok {
			s.Protect(password)
		}
	}
}

// resolve gives the checks of a stack; st may be nil. Those that Only and Skip leave
// out are among them, with the reason.
func (s Settings) resolve(st *stack.Stack) ([]kind.Check, error) {
	checks, err := s.read(st)
	if err != nil {
		return nil, err
	}
	if err := s.services(st, checks); err != nil {
		return nil, err
	}
	return checks, s.choose(checks)
}

// choose marks the checks that are left out. A name that no check has is bad input.
func (s Settings) choose(checks []kind.Check) error {
	var names []string
	for i := range checks {
		names = append(names, checks[i].Name)
	}
	for _, input := range []struct {
		name string
		list []string
	}{{"only", s.Only}, {"skip", s.Skip}} {
		for _, name := range input.list {
			if hint := near(name, names); hint != "" {
				return fault.New(fault.Input, input.name, hint, "there is no check %q", name)
			}
		}
	}
	if left := s.leaveOut(checks); left == 0 {
		return fault.New(fault.Input, "skip", "leave at least one check of "+strings.Join(names, ", "), "no check is left")
	}
	return nil
}

// leaveOut marks the checks that are left out and tells how many are not.
func (s Settings) leaveOut(checks []kind.Check) (left int) {
	for i := range checks {
		switch name := checks[i].Name; {
		case slices.Contains(s.Skip, name):
			checks[i].LeftOut = "left out by the input skip"
		case len(s.Only) > 0 && !slices.Contains(s.Only, name):
			checks[i].LeftOut = "left out by the input only"
		default:
			left++
		}
	}
	return left
}

// near is "" for a name that is known, else a hint.
func near(name string, known []string) string {
	for _, k := range known {
		if k == name {
			return ""
		}
	}
	if n := suggest.Nearest(name, known); n != "" {
		return fmt.Sprintf("did you mean %q?", n)
	}
	return "there are: " + strings.Join(known, ", ")
}

func (s Settings) read(st *stack.Stack) ([]kind.Check, error) {
	switch {
	case len(s.Content) > 0 || s.File != "":
		return kind.ReadFile(s.File, s.Content)
	case s.promised(st):
		return promise(st, s.URL), nil
	}
	return kind.Read(st.Checks.File, st.Checks.Node)
}

// promised tells whether nobody wrote checks for a stack: what its Compose file
// promises is checked then.
func (s Settings) promised(st *stack.Stack) bool {
	return len(s.Content) == 0 && s.File == "" && (st == nil || st.Checks == nil)
}

// services refuses checks of services that the stack does not have; which those are
// is not known where nothing was released.
func (s Settings) services(st *stack.Stack, checks []kind.Check) error {
	if st == nil || len(st.Order) == 0 {
		return nil
	}
	for i := range checks {
		for _, name := range checks[i].Services() {
			if hint := near(name, st.Order); hint != "" {
				return fault.New(fault.Input, s.where(st, &checks[i]), hint, "check %q: there is no service %q in the stack", checks[i].Name, name)
			}
		}
	}
	return nil
}

// where tells where a check is written down.
func (s Settings) where(st *stack.Stack, c *kind.Check) string {
	where := s.File
	if where == "" && st != nil && st.Checks != nil {
		where = st.Checks.File
	}
	if c.Line > 0 {
		where = fmt.Sprintf("%s:%d", where, c.Line)
	}
	return where
}
