package e2e

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// bakeFile builds the service web of the Compose file and one thing beside it. Both
// have a base that is built once.
const bakeFile = `
variable "GREETING" { default = "hello" }
group "default" { targets = ["web", "beside"] }
target "base" {
  dockerfile-inline = "FROM busybox:1\nRUN head -c 16 /dev/urandom | sha256sum > /base\n"
}
target "web" {
  context = "web"
  contexts = { "busybox:1" = "target:base" }
  tags = ["REPO/web:v1"]
}
target "beside" {
  dockerfile-inline = "FROM busybox:1\nARG GREETING\nRUN echo $GREETING > /greeting\n"
  contexts = { "busybox:1" = "target:base" }
  args = { GREETING = GREETING }
  tags = ["REPO/beside:v1"]
}
`

// A bake file gives the targets, an engine takes the images, and a folder of the
// workspace takes their files.
func TestBuildOfABakeFile(t *testing.T) {
	s := newSite(t)
	s.write("docker-bake.hcl", strings.ReplaceAll(bakeFile, "REPO", s.repo))
	web, beside := s.repo+"/web:v1", s.repo+"/beside:v1"
	t.Cleanup(func() { _, _ = s.Docker(context.Background(), "rmi", web, beside) })
	s.build(0, "--bake-file", "docker-bake.hcl", "--load", "--tags", "v1", "--targets", "base,web,beside")
	said := func(ref, path string) string {
		text, err := s.Docker(t.Context(), "run", "--rm", ref, "cat", path)
		require.NoError(t, err)
		return text
	}
	assert.Equal(t, said(web, "/base"), said(beside, "/base"), "the base is built once")
	assert.Equal(t, "hello", said(beside, "/greeting"))

	s.build(0, "--targets", "web,api", "--outputs", "type=local,dest=out")
	page, err := os.ReadFile(filepath.Join(s.Dir, "out", "web", "web", "index.html"))
	require.NoError(t, err)
	assert.Equal(t, "<p>one</p>\n", string(page))
	assert.FileExists(t, filepath.Join(s.Dir, "out", "api", "app", "greeting"))

	result := s.build(3, "--targets", "web", "--outputs", "type=local,dest=../elsewhere")
	assert.Contains(t, result.Stdout, "leaves the workspace")
}
