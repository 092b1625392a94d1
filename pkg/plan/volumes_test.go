package plan_test

import (
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// Beside units that run nobody can have their anonymous volumes; who stops them first
// takes these over. The plan says which of the two it is: it may depend on the memory
// that happens to be free.
func TestSaysWhoGetsWhatHasNoName(t *testing.T) {
	t.Parallel()
	const (
		empties = "new units begin with an empty /cache, /data (start-first, and no named volume there)"
		keeps   = "new units keep what is in the volumes without a name at /cache, /data"
	)
	for name, c := range map[string]struct {
		edit func(*plan.Input)
		want string
	}{
		"start-first": {func(*plan.Input) {}, empties},
		"stop-first":  {func(in *plan.Input) { in.Desired.Services["api"].Update.Order = stack.StopFirst }, keeps},
		"too little memory": {func(in *plan.Input) {
			limited(in, 4<<30)
			in.FreeMemory = 3 << 30
		}, keeps},
		"all have ended": {func(in *plan.Input) {
			for i := range in.Observed.Units["api"] {
				in.Observed.Units["api"][i].State = stack.Exited
			}
		}, keeps},
		"they stay": {func(in *plan.Input) { in.Desired.Services["api"].Hash = "api-v1" }, ""},
		"more of them": {func(in *plan.Input) {
			in.Desired.Services["api"].Hash, in.Desired.Services["api"].Replicas = "api-v1", 4
		}, ""},
		"on a Swarm": {func(in *plan.Input) {
			in.Observed.Scheduled, in.Desired.Services["api"].Update.Order = true, stack.StopFirst
		}, ""},
		"they get names": {func(in *plan.Input) {
			in.Desired.Services["api"].Update.Order = stack.StopFirst
			var c types.ServiceConfig
			c.Volumes = []types.ServiceVolumeConfig{{Type: types.VolumeTypeVolume, Source: "data", Target: "/data"}, {Type: types.VolumeTypeBind, Source: "/srv", Target: "/cache/"}}
			in.Desired.Project.Services["api"] = c
		}, ""},
	} {
		in := plan.Input{Desired: quickstart(), Observed: observed("v1")}
		in.Desired.Services["api"].Update.Order = stack.StartFirst
		for i := range in.Observed.Units["api"] {
			in.Observed.Units["api"][i].Anonymous = []string{"/data", "/cache"}
		}
		c.edit(&in)
		var said []string
		for _, r := range plan.Make(in).Step("api").Reasons {
			if strings.Contains(r, "/data") {
				said = append(said, r)
			}
		}
		assert.Equal(t, c.want, strings.Join(said, "; "), name)
	}
}
