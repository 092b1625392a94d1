package stack

import (
	"slices"

	"github.com/compose-spec/compose-go/v2/types"
)

// Partial is the stack that runs after a release of some services only: the
// selected ones as they are in s, the others as before had them, and none that
// before did not have (nil: there was no release before).
func (s *Stack) Partial(before *Stack, selected []string) *Stack {
	out := *s
	project := *s.Project
	out.Project, out.Services, out.Order = &project, map[string]*Service{}, nil
	project.Services = types.Services{}
	for _, name := range s.Order {
		from := s
		if !slices.Contains(selected, name) {
			from = before
		}
		if from == nil || from.Services[name] == nil {
			continue
		}
		out.Order = append(out.Order, name)
		out.Services[name] = from.Services[name]
		project.Services[name] = from.Project.Services[name]
	}
	return &out
}

// GoBack makes every service of a stack that comes back roll as its rollback_config
// says. What a failure then does stays with update_config: Compose knows no way
// back of a way back.
func (s *Stack) GoBack() {
	for _, svc := range s.Services {
		action := svc.Update.FailureAction
		svc.Update = svc.Rollback
		svc.Update.FailureAction = action
	}
}
