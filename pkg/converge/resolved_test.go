package converge

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/host"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/target"
)

// A record says of an image whether it is what the file's meant: not of one that was given, and
// of what comes from an earlier release only where that one says so.
func TestRecordsSayWhatAnImageMeant(t *testing.T) {
	t.Parallel()
	ledger, err := release.Open(t.Context(), fakeFiles{}, "/state", "shop")
	require.NoError(t, err)
	record := func(api bool) *release.Record {
		return &release.Record{Outcome: release.Verified, Services: map[string]release.ServiceRecord{
			"api": {Image: "api:v1", Pinned: "api@sha256:1", Resolved: api}, "redis": {Image: "redis:7", Pinned: "redis@sha256:7", Resolved: !api}}}
	}
	require.NoError(t, ledger.Append(t.Context(), record(true)))
	require.NoError(t, ledger.Append(t.Context(), record(false)))
	verified := optional(ledger.LatestVerified())
	svc := func(name, image, pinned string) *stack.Service {
		return &stack.Service{Name: name, Image: image, Pinned: pinned}
	}
	api, redis := svc("api", "api:v1", "api@sha256:1"), svc("redis", "redis:7", "redis@sha256:7")
	only := []string{"api"}
	for name, c := range map[string]struct {
		opts     Options
		verified *release.Record
		svc      *stack.Service
		want     bool
	}{
		"by the file":                 {Options{}, verified, api, true},
		"a first release":             {Options{}, nil, api, true},
		"given":                       {Options{Given: map[string]string{"api": "api:v1"}}, verified, api, false},
		"another is given":            {Options{Given: map[string]string{"api": "api:v1"}}, verified, redis, true},
		"the service that is named":   {Options{Services: only}, verified, api, true},
		"one that stays as it was":    {Options{Services: only}, verified, redis, true},
		"one that was given before":   {Options{Services: []string{"redis"}}, verified, api, false},
		"one that it was not":         {Options{Services: only}, verified, svc("redis", "redis:7", "redis@sha256:8"), false},
		"one that had another name":   {Options{Services: only}, verified, svc("redis", "redis:6", "redis@sha256:7"), false},
		"one that nobody knows of":    {Options{Services: only}, nil, redis, false},
		"back to what meant it":       {Options{Back: &Back{Restores: 1}}, verified, api, true},
		"back to what was given":      {Options{Back: &Back{Restores: 1}}, verified, redis, false},
		"back to what is not to read": {Options{Back: &Back{Restores: 9}}, verified, api, false},
	} {
		d := &transition{ledger: ledger, facts: &facts{verified: c.verified}, opts: c.opts}
		d.plan = &plan.Plan{}
		recorded := d.services(&stack.Stack{Order: []string{c.svc.Name}, Services: map[string]*stack.Service{c.svc.Name: c.svc}}, nil)
		assert.Equal(t, c.want, recorded[c.svc.Name].Resolved, name)
	}
}

// Who finds the images hears what was verified last.
func TestImagesAreFoundKnowingWhatWasVerified(t *testing.T) {
	t.Parallel()
	ledger, err := release.Open(t.Context(), fakeFiles{}, "/state", "shop")
	require.NoError(t, err)
	require.NoError(t, ledger.Append(t.Context(), &release.Record{Version: "v1", Outcome: release.Verified}))
	require.NoError(t, ledger.Append(t.Context(), &release.Record{Version: "v2", Outcome: release.Failed}))
	var heard *release.Record
	d := &transition{Target: &target.Target{Sink: event.Discard, Host: &host.Host{}}, on: silentPlatform{}, ledger: ledger,
		opts: Options{Stack: &stack.Stack{Name: "shop"}, Images: func(_ context.Context, verified *release.Record) (map[string]engine.Image, error) {
			heard = verified
			return nil, nil
		}}}
	_, err = d.gather(cancelled(t))
	require.Error(t, err)
	require.NotNil(t, heard)
	assert.Equal(t, "v1", heard.Version)
}

// An older image than may be meant is a warning, whichever verb finds it.
func TestAnOlderImageIsAWarning(t *testing.T) {
	t.Parallel()
	told := &event.Recorder{}
	d := &transition{Target: &target.Target{Sink: told}}
	d.tellImage("redis", engine.Image{Note: "it is from before", Warn: true})
	d.tellImage("api", engine.Image{Note: "it is from here"})
	d.tellImage("web", engine.Image{})
	events := told.Events()
	require.Len(t, events, 2)
	assert.Equal(t, []event.Level{event.Warning, event.Notice}, []event.Level{events[0].Level, events[1].Level})
	assert.Equal(t, "redis", events[0].Service)
}
