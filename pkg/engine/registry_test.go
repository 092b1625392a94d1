package engine

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/moby/moby/client"
	"github.com/stretchr/testify/require"
	"golang.org/x/crypto/bcrypt"
)

// reg is a real registry of our own on loopback, which the engine speaks plain
// HTTP to. It wants a login: user "robot", password "s3cret-pass".
type reg struct {
	host string
	auth Auth
}

// startRegistry starts Debian's docker-registry. With a password it wants a login.
func startRegistry(t *testing.T, password string) reg {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	host := listener.Addr().String()
	require.NoError(t, listener.Close())
	config := fmt.Sprintf("version: 0.1\nlog: {level: error}\nstorage: {filesystem: {rootdirectory: %s}}\nhttp: {addr: %s}\n", filepath.Join(dir, "data"), host)
	if password != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, "htpasswd"), []byte("robot:"+string(hash)+"\n"), 0o600))
		config += fmt.Sprintf("auth: {htpasswd: {realm: test, path: %s}}\n", filepath.Join(dir, "htpasswd"))
	}
	file := filepath.Join(dir, "config.yml")
	require.NoError(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command("/usr/bin/docker-registry", "serve", file)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	require.Eventually(t, func() bool {
		res, err := http.Get("http://" + host + "/v2/")
		if err != nil {
			return false
		}
		return res.Body.Close() == nil
	}, 20*time.Second, 50*time.Millisecond)
	return reg{host: host, auth: Auth{Registry: host, Username: "robot", Password: password}}
}

func (r reg) option() remote.Option {
	if r.auth.Password == "" {
		return remote.WithAuth(authn.Anonymous)
	}
	return remote.WithAuth(&authn.Basic{Username: r.auth.Username, Password: r.auth.Password})
}

func (r reg) tag(t *testing.T, repoTag string) name.Tag {
	t.Helper()
	tag, err := name.NewTag(r.host+"/"+repoTag, name.Insecure)
	require.NoError(t, err)
	return tag
}

// platformImage is an image with random layers for a platform.
func platformImage(t *testing.T, os, arch string, layers int) v1.Image {
	t.Helper()
	img, err := random.Image(20_000, int64(layers))
	require.NoError(t, err)
	file, err := img.ConfigFile()
	require.NoError(t, err)
	file = file.DeepCopy()
	file.OS, file.Architecture = os, arch
	img, err = mutate.ConfigFile(img, file)
	require.NoError(t, err)
	return img
}

// push stores an image under a tag and gives what it is pinned as.
func (r reg) push(t *testing.T, repoTag string, img v1.Image) string {
	t.Helper()
	tag := r.tag(t, repoTag)
	require.NoError(t, remote.Write(tag, img, r.option()))
	digest, err := img.Digest()
	require.NoError(t, err)
	return r.forget(t, tag.Repository.Name()+"@"+digest.String())
}

// pushIndex stores an image for several platforms.
func (r reg) pushIndex(t *testing.T, repoTag string, images map[string]v1.Image) string {
	t.Helper()
	var index v1.ImageIndex = empty.Index
	for platform, img := range images {
		os, arch, _ := strings.Cut(platform, "/")
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch}}})
	}
	tag := r.tag(t, repoTag)
	require.NoError(t, remote.WriteIndex(tag, index, r.option()))
	digest, err := index.Digest()
	require.NoError(t, err)
	return r.forget(t, tag.Repository.Name()+"@"+digest.String())
}

// forget has the engine drop the image at the end.
func (r reg) forget(t *testing.T, pinned string) string {
	t.Cleanup(func() {
		_, _ = daemon.ImageRemove(context.Background(), pinned, client.ImageRemoveOptions{Force: true, PruneChildren: true})
	})
	return pinned
}

// weather is a proxy in front of a real registry that answers some requests with
// an error.
type weather struct {
	host  string
	mu    sync.Mutex
	fault func(*http.Request) int // a status, or 0 for none
	count atomic.Int64
}

func startWeather(t *testing.T, r reg, fault func(*http.Request) int) *weather {
	t.Helper()
	target, err := url.Parse("http://" + r.host)
	require.NoError(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	w := &weather{fault: fault}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, req *http.Request) {
		w.mu.Lock()
		status := w.fault(req)
		w.mu.Unlock()
		if status != 0 {
			w.count.Add(1)
			http.Error(rw, "bad weather", status)
			return
		}
		proxy.ServeHTTP(rw, req)
	}))
	t.Cleanup(server.Close)
	w.host = strings.TrimPrefix(server.URL, "http://")
	return w
}
