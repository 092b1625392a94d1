package kind

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
)

// What is wrong with a file of checks is told with its line, and with what would be
// right where that is known.
func TestReadFile_Mistakes(t *testing.T) {
	t.Parallel()
	for text, c := range map[string]struct{ says, hint string }{
		"checks:\n  - name: a\n    htpt: {}":                                  {`verify.yml:3: unknown key "htpt" in checks[0]`, `did you mean "http"?`},
		"checks:\n  - name: a\n    postgress: {service: db}":                  {`verify.yml:3: unknown key "postgress" in checks[0]`, `did you mean "postgres"?`},
		"- name: a\n  gremlin: {}":                                            {`verify.yml:2: unknown key "gremlin" in checks[0]`, "it may have name, level"},
		"- name: a\n  redis: {pasword: {}}":                                   {`verify.yml:2: unknown key "pasword" in checks[0].redis`, `did you mean "password"?`},
		"- name: a\n  redis: {}":                                              {"verify.yml:2: service is missing in checks[0].redis", ""},
		"- redis: {service: a}":                                               {"verify.yml:1: name is missing in checks[0]", ""},
		"- name: a":                                                           {`check "a" names 0 kinds, it needs one`, "one of containers, http, tls, tcp, exec, postgres, redis, celery, prometheus, alertmanager, grafana, gpu, disk, backup, logs, rate-limit"},
		"- {name: a, disk: {}, gpu: {service: b}}":                            {`check "a" names 2 kinds, it needs one`, "one of"},
		"- {name: a, all: []}":                                                {`check "a" has to have either one kind or parts under all`, "list of all"},
		"- {name: a, disk: {}, all: [{disk: {}}]}":                            {`check "a" has to have either one kind or parts under all`, ""},
		"- name: a\n  all:\n    - disk: {}\n    - name: b":                    {`verify.yml:4: check "a", part 2 names 0 kinds`, "one of"},
		"- name: a\n  exec: {on: host, command: [ls]}\n  all:\n    - name: b": {`verify.yml:4: check "a", part 1 names 0 kinds`, "one of"},
		"- {name: a, all: &p [{name: b}]}\n- {name: c, all: *p}":              {`verify.yml:1: check "c", part 1 names 0 kinds`, "one of"},
		"- {name: a, disk: {}}\n- {name: a, disk: {}}":                        {`verify.yml:2: two checks are called "a"`, "a name of its own"},
		"- {name: a, passes: -1, disk: {}}":                                   {`passes of check "a" is negative`, ""},
		"- {name: a, level: maybe, disk: {}}":                                 {"checks[0].level is none of fail, warn", ""},
		"- {name: a, timeout: 10, disk: {}}":                                  {`checks[0].timeout: "10" is not a length of time`, "write it with its unit"},
		"- {name: a, timeout: -3s, disk: {}}":                                 {`"-3s" is not a length of time`, ""},
		"- {name: a, window: 99999d, disk: {}}":                               {`"99999d" is too long`, ""},
		"- {name: a, http: {path: /, body: '${TOKEN}'}}":                      {"checks read no variables of the environment", "a secret is named by where it is"},
		"- {name: a, http: {path: '/${VERSION}'}}":                            {"checks read no variables of the environment", "write {{version}}"},
		// What each kind cannot be asked.
		"- {name: a, http: {}}": {"http needs url, or service and port, or path", ""},
		"- {name: a, http: {url: 'http://h', service: b, port: 1}}":                        {"http has url and service: name one of them", ""},
		"- {name: a, http: {service: b}}":                                                  {"http needs port, the one that b listens on", ""},
		"- {name: a, http: {url: 'h:80'}}":                                                 {"http url is not an address of http or https", ""},
		"- {name: a, http: {url: 'ftp://h'}}":                                              {"http url is not an address of http or https", ""},
		"- {name: a, http: {path: /, ca: x}}":                                              {"ca holds no certificate in PEM form", ""},
		"- {name: a, http: {path: /, expect: {distinct: {count: 2}}}}":                     {"distinct needs either header or json", ""},
		"- {name: a, http: {path: /, expect: {distinct: {header: h, json: j, count: 2}}}}": {"distinct needs either header or json", ""},
		"- {name: a, http: {path: /, expect: {distinct: {json: j, count: 0}}}}":            {"a count of 0 for distinct, and it has to be from 1 to what repeat says: 1", ""},
		"- {name: a, http: {path: /, repeat: 2, expect: {distinct: {json: j, count: 3}}}}": {"a count of 3 for distinct, and it has to be from 1 to what repeat says: 2", ""},
		"- {name: a, http: {path: /, repeat: 0}}":                                          {"repeat has to be more than 0", ""},
		"- {name: a, rate-limit: {path: /, expect: {json: {status: ok}}}}":                 {`unknown key "json" in checks[0].rate-limit.expect`, "it may have status"},
		"- {name: a, http: {path: /, headers: {Host: shop.example.org}}}":                  {`verify.yml:1: check "a": http headers has Host, which would not be sent`, "write host: shop.example.org beside headers"},
		"- {name: a, http: {path: /, headers: {host: {env: NAME, service: b}}}}":           {"headers has host, which would not be sent", "write host: beside headers"},
		"- {name: a, rate-limit: {path: /, headers: {Host: h}}}":                           {"rate-limit headers has Host, which would not be sent", "write host: h beside headers"},
		"- {name: a, http: {path: /, headers: {content-length: 3}}}":                       {"headers has content-length, which would not be sent", "leave it out"},
		"- {name: a, http: {path: /, headers: {Transfer-Encoding: chunked}}}":              {"headers has Transfer-Encoding, which would not be sent", "leave it out"},
		"- {name: a, http: {path: /, headers: {Trailer: X}}}":                              {"headers has Trailer, which would not be sent", "leave it out"},
		"- {name: a, rate-limit: {path: /, repeat: 3}}":                                    {`unknown key "repeat" in checks[0].rate-limit`, ""},
		"- {name: a, rate-limit: {path: /, capture: {it: x}}}":                             {`unknown key "capture" in checks[0].rate-limit`, ""},
		"- {name: a, logs: {services: [], forbid: [x]}}":                                   {"logs needs at least one service in services", ""},
		"- {name: a, postgres: {service: b, connections: 80}}":                             {"postgres connections is a share, at most 1, and not 80", "for 80 percent write 0.8"},
		"- {name: a, redis: {service: b, memory: 90}}":                                     {"redis memory is a share, at most 1, and not 90", "for 90 percent write 0.9"},
		"- {name: a, gpu: {service: b, memory: 95.5}}":                                     {"gpu memory is a share, at most 1, and not 95.5", "for 95.5 percent write 0.955"},
		"- {name: a, http: {path: /, method: GRAB}}":                                       {"checks[0].http.method is none of GET", ""},
		"- {name: a, http: {path: /, expect: {status: 600}}}":                              {`"600" is not a status`, "write 200, 2xx"},
		"- {name: a, http: {path: /, expect: {status: [200, ok]}}}":                        {`"ok" is not a status`, ""},
		"- {name: a, http: {path: /, expect: {status: {a: b}}}}":                           {"is not a status", ""},
		"- {name: a, http: {path: /, expect: {body: {matces: x}}}}":                        {`unknown operator "matces"`, `did you mean "matches"?`},
		"- {name: a, http: {path: /, expect: {body: {xyzzy: x}}}}":                         {`unknown operator "xyzzy"`, "it may be age_below, contains"},
		"- {name: a, http: {path: /, expect: {body: {matches: '('}}}}":                     {"error parsing regexp", ""},
		"- {name: a, http: {path: /, expect: {body: {lt: many}}}}":                         {`lt needs a number, not "many"`, ""},
		"- {name: a, http: {path: /, expect: {body: {ge: many}}}}":                         {`ge needs a number, not "many"`, ""},
		"- {name: a, http: {path: /, expect: {body: {exists: 1}}}}":                        {"exists needs true or false", ""},
		"- {name: a, http: {path: /, expect: {body: {empty: no!}}}}":                       {"empty needs true or false", ""},
		"- {name: a, http: {path: /, expect: {body: {age_below: 3}}}}":                     {`"3" is not a length of time`, ""},
		"- {name: a, http: {path: /, expect: {body: {contains: [a]}}}}":                    {"contains needs a single value", ""},
		"- {name: a, http: {path: /, expect: {body: {}}}}":                                 {"has to be a value, or a mapping of age_below", "for example: healthy"},
		"- {name: a, http: {path: /, expect: {body: [a]}}}":                                {"has to be a value, or a mapping of age_below", ""},
		"- {name: a, tls: {address: h}}":                                                   {"tls needs address as host:port, or service, port and name", ""},
		"- {name: a, tls: {service: b, port: 1}}":                                          {"tls needs name, and no address, with service", ""},
		"- {name: a, tls: {service: b, name: n, address: 'h:1'}}":                          {"tls needs name, and no address, with service", ""},
		"- {name: a, tls: {address: 'h:1', ca: x}}":                                        {"ca holds no certificate in PEM form", ""},
		"- {name: a, tls: {address: 'h:1', min_version: '1.1'}}":                           {"min_version is none of 1.2, 1.3", ""},
		"- {name: a, tcp: {address: h}}":                                                   {"tcp needs address as host:port, or service and port", ""},
		"- {name: a, tcp: {service: b}}":                                                   {"tcp needs port, the one that b listens on", ""},
		"- {name: a, tcp: {address: 'h:1', expect: '('}}":                                  {`"(" is not a regular expression`, ""},
		"- {name: a, tcp: {address: 'h:1', expect: [a]}}":                                  {"has to be a regular expression", ""},
		"- {name: a, exec: {service: b, command: []}}":                                     {"exec command is empty", ""},
		"- {name: a, exec: {command: [ls]}}":                                               {"exec needs either service, or on: host", ""},
		"- {name: a, exec: {service: b, on: host, command: [ls]}}":                         {"exec needs either service, or on: host", ""},
		"- {name: a, exec: {on: host, command: [ls], env: {T: {env: E, service: b}}}}":     {"env is for commands in units", ""},
		"- {name: a, prometheus: {}}":                                                      {"prometheus needs either service or url", ""},
		"- {name: a, prometheus: {service: p, url: 'http://h'}}":                           {"prometheus needs either service or url", ""},
		"- {name: a, grafana: {url: h}}":                                                   {"grafana url is not an address of http or https", ""},
		"- {name: a, backup: {service: b, dir: dumps}}":                                    {"backup dir has to be an absolute path in the unit", ""},
		"- {name: a, backup: {service: b, pattern: x}}":                                    {"backup pattern needs dir", ""},
		"- {name: a, backup: {service: b, dir: /d, proven: 7d}}":                           {"backup proven is for backups by shiksha", ""},
		"- {name: a, logs: {services: [b]}}":                                               {"logs needs forbid or require", ""},
		"- {name: a, redis: {service: b, password: hunter2}}":                              {"a secret is not written into a check", "name where it is"},
		"- {name: a, redis: {service: b, password: {}}}":                                   {"needs either env or file", "name where it is"},
		"- {name: a, redis: {service: b, password: {env: A, file: /b}}}":                   {"needs either env or file", ""},
		"- {name: a, redis: {service: b, password: {file: b}}}":                            {"file is not an absolute path", ""},
		"- {name: a, rate-limit: {}}":                                                      {"rate-limit needs url, or service and port, or path", ""},
		"chekcs: []":                                                                       {`verify.yml:1: unknown key "chekcs" in the file`, `did you mean "checks"?`},
		"checks: []":                                                                       {"verify.yml:1: there are no checks in the list", "write at least one"},
		"checks: x":                                                                        {"verify.yml:1: checks has to be a list", ""},
		"{}":                                                                               {"verify.yml:1: checks is missing in the file", ""},
		"x":                                                                                {"verify.yml:1: the file has to be a mapping", ""},
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			checks, err := ReadFile("verify.yml", []byte(text))
			require.Error(t, err, "%+v", checks)
			assert.Contains(t, err.Error(), c.says)
			assert.Contains(t, fault.Hint(err)+err.Error(), c.hint)
			assert.Equal(t, fault.Input, fault.Of(err))
			assert.Contains(t, err.Error(), "verify.yml:")
		})
	}
}

// What is left open has a sense of its own.
func TestReadFile_MayBeLeftOut(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"{name: a, http: {path: /}}", "{name: a, http: {url: '{{url}}/x'}}", "{name: a, http: {url: 'https://h/x'}}", "{name: a, http: {service: b, port: 1}}",
		"{name: a, tls: {address: '{{host}}'}}", "{name: a, tls: {service: b, name: n}}", "{name: a, tcp: {address: '{{where}}'}}", "{name: a, tcp: {service: b, port: 1}}",
		"{name: a, prometheus: {url: '{{url}}'}}", "{name: a, prometheus: {service: p}}", "{name: a, alertmanager: {url: 'http://h'}}", "{name: a, backup: {service: b}}", "{name: a, backup: {service: b, dir: /d, pattern: x}}",
		"{name: a, backup: {service: b, proven: 7d}}", "{name: a, passes: 0, disk: {}}", "{name: a, http: {path: '/$x'}}",
		"{name: a, exec: {service: b, command: [ls], env: {T: {env: E}}}}", "{name: a, logs: {services: [b], require: [x]}}", "{name: a, logs: {services: [b], forbid: [x]}}",
	} {
		checks, err := ReadFile("verify.yml", []byte("- "+text))
		require.NoError(t, err, text)
		assert.Len(t, checks, 1)
		assert.Equal(t, 1, checks[0].Line)
	}
}

// Whatever a file of checks holds, reading it ends: with checks that can be looked at,
// or with what is wrong.
func FuzzReadFile(f *testing.F) {
	for _, name := range []string{"../testdata/shikshasetu.verify.yml", "../../../examples/shikshasetu/verify.yml"} {
		seed, err := os.ReadFile(name)
		require.NoError(f, err)
		f.Add(string(seed))
	}
	f.Add("- name: a\n  http: {path: /, expect: {json: {a.b: {ge: 2, not: 3}}}}")
	f.Add("- {name: a, all: [{tcp: {address: 'h:1'}}, {redis: {service: r, password: {env: P}}}]}")
	f.Fuzz(func(t *testing.T, text string) {
		checks, err := ReadFile("verify.yml", []byte(text))
		if err != nil {
			assert.Equal(t, fault.Input, fault.Of(err))
			assert.True(t, strings.Contains(err.Error(), "verify.yml"), err.Error())
			return
		}
		assert.NotEmpty(t, checks)
		for i := range checks {
			assert.NotEmpty(t, checks[i].KindName())
			assert.NotEmpty(t, checks[i].Manner().Place)
			_ = checks[i].Services()
			_ = checks[i].Prometheuses()
		}
	})
}

// Where a probe runs is told in the report.
func TestManner_Place(t *testing.T) {
	t.Parallel()
	for text, place := range map[string]string{
		"backup: {service: b}": OnHost, "backup: {service: b, dir: /d}": InUnit, "http: {path: /}": OnRunner, "http: {service: b, port: 1}": OnHost,
		"http: {path: /, from: host}": OnHost, "tls: {address: 'h:1'}": OnRunner, "tls: {address: 'h:1', from: host}": OnHost, "tls: {service: b, name: n}": OnHost,
		"tcp: {address: 'h:1'}": OnRunner, "tcp: {address: 'h:1', from: host}": OnHost, "tcp: {service: b, port: 1}": OnHost, "exec: {on: host, command: [x]}": OnHost,
		"exec: {service: b, command: [x]}": InUnit, "prometheus: {url: 'http://h'}": OnRunner, "prometheus: {url: 'http://h', from: host}": OnHost, "prometheus: {service: p}": OnHost,
		"disk: {}": OnHost, "containers: {}": OnHost, "redis: {service: r}": InUnit,
	} {
		checks, err := ReadFile("v.yml", []byte("- name: a\n  "+text))
		require.NoError(t, err)
		assert.Equal(t, place, checks[0].Manner().Place, text)
	}
}

// A check of several parts is looked at as its most patient part is, and named for all.
func TestManner_OfSeveralParts(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		name          string
		watched, back bool
		passes        int
	}{
		"disk: {}":                               {"disk", false, false, 1},
		"http: {path: /}":                        {"http", true, false, 3},
		"containers: {}":                         {"containers", false, true, 1},
		"all: [{disk: {}}]":                      {"disk", false, false, 1},
		"all: [{disk: {}}, {disk: {memory: 1}}]": {"disk", false, false, 1},
		"all: [{disk: {}}, {http: {path: /}}]":   {"disk+http", true, false, 3},
		"all: [{http: {path: /}}, {disk: {}}]":   {"http+disk", true, false, 3},
		"all: [{containers: {}}, {disk: {}}]":    {"containers+disk", false, true, 1},
		"all: [{disk: {}}, {containers: {}}]":    {"disk+containers", false, true, 1},
		"all: [{http: {path: /}}, {http: {path: /x}}, {containers: {}}]": {"http+containers", true, true, 3},
		"all: [{http: {path: /}}, {disk: {}}, {http: {path: /x}}]":       {"http+disk+http", true, false, 3},
	} {
		checks, err := ReadFile("v.yml", []byte("- name: a\n  "+text))
		require.NoError(t, err)
		m := checks[0].Manner()
		assert.Equal(t, want.name, checks[0].KindName(), text)
		assert.Equal(t, []any{want.watched, want.back, want.passes}, []any{m.Watched, m.Back, m.Passes}, text)
		assert.Equal(t, m.Back, m.Long, "%s: of these only containers looks into every unit", text)
	}
	for text, long := range map[string]bool{"celery: {service: w, app: a}": false, "celery: {service: w, app: a, task: {name: x}}": true, "logs: {services: [a], forbid: [x]}": true} {
		checks, err := ReadFile("v.yml", []byte("- name: a\n  all: [{"+text+"}, {disk: {}}]"))
		require.NoError(t, err)
		assert.Equal(t, long, checks[0].Manner().Long, text)
	}
}

// The services that a check names are found wherever they stand.
func TestServices(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]string{
		"disk: {}": nil, "http: {service: a, port: 1}": {"a"}, "http: {path: /}": nil, "logs: {services: [a, b], forbid: [x]}": {"a", "b"},
		"redis: {service: a, password: {env: P, service: b}}": {"a", "b"}, "http: {path: /, headers: {X: {env: P, service: b}, Y: z}}": {"b"},
		"all: [{tcp: {service: a, port: 1}}, {exec: {service: b, command: [x], env: {T: {env: E, service: c}}}}]": {"a", "b", "c"},
		"containers: {services: [a], replicas: {b: 1}}":                                                           {"a"}, "grafana: {service: g, token: {env: T, service: s}}": {"g", "s"},
	} {
		checks, err := ReadFile("v.yml", []byte("- name: a\n  "+text))
		require.NoError(t, err)
		assert.Equal(t, want, checks[0].Services(), text)
	}
}
