package preflight_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/preflight"
)

// behind is a stack with front behind an nginx, with more keys for the two, and what
// nginx is told.
func behind(nginx, front, conf string) files {
	return files{"compose.yaml": "services:\n  nginx:\n    image: nginx:1.27\n    volumes: [\"./nginx.conf:/etc/nginx/nginx.conf:ro\"]\n" + nginx +
		"  front:\n    image: example/front:v1\n" + front, "nginx.conf": "events {}\nhttp {\n" + conf + "\n}\n"}
}

const (
	first  = "    deploy: {update_config: {order: start-first}}\n"
	passed = "server {\n location / { proxy_pass http://front:3000; }\n}"
)

// Stock nginx finds a name once, when it loads: a service that it sends to, and that no
// gateway is said of, is lost to it after a release.
func TestAddressesThatNginxKeeps(t *testing.T) {
	t.Parallel()
	bad := look(t, behind("", first, "upstream f {\n server front:3000;\n}\nserver { location / { proxy_pass http://f; } }"), "")
	reported(t, bad, "P05.gateway", check.Fail, "nginx.conf:4", "every request to front gets 502")
	assert.Equal(t, "write `x-shiksha: {gateway: nginx, port: 3000}` at front: releases then lead nginx to its new units; if something else reloads nginx: "+
		"`x-shiksha: {exempt: {P05.gateway: \"...\"}}` at nginx; on a Swarm say so: `x-shiksha: {engine: swarm}` at the top level", about(bad, "P05.gateway")[0].Hint)
	assert.Len(t, about(bad, "P05.nginx"), 1, "names resolve all the same")
	reported(t, look(t, behind("", "", passed), ""), "P05.gateway", check.Warn, "nginx.conf:4", "front once, when it loads")

	for name, f := range map[string]files{
		"its gateway":    behind("", first+"    x-shiksha: {gateway: nginx, port: 3000}\n", passed),
		"a variable":     behind("", first, "resolver 127.0.0.11;\nserver {\n set $up http://front:3000;\n location / { proxy_pass $up; }\n location /a { proxy_pass http://front:3000$request_uri; }\n}"),
		"resolve":        behind("", first, "resolver 127.0.0.11;\nupstream f { zone f 64k; server front:3000 resolve; }"),
		"is down":        behind("", first, "upstream f { server front:3000 down; }"),
		"restarts along": behind("    depends_on: {front: {condition: service_started, restart: true}}\n", first, passed),
		"linked":         behind("    links: [front]\n    depends_on: {front: {condition: service_started}}\n", first, passed),
		"a group's name": behind("", first, "upstream front { server 10.0.0.9:80; }\nserver { location / { proxy_pass http://front; } }"),
		"none of it":     behind("", "    deploy: {replicas: 0, update_config: {order: start-first}}\n", passed),
		"nginx a job":    behind("    command: nginx -t\n", first, passed).more("  api: {image: \"example/api:v1\", depends_on: {nginx: {condition: service_completed_successfully}}}\n"),
		"no nginx":       behind("    deploy: {replicas: 0}\n", first, passed),
		"a job":          behind("", first, passed).more("  api: {image: \"example/api:v1\", depends_on: {front: {condition: service_completed_successfully}}}\n"),
		"extra_hosts":    behind("    extra_hosts: [\"front:10.0.0.9\"]\n", first, passed),
		"another's name": behind("", first, "server { location / { proxy_pass http://front.example.org; } }"),
		"itself":         behind("", first, "server { location / { proxy_pass http://nginx:8080; } }"),
		"host network":   behind("    network_mode: host\n", first, passed),
		"its address": behind("    networks: [edge]\n", "    networks: {edge: {ipv4_address: 10.9.0.5}}\n"+first, passed).more(
			"networks: {edge: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}\n"),
	} {
		assert.Empty(t, about(look(t, f, ""), "P05.gateway"), name)
	}
	let := behind("    x-shiksha: {exempt: {P05.gateway: \"it is reloaded each minute\"}}\n", first, passed)
	assert.Equal(t, check.Skip, about(look(t, let, ""), "P05.gateway")[0].Outcome)
}

// more is the workspace with an end to its Compose file.
func (f files) more(text string) files {
	return f.with(files{"compose.yaml": f["compose.yaml"] + text})
}

// What is start-first and stops first all the same mostly gets its address again, and so
// may what another gateway leads to: it is told, and refuses nothing.
func TestAddressesThatNginxMayKeep(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]files{
		"a name of its own":   behind("", first+"    container_name: front\n", passed),
		"a port of the host":  behind("", first+"    ports: [\"127.0.0.1:3000:3000\"]\n", passed),
		"a GPU":               behind("", first+"    gpus: all\n", passed),
		"a database":          behind("", first+"    volumes: [\"data:/data\"]\n    x-shiksha: {backups: {}}\n", passed).more("volumes: {data: {}}\n"),
		"behind another one":  behind("", first+"    x-shiksha: {gateway: edge, port: 3000}\n", passed).more("  edge: {image: \"nginx:1.27\"}\n"),
		"reloaded by another": behind("", first, passed).more("  watch: {image: \"nginxproxy/docker-gen:0.14\"}\n"),
		"reloads by itself":   {"compose.yaml": strings.Replace(behind("", first, passed)["compose.yaml"], "nginx:1.27", "nginxproxy/nginx-proxy:1.6", 1), "nginx.conf": behind("", first, passed)["nginx.conf"]},
		"an address elsewhere": behind("    networks: [edge]\n", "    networks: {edge: {}, back: {ipv4_address: 10.9.0.5}}\n"+first, passed).more(
			"networks: {edge: {}, back: {ipam: {config: [{subnet: 10.9.0.0/24}]}}}\n"),
		"one name of several": behind("", "    networks: {default: {aliases: [web]}}\n"+first, "server {\n location / { proxy_pass http://web:3000; }\n}").more(
			"  back: {image: \"example/front:v1\", networks: {default: {aliases: [web]}}}\n"),
	} {
		r := look(t, f, "")
		reported(t, r, "P05.gateway", check.Warn, "nginx.conf:4", "once, when it loads")
		assert.Len(t, about(r, "P05.gateway"), 1, name)
	}
	two := behind("", "", "server {\n location / { proxy_pass http://front:3000; }\n location /a { proxy_pass http://api; }\n location /b { proxy_pass http://front:3000/b; }\n}").more("  api: {image: \"example/api:v1\"}\n")
	told := about(look(t, two, ""), "P05.gateway")
	require.Len(t, told, 1, "many are one line")
	assert.Contains(t, told[0].Found, "front, api once")
	assert.Equal(t, "write `x-shiksha: {gateway: nginx, port: 3000}` at front, `x-shiksha: {gateway: nginx, port: 80}` at api: releases then lead nginx to their new units; "+
		"if something else reloads nginx: `x-shiksha: {exempt: {P05.gateway: \"...\"}}` at nginx", told[0].Hint)
}

// The mend is one that the release takes: only the service's own name can be moved, and
// only an nginx whose /etc/hosts can be written.
func TestTheMendOfAnAddressThatNginxKeeps(t *testing.T) {
	t.Parallel()
	alias := look(t, behind("", "    networks: {default: {aliases: [web]}}\n"+first, "server {\n location / { proxy_pass http://web:3000; }\n}"), "")
	reported(t, alias, "P05.gateway", check.Fail, "nginx.conf:4", "every request to front gets 502")
	assert.Contains(t, about(alias, "P05.gateway")[0].Hint, "write front there in the place of web")
	unit := look(t, behind("", first, "server {\n location / { proxy_pass http://shop-front-1:3000; }\n}"), "")
	reported(t, unit, "P05.gateway", check.Fail, "nginx.conf:4", "every request to front gets 502")
	for _, keys := range []string{"    read_only: true\n", "    user: nginx\n"} {
		fixed := look(t, behind(keys, first, passed), "")
		reported(t, fixed, "P05.gateway", check.Fail, "nginx.conf:4", "every request to front gets 502")
		hint := about(fixed, "P05.gateway")[0].Hint
		assert.NotContains(t, hint, "{gateway:")
		assert.Contains(t, hint, "resolver 127.0.0.11")
	}
}

// A variable passes the path as it is, and a port that gets datagrams is none to connect to.
func TestTheMendOfAnAddressThatIsAskedFor(t *testing.T) {
	t.Parallel()
	const pass = "server {\n location / { proxy_pass http://front:3000; }\n location /api/ { proxy_pass http://front:3000/v1/; }\n}"
	hint := about(look(t, behind("    read_only: true\n", first, pass), ""), "P05.gateway")[0].Hint
	assert.Contains(t, hint, "the host in a variable, which passes the path as it is: take it off proxy_pass and write `rewrite ^/api/(.*) /v1/$1 break;`")
	plain := about(look(t, behind("    read_only: true\n", first, passed), ""), "P05.gateway")[0].Hint
	assert.NotContains(t, plain, "rewrite")

	for _, stream := range []string{
		"server {\n listen 514 udp;\n proxy_pass front:514;\n}", "upstream logs { server front:514; }\nserver { listen 514 udp; proxy_pass logs; }",
	} {
		f := behind("", first, "")
		f["nginx.conf"] = "events {}\nstream {\n" + stream + "\n}\n"
		found := about(look(t, f, ""), "P05.gateway")
		require.Len(t, found, 1)
		assert.NotContains(t, found[0].Hint, "port:", "a release connects to it by TCP")
		assert.Contains(t, found[0].Hint, "let nginx ask DNS for front")
	}
}

// A release of other services does nothing to front: there it is told only.
func TestAddressesOfARelease(t *testing.T) {
	t.Parallel()
	st, dir, err := load(t, behind("", first, passed), "")
	require.NoError(t, err)
	for service, want := range map[string]check.Outcome{"nginx": check.Warn, "front": check.Fail} {
		found := about(preflight.Static(t.Context(), st, preflight.Options{Workspace: dir, Now: now, Services: []string{service}}), "P05.gateway")
		require.Len(t, found, 1)
		assert.Equal(t, want, found[0].Outcome, service)
	}
}

// A Swarm gives a service one address that stays, unless it is asked not to.
func TestAddressesOfASwarm(t *testing.T) {
	t.Parallel()
	of := func(f files) []check.Result {
		st, dir, err := load(t, f, "")
		require.NoError(t, err)
		return about(preflight.Static(t.Context(), st, preflight.Options{Workspace: dir, Now: now, Swarm: true}), "P05.gateway")
	}
	assert.Empty(t, of(behind("", first, passed)))
	each := of(behind("", "    deploy: {endpoint_mode: dnsrr, update_config: {order: start-first}}\n", passed))
	require.Len(t, each, 1)
	assert.Equal(t, check.Fail, each[0].Outcome)
}
