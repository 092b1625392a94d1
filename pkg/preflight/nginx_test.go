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
