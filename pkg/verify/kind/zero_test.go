package kind

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/fault"
)

// A nought that would be taken for what was not said is refused, and so is what cannot
// be less than it.
func TestReadFile_NoughtIsNoDefault(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"timeout: 0s, disk: {}", "interval: 0s, disk: {}",
		"backup: {service: b, age: 0s}", "backup: {service: b, keep: 0}", "backup: {service: b, keep: -1}",
		"postgres: {service: b, connections: 0}", "postgres: {service: b, connections: 0.0}", "postgres: {service: b, port: 0}",
		"redis: {service: b, memory: 0}", "redis: {service: b, memory: .nan}", "redis: {service: b, port: 0}", "gpu: {service: b, count: 0}", "gpu: {service: b, memory: 0}",
		"disk: {warn: 0}", "disk: {fail: 0}", "celery: {service: b, app: a, workers: 0}", "celery: {service: b, app: a, task: {name: n, within: 0s}}",
		"prometheus: {service: p, rules: 0}", "prometheus: {service: p, port: 0}", "grafana: {service: g, dashboards: [{uid: d, panels: 0}]}", "logs: {services: [b], forbid: [x], since: 0s}",
	} {
		_, err := ReadFile("v.yml", []byte("- {name: a, "+text+"}"))
		if assert.Error(t, err, text) {
			assert.Regexp(t, `has to be (more than 0|a number)`, err.Error(), text)
			assert.Equal(t, fault.Input, fault.Of(err))
		}
	}
	for text, want := range map[string]string{
		"backup: {service: b, shrink: -0.1}": "shrink has to be 0, for any size, or more", "backup: {service: b, age: {a: b}}": "age: has to be a length of time",
		"backup: {service: b, age: [1h]}": "age: has to be a length of time", "backup: {service: b, age: }": "age: has to be a length of time", "backup: {service: b, age: ''}": "age: has to be a length of time",
		"timeout: {a: b}, disk: {}": "timeout: has to be a length of time", "tls: {address: 'h:1', warn: [1d]}": "warn: has to be a length of time",
		"grafana: {url: 'http://h', user: admin}":                        "user and password need each other",
		"grafana: {url: 'http://h', password: {env: P, service: g}}":     "user and password need each other",
		"grafana: {url: 'http://h', user: admin, token: {env: P}}":       "user and password need each other",
		"grafana: {user: admin, password: {env: P, service: g}, url: h}": "url is not an address",
	} {
		_, err := ReadFile("v.yml", []byte("- {name: a, "+text+"}"))
		require.ErrorContains(t, err, want, text)
	}
	for _, text := range []string{
		"backup: {service: b, shrink: 0}", "backup: {service: b, age: 1s, keep: 1, proven: 0s}", "tls: {address: 'h:1', warn: 0s, fail: 0s}", "logs: {services: [b], forbid: [x], max: 0}",
		"disk: {memory: 0}", "window: 0s, disk: {}", "postgres: {service: b, connections: 0.01, port: 1}", "grafana: {url: 'http://h', token: {env: P, service: g}}",
	} {
		_, err := ReadFile("v.yml", []byte("- {name: a, "+text+"}"))
		assert.NoError(t, err, text)
	}
}

// Where a nought means something it is kept to.
func TestNoughtMeansNought(t *testing.T) {
	t.Parallel()
	looks := map[string]look{}
	backupLooks(looks)
	shrunk := looks["backup shrunk"]
	assert.Equal(t, check.Fail, shrunk.at(t, "").Outcome)
	shrunk.check = strings.Replace(shrunk.check, "keep: 2", "keep: 2, shrink: 0", 1)
	assert.Equal(t, check.Pass, shrunk.at(t, "").Outcome, "any size is enough")
	shrunk.check = strings.Replace(shrunk.check, "shrink: 0", "shrink: 0.2", 1)
	assert.Equal(t, check.Pass, shrunk.at(t, "").Outcome)

	soon := tlsLooks()["tls ends this week"]
	for more, want := range map[string]check.Outcome{
		"": check.Fail, ", fail: 0s": check.Warn, ", fail: 0s, warn: 0s": check.Pass, ", fail: 1d, warn: 2d": check.Pass, ", fail: 4d, warn: 0s": check.Fail, ", fail: 1d, warn: 4d": check.Warn,
	} {
		one := soon
		one.check = strings.TrimSpace(soon.check) + strings.ReplaceAll(more, ", ", "\n  ")
		f := one.at(t, "")
		assert.Equal(t, want, f.Outcome, "%s: %+v", one.check, f)
	}
}

func TestWholeSeconds(t *testing.T) {
	t.Parallel()
	for d, want := range map[time.Duration]string{time.Millisecond: "1", time.Second: "1", 1500 * time.Millisecond: "2", 10 * time.Second: "10"} {
		assert.Equal(t, want, wholeSeconds(d), d)
	}
}
