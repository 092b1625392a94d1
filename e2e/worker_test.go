package e2e

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// workerStack is a worker that takes numbered jobs, one after the other. Stopping it
// in the middle of one would lose the job: it is killed at once.
const workerStack = `
services:
  worker:
    image: nginx:1.22
    pull_policy: never
    environment: { VERSION: "${VERSION}" }
    entrypoint: [bash, -c]
    command:
      - |
        while sleep 0.1; do
          touch /tmp/busy
          if [ -e /tmp/paused ]; then rm /tmp/busy; continue; fi
          id=$$(($$(cat /jobs/next 2>/dev/null) + 1)); echo $$id > /jobs/next
          echo start $$id >> /jobs/log; sleep ${SECONDS_A_JOB}; echo done $$id >> /jobs/log
          rm /tmp/busy
        done
    volumes: ["jobs:/jobs"]
    stop_grace_period: 0s
    deploy: { update_config: { monitor: 0s } }
    x-shiksha:
      drain: { stop: [touch, /tmp/paused], idle: [test, "!", -e, /tmp/busy], budget: 1m }
volumes: { jobs: {} }
`

// A worker in the middle of a job of 20 seconds finishes it before it is replaced: no
// job is lost and none done twice.
func TestWorker_FinishesItsJobBeforeItIsReplaced(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	trapWrite(t, f, "compose.yaml", workerStack)
	trapVariables(t, f, "SECONDS_A_JOB=20")
	f.Deploy("w1", 0)
	jobs := func() []string { return strings.Split(inWorker(t, f, "cat", "/jobs/log"), "\n") }
	last := func(word string) bool {
		all := jobs()
		return strings.HasPrefix(all[len(all)-1], word)
	}
	require.Eventually(t, func() bool { return last("start") }, time.Minute, 100*time.Millisecond)

	// The jobs of the next version are short, so that the test is.
	trapVariables(t, f, "SECONDS_A_JOB=1")
	plan := f.Deploy("w2", 0, "--dry-run")
	assert.Regexp(t, `worker +drain 1 .*`, plan.Stdout)
	assert.Contains(t, plan.Stdout, "finishes what it has within 1m0s")
	before := f.MustUnits()
	require.Eventually(t, func() bool { return last("start") }, time.Minute, 100*time.Millisecond, "the release finds it in the middle of a job")
	f.Deploy("w2", 0)
	require.NotEqual(t, before, f.MustUnits())
	require.Eventually(t, func() bool { return len(jobs()) > 2 }, time.Minute, 100*time.Millisecond)

	inWorker(t, f, "touch", "/tmp/paused")
	require.Eventually(t, func() bool { return last("done") }, time.Minute, 100*time.Millisecond)
	count := map[string]int{}
	for _, line := range jobs() {
		count[line]++
	}
	started := 0
	for line, n := range count {
		assert.Equal(t, 1, n, "%q", line)
		if id, ok := strings.CutPrefix(line, "start "); ok {
			started++
			assert.Equal(t, 1, count["done "+id], "job %s was begun and not done", id)
		}
	}
	assert.GreaterOrEqual(t, started, 2, "jobs before and after")
}

func inWorker(t *testing.T, f *lab.Fixture, argv ...string) string {
	t.Helper()
	out, err := f.Docker(t.Context(), append([]string{"exec", f.MustUnits()["worker"][0]}, argv...)...)
	if err != nil {
		return "" // no job was begun yet
	}
	return strings.TrimSpace(out)
}
