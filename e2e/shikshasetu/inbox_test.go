package shikshasetu

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inbox receives what Alertmanager sends to Slack.
type inbox struct {
	url string
	mu  sync.Mutex
	got []message
}

type message struct{ Channel, Text string }

// listen receives on a port (0 is any) of the address by which containers reach this machine.
func listen(t *testing.T, port int) *inbox {
	t.Helper()
	listener, err := net.Listen("tcp", fmt.Sprintf("%s:%d", bridge(t), port))
	require.NoError(t, err)
	box := &inbox{url: fmt.Sprintf("http://%s/slack", listener.Addr())}
	server := &http.Server{Handler: http.HandlerFunc(box.take), ReadHeaderTimeout: 5 * time.Second}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return box
}

// bridge is the address of Docker's own bridge.
func bridge(t *testing.T) string {
	t.Helper()
	device, err := net.InterfaceByName("docker0")
	require.NoError(t, err)
	addresses, err := device.Addrs()
	require.NoError(t, err)
	require.NotEmpty(t, addresses)
	ip, _, err := net.ParseCIDR(addresses[0].String())
	require.NoError(t, err)
	return ip.String()
}

func (b *inbox) take(w http.ResponseWriter, r *http.Request) {
	var told struct {
		Channel     string
		Attachments []struct{ Title, Text string }
	}
	if json.NewDecoder(r.Body).Decode(&told) == nil {
		b.mu.Lock()
		defer b.mu.Unlock()
		for _, a := range told.Attachments {
			b.got = append(b.got, message{told.Channel, a.Title + "\n" + a.Text})
		}
	}
	_, _ = fmt.Fprint(w, "ok")
}

// has tells whether a channel was told about an alert.
func (b *inbox) has(channel, alert string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range b.got {
		if m.Channel == channel && strings.Contains(m.Text, alert) {
			return true
		}
	}
	return false
}
