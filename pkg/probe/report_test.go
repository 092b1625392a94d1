package probe

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

func TestBadConfig(t *testing.T) {
	t.Parallel()
	one := func(k Kind) Config { return Config{URL: "http://x/", Rate: 1, Kinds: []Kind{k}} }
	for name, c := range map[string]struct {
		config Config
		want   string
	}{
		"no url":         {Config{Rate: 1}, `probe-url: "" does not begin with http:// or https://`},
		"relative":       {Config{URL: "/healthz", Rate: 1}, `probe-url: "/healthz" does not begin with http`},
		"no scheme":      {Config{URL: "shop.example.org", Rate: 1}, `probe-url: `},
		"other scheme":   {Config{URL: "ftp://x/", Rate: 1}, `probe-url: "ftp://x/"`},
		"no host":        {Config{URL: "http:///x", Rate: 1}, `names no host`},
		"broken":         {Config{URL: "http://u:geheim@x:port/", Rate: 1}, `probe-url: it is not a URL`},
		"rate 0":         {Config{URL: "http://x"}, `probe-rate: 0 is not between 1 and 10000`},
		"rate too high":  {Config{URL: "http://x", Rate: 10001}, `probe-rate: 10001`},
		"no name":        {one(Kind{Weight: 1}), `needs a name`},
		"no weight":      {one(Kind{Name: "a"}), `either a weight or an interval`},
		"both":           {one(Kind{Name: "a", Weight: 1, Every: 1}), `either a weight or an interval`},
		"negative":       {one(Kind{Name: "a", Weight: -1, Every: 1}), `either a weight or an interval`},
		"method":         {one(Kind{Name: "a", Weight: 1, Method: "get it"}), `unusable method`},
		"path elsewhere": {one(Kind{Name: "a", Weight: 1, Path: "http://y/"}), `unusable path`},
		"twice":          {Config{URL: "http://x/", Rate: 1, Kinds: append(DefaultKinds(), DefaultKinds()...)}, `"keep-alive" is there twice`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := Start(t.Context(), c.config)
			require.ErrorContains(t, err, c.want)
			assert.Equal(t, fault.Input, fault.Of(err))
			assert.NotContains(t, err.Error(), "geheim")
		})
	}
}

func TestReportInJSON(t *testing.T) {
	t.Parallel()
	r := Report{
		Requests: 3, Failed: 1, Failures: map[string]int{"http_502": 1, ResetOnReload: 1}, Dropped: 2, Retried: 4,
		LongestGap: 1500 * time.Microsecond, P99Before: time.Millisecond, P99During: 2 * time.Second, Duration: time.Minute,
		Phases: map[string]PhaseReport{During: {Requests: 3, P50: time.Microsecond, P95: time.Second, P99: 2 * time.Second, Releases: map[string]int{"v1": 3}}},
		Kinds:  map[string]KindReport{"post": {Requests: 3, Failed: 1, ResetOnReload: 1}},
	}
	data, err := json.Marshal(r)
	require.NoError(t, err)
	assert.JSONEq(t, `{"requests":3,"failed":1,"failures":{"http_502":1,"reset_on_reload":1},"dropped":2,"retried":4,"max_lag_ms":0,
		"duration_ms":60000,"longest_gap_ms":1.5,"p99_before_ms":1,"p99_during_ms":2000,
		"phases":{"during":{"requests":3,"failed":0,"p50_ms":0.001,"p95_ms":1000,"p99_ms":2000,"max_ms":0,"longest_gap_ms":0,"releases":{"v1":3}}},
		"kinds":{"post":{"requests":3,"failed":1,"reset_on_reload":1}}}`, string(data))
	var again Report
	require.NoError(t, json.Unmarshal(data, &again))
	assert.Equal(t, r, again)
}

func answered(due time.Time, took time.Duration) answer {
	return answer{due: due, finished: due.Add(took), status: 200}
}

func TestQuantilesOfKnownLatencies(t *testing.T) {
	t.Parallel()
	began := time.Now()
	tally, l := newTally(began, true), &lane{Kind: Kind{Name: "x"}}
	latencies := make([]time.Duration, 100_000)
	for i := range latencies {
		// From 0.1 ms to 30 s, as many in each decade.
		latencies[i] = time.Duration(float64(100*time.Microsecond) * math.Pow(300_000, rand.Float64()))
		tally.count(l, "", answered(began, latencies[i]))
	}
	slices.Sort(latencies)
	ph := tally.report(time.Now()).Phases[Before]
	for q, got := range map[int]time.Duration{50: ph.P50, 99: ph.P99, 100: ph.Max} {
		want := latencies[min(len(latencies)*q/100, len(latencies)-1)]
		assert.InEpsilon(t, want.Seconds(), got.Seconds(), 0.003, "p%d", q)
	}
	tally.count(l, "", answered(began, 24*time.Hour))
	assert.InEpsilon(t, longest.Seconds(), tally.report(time.Now()).Phases[Before].Max.Seconds(), 0.001, "clamped, not lost")
}

func TestTimeoutsCountIntoTheLatencyAndFastFailuresDoNot(t *testing.T) {
	t.Parallel()
	began := time.Now()
	tally, l := newTally(began, true), &lane{Kind: Kind{Name: "x"}}
	for range 10 {
		refused := answered(began, time.Millisecond)
		refused.class = Refused
		tally.count(l, "", refused)
	}
	late := answered(began, 10*time.Second)
	late.class = Timeout
	tally.count(l, "", late)
	ph := tally.report(began.Add(time.Second)).Phases[Before]
	assert.InEpsilon(t, 10, ph.P50.Seconds(), 0.002, "what failed at once must not make the service look quick")
	assert.Equal(t, 11, ph.Failed)
}

func TestTallyIsBounded(t *testing.T) {
	t.Parallel()
	began := time.Now()
	tally := newTally(began, true)
	l := &lane{Kind: Kind{Name: "x", Body: func(string) []byte { return nil }}}
	for i := range 30_000 {
		a := answered(began, time.Millisecond)
		a.release = fmt.Sprint("r", i)
		if i%2 == 0 {
			a.class = fmt.Sprint("http_", i)
			a.status = 0
		}
		tally.count(l, fmt.Sprint(i), a)
		tally.mark(fmt.Sprint("phase", i), began.Add(time.Duration(i)))
		tally.mark(fmt.Sprint("phase", i%3), began.Add(time.Duration(i)))
	}
	r := tally.report(time.Now())
	assert.Len(t, r.Phases, maxPhases)
	assert.LessOrEqual(t, len(tally.marks), 4*maxPhases)
	assert.LessOrEqual(t, len(r.Failures), maxStatuses+1)
	assert.Equal(t, 15_000, r.Failed)
	assert.Len(t, tally.ids().Unknown, maxUnknown)
	assert.Equal(t, 15_000, tally.ids().UnknownCount)
	for _, ph := range r.Phases {
		assert.LessOrEqual(t, len(ph.Releases), maxReleases+1)
	}
}

func TestCountingMakesNoGarbage(t *testing.T) { // not parallel: it looks at the whole process
	began := time.Now()
	tally, l := newTally(began, true), &lane{Kind: Kind{Name: "x"}}
	assert.Zero(t, testing.AllocsPerRun(1000, func() { tally.count(l, "", answered(began, time.Millisecond)) }))
}

// BenchmarkRequest is one request through the probe (trace, classes, tally)
// beside the same through the bare transport.
func BenchmarkRequest(b *testing.B) {
	s := httptest.NewServer(http.HandlerFunc(ok))
	defer s.Close()
	b.Run("probe", func(b *testing.B) {
		lanes, err := (&Config{URL: s.URL, Rate: 1}).prepare()
		require.NoError(b, err)
		p := &Probe{config: Config{Timeout: DefaultTimeout}, base: b.Context(), tally: newTally(time.Now(), true)}
		b.ReportAllocs()
		for b.Loop() {
			p.request(lanes[0], time.Now())
		}
		require.Zero(b, p.Report().Failed)
	})
	b.Run("bare", func(b *testing.B) {
		transport := newTransport(false)
		b.ReportAllocs()
		for b.Loop() {
			r, err := http.NewRequestWithContext(b.Context(), http.MethodGet, s.URL, nil)
			require.NoError(b, err)
			response, err := transport.RoundTrip(r)
			require.NoError(b, err)
			_, _ = io.Copy(io.Discard, response.Body)
			response.Body.Close()
		}
	})
}

// BenchmarkTally is the bookkeeping of one request.
func BenchmarkTally(b *testing.B) {
	tally, l := newTally(time.Now(), true), &lane{Kind: Kind{Name: "x"}}
	now := time.Now()
	for b.Loop() {
		tally.count(l, "", answered(now, time.Millisecond))
	}
}
