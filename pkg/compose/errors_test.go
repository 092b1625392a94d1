package compose

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/stack"
)

var golden = flag.Bool("golden", false, "write the golden files anew")

// workspaceOf writes files into a fresh folder; a name with " -> " is a link.
func workspaceOf(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "shop")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for name, content := range files {
		name, target, link := strings.Cut(name, " -> ")
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if link {
			require.NoError(t, os.Symlink(target, path))
			continue
		}
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	return dir
}

func loadFiles(t testing.TB, files map[string]string, change ...func(*LoadOptions)) (*stack.Stack, error) {
	t.Helper()
	opts := LoadOptions{Workspace: workspaceOf(t, files), StateDir: "/var/lib/shiksha"}
	for _, c := range change {
		c(&opts)
	}
	return Load(t.Context(), opts)
}

func mustLoad(t testing.TB, files map[string]string, change ...func(*LoadOptions)) *stack.Stack {
	t.Helper()
	s, err := loadFiles(t, files, change...)
	require.NoError(t, err)
	return s
}

func one(text string) map[string]string { return map[string]string{"compose.yaml": text} }

func env(text string) func(*LoadOptions) {
	return func(o *LoadOptions) { o.EnvFile = []byte(text) }
}

// errorCases are the mistakes people make, each with what they read then
// (testdata/errors/<name>.txt).
var errorCases = map[string]struct {
	files  map[string]string
	change func(*LoadOptions)
}{
	"unset-variables": {files: map[string]string{
		"compose.yaml": "include: [more.yaml]\nservices:\n  api:\n    image: api:${VERSION}\n    command: [\"$CMD\", \"${OK:-x}\", \"$${NOT}\", \"${DEEP:-${INNER}}\", \"${ALT:+${NEVER}}\"]\n    environment:\n      A: ${TOKEN:?the API needs a token}\n",
		"more.yaml":    "services:\n  db:\n    image: postgres:${PG}\n"}},
	"unset-in-env-file":       {files: map[string]string{"compose.yaml": "services: {api: {image: a, env_file: api.env}}\n", "api.env": "# $COMMENT\nA='$QUOTED'\nB=${MISSING}/x\nC=${B}\nD=${E:-d}\n"}},
	"unset-in-given-env-file": {files: one("services: {api: {image: a}}\n"), change: env("A=${NOPE}\n")},
	"bad-env-file":            {files: one("services: {api: {image: a}}\n"), change: env("GOOD=1\nmy secret is here\n")},
	"unset-secret":            {files: one("services:\n  api:\n    image: a\n    secrets: [s]\nsecrets:\n  s:\n    environment: SECRET\n")},
	"yaml-syntax":             {files: one("services:\n  api:\n    image: a\n   command: b\n")},
	"yaml-colon":              {files: one("services:\n  api:\n    image: a\n    command: echo: x: y\n")},
	"yaml-duplicate":          {files: one("services:\n  api:\n    image: a\n    image: b\n")},
	"not-a-mapping":           {files: one("- a\n- b\n")},
	"empty":                   {files: one("")},
	"no-services":             {files: one("networks: {a: {}}\n")},
	"unknown-service-key":     {files: one("services:\n  api:\n    imagee: a\n")},
	"unknown-top-key":         {files: one("service:\n  api:\n    image: a\n")},
	"unknown-nested-key":      {files: one("services:\n  api:\n    image: a\n    deploy:\n      update_config:\n        paralelism: 1\n")},
	"unknown-healthcheck-key": {files: one("services:\n  api:\n    image: a\n    healthcheck:\n      tests: [CMD, x]\n")},
	"unknown-key-override":    {files: map[string]string{"compose.yaml": "services: {api: {image: a}}\n", "prod.yaml": "services:\n  api:\n    replica: 2\n"}, change: func(o *LoadOptions) { o.Files = []string{"compose.yaml", "prod.yaml"} }},
	"wrong-type":              {files: one("services:\n  api:\n    image: [a]\n")},
	"wrong-cast":              {files: one("services:\n  api:\n    image: a\n    deploy:\n      replicas: ${N}\n"), change: env("N=many-secrets\n")},
	"bad-duration":            {files: one("services:\n  api:\n    image: a\n    stop_grace_period: soon\n")},
	"no-file":                 {files: map[string]string{"readme": ""}},
	"missing-file":            {files: map[string]string{"readme": ""}, change: func(o *LoadOptions) { o.Files = []string{"prod.yaml"} }},
	"file-outside":            {files: map[string]string{"readme": ""}, change: func(o *LoadOptions) { o.Files = []string{"../prod.yaml"} }},
	"file-linked-outside":     {files: map[string]string{"compose.yaml -> /etc/hostname": ""}},
	"bad-project":             {files: one("services: {api: {image: a}}\n"), change: func(o *LoadOptions) { o.Project = "../etc" }},
	"bad-state-dir":           {files: one("services: {api: {image: a}}\n"), change: func(o *LoadOptions) { o.StateDir = "state" }},
	"bad-service-name":        {files: one("services: {..: {image: a}}\n")},
	"include-git":             {files: one("include: [https://github.com/acme/stack.git]\nservices: {api: {image: a}}\n")},
	"include-oci":             {files: one("include:\n  - path: oci://registry.example/stack\nservices: {api: {image: a}}\n")},
	"include-outside":         {files: one("include: [../other.yaml]\nservices: {api: {image: a}}\n")},
	"include-linked-outside":  {files: map[string]string{"compose.yaml": "include: [in/hosts.yaml]\nservices: {api: {image: a}}\n", "in/hosts.yaml -> /etc/hosts": ""}},
	"include-missing":         {files: one("include: [other.yaml]\nservices: {api: {image: a}}\n")},
	"include-env-missing":     {files: map[string]string{"compose.yaml": "include:\n  - path: a.yaml\n    env_file: a.env\nservices: {api: {image: a}}\n", "a.yaml": "services: {b: {image: b}}\n"}},
	"include-env-outside":     {files: map[string]string{"compose.yaml": "include:\n  - path: a.yaml\n    env_file: /etc/environment\nservices: {api: {image: a}}\n", "a.yaml": "services: {b: {image: b}}\n"}},
	"include-dotenv-outside":  {files: map[string]string{"compose.yaml": "include: [in/a.yaml]\nservices: {api: {image: a}}\n", "in/a.yaml": "services: {b: {image: b}}\n", "in/.env -> /etc/hostname": ""}},
	"include-cycle":           {files: map[string]string{"compose.yaml": "include: [a.yaml]\nservices: {api: {image: a}}\n", "a.yaml": "include: [compose.yaml]\n"}},
	"extends-outside":         {files: one("services:\n  api:\n    extends: {file: /etc/hosts, service: x}\n")},
	"extends-git":             {files: one("services:\n  api:\n    extends: {file: 'git@github.com:acme/x.git', service: x}\n")},
	"extends-cycle":           {files: one("services:\n  api: {extends: {service: b}}\n  b: {extends: {service: api}}\n")},
	"extends-missing":         {files: one("services:\n  api: {image: a, extends: {service: b}}\n")},
	"env-file-outside":        {files: one("services:\n  api:\n    image: a\n    env_file: ../../etc/passwd\n")},
	"env-file-absolute":       {files: one("services:\n  api:\n    image: a\n    env_file: /proc/self/environ\n")},
	"env-file-missing":        {files: one("services:\n  api:\n    image: a\n    env_file: api.env\n")},
	"label-file-missing":      {files: one("services:\n  api:\n    image: a\n    label_file: api.labels\n")},
	"label-file-outside":      {files: one("services:\n  api:\n    image: a\n    label_file: /etc/hostname\n")},
	"bind-home":               {files: one("services:\n  api:\n    image: a\n    volumes: ['~/.ssh:/ssh']\n")},
	"bind-home-long":          {files: one("services:\n  api:\n    image: a\n    volumes: [{type: bind, source: '${S}', target: /ssh}]\n"), change: env("S='~/.ssh'\n")},
	"bind-outside":            {files: one("services:\n  api:\n    image: a\n    volumes:\n      - ../secret:/x\n")},
	"bind-outside-extended":   {files: map[string]string{"compose.yaml": "services:\n  api:\n    extends: {file: d/base.yaml, service: base}\n", "d/base.yaml": "services:\n  base:\n    image: a\n    volumes: ['../../x:/x']\n"}},
	"bind-missing":            {files: one("services:\n  api:\n    image: a\n    volumes:\n      - ./data:/data\n")},
	"bind-linked-outside":     {files: map[string]string{"compose.yaml": "services:\n  api:\n    image: a\n    volumes:\n      - ./conf:/conf\n", "conf/passwd -> /etc/passwd": "", "conf/a": ""}},
	"bind-link-loop":          {files: map[string]string{"compose.yaml": "services:\n  api:\n    image: a\n    volumes:\n      - ./conf:/conf\n", "conf/a": "", "conf/loop -> ../conf": ""}},
	"config-outside":          {files: one("services:\n  api:\n    image: a\n    configs: [c]\nconfigs:\n  c: {file: ../c}\n")},
	"config-home":             {files: one("services:\n  api:\n    image: a\n    configs: [c]\nconfigs:\n  c: {file: ~/c}\n")},
	"secret-absolute":         {files: one("services:\n  api:\n    image: a\n    secrets: [c]\nsecrets:\n  c: {file: /etc/hostname}\n")},
	"secret-missing":          {files: one("services:\n  api:\n    image: a\n    secrets: [c]\nsecrets:\n  c: {file: ./secrets/db.txt}\n")},
	"secret-outside":          {files: one("services:\n  api:\n    image: a\n    secrets: [c]\nsecrets:\n  c: {file: ../db.txt}\n")},
	"config-missing":          {files: one("services:\n  api:\n    image: a\n    configs: [c]\nconfigs:\n  c: {file: ./c}\n")},
	"env-file-linked-outside": {files: map[string]string{"compose.yaml": "services:\n  api:\n    image: a\n    env_file: .env\n", ".env -> /proc/self/environ": ""}},
	"config-driver":           {files: one("x-shiksha: {engine: swarm}\nservices:\n  api:\n    image: a\n    secrets: [c]\nsecrets:\n  c: {file: ./x, template_driver: golang}\n")},
	"config-external":         {files: one("services:\n  api:\n    image: a\n    configs: [c]\nconfigs:\n  c: {external: true}\n")},
	"config-read-only":        {files: one("services:\n  api:\n    image: a\n    read_only: true\n    configs: [c]\nconfigs:\n  c: {content: x}\n")},
	"volume-device":           {files: one("services:\n  api:\n    image: a\n    volumes: ['d:/d']\nvolumes:\n  d:\n    driver: local\n    driver_opts: {type: none, o: bind, device: ./data}\n")},
	"provider":                {files: one("services:\n  api:\n    provider: {type: model}\n")},
	"models":                  {files: one("services:\n  api:\n    image: a\n    models: [m]\nmodels:\n  m: {model: ai/x}\n")},
	"seccomp-file":            {files: one("services:\n  api:\n    image: a\n    security_opt: [no-new-privileges, 'seccomp:./profile.json']\n")},
	"pre-start":               {files: one("services:\n  api:\n    image: a\n    pre_start:\n      - command: [x]\n")},
	"build-without-image":     {files: one("services:\n  api:\n    build: .\n")},
	"no-image":                {files: one("services:\n  api:\n    command: x\n")},
	"depends-unknown":         {files: one("services:\n  api:\n    image: a\n    depends_on: [postgers]\n  postgres:\n    image: p\n")},
	"depends-profile":         {files: one("services:\n  api:\n    image: a\n    depends_on: [db]\n  db:\n    image: p\n    profiles: [local]\n")},
	"depends-cycle":           {files: one("services:\n  a:\n    image: a\n    depends_on: [b]\n  b:\n    image: b\n    depends_on: [c]\n  c:\n    image: c\n    links: [b]\n")},
	"network-unknown":         {files: one("services:\n  a:\n    image: a\n    networks: [edge]\n")},
	"container-name-replicas": {files: one("services:\n  a:\n    image: a\n    container_name: one\n    deploy:\n      replicas: 3\n")},
	"deploy-mode":             {files: one("services:\n  a:\n    image: a\n    deploy:\n      mode: global-job\n")},
	"failure-action":          {files: one("services:\n  a:\n    image: a\n    deploy:\n      update_config:\n        failure_action: rolback\n")},
	"order":                   {files: one("services:\n  a:\n    image: a\n    deploy:\n      update_config:\n        order: start_first\n")},
	"ratio":                   {files: one("services:\n  a:\n    image: a\n    deploy:\n      update_config:\n        max_failure_ratio: 2\n")},
	"mount-without-target":    {files: one("services:\n  a:\n    image: a\n    volumes: [{type: tmpfs}]\n")},
	"x-unknown":               {files: one("services:\n  a:\n    image: a\n    x-shiksha:\n      gatway: nginx\n")},
	"x-misspelt":              {files: one("services:\n  a:\n    image: a\n    x-shikhsa:\n      drain: 1s\n")},
	"x-top":                   {files: one("services:\n  a:\n    image: a\nx-shiksha:\n  chekcs: []\n")},
	"x-top-service":           {files: one("services:\n  a:\n    image: a\nx-shiksha:\n  gateway: nginx\n")},
	"x-top-form":              {files: one("services:\n  a:\n    image: a\nx-shiksha:\n  checks: {a: b}\n")},
	"x-gateway-unknown":       {files: one("services:\n  a:\n    image: a\n    x-shiksha:\n      gateway: ngnix\n      port: 80\n  nginx:\n    image: n\n")},
	"x-gateway-network":       {files: one("services:\n  a:\n    image: a\n    networks: [back]\n    x-shiksha:\n      gateway: nginx\n      port: 80\n  nginx:\n    image: n\nnetworks: {back: {}}\n")},
	"x-gateway-no-port":       {files: one("services:\n  a:\n    image: a\n    x-shiksha:\n      gateway: nginx\n  nginx:\n    image: n\n")},
	"x-port":                  {files: one("services:\n  a:\n    image: a\n    x-shiksha:\n      gateway: nginx\n      port: 80000\n")},
	"x-drain":                 {files: one("services:\n  a:\n    image: a\n    x-shiksha:\n      drain: 30\n")},
	"x-reload":                {files: one("services:\n  a:\n    image: a\n    x-shiksha:\n      reload: apache\n")},
	"x-reload-test":           {files: one("services:\n  a:\n    image: a\n    x-shiksha:\n      reload:\n        test: nginx -t\n        signal: HUP\n")},
	"x-reload-signal":         {files: one("services:\n  a:\n    image: a\n    x-shiksha:\n      reload:\n        test: [a]\n        signal: KILL\n")},
}

// TestErrors: every mistake is bad input, names the file and says what to do.
// Each case is loaded several times, because compose-go walks maps.
func TestErrors(t *testing.T) {
	t.Parallel()
	for name, tc := range errorCases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var texts []string
			for range 5 {
				change := tc.change
				if change == nil {
					change = func(*LoadOptions) {}
				}
				_, err := loadFiles(t, tc.files, change)
				require.Error(t, err)
				assert.Equal(t, fault.Input, fault.Of(err), err.Error())
				var e *fault.Error
				require.True(t, errors.As(err, &e))
				assert.NotEmpty(t, e.Where)
				texts = append(texts, err.Error()+"\n  "+fault.Hint(err)+"\n")
			}
			for _, text := range texts[1:] {
				require.Equal(t, texts[0], text, "not the same every time")
			}
			assert.NotContains(t, texts[0], os.TempDir(), "names a path of the runner")
			file := filepath.Join("testdata", "errors", name+".txt")
			if *golden {
				require.NoError(t, os.WriteFile(file, []byte(texts[0]), 0o644))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), texts[0])
		})
	}
}
