package build

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	control "github.com/moby/buildkit/api/services/control"
	types "github.com/moby/buildkit/api/types"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// fakeEngine is an engine with a BuildKit of its own, and with one in the container that
// a build starts. It builds nothing. What the lab's engine does not do on demand: keep
// its images in containerd, have a certain version, lose a builder, refuse an image.
type fakeEngine struct {
	control.UnimplementedControlServer
	version string // of BuildKit; none tells none
	store   string // what the engine's own BuildKit has for a snapshotter
	load    http.HandlerFunc

	mu        sync.Mutex
	container bool // there, and running
	broken    bool // there, and answering nobody
	created   int
	solves    int
	dies      bool // the container goes with the next build
	conns     []net.Conn
}

func (f *fakeEngine) serve(t *testing.T) (address string) {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		f.remove()
		server.Close()
	})
	return "tcp://" + server.Listener.Addr().String()
}

// remove takes the container away, and all who are connected to it.
func (f *fakeEngine) remove() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.container = false
	f.hangUp()
}

// dieNext has the container go with the next build.
func (f *fakeEngine) dieNext() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.dies = true
}

// counts says how many containers were made and builds begun.
func (f *fakeEngine) counts() [2]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return [2]int{f.created, f.solves}
}

// hang leaves the container, which answers nobody any more.
func (f *fakeEngine) hang() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken = true
	f.hangUp()
}

func (f *fakeEngine) hangUp() {
	for _, c := range f.conns {
		_ = c.Close()
	}
	f.conns = nil
}

func (f *fakeEngine) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	w.Header().Set("API-Version", "1.47")
	w.Header().Set("Content-Type", "application/json")
	var body struct{ Cmd []string }
	switch path := q.URL.Path; {
	case strings.HasSuffix(path, "/_ping"), strings.HasSuffix(path, "/images/create"):
	case strings.HasSuffix(path, "/grpc") && f.store != "":
		f.hijack(w, func(c net.Conn) net.Conn { return c })
	case strings.HasSuffix(path, "/images/load"):
		f.mu.Unlock()
		defer f.mu.Lock()
		f.load(w, q)
	case strings.HasSuffix(path, "/containers/create") && q.URL.Query().Get("name") == own:
		f.container = true
		f.created++
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"Id": "`+own+`"}`)
	case strings.Contains(path, "/containers/") && !f.container, strings.HasSuffix(path, "/grpc"):
		w.WriteHeader(http.StatusNotFound)
		_, _ = io.WriteString(w, `{"message": "no such thing"}`)
	case strings.Contains(path, "/containers/") && q.Method == http.MethodDelete:
		f.container = false
		w.WriteHeader(http.StatusNoContent)
	case strings.HasSuffix(path, "/containers/"+own+"/json"):
		_, _ = io.WriteString(w, `{"State": {"Running": true, "Status": "running"}}`)
	case strings.HasSuffix(path, "/containers/"+own+"/exec"):
		_ = json.NewDecoder(q.Body).Decode(&body)
		w.WriteHeader(http.StatusCreated)
		_, _ = io.WriteString(w, `{"Id": "`+body.Cmd[1]+`"}`)
	case strings.HasSuffix(path, "/exec/dial-stdio/start") && !f.broken:
		_, _ = io.Copy(io.Discard, q.Body)
		f.hijack(w, func(c net.Conn) net.Conn { return framed{c} })
	case strings.HasSuffix(path, "/start") && strings.Contains(path, "/exec/"):
		f.hijack(w, nil)
	default: // files of the container, its start, what a command ended with
		_, _ = io.WriteString(w, "{}")
	}
}

// hijack serves BuildKit on the connection of a request, or ends it.
func (f *fakeEngine) hijack(w http.ResponseWriter, stream func(net.Conn) net.Conn) {
	conn, buffered, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n")
	if stream == nil {
		_ = conn.Close()
		return
	}
	f.conns = append(f.conns, conn)
	server := grpc.NewServer()
	control.RegisterControlServer(server, &connected{fakeEngine: f, asked: make(chan struct{})})
	one := make(chan net.Conn, 1)
	one <- stream(read{conn, buffered.Reader})
	go func() { _ = server.Serve(single{one, conn.LocalAddr()}) }()
}

func (f *fakeEngine) ListWorkers(context.Context, *control.ListWorkersRequest) (*control.ListWorkersResponse, error) {
	return &control.ListWorkersResponse{Record: []*types.WorkerRecord{{Labels: map[string]string{"org.mobyproject.buildkit.worker.snapshotter": f.store}}}}, nil
}

func (f *fakeEngine) Info(context.Context, *control.InfoRequest) (*control.InfoResponse, error) {
	if f.version == "" {
		return nil, status.Error(codes.Unimplemented, "an older BuildKit")
	}
	return &control.InfoResponse{BuildkitVersion: &types.BuildkitVersion{Version: f.version}}, nil
}

func (f *fakeEngine) Solve(context.Context, *control.SolveRequest) (*control.SolveResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.solves++
	if f.dies {
		f.dies, f.container = false, false
		f.hangUp()
	}
	return nil, status.Error(codes.Unimplemented, buildsNothing)
}

// connected is BuildKit to one client. What follows a build says nothing before that has
// come, nor in one that the container goes with: only that is to end it.
type connected struct {
	*fakeEngine
	once  sync.Once
	asked chan struct{}
}

func (c *connected) Solve(ctx context.Context, q *control.SolveRequest) (*control.SolveResponse, error) {
	defer c.once.Do(func() { close(c.asked) })
	return c.fakeEngine.Solve(ctx, q)
}

func (c *connected) Status(_ *control.StatusRequest, s control.Control_StatusServer) error {
	return c.follow(s.Context())
}

func (c *connected) Session(s control.Control_SessionServer) error { return c.follow(s.Context()) }

func (c *connected) follow(ctx context.Context) error {
	c.mu.Lock()
	dies := c.dies
	c.mu.Unlock()
	asked := c.asked
	if dies {
		asked = nil
	}
	select {
	case <-asked:
	case <-ctx.Done():
	}
	return status.Error(codes.Unimplemented, buildsNothing)
}

// buildsNothing is what the fake answers to a build that it does not lose.
const buildsNothing = "this fake builds nothing"

// read is a connection of which a part was read already.
type read struct {
	net.Conn
	rest *bufio.Reader
}

func (r read) Read(p []byte) (int, error) { return r.rest.Read(p) }

// framed writes as the engine does what a command prints.
type framed struct{ net.Conn }

func (c framed) Write(p []byte) (int, error) {
	head := binary.BigEndian.AppendUint32([]byte{1, 0, 0, 0}, uint32(len(p)))
	if _, err := c.Conn.Write(append(head, p...)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// single accepts one connection.
type single struct {
	one     chan net.Conn
	address net.Addr
}

func (l single) Accept() (net.Conn, error) { return <-l.one, nil }
func (l single) Addr() net.Addr            { return l.address }
func (l single) Close() error              { return nil }
