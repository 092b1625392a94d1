package preflight_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/preflight"
)

func TestTheQuickstartPasses(t *testing.T) {
	t.Parallel()
	dir := "../../examples/quickstart"
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Environment: map[string]string{"VERSION": "v1"}, StateDir: "/var/lib/shiksha"})
	require.NoError(t, err)
	r := preflight.Static(t.Context(), st, preflight.Options{Workspace: dir})
	assert.Equal(t, check.Pass, r.Worst(check.Fail), "%+v", r.Results)
	assert.NotEmpty(t, about(r, "P05.nginx"))
}

func TestPolicy(t *testing.T) {
	t.Parallel()
	bad := look(t, files{"compose.yaml": "services:\n  api:\n    image: example/api\n    healthcheck: {disable: true}\n  job:\n    image: example/job:v1\n  web:\n    image: example/web:v1\n    depends_on: {job: {condition: service_completed_successfully}}\n    logging: {driver: json-file}\n"}, "")
	reported(t, bad, "P02.health", check.Warn, "compose.yaml:4", "switched off")
	reported(t, bad, "P02.latest", check.Warn, "compose.yaml:3", "example/api has no version")
	reported(t, bad, "P02.memory", check.Warn, "compose.yaml:2", "no memory limit")
	reported(t, bad, "P02.restart", check.Warn, "compose.yaml:7", "stays down")
	reported(t, bad, "P02.logs", check.Warn, "compose.yaml:10", "without end")
	for _, r := range about(bad, "P02.health") {
		assert.NotEqual(t, "job", r.Where, "a job ends; it needs no health check")
	}
	good := look(t, files{"compose.yaml": `services:
  api:
    image: example/api:v1
    restart: unless-stopped
    mem_limit: 1g
    logging: {driver: local}
    healthcheck: {test: [CMD, /api, health]}
`}, "")
	assert.Zero(t, good.Count(check.Warn)+good.Count(check.Fail), "%+v", good.Results)
	assert.NotZero(t, good.Count(check.Pass))
}

// What is to end is a job only where a service waits for it; a restart policy would run
// it for ever.
func TestRestartOfWhatIsToEnd(t *testing.T) {
	t.Parallel()
	const wait = "depends_on: {once: {condition: service_completed_successfully}}"
	for name, policy := range map[string]string{"restart": "    restart: \"no\"\n", "deploy": "    deploy: {restart_policy: {condition: none}}\n", "": ""} {
		r := look(t, files{"compose.yaml": "services:\n  once:\n    image: minio/mc:v1\n" + policy}, "")
		found := about(r, "P02.restart")
		require.Len(t, found, 1, name)
		assert.Equal(t, check.Warn, found[0].Outcome)
		assert.Equal(t, name != "", strings.Contains(found[0].Found, "when it ends by itself the release fails"), found[0].Found)
		assert.Equal(t, name != "", strings.Contains(found[0].Hint, wait), found[0].Hint)
		assert.Contains(t, found[0].Hint, "restart: unless-stopped")
	}
}

func TestAnExemptionIsWrittenAndShown(t *testing.T) {
	t.Parallel()
	r := look(t, files{"compose.yaml": "services:\n  db:\n    image: postgres:15\n    ports: [\"5432:5432\"]\n    x-shiksha: {exempt: {P02.database-ports: \"only the office reaches this host\", P02.health: \"none\"}}\n"}, "")
	found := about(r, "P02.database-ports")
	require.Len(t, found, 1)
	assert.Equal(t, check.Skip, found[0].Outcome)
	assert.Contains(t, found[0].Found, "exempt: only the office reaches this host")
	assert.Equal(t, check.Pass, r.Worst(check.Fail))

	for text, says := range map[string]string{
		"{health: why}": "is not the name of a finding", "{P02.health: \"\"}": "needs a reason", "[P02]": "has to be a mapping",
	} {
		_, _, err := load(t, files{"compose.yaml": "services:\n  db:\n    image: postgres:15\n    x-shiksha:\n      exempt: " + text + "\n"}, "")
		assert.ErrorContains(t, err, says)
		assert.ErrorContains(t, err, "compose.yaml:5")
	}
}

func TestSecretsAreSpokenOfByName(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": `services:
  api:
    image: example/api:v1
    environment:
      JWT_SECRET_KEY: ${JWT}
      DB_PASSWORD: ${DB}
      REDIS_PASSWORD: ${REDIS}
      API_TOKEN: written-down-here-0123
      EMAIL_PASSWORD: ""
      EMAIL_JWT_TOKEN: ""
      OPENAI_API_KEY: ""
      INIT_PASSWORD: ${INIT:-}
      SIGNING_SECRET: ${INIT:-}
      TOKEN_TTL: "60"
    secrets: [cookie, {source: tls, target: /etc/tls/key.pem}]
secrets: {cookie: {file: ./cookie.txt}, tls: {file: ./tls.pem}}
`, "cookie.txt": "changeme\n", "tls.pem": "\n"}
	r := look(t, f, "JWT=short-but-hidden-value\nDB=ChangeMe123\nREDIS=\n")
	reported(t, r, "P03.secrets", check.Warn, "compose.yaml:5", "JWT_SECRET_KEY has 22 characters, fewer than the 32")
	reported(t, r, "P03.secrets", check.Fail, "compose.yaml:6", "DB_PASSWORD is still a placeholder")
	reported(t, r, "P03.secrets", check.Fail, "compose.yaml:7", "REDIS_PASSWORD is empty")
	reported(t, r, "P03.secrets", check.Fail, "cookie.txt", "secret cookie is still a placeholder")
	reported(t, r, "P03.secrets", check.Fail, "tls.pem", "secret key.pem is empty")
	reported(t, r, "P03.committed", check.Warn, "compose.yaml:8", "API_TOKEN is written in the Compose file")
	reported(t, r, "P03.secrets", check.Warn, "compose.yaml:9", "EMAIL_PASSWORD is empty")
	reported(t, r, "P03.secrets", check.Fail, "compose.yaml:10", "EMAIL_JWT_TOKEN is empty")
	reported(t, r, "P03.secrets", check.Warn, "compose.yaml:11", "OPENAI_API_KEY is empty")
	reported(t, r, "P03.secrets", check.Warn, "compose.yaml:12", "INIT_PASSWORD is empty, as the Compose file lets it be")
	reported(t, r, "P03.secrets", check.Fail, "compose.yaml:13", "SIGNING_SECRET is empty")
	data, err := json.Marshal(r)
	require.NoError(t, err)
	for _, value := range []string{"short-but-hidden", "ChangeMe123", "written-down-here"} {
		assert.NotContains(t, string(data), value)
	}
	f["cookie.txt"], f["tls.pem"] = "8d1f6a2b9c7e4f3a", "-----BEGIN KEY-----"
	f["compose.yaml"] = strings.NewReplacer("written-down-here-0123", "${TOKEN}", `EMAIL_JWT_TOKEN: ""`, "EMAIL_JWT_TOKEN: ${JWT}", `: ""`, ": ${TOKEN}", "SIGNING_SECRET: ${INIT:-}", "SIGNING_SECRET: ${JWT}", "${INIT:-}", "${TOKEN}").Replace(f["compose.yaml"])
	const set = "JWT=0123456789abcdef0123456789abcdef\nDB=0123456789abcdef\nREDIS=0123456789abcdef\nTOKEN=abcdef0123456789"
	sound(t, look(t, f, set), "P03.secrets")
	// A file of settings is no one value.
	for _, text := range []string{`["8d1f6a2b", "9c7e4f3a"]`, "<?xml version=\"1.0\"?><users/>", "# was changeme once\nuser = \"8d1f6a2b\""} {
		f["tls.pem"] = text
		sound(t, look(t, f, set), "P03.secrets")
	}
	f["tls.pem"] = "[your key here]"
	reported(t, look(t, f, set), "P03.secrets", check.Fail, "tls.pem", "secret key.pem is still a placeholder")
}

// authority issues certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "Test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: now.AddDate(-1, 0, 0), NotAfter: now.AddDate(5, 0, 0), KeyUsage: x509.KeyUsageCertSign}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{cert, key}
}

// issue gives a chain and its key as PEM.
func (a authority) issue(t *testing.T, until time.Time, names ...string) (chain, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: now.AddDate(0, -1, 0), NotAfter: until}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &k.PublicKey, a.key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(k)
	require.NoError(t, err)
	block := func(kind string, data []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: data}))
	}
	return block("CERTIFICATE", der) + block("CERTIFICATE", a.cert.Raw), block("PRIVATE KEY", private)
}

func TestCertificates(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	chain, key := ca.issue(t, now.AddDate(0, 3, 0), "shop.example.org", "*.shop.example.org")
	_, otherKey := ca.issue(t, now.AddDate(0, 3, 0), "other.example.org")
	soon, soonKey := ca.issue(t, now.AddDate(0, 0, 20), "shop.example.org")
	over, overKey := ca.issue(t, now.AddDate(0, 0, -1), "shop.example.org")
	leaf, _, _ := strings.Cut(chain, "-----END CERTIFICATE-----\n")
	leaf += "-----END CERTIFICATE-----\n"
	compose := "services:\n  nginx:\n    image: nginx:1.27\n    volumes: [\"./nginx.conf:/etc/nginx/nginx.conf:ro\", \"./tls:/etc/tls:ro\"]\n"
	conf := "events {}\nhttp {\n server {\n  listen 443 ssl;\n  server_name shop.example.org www.shop.example.org;\n  ssl_certificate /etc/tls/chain.pem;\n  ssl_certificate_key /etc/tls/key.pem;\n }\n}\n"
	f := func(chain, key string) files {
		return files{"compose.yaml": compose, "nginx.conf": conf, "tls/chain.pem": chain, "tls/key.pem": key}
	}
	good := look(t, f(chain, key), "")
	require.Len(t, about(good, "P06.certificate"), 1)
	assert.Equal(t, check.Pass, about(good, "P06.certificate")[0].Outcome)

	reported(t, look(t, f(chain, otherKey), ""), "P06.key", check.Fail, "tls/chain.pem", "belongs to another certificate")
	reported(t, look(t, f(soon, soonKey), ""), "P06.expiry", check.Warn, "tls/chain.pem", "expires in 20 days")
	reported(t, look(t, f(over, overKey), ""), "P06.expiry", check.Fail, "tls/chain.pem", "expired on")
	reported(t, look(t, f(leaf, key), ""), "P06.chain", check.Warn, "tls/chain.pem", "Test CA")
	reported(t, look(t, f(chain[len(leaf):]+leaf, key), ""), "P06.chain", check.Fail, "tls/chain.pem", "is not signed by the next")
	reported(t, look(t, f(soon, soonKey), ""), "P06.names", check.Fail, "tls/chain.pem", "not for www.shop.example.org")
	reported(t, look(t, f("nothing", key), ""), "P06.certificate", check.Fail, "tls/chain.pem", "no certificate")
	gone := f(chain, key)
	gone["nginx.conf"] = replace(gone["nginx.conf"], "/etc/tls/chain.pem", "/etc/ssl/chain.pem")
	reported(t, look(t, gone, ""), "P06.certificate", check.Fail, "nginx.conf:6", "nothing is mounted at /etc/ssl/chain.pem")
}

func TestWorkflowsStayInTheWorkspace(t *testing.T) {
	t.Parallel()
	outside := workspace(t, files{"d.yml": "secret-of-the-runner: [\n"})
	dir := workspace(t, files{"compose.yaml": twoServices})
	require.NoError(t, os.MkdirAll(filepath.Join(dir, ".github"), 0o755))
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, ".github", "workflows")))
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", StateDir: "/var/lib/shiksha"})
	require.NoError(t, err)
	for _, r := range preflight.Static(t.Context(), st, preflight.Options{Workspace: dir}).Results {
		assert.NotEqual(t, "workflow", r.Kind)
	}
}

// A health check that may take longer than a release waits is cut off by that.
func TestWaitTimeout(t *testing.T) {
	t.Parallel()
	f := files{"compose.yaml": "services:\n  llm:\n    image: example/llm:v1\n    healthcheck:\n      test: [CMD, \"true\"]\n      start_period: 10m\n      interval: 30s\n      timeout: 10s\n      retries: 5\n"}
	st, dir, err := load(t, f, "")
	require.NoError(t, err)
	of := func(wait time.Duration) *check.Report {
		return preflight.Static(t.Context(), st, preflight.Options{Workspace: dir, Now: now, WaitTimeout: wait})
	}
	reported(t, of(10*time.Minute), "P02.wait-timeout", check.Warn, "compose.yaml:4", "it may take 13m20s to become healthy by its healthcheck, and the release gives it 10m0s (wait-timeout)")
	assert.Contains(t, about(of(10*time.Minute), "P02.wait-timeout")[0].Hint, "wait-timeout: 14m")
	sound(t, of(14*time.Minute), "P02.wait-timeout")
	assert.Empty(t, about(of(0), "P02.wait-timeout"), "where nothing is released")
}

// A job has the time of the release to end, whatever its health check says. What its
// command may take is known where it says so.
func TestWaitTimeoutOfJobs(t *testing.T) {
	t.Parallel()
	of := func(command string, wait time.Duration) *check.Report {
		st, dir, err := load(t, files{"compose.yaml": "services:\n  model:\n    image: example/hub:v1\n    command: " + command +
			"\n    healthcheck: {test: [CMD, \"true\"], start_period: 2h}\n  llm:\n    image: example/llm:v1\n    depends_on: {model: {condition: service_completed_successfully}}\n"}, "")
		require.NoError(t, err)
		return preflight.Static(t.Context(), st, preflight.Options{Workspace: dir, Now: now, WaitTimeout: wait})
	}
	for command, takes := range map[string]string{
		"timeout 45m hub download": "45m0s", "[timeout, \"2700\", hub]": "45m0s", "sh -c 'cd /m && timeout -k 30 --signal=INT 0.75h hub'": "45m0s", "timeout --foreground 1d hub": "24h0m0s",
	} {
		r := of(command, 10*time.Minute)
		reported(t, r, "P02.wait-timeout", check.Warn, "compose.yaml:4", "its command may take "+takes+" (timeout), and the release gives it 10m0s to end (wait-timeout)")
		sound(t, of(command, 24*time.Hour), "P02.wait-timeout")
	}
	assert.Contains(t, about(of("timeout 2701 hub", time.Minute), "P02.wait-timeout")[0].Hint, "wait-timeout: 46m")
	for _, command := range []string{"hub download", "curl --connect-timeout 900 https://example.org", "timeout 0 hub", "timeout 60 hub", "timeout hub"} {
		r := about(of(command, 10*time.Minute), "P02.wait-timeout")
		require.Len(t, r, 1, command)
		assert.Equal(t, check.Pass, r[0].Outcome, command)
		assert.Contains(t, r[0].Found, "; a service that others wait for has 10m0s to end: model", "nothing else says it beforehand")
	}
}

func TestWorkflowHygiene(t *testing.T) {
	t.Parallel()
	bad := look(t, files{"compose.yaml": twoServices, ".github/workflows/x.yml": "on: pull_request_target\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ github.event.nothing.x\n"}, "")
	reported(t, bad, "P16.pull-request-target", check.Warn, ".github/workflows/x.yml:1", "a stranger's pull request")
	reported(t, bad, "P16.permissions", check.Warn, ".github/workflows/x.yml:3", "says no permissions")
	assert.NotEmpty(t, about(bad, "P16.actionlint"))
	good := look(t, files{"compose.yaml": twoServices, ".github/workflows/x.yml": "on: push\npermissions: {contents: read}\njobs:\n  a:\n    runs-on: ubuntu-latest\n    steps:\n      - uses: actions/checkout@v4\n"}, "")
	require.Len(t, about(good, "P16.workflows"), 1, "%+v", good.Results)
}
