package converge

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/moby/moby/client"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/target"
)

// fakeSecured is an engine that tells its security options, for the machine's own has no
// others.
func fakeSecured(t *testing.T, options string) *engine.Engine {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"SecurityOptions":[%s]}`, options)
	}))
	t.Cleanup(server.Close)
	api, err := client.New(client.WithHost("tcp://"+strings.TrimPrefix(server.URL, "http://")), client.WithAPIVersion("1.41"))
	require.NoError(t, err)
	e, err := engine.New(api, nil)
	require.NoError(t, err)
	return e
}

// No dump can be written where the engine gives containers other users: that is known
// before a release begins.
func TestWhereUsersAreRemapped(t *testing.T) {
	t.Parallel()
	d := &transition{Target: &target.Target{Sink: event.Discard}}
	away := httptest.NewServer(nil)
	away.Close()
	api, err := client.New(client.WithHost("tcp://"+strings.TrimPrefix(away.URL, "http://")), client.WithAPIVersion("1.41"))
	require.NoError(t, err)
	silent, err := engine.New(api, nil)
	require.NoError(t, err)
	assert.Equal(t, []string{"the host", "node two"}, d.remapped(t.Context(), map[string]*target.Node{
		"":  {Engine: fakeSecured(t, `"name=apparmor","name=userns"`)},
		"2": {ID: "2", Name: "two", Engine: fakeSecured(t, `"name=seccomp,profile=builtin","name=userns,x=y"`)},
		"3": {ID: "3", Name: "three", Engine: fakeSecured(t, `"name=seccomp,profile=builtin","name=cgroupns"`)},
		"4": {ID: "4", Name: "four", Engine: silent},
	}))
}
