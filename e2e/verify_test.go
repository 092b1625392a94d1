package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/report"
)

// checkFile writes a file of checks into the fixture's folder.
func checkFile(t *testing.T, f *lab.Fixture, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(f.Dir, "verify.yml"), []byte(content), 0o644))
}

// outcomes are the outcomes of the checks by name.
func outcomes(t *testing.T, stdout string) (told report.Verification, by map[string]check.Outcome) {
	t.Helper()
	require.NoError(t, json.Unmarshal([]byte(stdout), &told), stdout)
	by = map[string]check.Outcome{}
	for _, r := range told.Checks.Results {
		by[r.Name] = r.Outcome
	}
	return told, by
}

// Verification decides about a release, and about what runs at any later time.
func TestVerify_DecidesAboutWhatRuns(t *testing.T) {
	f := lab.New(t)
	quick(t, f)
	f.MustPublish(lab.Release{Version: "w1"})
	f.MustPublish(lab.Release{Version: "w2"})
	checkFile(t, f, `
checks:
  - name: version
    window: 1s
    http: {path: /, expect: {body: {contains: "{{version}}"}}}
  - name: database
    postgres: {service: postgres, password: {env: POSTGRES_PASSWORD}}
`)
	f.Deploy("w1", 0, "--checks", "verify.yml", "--url", f.URL())

	t.Run("a check that fails takes the release back", func(t *testing.T) {
		checkFile(t, f, "checks:\n  - name: never\n    timeout: 1s\n    http: {path: /, expect: {status: 418}}\n")
		failed := f.Deploy("w2", 1, "--checks", "verify.yml", "--url", f.URL())
		assert.Contains(t, failed.Stderr, "verification failed: never")
		assert.Contains(t, failed.Stderr, "expected status 418, found status 200")
		converged(t, f, "w1")
	})
	t.Run("one that cannot decide too, and says so", func(t *testing.T) {
		checkFile(t, f, "checks:\n  - name: gpu\n    timeout: 1s\n    gpu: {service: postgres}\n")
		failed := f.Deploy("w2", 1, "--checks", "verify.yml")
		assert.Contains(t, failed.Stderr, "could not decide, which is not a pass")
		converged(t, f, "w1")
	})
	t.Run("without checks what the Compose file promises", func(t *testing.T) {
		fine := f.Shiksha("verify", "--stability-window", "2s", "--json", "--junit", "out/verify.xml")
		require.Zero(t, fine.Exit, fine.Stdout+fine.Stderr)
		told, by := outcomes(t, fine.Stdout)
		assert.Equal(t, map[string]check.Outcome{"containers": check.Pass, "nginx port " + portOf(f): check.Pass}, by)
		assert.Equal(t, "verified", told.Outcome)
		assert.Equal(t, "w1", told.Version)
		assert.FileExists(t, filepath.Join(f.Dir, "out", "verify.xml"))
	})
	t.Run("and a unit that is gone is seen", func(t *testing.T) {
		api := f.MustUnits()["api"][0]
		out, err := exec.Command("docker", "kill", api).CombinedOutput()
		require.NoError(t, err, string(out))
		checkFile(t, f, "checks: [{name: units, timeout: 1s, containers: {}}]")
		broken := f.Shiksha("verify", "--stability-window", "1s", "--checks", "verify.yml")
		assert.Equal(t, 1, broken.Exit, broken.Stdout+broken.Stderr)
		assert.Contains(t, broken.Stdout, "exited, exit code 137")
	})
}

func portOf(f *lab.Fixture) string { return fmt.Sprint(f.Port) }
