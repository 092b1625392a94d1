package shikshasetu

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/pkg/probe"
)

// few are the units of the short story.
var few = map[string]int{"nginx": 1, "api": 2, "frontend": 1, "celery_worker": 1, "postgres": 1, "redis": 1}

// shortFiles are the Compose files of the short story.
const shortFiles = "docker-compose.production.yml,docker-compose.lab.yml,docker-compose.short.yml"

// TestTheApplication is the short form of TestTheStack: the edge, the application and
// its data are released, then a version with a migration rolls under load, while jobs
// run, and is verified.
func TestTheApplication(t *testing.T) {
	s := open(t, shortFiles)
	s.write("verify.yml", s.fewChecks())
	// This machine's addresses in the stack's networks, which are not there yet.
	s.write("nginx/exempt/addresses.conf", "172.16.0.0/12 0;\n192.168.0.0/16 0;\n")
	s.fewImages()
	s.release("v1", 0)
	s.complete(few)
	before := s.MustUnits()
	s.in("api", "python", "-c", "from backend.tasks.pipeline import process\nfor i in range(20): process.delay(f'job-{i}', 0.5)")
	load := s.load(50)
	time.Sleep(2 * time.Second) // a baseline to compare with
	load.Mark(probe.During)
	s.release("v2", 0, "--checks", "verify.yml", "--url", s.url(""))
	s.lossless(load.Stop())
	after := s.MustUnits()
	for _, service := range []string{"postgres", "redis", "nginx", "frontend"} {
		assert.Equal(t, before[service], after[service], "%s was not to be touched", service)
	}
	assert.Equal(t, "v2", s.serving())
	assert.Equal(t, "0002", s.sql("SELECT version_num FROM alembic_version"))
	s.complete(few)
	assert.Eventually(t, func() bool { return s.sql("SELECT count(*), sum(runs) FROM job_results") == "20|20" }, time.Minute, 200*time.Millisecond)
}

// fewImages makes the images that the few need, of both versions.
func (s *site) fewImages() {
	s.t.Helper()
	began := time.Now()
	require.NoError(s.t, s.EnsureImages(s.t.Context(), Images(s.Root)[:edgeAndData]...))
	s.t.Logf("images from elsewhere: %s", time.Since(began).Round(time.Second))
	began = time.Now()
	require.NoError(s.t, Publish(s.t.Context(), s.Lab, "v1", First, "backend", "frontend"))
	require.NoError(s.t, Publish(s.t.Context(), s.Lab, "v2", nil, "backend"))
	s.t.Logf("images of both versions: %s", time.Since(began).Round(time.Second))
}

// fewChecks are those of the thirteen that ask the few.
func (s *site) fewChecks() string {
	s.t.Helper()
	checks := without(s.t, s.checks(), "V01", "V08", "V09", "V10", "V11", "V12", "V13")
	for old, new := range map[string]string{
		"distinct: {header: X-Instance, count: 3}": "distinct: {header: X-Instance, count: 2}",
		"workers: 2\n": "workers: 1\n",
	} {
		require.Contains(s.t, checks, old)
		checks = strings.Replace(checks, old, new, 1)
	}
	return checks
}

// The application's own tests pass on a real PostgreSQL and a real Redis.
func TestBackend(t *testing.T) {
	if !*application {
		t.Skip("`make e2e-application` has it")
	}
	f := lab.New(t)
	require.NoError(t, f.EnsureImages(t.Context(), Images(f.Root)[:edgeAndData]...))
	name, label := f.Project+"-postgres", "com.docker.compose.project="+f.Project
	_, err := f.Docker(t.Context(), "run", "--detach", "--init", "--name", name, "--label", label,
		"--env", "POSTGRES_USER=setu", "--env", "POSTGRES_PASSWORD=p@ss/word", "--env", "POSTGRES_DB=setu", "postgres:15.20")
	require.NoError(t, err)
	_, err = f.Docker(t.Context(), "run", "--detach", "--network", "container:"+name, "--label", label,
		"redis:7.0.15", "sh", "-c", `printf 'requirepass "r:ed@is"\n' | redis-server -`)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := f.Docker(t.Context(), "exec", name, "pg_isready", "-q", "-h", "127.0.0.1")
		return err == nil
	}, time.Minute, 200*time.Millisecond)
	out, err := f.Docker(t.Context(), "run", "--rm", "--network", "container:"+name, "--workdir", "/app",
		"--volume", filepath.Join(Example(f.Lab), "backend")+":/app:ro", "--env", "DATABASE_TESTS=1", "--env", "POSTGRES_HOST=localhost",
		"--env", "BROKER_TESTS=1", "--env", "REDIS_HOST=localhost", "--env", "PYTHONDONTWRITEBYTECODE=1",
		"python:3.11-slim-bookworm", "python", "-m", "pytest", "-q", "-p", "no:cacheprovider")
	require.NoError(t, err, out)
	assert.NotContains(t, out, "skipped", fmt.Sprint("all of them ran: ", out))
}
