package deploy

import (
	"cmp"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/verify"
)

// verifier makes what decides whether a release stays. The verbs know nothing of
// each other: the doorway brings them together.
func (in *Inputs) verifier(s *door.Session) (func(*stack.Stack) (converge.Verifier, error), error) {
	file, err := inputs.ReadChecks(s.Workspace, in.Checks)
	if err != nil {
		return nil, err
	}
	settings := verify.Settings{
		File: file.Name, Content: file.Content, Skip: in.SkipChecks, URL: in.URL, Timeout: in.CheckTimeout, Window: in.Window,
		FailOn: check.Outcome(in.FailOn), Protect: s.Protect,
	}
	return func(st *stack.Stack) (converge.Verifier, error) {
		st.URL = in.URL // kept with the release, for a rollback to it
		gate, err := verify.NewGate(st, settings)
		if err != nil || in.DryRun { // the plan of a pull request has no address yet, and may have no version
			return gate, err
		}
		return gate, cmp.Or(gate.Addressed(), gate.Versioned(in.Version))
	}, nil
}
