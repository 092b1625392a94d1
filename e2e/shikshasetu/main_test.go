package shikshasetu

import (
	"crypto/x509"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
	"github.com/shiksha/actions/e2e/ports"
)

var (
	// whole runs all of it.
	whole = flag.Bool("whole", false, "release all 15 units and everything around them: about fifteen minutes, 3 GB")
	// application adds the tests that the application has of its own.
	application = flag.Bool("application", false, "the application's own tests too, on a real PostgreSQL")
	// standing is for whoever works on one stage: the stack of an earlier run is used
	// as it is and left as it is. With -run TestTheStack/STAGE a stage is minutes.
	standing = flag.Bool("standing", false, "go on with the stack that an earlier run with this flag left standing")
	// teardown takes the standing stack away. It loads the machine whenever its engine runs.
	teardown = flag.Bool("teardown", false, "take the standing stack away, and do nothing else")
)

// Ports of a standing stack. They lie below those that the lab hands out.
const (
	standingHTTP = 19080 + iota
	standingHTTPS
	standingSlack
	standingRegistry
)

// certificates are those of the stack's edge. Go reads the authority's from the
// environment once, so it is there before the first connection.
var certificates string

func TestMain(m *testing.M) {
	flag.Parse()
	err := trust()
	if err != nil {
		_, _ = fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if *standing {
		lab.Main(m)
	}
	lab.Main(m, certificates)
}

func trust() (err error) {
	if *standing {
		certificates, err = filepath.Abs(filepath.Join("..", "..", ".lab", "standing", "shikshasetu-tls"))
	} else {
		certificates, err = os.MkdirTemp("", "setu-tls-")
	}
	if err != nil {
		return err
	}
	authority := filepath.Join(certificates, "ca.pem")
	if _, err := os.Stat(authority); err != nil {
		if err := os.MkdirAll(certificates, 0o755); err != nil {
			return err
		}
		if err := Certificate(certificates); err != nil {
			return err
		}
	}
	if err := os.Setenv("SSL_CERT_FILE", authority); err != nil {
		return err
	}
	_, err = x509.SystemCertPool()
	return err
}

// site is the stack of one test.
type site struct {
	*lab.Fixture
	t     *testing.T
	https int
	slack *inbox
	// files are the Compose files of its releases.
	files string
	// suffix keeps the versions of a standing stack apart from those of earlier runs.
	suffix string
}

// acme is where certbot would put its challenges: a folder of the host.
func acme() string { return filepath.Join(certificates, "acme") }

// open gives a test its stack, of which nothing runs yet unless it is left standing.
func open(t *testing.T, files string) *site {
	t.Helper()
	s := &site{t: t, files: files}
	var err error
	if *standing {
		s.Fixture, s.https = lab.Standing(t, "shikshasetu", standingHTTP, standingRegistry), standingHTTPS
		s.slack, s.suffix = listen(t, standingSlack), time.Now().Format("-150405")
	} else {
		s.Fixture, s.slack = lab.New(t), listen(t, 0)
		s.Dir = t.TempDir()
		s.https, err = ports.Free()
		require.NoError(t, err)
	}
	require.NoError(t, copyOver(s.Dir, Example(s.Lab)))
	for _, name := range []string{"lab.yml", "short.yml"} {
		overlay, err := os.ReadFile(filepath.Join(s.Root, "e2e", "shikshasetu", name))
		require.NoError(t, err)
		s.write("docker-compose."+name, string(overlay))
	}
	require.NoError(t, os.MkdirAll(acme(), 0o755))
	s.write(lab.EnvFile, s.variables())
	s.write("verify.yml", s.checks())
	return s
}

// copyOver copies the example, over what an earlier run left.
func copyOver(dir, example string) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	return os.CopyFS(dir, os.DirFS(example))
}

func (s *site) variables() string {
	return strings.Join([]string{
		"REGISTRY=" + s.Registry, "VLLM_MODEL_NAME=" + Model, "MONITORING_HOST=monitoring.localhost",
		fmt.Sprintf("HTTP_PORT=%d", s.Port), fmt.Sprintf("HTTPS_PORT=%d", s.https),
		"TLS_DIR=" + certificates, "ACME_DIR=" + acme(),
		"POSTGRES_USER=shikshasetu", "POSTGRES_DB=shikshasetu", "POSTGRES_PASSWORD=pg-of-the-lab", "REDIS_PASSWORD=redis-of-the-lab",
		"JWT_SECRET_KEY=" + strings.Repeat("a", 40), "JWT_REFRESH_SECRET_KEY=" + strings.Repeat("b", 40),
		"GRAFANA_ADMIN_PASSWORD=grafana-of-the-lab", "SLACK_WEBHOOK_URL=" + s.slack.url, "PAGERDUTY_ROUTING_KEY=none", "",
	}, "\n")
}

// checks are the example's thirteen with the lab's own name. The one part that is
// left out asks the GPU of the language model.
func (s *site) checks() string {
	s.t.Helper()
	text, err := os.ReadFile(filepath.Join(Example(s.Lab), "verify.yml"))
	require.NoError(s.t, err)
	checks := string(text)
	for old, new := range map[string]string{
		`"http://shikshasetu.example.org/"`:        fmt.Sprintf(`"http://localhost:%d/"`, s.Port),
		`"shikshasetu.example.org:443"`:            fmt.Sprintf(`"localhost:%d"`, s.https),
		"paths: [/, /var/lib/docker]":              "paths: [/]", // the lab's host sees the engine's disk as its own
		"      - gpu: {service: vllm, count: 1}\n": "",
	} {
		require.Contains(s.t, checks, old)
		checks = strings.Replace(checks, old, new, 1)
	}
	return checks
}

// without leaves checks out by the beginning of their names.
func without(t *testing.T, checks string, names ...string) string {
	t.Helper()
	parts := strings.Split(checks, "\n  - name: ")
	kept := slices.DeleteFunc(parts, func(part string) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(part, name+" ") })
	})
	require.Len(t, kept, len(parts)-len(names))
	return strings.Join(kept, "\n  - name: ")
}

// first brings up v1, unless a stack is left standing.
func (s *site) first() {
	s.t.Helper()
	if *standing && len(s.MustUnits()["api"]) > 0 {
		// The engine may just have started.
		require.Eventually(s.t, s.healthy, 3*time.Minute, time.Second, "the units that are left standing are well")
		return
	}
	began := time.Now()
	require.NoError(s.t, s.EnsureImages(s.t.Context(), Images(s.Root)...))
	require.NoError(s.t, StandIns(s.t.Context(), s.Lab))
	require.NoError(s.t, Publish(s.t.Context(), s.Lab, "v1", First, Parts...))
	s.t.Logf("images: %s", time.Since(began).Round(time.Second))
	s.release("v1", 0)
}

// at goes on with the site in a part of the test.
func (s *site) at(t *testing.T) *site {
	part := *s
	part.t, part.Fixture = t, s.In(t)
	return &part
}

func (s *site) write(name, text string) {
	s.t.Helper()
	require.NoError(s.t, os.WriteFile(filepath.Join(s.Dir, name), []byte(text), 0o644))
}

// release deploys a published version and says how long it took.
func (s *site) release(version string, want int, more ...string) lab.Result {
	s.t.Helper()
	r := s.shiksha("deploy", append([]string{"--version", version, "--compose-file", s.files}, more...)...)
	s.t.Logf("release of %s: exit %d in %s", version, r.Exit, r.Took.Round(time.Second))
	require.Equal(s.t, want, r.Exit, "deploy of %s\n%s%s", version, r.Stdout, r.Stderr)
	return r
}

// shiksha runs a verb that trusts the lab's certificate.
func (s *site) shiksha(verb string, more ...string) lab.Result {
	s.t.Helper()
	cmd, err := s.Command(s.t.Context(), s.Dir, []string{"SSL_CERT_FILE=" + os.Getenv("SSL_CERT_FILE")}, s.Args(verb, more...)...)
	require.NoError(s.t, err)
	r, err := lab.Wait(cmd, nil)
	require.NoError(s.t, err)
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

// serving is the version that answers users.
func (s *site) serving() string {
	s.t.Helper()
	answer, err := s.get(s.url("/version"))
	require.NoError(s.t, err)
	_ = answer.Body.Close()
	return answer.Header.Get("X-Release")
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
