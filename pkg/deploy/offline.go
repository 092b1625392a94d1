package deploy

import (
	"fmt"
	"time"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// offline plans for an empty host. No registry is asked: what the Compose file
// names stands for the digest.
func (o Options) offline(st *stack.Stack, sink event.Sink, result *converge.Result) error {
	images := map[string]string{}
	for _, name := range st.Order {
		if images[name] = st.Services[name].Image; o.Images[name] != "" {
			images[name] = o.Images[name]
		}
	}
	if err := st.Pin(images); err != nil {
		return fault.As(fault.Refused, err)
	}
	p := plan.Make(plan.Input{Desired: st, Only: o.Services})
	p.Notes = append(p.Notes, "no host was given: this is what a first release would do, and no registry was asked for the images")
	p.Notes = append(p.Notes, st.Warnings...)
	result.Plan, result.Changed, result.Outcome = p, p.Changed(), converge.Planned
	sink.Emit(event.Event{Time: time.Now(), Level: event.Info, Phase: "plan", Text: fmt.Sprintf("plan for %s on an empty host\n%s", st.Name, p)})
	return nil
}
