package e2e

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/e2e/lab"
)

// portStack has a service that users come to by a port of the host: its own (portOwn), or the
// gateway's (portLed).
const portStack = `
services:
  web:
    image: nginx:1.22
    pull_policy: never
    command: [sh, -c, "touch /run/ready & exec nginx -g 'daemon off;'"]
    environment: { VERSION: "${VERSION}" }
    configs: [{ source: site, target: /etc/nginx/nginx.conf }]
    healthcheck: { test: [CMD, test, -e, /run/ready], interval: 1s, timeout: 5s, retries: 20 }
    deploy: { update_config: { monitor: 0s } }
    #reached
  #gate
configs:
  site:
    content: |
      pid /run/nginx.pid;
      events {}
      http {
        access_log off;
        server { listen 8000; location / { add_header X-Release ${VERSION}; return 200 "ok"; } }
      }
  leads:
    content: "events {} http { upstream u { server web:8000 max_fails=0; } server { listen 8080; location / { proxy_pass http://u; } } }"
`

const portGate = `gate:
    image: nginx:1.22
    pull_policy: never
    ports: ["${PORT}:8080"]
    configs: [{ source: leads, target: /etc/nginx/nginx.conf }]
    depends_on: { web: { condition: service_healthy } }
    deploy: { update_config: { monitor: 0s } }
`

func portOwn(t *testing.T, f *lab.Fixture) {
	t.Helper()
	trapWrite(t, f, "compose.yaml", strings.Replace(portStack, "#reached", `ports: ["${PORT}:8000"]`, 1))
}

func portLed(t *testing.T, f *lab.Fixture) {
	t.Helper()
	trapWrite(t, f, "compose.yaml", strings.NewReplacer("#reached", "x-shiksha: { gateway: gate, port: 8000 }", "#gate", portGate).Replace(portStack))
}

// portHeld are the services of which something is there, stopped or not, and which answers.
func portHeld(t *testing.T, f *lab.Fixture, version string, services ...string) {
	t.Helper()
	all, err := f.Units(t.Context(), f.Project, true)
	require.NoError(t, err)
	var names []string
	for name, ids := range all {
		names = append(names, name)
		assert.Len(t, ids, 1, "units of %s, stopped ones included", name)
	}
	assert.ElementsMatch(t, services, names)
	assert.Equal(t, version, lab.Serving(t.Context(), f.URL()))
}

// The first gateway gets a port of the host that a service had until then. When its release fails,
// and when somebody rolls it back, it has to give that up before the service comes back there.
func TestTrap_AFirstGatewayGivesItsPortBack(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	portOwn(t, f)
	f.Deploy("v1", 0)
	portHeld(t, f, "v1", "web")

	portLed(t, f)
	gives := fmt.Sprintf("interruption: until gate is well: gives up port %d/tcp of the host to it", f.Port)
	assert.Contains(t, f.Shiksha("plan", "--version", "v2").Stdout, gives)
	checkFile(t, f, "checks:\n  - name: never\n    timeout: 3s\n    http: {path: /, expect: {status: 418}}\n")
	failed := f.Deploy("v2", 1, "--checks", "verify.yml", "--url", f.URL())
	assert.Contains(t, failed.Stderr, "expected status 418, found status 200", "the gateway had the port")
	assert.Contains(t, failed.Stderr, "v1 serves again")
	portHeld(t, f, "v1", "web")

	f.Deploy("v2", 0)
	portHeld(t, f, "v2", "web", "gate")
	rollback(t, f, 0)
	portHeld(t, f, "v1", "web")
}

// The other way round: a service has got the port of a gateway that is gone, and only changes when
// that comes back.
func TestRollback_AGatewayGetsItsPortBack(t *testing.T) {
	t.Parallel()
	f := lab.New(t)
	portLed(t, f)
	f.Deploy("v1", 0)
	portHeld(t, f, "v1", "web", "gate")

	portOwn(t, f)
	trapDocker(t, f, "stop", f.MustUnits()["gate"][0]) // else nothing could have its port
	f.Deploy("v2", 0, "--remove-orphans")
	portHeld(t, f, "v2", "web")

	gives := fmt.Sprintf("interruption: until gate is well: gives up port %d/tcp of the host to it", f.Port)
	assert.Contains(t, rollback(t, f, 0, "--dry-run").Stdout, gives)
	rollback(t, f, 0)
	portHeld(t, f, "v1", "web", "gate")
}
