package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/docker/compose/v5/pkg/api"
	"github.com/docker/compose/v5/pkg/compose"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// The tests work on the machine's real engine; what they make is named
// enginetest-... and removed at the end.
const imageV1, imageV2 = "enginetest-unit:v1", "enginetest-unit:v2"

var (
	daemon *client.Client
	serial atomic.Int64
)

func TestMain(m *testing.M) {
	if err := prepare(); err != nil {
		fmt.Fprintln(os.Stderr, "tests of package engine need a docker engine:", err)
		os.Exit(1)
	}
	code := m.Run()
	for _, img := range []string{imageV1, imageV2} {
		_, _ = daemon.ImageRemove(context.Background(), img, client.ImageRemoveOptions{Force: true})
	}
	os.Exit(code)
}

// prepare makes two images of a static binary.
func prepare() error {
	var err error
	if daemon, err = client.New(client.WithHost("unix:///var/run/docker.sock")); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "enginetest")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "unit")
	build := exec.Command("go", "build", "-o", bin, "./testdata/unit")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	content, err := os.ReadFile(bin)
	if err != nil {
		return err
	}
	for _, img := range []string{imageV1, imageV2} {
		if err := importImage(img, content); err != nil {
			return err
		}
	}
	return nil
}

func importImage(ref string, bin []byte) error {
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	for name, data := range map[string][]byte{"unit": bin, "version": []byte(ref)} {
		if err := w.WriteHeader(&tar.Header{Name: name, Size: int64(len(data)), Mode: 0o755}); err != nil {
			return err
		}
		if _, err := w.Write(data); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	res, err := daemon.ImageImport(context.Background(), client.ImageImportSource{Source: &buf, SourceName: "-"}, ref,
		client.ImageImportOptions{Changes: []string{`ENTRYPOINT ["/unit"]`, `CMD ["wait"]`}})
	if err != nil {
		return err
	}
	defer res.Close()
	var out bytes.Buffer
	_, err = out.ReadFrom(res)
	return err
}

// newEngine gives an Engine on the real engine and what it emits.
func newEngine(t *testing.T) (*Engine, *event.Recorder) {
	t.Helper()
	rec := &event.Recorder{}
	e, err := New(daemon, rec)
	require.NoError(t, err)
	return e, rec
}

// load makes a stack of a Compose file under a project name of its own, pinned,
// and has everything of it removed at the end.
func load(t *testing.T, yaml string) *stack.Stack {
	t.Helper()
	return loadAs(t, fmt.Sprintf("enginetest-%d-%d", os.Getpid(), serial.Add(1)), yaml)
}

func loadAs(t *testing.T, name, yaml string) *stack.Stack {
	t.Helper()
	yaml = strings.NewReplacer("V1", imageV1, "V2", imageV2).Replace(yaml)
	details := types.ConfigDetails{
		WorkingDir: "/nowhere", Environment: types.Mapping{"TOKEN": "secret-token"},
		ConfigFiles: []types.ConfigFile{{Filename: "compose.yaml", Content: []byte(yaml)}},
	}
	p, err := loader.LoadWithContext(t.Context(), details, func(o *loader.Options) { o.SetProjectName(name, true) })
	require.NoError(t, err)
	s := &stack.Stack{Name: name, Project: p, Services: map[string]*stack.Service{}}
	for key, svc := range p.Services {
		svc.CustomLabels = types.Labels{
			api.ProjectLabel: name, api.ServiceLabel: key, api.VersionLabel: api.ComposeVersion,
			api.WorkingDirLabel: "/srv/" + name, api.ConfigFilesLabel: "compose.yaml", api.OneoffLabel: "False",
		}
		p.Services[key] = svc
		hash, err := compose.ServiceHash(svc)
		require.NoError(t, err)
		s.Services[key] = &stack.Service{Name: key, Image: svc.Image, Hash: hash, Replicas: svc.GetScale(), Platform: svc.Platform, PullPolicy: svc.PullPolicy}
	}
	t.Cleanup(func() { down(t, name) })
	return s
}

// down removes everything that carries the project's label.
func down(t *testing.T, name string) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	mine := make(client.Filters).Add("label", api.ProjectLabel+"="+name)
	containers, err := daemon.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: mine})
	require.NoError(t, err)
	for _, c := range containers.Items {
		_, _ = daemon.ContainerRemove(ctx, c.ID, client.ContainerRemoveOptions{Force: true, RemoveVolumes: true})
	}
	networks, err := daemon.NetworkList(ctx, client.NetworkListOptions{Filters: mine})
	require.NoError(t, err)
	for _, n := range networks.Items {
		_, _ = daemon.NetworkRemove(ctx, n.ID, client.NetworkRemoveOptions{})
	}
	volumes, err := daemon.VolumeList(ctx, client.VolumeListOptions{Filters: mine})
	require.NoError(t, err)
	for _, v := range volumes.Items {
		_, _ = daemon.VolumeRemove(ctx, v.Name, client.VolumeRemoveOptions{Force: true})
	}
}

// ground makes the networks and volumes of a stack.
func ground(t *testing.T, e *Engine, s *stack.Stack) {
	t.Helper()
	require.NoError(t, e.EnsureNetworks(t.Context(), s, nil))
	require.NoError(t, e.EnsureVolumes(t.Context(), s, nil))
}

// run makes and starts n units.
func run(t *testing.T, e *Engine, s *stack.Stack, service string, n int) []string {
	t.Helper()
	ids, err := e.Create(t.Context(), s, service, n)
	require.NoError(t, err)
	require.NoError(t, e.Start(t.Context(), s, service, ids))
	return ids
}

func inspect(t *testing.T, id string) container.InspectResponse {
	t.Helper()
	res, err := daemon.ContainerInspect(t.Context(), id, client.ContainerInspectOptions{})
	require.NoError(t, err)
	return res.Container
}

func states(t *testing.T, e *Engine, project, service string) []stack.State {
	t.Helper()
	seen, err := e.Observe(t.Context(), project)
	require.NoError(t, err)
	var out []stack.State
	for _, u := range seen.Units[service] {
		out = append(out, u.State)
	}
	return out
}

// plainCompose is the SDK as `docker compose` has it: the whole engine in view.
func plainCompose(t *testing.T, e *Engine) api.Compose {
	t.Helper()
	sdk, done, err := e.sdk(daemon, 1)
	require.NoError(t, err)
	t.Cleanup(done)
	return sdk
}

// warnings are those that rec heard, but for the SDK's of tests that run at the
// same time: its log is the whole process's.
func warnings(rec *event.Recorder, project string) []string {
	var out []string
	for _, e := range rec.Events() {
		of := regexp.MustCompile(`enginetest-[0-9]+-[0-9]+`).FindString(e.Text)
		if e.Level >= event.Warning && (of == "" || of == project) {
			out = append(out, e.Text)
		}
	}
	return out
}
