package converge

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/probe"
	"github.com/shiksha/actions/pkg/release"
	"github.com/shiksha/actions/pkg/target"
)

// notes keeps what is told.
type notes []event.Event

func (n *notes) Emit(e event.Event) { *n = append(*n, e) }

// Of a first release nobody is served yet: what the probe cannot reach meanwhile is
// no failure of it, and what it cannot reach afterwards is.
func TestProbeOfAFirstRelease(t *testing.T) {
	t.Parallel()
	for name, serves := range map[string]bool{"serves in the end": true, "never serves": false, "another serves, and nobody there": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			address := listener.Addr().String()
			require.NoError(t, listener.Close())
			var told notes
			d := &transition{Target: &target.Target{Sink: &told},
				opts: Options{Asked: Asked{Probe: probe.Config{URL: "http://" + address, Rate: 20}}}}
			d.facts = &facts{}
			level := event.Notice
			if strings.HasPrefix(name, "another") {
				d.facts.verified, level = &release.Record{Number: 3}, event.Warning
			}
			m := d.measure(t.Context())
			require.NotNil(t, m)
			t.Cleanup(func() { m.End() })
			require.Len(t, told, 1)
			assert.Contains(t, told[0].Text, "nothing answers")
			assert.Equal(t, level, told[0].Level)
			assert.Equal(t, level == event.Warning, strings.Contains(told[0].Text, " requests: refused), though release 3 serves: is probe-url right"), told[0].Text)
			assert.Positive(t, m.FailuresIn(probe.Before))
			require.NoError(t, m.Within(0))

			if serves {
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
				server.Listener, err = net.Listen("tcp", address)
				require.NoError(t, err)
				server.Start()
				t.Cleanup(server.Close)
			}
			err = m.Finish(t.Context(), 0)
			assert.Equal(t, serves, err == nil, "%v", err)
		})
	}
}

// measured has a new transition's probe ask an address and gives what it told.
func measured(t *testing.T, config probe.Config) (*probe.Watch, *notes) {
	t.Helper()
	var told notes
	d := &transition{Target: &target.Target{Sink: &told}, opts: Options{Asked: Asked{Probe: config, ProbeBudget: 3}}, facts: &facts{}}
	m := d.measure(t.Context())
	require.NotNil(t, m)
	t.Cleanup(func() { m.End() })
	return m, &told
}

// Behind a firewall that drops what it does not let through, or at a service that
// hangs, no request ends for a while: that is no answer too, before the first change
// and after the last.
func TestProbeOfAnAddressThatIsSilent(t *testing.T) {
	t.Parallel()
	for name, serves := range map[string]bool{"serves in the end": true, "never serves": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			listener, err := net.Listen("tcp", "127.0.0.1:0") // connections wait in its queue
			require.NoError(t, err)
			t.Cleanup(func() { listener.Close() })
			m, told := measured(t, probe.Config{URL: "http://" + listener.Addr().String(), Rate: 20, Timeout: probe.Calm + time.Second})
			require.Len(t, *told, 1)
			assert.Contains(t, (*told)[0].Text, "nothing answers")
			assert.Equal(t, event.Notice, (*told)[0].Level)
			require.NoError(t, m.Within(0))

			if serves {
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
				server.Listener.Close()
				server.Listener = listener
				server.Start()
				t.Cleanup(server.Close)
				require.NoError(t, m.Finish(t.Context(), 0))
				return
			}
			err = m.Finish(t.Context(), 20) // two seconds send twice as many
			require.ErrorContains(t, err, "nothing answered before the release either (timeout)")
		})
	}
}

// What an address says before the first change that its figures do not show later.
func TestProbeOfAnAddressThatAnswersOddly(t *testing.T) {
	t.Parallel()
	var n atomic.Int64
	redirect := func(to string) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
	}
	for name, c := range map[string]struct {
		handler http.HandlerFunc
		told    string // "" for nothing
	}{
		"some fail": {func(w http.ResponseWriter, _ *http.Request) {
			if n.Add(1)%3 == 0 {
				w.WriteHeader(http.StatusTooManyRequests)
			}
		}, " requests fail already (http_429): what fails goes on counting against probe-budget 3"},
		"all lead elsewhere":       {redirect("https://login.example.org/in?token=geheim"), "is a redirect to https://login.example.org: what is behind it is not measured"},
		"all lead to another path": {redirect("/health/"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(c.handler)
			t.Cleanup(server.Close)
			m, told := measured(t, probe.Config{URL: server.URL, Rate: 20})
			assert.False(t, m.Silent)
			if c.told == "" {
				assert.Empty(t, *told)
			} else if assert.Len(t, *told, 1) {
				assert.Contains(t, (*told)[0].Text, c.told)
				assert.Equal(t, event.Warning, (*told)[0].Level)
			}
			if name != "some fail" {
				assert.NoError(t, m.Finish(t.Context(), 0), "a redirect is a success")
			}
		})
	}
}
