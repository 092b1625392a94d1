package e2e

import (
	"net/http"
	"net/http/httptest"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// cancelLimit is what a cancelled run has: GitHub's runner sends SIGINT, 7.5
// seconds later SIGTERM, and soon after the end.
const cancelLimit = 7 * time.Second

// A cancelled release ends in time, says that it was interrupted, and leaves users
// served, whichever signal comes and whatever it is doing; somebody who does not
// answer when told does not keep it. The next deploy heals.
func TestCancelled_EndsInTimeAndUsersAreServed(t *testing.T) {
	f := trapMini(t)
	f.Deploy("v1", 0)
	over := make(chan struct{})
	silent := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-over }))
	t.Cleanup(silent.Close)
	t.Cleanup(func() { close(over) })
	load := trapProbe(t, f, "/")
	for _, c := range []struct {
		version, warmUp, at string
		signal              os.Signal
	}{
		{"v2", "60", "app: step: gate", syscall.SIGINT},
		{"v3", "0", "app: step: switch", syscall.SIGTERM},
	} {
		trapVariables(t, f, "WARMUP="+c.warmUp)
		env := append(trapAda(f), "INPUT_SSH-KEY="+string(f.Host.Key), "INPUT_KNOWN-HOSTS="+string(f.Host.KnownHosts), "INPUT_SLACK-WEBHOOK="+silent.URL)
		run := trapBegin(t, f, env, f.Args("deploy", "--version", c.version)...)
		run.await(t, c.at)
		began := time.Now()
		require.NoError(t, run.cmd.Process.Signal(c.signal))
		run.exit(t, 5)
		took := time.Since(began)
		assert.Less(t, took, cancelLimit, "%s at %q", c.signal, c.at)
		assert.Contains(t, run.output(), "run the same again")
		t.Logf("%s at %q: it ended after %s", c.signal, c.at, took.Round(time.Millisecond))
		assert.Regexp(t, `(?m)`+c.version+` +interrupted`, f.Shiksha("history").Stdout, "the host knows")
		assert.NotEmpty(t, lab.Serving(t.Context(), f.URL()))
	}
	f.Deploy("v4", 0)
	trapLossless(t, load.Stop())
	assert.Equal(t, "v4", lab.Serving(t.Context(), f.URL()))
	all, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	assert.Len(t, all["app"], 3, "units, leftovers included")
}
