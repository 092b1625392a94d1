package compose

import (
	"context"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/stack"
)

func contextCancelled(t *testing.T) (context.Context, context.CancelFunc) {
	return context.WithCancel(t.Context())
}

// TestHashDoesNotKnowTheCheckout: two runners with different folders agree.
func TestHashDoesNotKnowTheCheckout(t *testing.T) {
	t.Parallel()
	a, b := pinned(t, everything(t)), pinned(t, everything(t))
	assert.NotEmpty(t, a.Services["api"].Hash)
	assert.Equal(t, hashes(a), hashes(b))
	data, err := a.Seal()
	require.NoError(t, err)
	assert.NotContains(t, string(data), "/checkout")
}

// The label of one container alone would take the files from the units that serve.
func TestFilesAreLabelledForAllUnits(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, map[string]string{"compose.yaml": "services:\n  a:\n    image: a\n    volumes: ['./one:/one:ro,Z', './two:/two:z', './three:/three']\n", "one": "1", "two": "2", "three": "3"})
	for i, want := range []string{"z", "z", ""} {
		v := s.Project.Services["a"].Volumes[i]
		assert.Equal(t, want, v.Bind.SELinux, v.Target)
	}
}

// base is a stack of one service; each case changes it a little.
var base = map[string]string{
	"compose.yaml": "name: shop\nservices:\n  a:\n    image: a\n    volumes: ['./conf:/conf:ro', './one:/one:ro']\n    configs: [file, text, env]\n    secrets: [key, token]\n" +
		"configs:\n  file: {file: ./c}\n  text: {content: 'text'}\n  env: {environment: E}\nsecrets:\n  key: {file: ./key}\n  token: {environment: T}\n",
	"conf/x": "1", "conf/sub/y": "2", "one": "3", "c": "4", "key": "5",
}

func variant(changes map[string]string) map[string]string {
	files := maps.Clone(base)
	for name, content := range changes {
		if content == "" {
			delete(files, name)
			continue
		}
		files[name] = content
	}
	return files
}

func hashOf(t *testing.T, files map[string]string, variables string) string {
	t.Helper()
	return pinned(t, mustLoad(t, files, env(variables))).Services["a"].Hash
}

// What a secret's file holds is hidden like one of a variable, also by a stack that
// comes back; a text of many lines or a long one is nothing that a log repeats.
func TestSecretsOfFilesAreKnown(t *testing.T) {
	t.Parallel()
	files := variant(map[string]string{"key": " hunter2\n", "c": "no secret\n", "many": "one\ntwo://u:p4ss@x\n", "long": strings.Repeat("x", 5000)})
	files["compose.yaml"] += "  many: {file: ./many}\n  long: {file: ./long}\n"
	files["compose.yaml"] = strings.Replace(files["compose.yaml"], "[key, token]", "[{source: key, mode: 0400}, token, many, long]", 1)
	s := pinned(t, mustLoad(t, files, env("E=1\nT=2\n")))
	assert.Equal(t, []string{"hunter2", "p4ss"}, s.Services["a"].FileSecrets)
	data, err := s.Seal()
	require.NoError(t, err)
	back, err := stack.Unseal(data)
	require.NoError(t, err)
	assert.Equal(t, "password: ***, no secret", back.HideSecrets("password: hunter2, no secret"))
	record, err := s.Redacted()
	require.NoError(t, err)
	assert.NotContains(t, string(record), "hunter2")
}

// A stack that asks for a Swarm may use what only a Swarm has.
func TestASwarmHasObjectsOfItsOwn(t *testing.T) {
	t.Parallel()
	s := pinned(t, mustLoad(t, one("x-shiksha: {engine: swarm}\nservices:\n  a: {image: a, read_only: true, configs: [made, text], secrets: [key]}\n"+
		"configs:\n  made: {external: true, name: shared}\n  text: {content: x}\nsecrets: {key: {external: true}}\n")))
	data, err := s.Seal()
	require.NoError(t, err)
	back, err := stack.Unseal(data)
	require.NoError(t, err)
	for _, s := range []*stack.Stack{s, back} {
		assert.True(t, bool(s.Project.Configs["made"].External))
		assert.Equal(t, "shared", s.Project.Configs["made"].Name)
		assert.True(t, bool(s.Project.Secrets["key"].External))
		assert.Equal(t, "x", s.Project.Configs["text"].Content)
	}
}

// TestHashFollowsContent: a unit is replaced when what it reads changes, and
// only then.
func TestHashFollowsContent(t *testing.T) {
	t.Parallel()
	const variables = "E=1\nT=2\n"
	before := hashOf(t, base, variables)
	swap := func(old, new string) map[string]string {
		return map[string]string{"compose.yaml": strings.Replace(base["compose.yaml"], old, new, 1)}
	}
	for name, changes := range map[string]map[string]string{
		"file of a folder":   {"conf/x": "9"},
		"deeper file":        {"conf/sub/y": "9"},
		"new file":           {"conf/z": "9"},
		"renamed file":       {"conf/x": "", "conf/xx": "1"},
		"single file":        {"one": "9"},
		"config from a file": {"c": "9"},
		"secret from a file": {"key": "9"},
		"inline config":      swap("'text'", "'other'"),
		"image":              swap("image: a", "image: a\n    command: x"),
	} {
		t.Run("changes with "+name, func(t *testing.T) {
			t.Parallel()
			assert.NotEqual(t, before, hashOf(t, variant(changes), variables))
		})
	}
	t.Run("changes with a config or secret from a variable", func(t *testing.T) {
		t.Parallel()
		assert.NotEqual(t, before, hashOf(t, base, "E=9\nT=2\n"))
		assert.NotEqual(t, before, hashOf(t, base, "E=1\nT=9\n"))
	})
	for name, changes := range map[string]map[string]string{
		"nothing":              {},
		"a file beside":        {"readme": "9"},
		".git":                 {"conf/.git/config": "token"},
		"x-shiksha":            swap("image: a", "image: a\n    x-shiksha: {drain: 1m}"),
		"update_config":        swap("image: a", "image: a\n    deploy: {update_config: {parallelism: 3, order: start-first}, rollback_config: {delay: 1s}}"),
		"scale":                swap("image: a", "image: a\n    scale: 4"),
		"replicas":             swap("image: a", "image: a\n    deploy: {mode: replicated, replicas: 4}"),
		"build":                swap("image: a", "image: a\n    build: ."),
		"develop":              swap("image: a", "image: a\n    develop: {watch: [{path: ., action: rebuild}]}"),
		"pull_policy":          swap("image: a", "image: a\n    pull_policy: always"),
		"an unused definition": {"compose.yaml": base["compose.yaml"] + "  more: {file: ./c}\n"},
	} {
		t.Run("stays with "+name, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, before, hashOf(t, variant(changes), variables))
		})
	}
}

func TestFilesOfAService(t *testing.T) {
	t.Parallel()
	files := maps.Clone(base)
	files["conf/link -> ../one"] = ""
	files["conf/folder -> sub"] = ""
	dir := workspaceOf(t, files)
	require.NoError(t, os.Chmod(filepath.Join(dir, "conf/x"), 0o770))
	require.NoError(t, os.Chmod(filepath.Join(dir, "one"), 0o600))
	s, err := Load(t.Context(), LoadOptions{Workspace: dir, StateDir: "/srv/state", EnvFile: []byte("E=1\nT=2\n")})
	require.NoError(t, err)
	got := map[string]stack.File{}
	for _, f := range s.Services["a"].Files {
		got[f.Target] = f
		assert.Equal(t, "/srv/state/shop/files/"+f.Sum, f.HostPath)
		assert.False(t, f.Live)
	}
	assert.Len(t, got, 4)
	var entries []string
	for _, e := range got["/conf"].Entries {
		entries = append(entries, e.Path)
		content, err := os.ReadFile(e.Source)
		require.NoError(t, err)
		assert.Equal(t, sum(content), e.Sum)
	}
	assert.Equal(t, []string{"folder/y", "link", "sub/y", "x"}, entries)
	assert.True(t, got["/conf"].Dir)
	assert.EqualValues(t, 0o755, got["/conf"].Entries[3].Mode, "only the executable bit of the checkout counts")
	assert.EqualValues(t, 0o644, got["/one"].Entries[0].Mode)
	assert.Equal(t, sum([]byte("3")), got["/one"].Sum)
	assert.EqualValues(t, 0o444, got["/run/secrets/key"].Entries[0].Mode)
	assert.True(t, got["/run/secrets/key"].Secret)
	assert.Equal(t, "c", got["/file"].Source)
	assert.False(t, got["/file"].Secret)
	for _, v := range s.Project.Services["a"].Volumes {
		assert.Equal(t, got[v.Target].HostPath, v.Source)
		assert.True(t, v.ReadOnly)
		assert.False(t, bool(v.Bind.CreateHostPath), "a missing file must not become a folder")
	}
	c := s.Project.Services["a"]
	assert.Len(t, c.Configs, 2, "contents stay for the SDK to put in")
	assert.Len(t, c.Secrets, 1)
	assert.Equal(t, "2", s.Project.Secrets["token"].Content)
}

// TestReload: a service that reloads mounts a path that stays, and its hash does
// not change with its files.
func TestReload(t *testing.T) {
	t.Parallel()
	text := "name: shop\nservices:\n  nginx:\n    image: n\n    volumes: ['./conf:/etc/nginx/conf.d:ro', './a b.conf:/etc/a b.conf:ro', /data:/data]\n    secrets: [key]\n    x-shiksha: {reload: {test: [nginx, -t], signal: sighup}}\nsecrets: {key: {file: ./key}}\n"
	load := func(conf string) *stack.Stack {
		return pinned(t, mustLoad(t, map[string]string{"compose.yaml": text, "conf/x": conf, "a b.conf": conf, "key": conf}))
	}
	a, b := load("1"), load("2")
	assert.Equal(t, hashes(a), hashes(b))
	var paths []string
	for i, f := range a.Services["nginx"].Files {
		assert.True(t, f.Live)
		assert.NotEqual(t, f.Sum, b.Services["nginx"].Files[i].Sum)
		paths = append(paths, f.HostPath)
	}
	assert.Equal(t, []string{
		"/var/lib/shiksha/shop/live/nginx/etc%2Fa%20b.conf",
		"/var/lib/shiksha/shop/live/nginx/etc%2Fnginx%2Fconf.d",
		"/var/lib/shiksha/shop/live/nginx/run%2Fsecrets%2Fkey",
	}, paths)
	assert.Equal(t, &stack.Reload{Test: []string{"nginx", "-t"}, Signal: "HUP"}, a.Services["nginx"].Ext.Reload)
}

// What was mounted as it is and gets a reload later is kept beside the file that it
// was: a folder of that name could not be made.
func TestReload_TheSameContentMountedAsItIs(t *testing.T) {
	t.Parallel()
	kept := func(extension string) stack.File {
		text := "name: shop\nservices:\n  nginx:\n    image: n\n    volumes: ['./nginx.conf:/etc/nginx/nginx.conf:ro']\n" + extension
		return pinned(t, mustLoad(t, map[string]string{"compose.yaml": text, "nginx.conf": "events {}"})).Services["nginx"].Files[0]
	}
	plain, live := kept(""), kept("    x-shiksha: {reload: nginx}\n")
	assert.True(t, live.Live)
	assert.NotEqual(t, plain.Sum, live.Sum)
	assert.Equal(t, plain.Entries[0].Sum, live.Entries[0].Sum)
}

func TestContentLabelIsSalted(t *testing.T) {
	t.Parallel()
	label := func(project string) string {
		s := mustLoad(t, one("services:\n  a: {image: a, secrets: [s]}\n  b: {image: b}\nsecrets: {s: {environment: S}}\n"), env("S=hunter2\n"), func(o *LoadOptions) { o.Project = project })
		assert.NotContains(t, s.Project.Services["b"].Labels, contentLabel)
		return s.Project.Services["a"].Labels[contentLabel]
	}
	assert.Len(t, label("one"), 64)
	assert.NotEqual(t, label("one"), label("two"))
}

// compose-go keeps the models of services that no active profile has.
func TestLoad_ModelsOfAProfileAreLeftOut(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, one("services:\n  api: {image: a, security_opt: ['seccomp=unconfined', 'label=disable']}\n  chat: {image: c, models: [m], profiles: [development]}\nmodels:\n  m: {model: ai/x}\n"))
	assert.Empty(t, s.Project.Models)
}

// An old file's `version` is no news for anybody, least with a path of the runner.
func TestLoad_TheLibrarysLogIsNotPrinted(t *testing.T) {
	t.Parallel()
	mustLoad(t, one("version: '3.8'\nservices: {api: {image: a}}\n"))
	assert.Equal(t, io.Discard, logrus.StandardLogger().Out)
}

func TestLoad_AFolderOfManyServicesIsWarnedOfOnce(t *testing.T) {
	t.Parallel()
	s := mustLoad(t, map[string]string{"etc/x": "1", "one": "2", "compose.yaml": "x-a: &a {image: a, volumes: ['./etc:/etc/a', './one:/one:ro']}\nservices:\n  b: *a\n  a: *a\n  c: {image: a, volumes: ['./one:/one']}\n"})
	assert.Equal(t, []string{
		"services a, b mount etc at /etc/a read-only, because a release's files do not change: say `:ro`, or keep data in a named volume",
		"service c mounts one at /one read-only, because a release's files do not change: say `:ro`, or keep data in a named volume",
	}, s.Warnings)
}
