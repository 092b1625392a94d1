package shikshasetu

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// whole runs all of it; without it only what needs no engine is tested.
var whole = flag.Bool("whole", false, "release the stack: about ten minutes, 6 GB")

// certificates are those of the stack's edge. Go reads the authority's from the
// environment once, so it is there before the first connection.
var certificates string

func TestMain(m *testing.M) {
	var err error
	if certificates, err = os.MkdirTemp("", "setu-tls-"); err == nil {
		err = Certificate(certificates)
	}
	if err == nil {
		err = os.Setenv("SSL_CERT_FILE", filepath.Join(certificates, "ca.pem"))
	}
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	lab.Main(m)
}

// site is the stack of one test.
type site struct {
	*lab.Fixture
	t     *testing.T
	https int
	slack *inbox
}

// start prepares the stack and releases v1.
func start(t *testing.T) *site {
	t.Helper()
	if !*whole {
		t.Skip("releases 15 units: make e2e-shikshasetu")
	}
	s := &site{Fixture: lab.New(t), t: t, slack: listen(t)}
	s.Dir = t.TempDir()
	require.NoError(t, os.CopyFS(s.Dir, os.DirFS(Example(s.Lab))))
	overlay, err := os.ReadFile(filepath.Join(s.Root, "e2e", "shikshasetu", "lab.yml"))
	require.NoError(t, err)
	s.write("docker-compose.lab.yml", string(overlay))
	s.https, err = lab.FreePort()
	require.NoError(t, err)
	s.write(lab.EnvFile, strings.Join([]string{
		"REGISTRY=" + s.Registry, "VLLM_MODEL_NAME=" + Model, "MONITORING_HOST=monitoring.localhost",
		fmt.Sprintf("HTTP_PORT=%d", s.Port), fmt.Sprintf("HTTPS_PORT=%d", s.https),
		"TLS_DIR=" + certificates, "ACME_DIR=" + t.TempDir(),
		"POSTGRES_USER=shikshasetu", "POSTGRES_DB=shikshasetu", "POSTGRES_PASSWORD=pg-of-the-lab", "REDIS_PASSWORD=redis-of-the-lab",
		"JWT_SECRET_KEY=" + strings.Repeat("a", 40), "JWT_REFRESH_SECRET_KEY=" + strings.Repeat("b", 40),
		"GRAFANA_ADMIN_PASSWORD=grafana-of-the-lab", "SLACK_WEBHOOK_URL=" + s.slack.url, "PAGERDUTY_ROUTING_KEY=none", "",
	}, "\n"))
	began := time.Now()
	require.NoError(t, s.EnsureImages(t.Context(), Images(s.Root)...))
	require.NoError(t, StandIns(t.Context(), s.Lab))
	require.NoError(t, Publish(t.Context(), s.Lab, "v1", First))
	t.Logf("images: %s", time.Since(began).Round(time.Second))
	s.release("v1", 0)
	return s
}

func (s *site) write(name, text string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644))
}

// release deploys a published version and says how long it took.
func (s *site) release(version string, want int, more ...string) lab.Result {
	s.t.Helper()
	r := s.Deploy(version, want, append([]string{"--compose-file", Files}, more...)...)
	s.t.Logf("release of %s: exit %d in %s", version, r.Exit, r.Took.Round(time.Second))
	return r
}

func (s *site) url(path string) string { return fmt.Sprintf("https://localhost:%d%s", s.https, path) }

// get asks the edge over TLS, with its certificate verified.
func (s *site) get(url string) (*http.Response, error) {
	client := http.Client{
		Timeout:       20 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return client.Get(url)
}

// in runs a command in the first running unit of a service.
func (s *site) in(service string, argv ...string) string {
	s.t.Helper()
	ids := s.MustUnits()[service]
	require.NotEmpty(s.t, ids, "no unit of %s runs", service)
	out, err := s.Docker(s.t.Context(), append([]string{"exec", ids[0]}, argv...)...)
	require.NoError(s.t, err)
	return out
}

// sql runs a statement in the stack's database.
func (s *site) sql(statement string) string {
	s.t.Helper()
	return s.in("postgres", "psql", "-U", "shikshasetu", "-d", "shikshasetu", "-AtX", "-v", "ON_ERROR_STOP=1", "-c", statement)
}
