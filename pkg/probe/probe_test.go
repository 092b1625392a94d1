package probe

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	vegeta "github.com/tsenart/vegeta/v12/lib"
)

const (
	soon = time.Minute // a busy machine's patience, not a measure
	tick = 20 * time.Millisecond
)

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(handler)
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.URL
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") }

func begin(t *testing.T, c Config) *Probe {
	t.Helper()
	p, err := Start(t.Context(), c)
	require.NoError(t, err)
	t.Cleanup(func() { p.Stop() })
	return p
}

// until waits for so many requests to have an end.
func until(t *testing.T, p *Probe, requests int) {
	t.Helper()
	require.Eventually(t, func() bool { return ended(p, "") >= requests }, soon, tick)
}

// ended is how many requests (of a phase, unless it is "") have had an end: what
// Report says too, without its quantiles.
func ended(p *Probe, name string) int {
	p.tally.mu.Lock()
	defer p.tally.mu.Unlock()
	n := 0
	for _, ph := range p.tally.phases {
		if name == "" || ph.name == name {
			n += ph.requests
		}
	}
	return n
}

// run waits until the probe has run so long.
func run(p *Probe, d time.Duration) { time.Sleep(time.Until(p.tally.began.Add(d))) }

func TestRateIsKeptAndShared(t *testing.T) { // not parallel: it measures time
	var mu sync.Mutex
	paths := map[string]int{}
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		paths[r.URL.Path]++
		mu.Unlock()
		ok(w, r)
	})
	p := begin(t, Config{URL: url, Rate: 100, Timeout: soon, Kinds: []Kind{
		{Name: "get", Weight: 2, Path: "/get"},
		{Name: "fresh", Weight: 1, Path: "/fresh", Fresh: true},
		{Name: "post", Weight: 1, Path: "/post", Method: "POST", Body: func(id string) []byte { return []byte(id) }},
		{Name: "slow", Every: 100 * time.Millisecond, Path: "/slow", Slow: true},
	}})
	until(t, p, 220)
	r := p.Stop()
	assert.True(t, lossless(r), "%+v", r)
	shared := r.Requests - r.Kinds["slow"].Requests
	late := r.MaxLag.Seconds() // of a busy machine
	assert.InDelta(t, r.Duration.Seconds()*100, shared, 5+late*100)
	assert.InDelta(t, shared/2, r.Kinds["get"].Requests, 2)
	assert.InDelta(t, shared/4, r.Kinds["fresh"].Requests, 2)
	assert.InDelta(t, shared/4, r.Kinds["post"].Requests, 2)
	assert.InDelta(t, r.Duration.Seconds()*10, r.Kinds["slow"].Requests, 3+late*10)
	mu.Lock()
	defer mu.Unlock()
	for _, kind := range []string{"get", "fresh", "post", "slow"} {
		assert.Equal(t, r.Kinds[kind].Requests, paths["/"+kind])
	}
}

func TestFreshOpensConnectionsAndKeepAliveDoesNot(t *testing.T) { // not parallel: it measures time
	for name, fresh := range map[string]bool{"fresh": true, "kept": false} {
		t.Run(name, func(t *testing.T) {
			var conns atomic.Int32
			s := httptest.NewUnstartedServer(http.HandlerFunc(ok))
			s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
				if state == http.StateNew {
					conns.Add(1)
				}
			}
			s.Start()
			defer s.Close()
			p := begin(t, Config{URL: s.URL, Rate: 50, Timeout: soon, Kinds: []Kind{{Name: "x", Weight: 1, Fresh: fresh}}})
			until(t, p, 40)
			r := p.Stop()
			if fresh {
				assert.EqualValues(t, r.Requests, conns.Load())
			} else {
				assert.Less(t, int(conns.Load()), r.Requests*3/4)
			}
		})
	}
}

// stalling answers at once but for one stall, in which everybody waits.
func stalling(begin, end time.Duration, arrivals *atomic.Int32) http.HandlerFunc {
	started := time.Now()
	return func(w http.ResponseWriter, r *http.Request) {
		if at := time.Since(started); at > begin && at < end {
			arrivals.Add(1)
			time.Sleep(end - at)
		}
		ok(w, r)
	}
}

// The one test that matters: a closed loop would send next to nothing into the
// stall and so hide it.
func TestStallDoesNotSlowTheLoadAndIsMeasured(t *testing.T) { // not parallel: it measures time
	var inStall atomic.Int32
	url := serve(t, stalling(time.Second, 2500*time.Millisecond, &inStall))
	p := begin(t, Config{URL: url, Rate: 100, Timeout: soon})
	run(p, 4*time.Second)
	r := p.Stop()
	assert.Zero(t, r.Failed)
	assert.Zero(t, r.Dropped)
	late := r.MaxLag.Seconds() // of a busy machine
	assert.InDelta(t, r.Duration.Seconds()*100, r.Requests, 10+late*100)
	assert.InDelta(t, 150, inStall.Load(), 30+late*100, "1.5 s at 100 a second")
	ph := r.Phases[Before]
	assert.Greater(t, ph.P99.Seconds(), 1.3, "3 in 8 requests waited, evenly from 0 to 1.5 s")
	assert.Less(t, ph.P99.Seconds(), 1.7+2*late)
	assert.Greater(t, ph.Max.Seconds(), 1.4)
	assert.Greater(t, r.LongestGap.Seconds(), 1.3)
	assert.Less(t, r.LongestGap.Seconds(), 1.7+2*late)
}

// An independent open-loop generator must see the same of the same server.
func TestAgreesWithVegeta(t *testing.T) { // not parallel: it measures time
	const rate, length = 60, 3 * time.Second
	var ignored atomic.Int32
	stall := func() string { return serve(t, stalling(300*time.Millisecond, 1500*time.Millisecond, &ignored)) }
	attack := vegeta.NewAttacker().Attack(vegeta.NewStaticTargeter(vegeta.Target{Method: "GET", URL: stall()}),
		vegeta.Rate{Freq: rate, Per: time.Second}, length, "")
	p := begin(t, Config{URL: stall(), Rate: rate, Timeout: soon}) // at the same time: the same machine
	var theirs vegeta.Metrics
	for result := range attack {
		theirs.Add(result)
	}
	theirs.Close()
	run(p, length)
	r := p.Stop()
	late := r.MaxLag.Seconds() // of a busy machine
	assert.InDelta(t, theirs.Rate, float64(r.Requests)/r.Duration.Seconds(), 5+late*rate)
	assert.InDelta(t, theirs.Latencies.P99.Seconds(), r.Phases[Before].P99.Seconds(), 0.3+2*late)
	assert.InDelta(t, theirs.Latencies.Max.Seconds(), r.Phases[Before].Max.Seconds(), 0.3+2*late)
}

func TestPhasesLatenciesAndReleases(t *testing.T) { // not parallel: it measures time
	var release atomic.Value
	release.Store("v1")
	var delay atomic.Int64
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Release", release.Load().(string))
		time.Sleep(time.Duration(delay.Load()))
		ok(w, r)
	})
	p := begin(t, Config{URL: url, Rate: 60, Timeout: soon})
	until(t, p, 40)
	release.Store("v2")
	delay.Store(int64(500 * time.Millisecond))
	p.Mark(During)
	require.Eventually(t, func() bool { return ended(p, During) >= 60 }, soon, tick)
	delay.Store(0)
	p.Mark(After)
	require.Eventually(t, func() bool { return ended(p, After) >= 20 }, soon, tick)
	p.Mark(During)
	require.Eventually(t, func() bool { return ended(p, During) >= 80 }, soon, tick)
	r := p.Stop()
	assert.Zero(t, r.Failed)
	assert.Less(t, r.P99Before, 400*time.Millisecond+2*r.MaxLag)
	assert.GreaterOrEqual(t, r.P99During, 500*time.Millisecond)
	assert.Less(t, r.P99During, 900*time.Millisecond+2*r.MaxLag)
	assert.Equal(t, r.P99During, r.Phases[During].P99)
	assert.NotContains(t, r.Phases[After].Releases, "v1")
	assert.Positive(t, r.Phases[Before].Releases["v1"])
	assert.Positive(t, r.Phases[During].Releases["v2"])
	sum := 0
	for _, ph := range r.Phases {
		sum += ph.Requests
	}
	assert.Equal(t, r.Requests, sum)
}

// idServer does what it is asked, but sometimes does not say so.
type idServer struct {
	mu    sync.Mutex
	times map[string]int
}

func (s *idServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	id := string(body)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times[id]++
	switch {
	case id != r.Header.Get("X-Probe-Id") || r.Header.Get("Content-Type") != "text/plain":
		w.WriteHeader(http.StatusTeapot)
	case strings.HasSuffix(id, "-7"):
		w.WriteHeader(http.StatusBadGateway) // done, and not told
	case strings.HasSuffix(id, "-9"):
		delete(s.times, id) // not done, and told so
		w.WriteHeader(http.StatusConflict)
	}
}

func TestAccountOfPosts(t *testing.T) {
	t.Parallel()
	s := &idServer{times: map[string]int{}}
	p := begin(t, Config{URL: serve(t, s.ServeHTTP), Rate: 200, Kinds: []Kind{
		{Name: "get", Weight: 1},
		{Name: "post", Weight: 1, Method: "POST", ContentType: "text/plain", Body: func(id string) []byte { return []byte(id) }},
	}})
	require.Eventually(t, func() bool { return p.IDs().Sent >= 20 }, soon, tick)
	p.Stop()
	ids := p.IDs()
	delete(s.times, "") // of the GETs
	assert.Equal(t, ids.Sent-2, ids.Acknowledged)
	assert.Equal(t, []string{ids.Run + "-post-7"}, ids.Unknown)
	assert.Equal(t, 1, ids.UnknownCount)
	// How a caller finds what was lost or doubled.
	for i := range ids.Sent {
		id := fmt.Sprintf("%s-post-%d", ids.Run, i)
		if i == 9 {
			continue
		}
		assert.Equal(t, 1, s.times[id], id)
	}
	assert.Len(t, s.times, ids.Sent-1)
}

func TestFailuresAreLive(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	p := begin(t, Config{Rate: 100, URL: serve(t, func(w http.ResponseWriter, r *http.Request) {
		if broken.Load() {
			w.WriteHeader(http.StatusBadGateway)
		}
	})})
	until(t, p, 10)
	assert.Zero(t, p.Report().Failed)
	p.Mark(During)
	broken.Store(true)
	require.Eventually(t, func() bool { return p.Report().Failed >= 5 }, soon, tick)
	broken.Store(false)
	r := p.Stop()
	assert.Equal(t, r.Failed, p.FailuresIn(Before)+p.FailuresIn(During))
	assert.Zero(t, p.FailuresIn("never"))
	assert.Equal(t, map[string]int{"http_502": r.Failed}, r.Failures)
	assert.Equal(t, "Bad Gateway", r.Samples["http_502"])
	assert.False(t, lossless(r))
}

func TestCancelledProbeCountsNoFailures(t *testing.T) {
	t.Parallel()
	arrived := make(chan struct{}, 1000)
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	p, err := Start(ctx, Config{URL: url, Rate: 50})
	require.NoError(t, err)
	<-arrived
	cancel()
	r := p.Stop()
	assert.Zero(t, r.Failed)
	assert.Positive(t, r.Abandoned)
	assert.Zero(t, p.inFlight.Load())
	assert.Equal(t, r.Requests, p.Stop().Requests, "twice is harmless")
}

func TestTooManyUnansweredAreDroppedAndSaid(t *testing.T) {
	t.Parallel()
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	lanes, err := (&Config{URL: url, Rate: 1}).prepare()
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	p := &Probe{config: Config{Timeout: time.Minute}, lanes: lanes, halt: make(chan struct{}), limit: 2,
		base: ctx, abandon: cancel, tally: newTally(time.Now(), true)}
	for range 5 {
		p.launch(lanes[0], time.Now())
	}
	cancel()
	r := p.Stop()
	assert.Equal(t, 3, r.Dropped)
	assert.False(t, lossless(r))
	c := Config{Rate: MaxRate, Timeout: time.Hour}
	assert.EqualValues(t, 20000, c.limit())
}

func TestLongestGapCountsToTheEnd(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if down.Load() && r.URL.Path != "/slow" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	p := begin(t, Config{URL: url, Rate: 100, Kinds: []Kind{
		{Name: "get", Weight: 1},
		{Name: "slow", Every: 50 * time.Millisecond, Path: "/slow", Slow: true}, // goes on, and does not count
	}})
	until(t, p, 20)
	p.Mark(During)
	down.Store(true)
	require.Eventually(t, func() bool { return p.Report().LongestGap > 400*time.Millisecond }, soon, tick)
	r := p.Stop()
	assert.Greater(t, r.LongestGap, 400*time.Millisecond)
	assert.Equal(t, r.LongestGap, r.Phases[During].LongestGap)
	assert.Less(t, r.Phases[Before].LongestGap, 400*time.Millisecond)
}

func TestInterleaveSpreadsByWeight(t *testing.T) {
	t.Parallel()
	next := interleave([]*lane{{Kind: Kind{Name: "a", Weight: 2}}, {Kind: Kind{Name: "b", Weight: 1}}, {Kind: Kind{Name: "c", Weight: 1}}})
	var order []string
	for range 8 {
		order = append(order, next().Name)
	}
	assert.Equal(t, "abcaabca", strings.Join(order, ""))
	slices.Sort(order)
	assert.Equal(t, "aaaabbcc", strings.Join(order, ""))
}

// The schedule must not drift: rates that do not divide a second included.
func TestScheduleDoesNotDrift(t *testing.T) { // not parallel: it measures time
	p := &Probe{halt: make(chan struct{}), limit: 0, tally: newTally(time.Now(), true), config: Config{Rate: 3000}}
	p.lanes = []*lane{{Kind: Kind{Weight: 1}}} // limit 0: all are dropped, so only counted
	began := time.Now()
	p.startSchedules(began)
	time.Sleep(time.Until(began.Add(2 * time.Second)))
	close(p.halt)
	p.schedule.Wait()
	elapsed := time.Since(began).Seconds()
	assert.InDelta(t, elapsed*3000, p.tally.dropped, 1500)
}

// lossless tells that no request failed and that all that were due were sent.
func lossless(r Report) bool { return r.Failed == 0 && r.Dropped == 0 && r.Requests > 0 }
