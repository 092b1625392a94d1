package converge

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
				opts: Options{Probe: probe.Config{URL: "http://" + address, Rate: 20}}}
			d.facts = &facts{}
			level := event.Notice
			if strings.HasPrefix(name, "another") {
				d.facts.verified, level = &release.Record{Number: 3}, event.Warning
			}
			m := d.measure(t.Context())
			require.NotNil(t, m)
			t.Cleanup(func() { m.stop() })
			require.Len(t, told, 1)
			assert.Contains(t, told[0].Text, "nothing answers")
			assert.Equal(t, level, told[0].Level)
			assert.Equal(t, level == event.Warning, strings.Contains(told[0].Text, "release 3 serves: is probe-url right"), told[0].Text)
			assert.Positive(t, m.FailuresIn("before"))
			require.NoError(t, m.within(0))

			if serves {
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
				server.Listener, err = net.Listen("tcp", address)
				require.NoError(t, err)
				server.Start()
				t.Cleanup(server.Close)
			}
			err = m.finish(t.Context(), 0)
			assert.Equal(t, serves, err == nil, "%v", err)
		})
	}
}
