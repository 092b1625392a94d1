package deploy

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/schema"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/converge"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// samples has a value for every key that the specification gives a service. The
// service b and everything else that they name is in specificationStack.
var samples = map[string]string{
	"annotations": "{a: b}", "attach": "false", "blkio_config": "{weight: 300}", "build": ".", "cap_add": "[ALL]", "cap_drop": "[NET_ADMIN]",
	"cgroup": "host", "cgroup_parent": "m", "command": "[a]", "configs": "[c]", "container_name": "named", "cpu_count": "1", "cpu_percent": "50",
	"cpu_period": "100000", "cpu_quota": "50000", "cpu_rt_period": "400ms", "cpu_rt_runtime": "95ms", "cpu_shares": "73", "cpus": "0.5", "cpuset": "0,1",
	"credential_spec": "{config: c}", "depends_on": "[b]", "deploy": "{replicas: 2}", "develop": "{watch: [{path: ., action: sync, target: /x}]}",
	"device_cgroup_rules": "[\"c 1:3 mr\"]", "devices": "[/dev/null]", "dns": "1.1.1.1", "dns_opt": "[use-vc]", "dns_search": "example.org", "domainname": "d",
	"entrypoint": "/e", "env_file": "a.env", "environment": "{A: b}", "expose": "[\"1\"]", "extends": "{service: b}", "external_links": "[x]",
	"extra_hosts": "[\"h:1.2.3.4\"]", "gpus": "all", "group_add": "[g]", "healthcheck": "{test: [CMD, a]}", "hostname": "h", "image": "example/other:v1",
	"init": "true", "ipc": "host", "isolation": "default", "label_file": "a.labels", "labels": "{a: b}", "links": "[b]", "logging": "{driver: none}",
	"mac_address": "02:42:ac:11:65:43", "mem_limit": "1g", "mem_reservation": "512m", "mem_swappiness": "10", "memswap_limit": "2g", "models": "[m]",
	"network_mode": "host", "networks": "[n]", "oom_kill_disable": "true", "oom_score_adj": "1", "pid": "host", "pids_limit": "10", "platform": "linux/amd64",
	"ports": "[\"127.0.0.1:80:80\"]", "post_start": "[{command: [a]}]", "pre_start": "[{command: [a]}]", "pre_stop": "[{command: [a]}]", "privileged": "true", "profiles": "[p]",
	"provider": "{type: x}", "pull_policy": "always", "pull_refresh_after": "1d", "read_only": "true", "restart": "always", "runtime": "runc", "scale": "2",
	"secrets": "[s]", "security_opt": "[no-new-privileges:true]", "shm_size": "64m", "stdin_open": "true", "stop_grace_period": "1s", "stop_signal": "SIGINT",
	"storage_opt": "{size: 1G}", "sysctls": "{net.core.somaxconn: 1}", "tmpfs": "/run", "tty": "true", "ulimits": "{nofile: 10}", "use_api_socket": "true",
	"user": "u", "userns_mode": "host", "uts": "host", "volumes": "[\"v:/v\"]", "volumes_from": "[b]", "working_dir": "/w",
}

const specificationStack = `
services:
  a:
    image: example/a:v1
  b: {image: "example/b:v1"}
networks: {n: {}}
volumes: {v: {}}
configs: {c: {content: x}}
secrets: {s: {file: ./s.txt}}
`

// specified lists the keys of a definition of the specification's schema, those of
// the definitions that it is made of too.
func specified(t *testing.T, definition string) []string {
	t.Helper()
	var whole struct {
		Definitions map[string]json.RawMessage `json:"definitions"`
		Defs        map[string]json.RawMessage `json:"$defs"`
	}
	require.NoError(t, json.Unmarshal([]byte(schema.Schema), &whole))
	if whole.Definitions == nil {
		whole.Definitions = map[string]json.RawMessage{}
	}
	maps.Copy(whole.Definitions, whole.Defs)
	keys := map[string]bool{}
	var down func(raw json.RawMessage)
	down = func(raw json.RawMessage) {
		var d struct {
			Properties map[string]json.RawMessage
			AllOf      []json.RawMessage
			Ref        string `json:"$ref"`
		}
		require.NoError(t, json.Unmarshal(raw, &d))
		for key := range d.Properties {
			keys[key] = true
		}
		if d.Ref != "" {
			down(whole.Definitions[filepath.Base(d.Ref)])
		}
		for _, part := range d.AllOf {
			down(part)
		}
	}
	down(whole.Definitions[definition])
	return slices.Sorted(maps.Keys(keys))
}

// Nothing in the Compose specification makes a plan fail without a sentence: each key
// of a service is planned, or refused with what is not supported and why.
func TestEveryKeyOfTheSpecification(t *testing.T) {
	t.Parallel()
	keys := specified(t, "service")
	require.Greater(t, len(keys), 80)
	refused := 0
	for _, key := range keys {
		value, known := samples[key]
		if !assert.True(t, known, "the specification has a new key: %s", key) {
			continue
		}
		text := strings.Replace(specificationStack, "    image: example/a:v1\n", "    image: example/a:v1\n    "+key+": "+value+"\n", 1)
		switch key {
		case "image":
			text = strings.Replace(text, "    image: example/a:v1\n", "", 1)
		case "build":
			text = strings.Replace(text, "    image: example/a:v1\n", "", 1)
		case "models":
			text += "models: {m: {model: ai/x}}\n"
		}
		if err := planOf(t, text); err != nil {
			refused++
			said(t, key, err)
		}
	}
	assert.Less(t, refused, 10, "most are supported")
}

// The same of what stands beside the services.
func TestEveryTopLevelKeyOfTheSpecification(t *testing.T) {
	t.Parallel()
	const services = "services: {a: {image: \"example/a:v1\"}}\n"
	for key, text := range map[string]string{
		"version": services + "version: '3.8'\n", "name": services + "name: shop\n", "include": services + "include: [more.yaml]\n",
		"networks":         services + "networks: {default: {driver: bridge, attachable: true, enable_ipv4: true, enable_ipv6: false, internal: false, ipam: {}, labels: {a: b}, driver_opts: {a: b}, name: n}}\n",
		"volumes":          services + "volumes: {v: {driver: local, driver_opts: {type: tmpfs}, labels: {a: b}, name: v}}\n",
		"configs":          services + "configs: {c: {content: x, labels: {a: b}, name: c}}\n",
		"secrets":          services + "secrets: {s: {file: ./s.txt, labels: {a: b}, name: s}}\n",
		"template_driver":  "services: {a: {image: \"example/a:v1\", configs: [c]}}\nconfigs: {c: {file: ./s.txt, template_driver: golang}}\n",
		"external config":  "services: {a: {image: \"example/a:v1\", configs: [c]}}\nconfigs: {c: {external: true}}\n",
		"secret driver":    "services: {a: {image: \"example/a:v1\", secrets: [s]}}\nsecrets: {s: {driver: vault}}\n",
		"models":           services + "models: {m: {model: ai/x}}\n",
		"jobs":             services + "jobs: {j: {image: \"example/j:v1\", triggers: {schedule: [{cron: \"0 3 * * *\"}]}}}\n",
		"external network": "services: {a: {image: \"example/a:v1\", networks: [n]}}\nnetworks: {n: {external: true}}\n",
		"global":           "services: {a: {image: \"example/a:v1\", deploy: {mode: global, endpoint_mode: dnsrr, labels: {a: b}, placement: {constraints: [a==b]}}}}\n",
	} {
		if err := planOf(t, text); err != nil {
			said(t, strings.Fields(key)[0], err)
		}
	}
}

func planOf(t *testing.T, compose string) error {
	t.Helper()
	dir := t.TempDir()
	for name, text := range map[string]string{"compose.yaml": compose, "a.env": "A=1\n", "a.labels": "a=b\n", "s.txt": "0123456789abcdef\n",
		"more.yaml": "services: {c: {image: \"example/c:v1\"}}\n"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
	}
	result, err := Run(t.Context(), Options{Workspace: dir, Project: "shop", Asked: converge.Asked{DryRun: true}, Preflight: Off}, event.Discard)
	if err == nil {
		require.Equal(t, converge.Planned, result.Outcome)
	}
	return err
}

// said asserts that an error is a sentence for who wrote the file.
func said(t *testing.T, key string, err error) {
	t.Helper()
	assert.Equal(t, fault.Input, fault.Of(err), "%s: %v", key, err)
	assert.ErrorContains(t, err, "compose.yaml:", "%s: it says where", key)
	assert.NotEmpty(t, fault.Hint(err), "%s: it says what to do: %v", key, err)
	t.Logf("%s: %v (%s)", key, err, fault.Hint(err))
}
