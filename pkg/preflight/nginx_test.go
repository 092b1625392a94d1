package preflight_test

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/check"
)

// The image's entrypoint fills templates into conf.d, where nginx.conf includes them.
func TestTemplatesAreReadWhereTheyAreIncluded(t *testing.T) {
	t.Parallel()
	stack := func(environment, conf string) files {
		return files{"compose.yaml": "services:\n  nginx:\n    image: nginx:1.27\n    environment: {API_HOST: api" + environment +
			"}\n    volumes: [\"./nginx.conf:/etc/nginx/nginx.conf:ro\", \"./templates:/etc/nginx/templates:ro\"]\n  api: {image: \"example/api:v1\"}\n",
			"nginx.conf": conf, "templates/site.conf.template": "limit_req zone=a;\nserver {\n location / { proxy_pass http://nosuch:1; }\n location /a { proxy_pass http://${API_HOST}:8000; }\n}\n"}
	}
	const includes = "events {}\nhttp { include /etc/nginx/conf.d/*.conf; }\n"
	bad := look(t, stack("", includes), "")
	reported(t, bad, "P05.hosts", check.Fail, "templates/site.conf.template:3", "no service is called nosuch")
	reported(t, bad, "P05.limits", check.Warn, "templates/site.conf.template:1", "get 503")
	assert.Len(t, about(bad, "P05.hosts"), 1)

	elsewhere := "events {}\nhttp { include sites/site.conf; }\n"
	reported(t, look(t, stack(", NGINX_ENVSUBST_OUTPUT_DIR: /etc/nginx/sites", elsewhere), ""), "P05.hosts", check.Fail, "templates/site.conf.template:3", "nosuch")
	reported(t, look(t, stack(", NGINX_ENVSUBST_TEMPLATE_SUFFIX: .conf.template", "events {}\nhttp { include conf.d/site; }\n"), ""), "P05.hosts", check.Fail, "templates/site.conf.template:3", "nosuch")
	for name, f := range map[string]files{
		"nothing is included": stack("", "events {}\nhttp {}\n"), "others are": stack("", "events {}\nhttp { include conf.d/other*.conf; }\n"),
		"filled in elsewhere": stack(", NGINX_ENVSUBST_OUTPUT_DIR: /tmp/x", includes),
	} {
		assert.Empty(t, faults(look(t, f, ""), "P05.hosts"), name)
	}
	// Without an nginx.conf it is the image's own, which includes conf.d.
	f := files{"compose.yaml": "services:\n  nginx:\n    image: nginx:1.27\n    volumes: [\"./templates:/etc/nginx/templates:ro\"]\n",
		"templates/site.conf.template": "server {\n location / { proxy_pass http://nosuch:1; }\n}\n"}
	assert.Len(t, faults(look(t, f, ""), "P05.hosts"), 1)
	f["compose.yaml"] = replace(f["compose.yaml"], "    volumes", "    environment: {NGINX_ENVSUBST_OUTPUT_DIR: /etc/nginx}\n    volumes")
	f["templates/nginx.conf.template"] = "events {}\nhttp { include site.conf; }\n"
	assert.Len(t, faults(look(t, f, ""), "P05.hosts"), 1, "nginx.conf may be one itself")
}

// The image's entrypoint writes nothing over what is mounted, and nothing at all where
// another one runs: what is mounted is what nginx reads.
func TestTemplatesThatAreNotFilled(t *testing.T) {
	t.Parallel()
	const good, bad = "server {\n location / { proxy_pass http://api:1; }\n}\n", "server {\n location / { proxy_pass http://nosuch:1; }\n}\n"
	stack := func(service, real, template string) files {
		return files{"compose.yaml": "services:\n  nginx:\n    image: nginx:1.27\n" + service + "  api: {image: \"example/api:v1\"}\n",
			"conf.d/default.conf": real, "templates/default.conf.template": template}
	}
	const mounted = "    volumes: [\"./templates:/etc/nginx/templates:ro\", \"./conf.d:/etc/nginx/conf.d:ro\"]\n"
	const file = "    volumes: [\"./templates:/etc/nginx/templates:ro\", \"./conf.d/default.conf:/etc/nginx/conf.d/default.conf:ro\"]\n"
	const above = "    volumes: [\"./templates:/etc/nginx/templates:ro\", \"./nginx:/etc/nginx:ro\"]\n"
	for _, service := range []string{mounted, file} {
		assert.Empty(t, faults(look(t, stack(service, good, bad), ""), "P05.hosts"), service)
		reported(t, look(t, stack(service, bad, good), ""), "P05.hosts", check.Fail, "conf.d/default.conf:2", "nosuch")
	}
	const alone = "    volumes: [\"./templates:/etc/nginx/templates:ro\"]\n"
	assert.Empty(t, faults(look(t, stack(alone+"    entrypoint: [nginx, -g, daemon off;]\n", good, bad), ""), "P05.hosts"), "another entrypoint")
	assert.Len(t, faults(look(t, stack(alone, good, bad), ""), "P05.hosts"), 1)
	f := stack(above, good, bad)
	f["nginx/nginx.conf"] = "events {}\nhttp { include conf.d/*.conf; }\n"
	assert.Empty(t, faults(look(t, f, ""), "P05.hosts"), "its folder is below one that is mounted")
}

// A name that may be another stack's is not known to be right.
func TestHostsOfAnExternalNetwork(t *testing.T) {
	t.Parallel()
	stack := func(host string) files {
		return files{"compose.yaml": "services:\n  nginx: {image: \"nginx:1.27\", networks: [default, proxy], volumes: [\"./nginx.conf:/etc/nginx/nginx.conf:ro\"]}\n" +
			"  backend: {image: \"example/api:v1\"}\n  prometheus: {image: \"prom/prometheus:v3\", networks: [default, proxy], volumes: [\"./prometheus.yml:/etc/prometheus/prometheus.yml:ro\"]}\nnetworks: {proxy: {external: true}}\n",
			"nginx.conf":     "events {}\nhttp {\n server {\n  location / { proxy_pass http://" + host + ":1; }\n }\n}\n",
			"prometheus.yml": "scrape_configs:\n- job_name: a\n  static_configs:\n  - targets: ['" + host + ":1']\n"}
	}
	for host, want := range map[string]check.Outcome{"backnd": check.Warn, "grafana": check.Skip} {
		r := look(t, stack(host), "")
		for name, passes := range map[string]string{"P05.hosts": "P05.nginx", "P07.targets": "P07.prometheus"} {
			told := about(r, name)
			if assert.Len(t, told, 1, "%s %s", name, host) {
				assert.Equal(t, want, told[0].Outcome, told[0].Found)
				assert.Contains(t, told[0].Found, "another stack")
			}
			assert.Empty(t, about(r, passes), host)
		}
	}
	assert.Len(t, about(look(t, stack("backend"), ""), "P05.nginx"), 1)
	assert.Len(t, about(look(t, stack("backend"), ""), "P07.prometheus"), 1)
}

// A socket is no host, in any of nginx's ways to write one.
func TestSocketsAreNoHosts(t *testing.T) {
	t.Parallel()
	for pass, good := range map[string]bool{
		"proxy_pass http://unix:/run/app.sock": true, "proxy_pass http://unix:/run/app.sock:/path": true, "proxy_pass https://unix:/run/app.sock": true,
		"fastcgi_pass unix:/run/app.sock": true, "uwsgi_pass unix:/run/app.sock": true, "grpc_pass grpc://unix:/run/app.sock": true,
		"proxy_pass http://unix": false, "proxy_pass http://unixes:/run/app.sock": false,
	} {
		r := look(t, files{"compose.yaml": "services:\n  nginx:\n    image: nginx:1.27\n    volumes: [\"./nginx.conf:/etc/nginx/nginx.conf:ro\", \"run:/run\"]\nvolumes: {run: {}}\n",
			"nginx.conf": "events {}\nhttp {\n upstream app { server unix:/run/other.sock; }\n server {\n  location / { " + pass + "; }\n }\n}\n"}, "")
		if good {
			assert.Empty(t, faults(r, "P05.hosts"), pass)
			assert.Len(t, about(r, "P05.nginx"), 1, pass)
			continue
		}
		reported(t, r, "P05.hosts", check.Fail, "nginx.conf:5", "no service is called unix")
	}
}
