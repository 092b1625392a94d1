package rollout_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

// town is a stack of which nothing runs: needs says what each service waits for.
func town(order []string, needs map[string][]string) *stack.Stack {
	s := &stack.Stack{Name: "town", Order: order, Services: map[string]*stack.Service{}}
	for _, name := range order {
		svc := &stack.Service{Name: name, Replicas: 1, Hash: "new", Update: stack.Update{FailureAction: stack.Rollback}}
		for _, other := range needs[name] {
			svc.DependsOn = append(svc.DependsOn, stack.Dependency{Service: other, Condition: stack.Started, Required: true})
		}
		s.Services[name] = svc
	}
	return s
}

// meet makes an act wait until all others of its kind are under way, and says
// whether they were.
func meet(h *fakeHost, acts ...string) (met func() bool) {
	var mu sync.Mutex
	seen, all, late := map[string]bool{}, make(chan struct{}), false
	h.onAct = func(act string) {
		if !slices.Contains(acts, act) {
			return
		}
		mu.Lock()
		if seen[act] = true; len(seen) == len(acts) {
			close(all)
		}
		mu.Unlock()
		select {
		case <-all:
		case <-time.After(5 * time.Second):
			mu.Lock()
			late = true
			mu.Unlock()
		}
	}
	return func() bool { mu.Lock(); defer mu.Unlock(); return !late && len(seen) == len(acts) }
}

func TestRun_ServicesThatNeedNothingOfEachOtherComeUpTogether(t *testing.T) {
	t.Parallel()
	h := newFakeHost()
	met := meet(h, "create a 1", "create b 1", "create c 1")
	report, err := carry(t.Context(), h, town([]string{"a", "b", "c"}, nil))
	require.NoError(t, err)
	assert.True(t, met(), "they waited for each other: %v", h.log)
	assert.ElementsMatch(t, []string{"a", "b", "c"}, report.Touched)
	assert.Len(t, h.units, 3)
}

func TestRun_WhatIsNeededComesUpBefore(t *testing.T) {
	t.Parallel()
	h := newFakeHost()
	// web needs db by way of api only, and ui meets api beside it.
	st := town([]string{"db", "api", "ui", "web"}, map[string][]string{"api": {"db"}, "ui": {"db"}, "web": {"api"}})
	met := meet(h, "create api 1", "create ui 1")
	_, err := carry(t.Context(), h, st)
	require.NoError(t, err)
	assert.True(t, met(), "%v", h.log)
	first := func(act string) int {
		return slices.IndexFunc(h.log, func(line string) bool { return strings.HasPrefix(line, act) })
	}
	assert.Less(t, first("start db"), first("create api"))
	assert.Less(t, first("start db"), first("create ui"))
	assert.Less(t, first("start api"), first("create web"))
}

func TestRun_AfterAFailureNothingMoreComesUp(t *testing.T) {
	t.Parallel()
	h := newFakeHost()
	h.fail["start a"] = errBroken
	report, err := carry(t.Context(), h, town([]string{"a", "b"}, map[string][]string{"b": {"a"}}))
	require.ErrorIs(t, err, errBroken)
	assert.Equal(t, "a", report.Failed)
	assert.Equal(t, []string{"a"}, report.Touched)
	assert.Empty(t, h.units, "what failed was taken away")
}

// Services that are new behind a gateway that runs move its traffic one by one;
// behind one that comes up itself there is nothing to move.
func TestRun_NewServicesBehindOneGateway(t *testing.T) {
	t.Parallel()
	behind := func() *stack.Stack {
		st := town([]string{"a", "b", "gateway"}, nil)
		st.Services["a"].Ext.Gateway, st.Services["b"].Ext.Gateway = "gateway", "gateway"
		return st
	}
	h := newFakeHost()
	met := meet(h, "create a 1", "create b 1")
	_, err := carry(t.Context(), h, behind())
	require.NoError(t, err)
	assert.True(t, met(), "%v", h.log)

	h = newFakeHost(unit("gateway", 9, "new"))
	_, err = carry(t.Context(), h, behind())
	require.NoError(t, err)
	assert.Equal(t, lines(`
		create a 1
		start a-101
		pin a 10.0.0.101
		reload
		drain
		unpin a
		create b 1
		start b-102
		pin b 10.0.0.102
		reload
		drain
		unpin b`), h.log)
}
