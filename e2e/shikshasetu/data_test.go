package shikshasetu

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// restores takes backups of a million rows both ways, the unit's own and that of a
// release, and proves each by a real restore.
func (s *site) restores() {
	t := s.t
	began := time.Now()
	dump := s.in("postgres_backup", "python", "-c", "from backend.backup import Keeper; print(Keeper.of_environment().take())")
	took := time.Since(began)
	began = time.Now()
	s.in("postgres", "dropdb", "--if-exists", "-U", "shikshasetu", "proof")
	s.in("postgres", "createdb", "-U", "shikshasetu", "proof")
	s.in("postgres_backup", "pg_restore", "--exit-on-error", "--no-password", "--dbname", "proof", dump)
	rows := s.in("postgres", "psql", "-U", "shikshasetu", "-d", "proof", "-AtXc", "SELECT count(*) FROM standards")
	t.Logf("the unit's backup of 1,000,005 rows: %s, restore: %s", took.Round(100*time.Millisecond), time.Since(began).Round(100*time.Millisecond))
	assert.Equal(t, s.sql("SELECT count(*) FROM standards"), rows)
	s.in("postgres", "dropdb", "-U", "shikshasetu", "proof")

	r := s.shiksha("backup", "--prove")
	t.Logf("shiksha backup --prove: exit %d in %s\n%s", r.Exit, r.Took.Round(100*time.Millisecond), r.Stdout)
	require.Zero(t, r.Exit, r.Stdout+r.Stderr)
	assert.Contains(t, r.Stdout, "proven")
	list := s.shiksha("backups")
	require.Zero(t, list.Exit, list.Stderr)
	s.bringsADayBack(filepath.Base(strings.TrimSpace(dump)))
}

// bringsADayBack types what the runbook says of a dump that the unit took by itself: what
// was deleted since is there again.
func (s *site) bringsADayBack(dump string) {
	t := s.t
	text, err := os.ReadFile(filepath.Join(s.Dir, "docs", "DEPLOYMENT_RUNBOOK.md"))
	require.NoError(t, err)
	_, section, _ := strings.Cut(string(text), "\n## The data\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var typed strings.Builder
	for _, block := range regexp.MustCompile("(?s)```sh host\n(.*?)```").FindAllStringSubmatch(section, -1) {
		typed.WriteString(block[1])
	}
	script := typed.String()
	for old, new := range map[string]string{"20260301T030000Z.dump": dump, "project=shikshasetu": "project=" + s.Project, "^shikshasetu-": "^" + s.Project + "-"} {
		require.Contains(t, script, old)
		script = strings.ReplaceAll(script, old, new)
	}
	rows := s.sql("SELECT count(*) FROM standards")
	s.sql("DELETE FROM standards WHERE id % 2 = 0")
	require.NotEqual(t, rows, s.sql("SELECT count(*) FROM standards"))
	began := time.Now()
	out, err := exec.CommandContext(t.Context(), "sh", "-euxc", script).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Eventually(t, s.healthy, 3*time.Minute, time.Second, "all units recover")
	t.Logf("a day's dump took the place of the database in %s", time.Since(began).Round(100*time.Millisecond))
	assert.Equal(t, rows, s.sql("SELECT count(*) FROM standards"))
	res, err := s.get(s.url("/health"))
	require.NoError(t, err)
	defer res.Body.Close()
	assert.Equal(t, http.StatusOK, res.StatusCode, "through nginx")
	s.in("postgres", "dropdb", "-U", "shikshasetu", "replaced")
}

// alerts stops parts and waits until Prometheus fires and Slack was told.
func (s *site) alerts() {
	t := s.t
	running := s.MustUnits()
	stopped := []string{running["postgres"][0], running["redis"][0], running["api"][0], running["api"][1]}
	_, err := s.Docker(t.Context(), append([]string{"stop", "--time", "5"}, stopped...)...)
	require.NoError(t, err)
	began := time.Now()
	for _, want := range []struct{ channel, alert string }{
		{"#dba-alerts", "PostgresDown"}, {"#alerts-critical", "PostgresDown"},
		{"#dba-alerts", "RedisDown"}, {"#alerts-critical", "ApiDown"},
	} {
		assert.Eventually(t, func() bool { return s.slack.has(want.channel, want.alert) }, 4*time.Minute, time.Second, "%s in %s", want.alert, want.channel)
		t.Logf("%s in %s after %s", want.alert, want.channel, time.Since(began).Round(time.Second))
	}
	firing := s.in("prometheus", "wget", "-qO-", "http://127.0.0.1:9090/api/v1/alerts")
	for _, alert := range []string{"PostgresDown", "RedisDown", "ApiDown"} {
		assert.Regexp(t, `"alertname":"`+alert+`"[^}]*}[^}]*}[^}]*"state":"firing"`, firing)
	}
	_, err = s.Docker(t.Context(), append([]string{"start"}, stopped...)...)
	require.NoError(t, err)
	require.Eventually(t, s.healthy, 3*time.Minute, time.Second, "all units recover")
}

// healthy tells whether every unit of the twelve services is.
func (s *site) healthy() bool {
	out, err := s.Docker(s.t.Context(), "ps", "--filter", "label=com.docker.compose.project="+s.Project, "--filter", "health=healthy", "--quiet")
	return err == nil && len(strings.Fields(out)) >= 15
}

var memory = regexp.MustCompile(`^([0-9.]+)(B|KiB|MiB|GiB)$`)

// weigh samples the memory of all units, and how much more the machine uses than at the
// beginning (the builds, the engine and the test itself are in it), until the returned
// function says the most.
func (s *site) weigh() (stop func()) {
	halt, ended := make(chan struct{}), make(chan struct{})
	before := used(s.t)
	var units, machine float64
	go func() {
		defer close(ended)
		for {
			units, machine = max(units, s.memory()), max(machine, used(s.t)-before)
			select {
			case <-halt:
				return
			case <-time.After(20 * time.Second):
			}
		}
	}()
	return func() {
		close(halt)
		<-ended
		s.t.Logf("all units together took %.1f GB at most, the machine %.1f GB more than before", units, machine)
		assert.NotZero(s.t, units, "the units were weighed")
		assert.Less(s.t, max(units, machine), 12.0)
	}
}

var available = regexp.MustCompile(`(?m)^(MemTotal|MemAvailable): +(\d+) kB$`)

// used is the memory of this machine that is not free for others, in GB.
func used(t *testing.T) float64 {
	text, err := os.ReadFile("/proc/meminfo")
	found := available.FindAllStringSubmatch(string(text), -1)
	if !assert.NoError(t, err) || !assert.Len(t, found, 2) {
		return 0
	}
	total, _ := strconv.ParseFloat(found[0][2], 64)
	free, _ := strconv.ParseFloat(found[1][2], 64)
	return (total - free) * 1024 / 1e9
}

// memory is what all units take right now, in GB; 0 when it cannot be told.
func (s *site) memory() float64 {
	ids, err := s.Docker(s.t.Context(), "ps", "--quiet", "--filter", "label=com.docker.compose.project="+s.Project)
	if err != nil || ids == "" {
		return 0
	}
	out, err := s.Docker(s.t.Context(), append([]string{"stats", "--no-stream", "--format", "{{.MemUsage}}"}, strings.Fields(ids)...)...)
	if err != nil {
		return 0
	}
	sum := 0.0
	for line := range strings.Lines(out) {
		used, _, _ := strings.Cut(line, " ")
		if m := memory.FindStringSubmatch(used); m != nil {
			n, _ := strconv.ParseFloat(m[1], 64)
			sum += n * map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[m[2]]
		}
	}
	return sum / 1e9
}
