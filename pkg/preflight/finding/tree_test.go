package finding_test

import (
	"cmp"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/check"
	"github.com/shiksha/actions/pkg/compose"
	"github.com/shiksha/actions/pkg/preflight/finding"
)

const linked = `
services:
  web: {image: "example/web:v1", links: ["api:backend", db], external_links: ["other_api_1:other"]}
  api: {image: "example/api:v1"}
  db: {image: "postgres:15", networks: [data]}
  gate: {image: "nginx:1.27", networks: [edge]}
networks: {data: {}, edge: {external: true}}
`

func TestUnreachable(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "compose.yaml"), []byte(linked), 0o644))
	st, err := compose.Load(t.Context(), compose.LoadOptions{Workspace: dir, Project: "shop", StateDir: "/var/lib/shiksha"})
	require.NoError(t, err)
	for name, c := range map[string]struct {
		from, host, wrong string
		swarm             bool
		reached           check.Outcome
	}{
		"a service":                      {from: "web", host: "api"},
		"nobody":                         {from: "web", host: "vllm", wrong: "no service is called vllm"},
		"the alias of a link":            {from: "web", host: "backend"},
		"the alias is of that link":      {from: "api", host: "backend", wrong: "no service is called backend"},
		"an alias that Swarm leaves out": {from: "web", host: "backend", wrong: "no service is called backend", swarm: true},
		"a link joins no networks":       {from: "web", host: "db", wrong: "db is on no network that web is on"},
		"an external link":               {from: "web", host: "other"},
		"another stack's":                {from: "gate", host: "otherstack", wrong: "otherstack is no service of this stack; whether another stack on an external network has it is not known", reached: check.Skip},
		"another stack's, or a typo":     {from: "gate", host: "gatee", wrong: "gatee is no service of this stack; whether another stack on an external network has it is not known", reached: check.Warn},
		"ours, and not there":            {from: "gate", host: "db", wrong: "db is on no network that gate is on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached, wrong, _ := finding.Of(t.Context(), st, finding.Options{Swarm: c.swarm}).Reach(st.Services[c.from], c.host)
			assert.Equal(t, c.wrong, wrong)
			assert.Equal(t, cmp.Or(c.reached, map[bool]check.Outcome{true: check.Pass, false: check.Fail}[wrong == ""]), reached)
		})
	}
}
