package lab

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/shiksha/actions/e2e/peers"
	"github.com/shiksha/actions/e2e/ports"
)

// Builder is a running BuildKit daemon.
type Builder struct {
	// Address is for the input builder; TCP is another one, for those that cannot
	// open a socket of this machine.
	Address, TCP string
	// Root is where it keeps its state.
	Root string

	lab    *Lab
	argv   []string
	server *server
}

// StartBuilder runs BuildKit as a process of this machine, since not every machine
// lets a container do what it has to. Base images of Docker Hub come from mirror;
// what registry holds is trusted by its certificate. Both are nil for none.
func (l *Lab) StartBuilder(ctx context.Context, mirror, registry *Registry) (*Builder, error) {
	if err := l.ensureBuilder(ctx); err != nil {
		return nil, err
	}
	return l.startBuilder(ctx, mirror, registry)
}

// BuilderAtHand runs BuildKit for builds without a base image, where its daemon has
// been made before: making it takes minutes. Elsewhere it gives nil.
func (l *Lab) BuilderAtHand(ctx context.Context) (*Builder, error) {
	if !peers.HasBuildkitd() || !present("runc") {
		return nil, nil
	}
	return l.startBuilder(ctx, nil, nil)
}

func (l *Lab) startBuilder(ctx context.Context, mirror, registry *Registry) (*Builder, error) {
	program, err := peers.Buildkitd(ctx, l.options.Out)
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp("", "shiksha-buildkit-")
	if err != nil {
		return nil, err
	}
	port, err := ports.Free()
	if err != nil {
		return nil, err
	}
	b := &Builder{Root: root, Address: "unix://" + filepath.Join(root, "sock"), TCP: fmt.Sprintf("tcp://127.0.0.1:%d", port), lab: l}
	l.AtClose(func(ctx context.Context) error { return errors.Join(b.Stop(ctx), b.forget(), os.RemoveAll(root)) })
	config := filepath.Join(root, "buildkitd.toml")
	if err := os.WriteFile(config, []byte(builderConfig(mirror, registry)), 0o600); err != nil {
		return nil, err
	}
	b.argv = []string{program, "--config", config, "--root", filepath.Join(root, "state"), "--addr", b.Address, "--addr", b.TCP,
		"--oci-worker-net", "host", "--containerd-worker=false"}
	return b, b.Start(ctx)
}

func builderConfig(mirror, registry *Registry) string {
	var config strings.Builder
	if mirror != nil {
		fmt.Fprintf(&config, "[registry.\"docker.io\"]\n  mirrors = [%q]\n[registry.%q]\n  http = true\n", mirror.Address, mirror.Address)
	}
	if registry != nil && registry.Certificate != "" {
		fmt.Fprintf(&config, "[registry.%q]\n  http = false\n  ca = [%q]\n", registry.Address, registry.Certificate)
	}
	return config.String()
}

// Start starts the daemon again, with the state it has.
func (b *Builder) Start(ctx context.Context) error {
	name := "buildkitd-" + filepath.Base(b.Root)
	b.lab.say("starting BuildKit on %s", b.Address)
	server, err := b.lab.start(name, b.argv...)
	if err != nil {
		return err
	}
	b.server = server
	return b.lab.await(ctx, server, 30*time.Second, func(ctx context.Context) bool {
		conn, err := (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(b.Address, "unix://"))
		return err == nil && conn.Close() == nil
	})
}

// Stop ends the daemon; its state stays.
func (b *Builder) Stop(ctx context.Context) error {
	if !b.server.running() {
		return nil
	}
	return b.server.stop(ctx)
}

// Kill ends the daemon as a crash does.
func (b *Builder) Kill() error { return exec.Command("kill", "-9", fmt.Sprint(b.server.pid)).Run() }

// Reset gives the daemon an empty state.
func (b *Builder) Reset(ctx context.Context) error {
	return errors.Join(b.Stop(ctx), b.forget(), b.Start(ctx))
}

// Shrink gives the daemon an empty state on a disk of so many megabytes, until
// Reset.
func (b *Builder) Shrink(ctx context.Context, megabytes int) error {
	state := filepath.Join(b.Root, "state")
	if err := errors.Join(b.Stop(ctx), b.forget(), os.MkdirAll(state, 0o700)); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", state, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		return fmt.Errorf("a small disk for BuildKit: %w", err)
	}
	return b.Start(ctx)
}

// forget removes the state. A killed daemon leaves mounts in it.
func (b *Builder) forget() error {
	mounts, _ := os.ReadFile("/proc/self/mounts")
	for line := range strings.Lines(string(mounts)) {
		if fields := strings.Fields(line); len(fields) > 1 && strings.HasPrefix(fields[1], b.Root+"/") {
			_ = exec.Command("umount", "--lazy", fields[1]).Run()
		}
	}
	return os.RemoveAll(filepath.Join(b.Root, "state"))
}

const emulators = "/proc/sys/fs/binfmt_misc"

// ensureBuilder installs what BuildKit needs, and the emulator of arm64.
func (l *Lab) ensureBuilder(ctx context.Context) error {
	unlock, err := lockFile(ctx, filepath.Join(os.TempDir(), "shiksha-lab.lock"), syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlock()
	if !present(emulators + "/register") {
		if out, err := exec.CommandContext(ctx, "mount", "-t", "binfmt_misc", "binfmt_misc", emulators).CombinedOutput(); err != nil {
			return fmt.Errorf("this kernel offers no emulators (binfmt_misc): %w %s", err, out)
		}
	}
	var missing []string
	for program, pkg := range map[string]string{
		"runc": "runc", "/usr/bin/qemu-aarch64-static": "qemu-user-static", "update-binfmts": "binfmt-support",
	} {
		if !present(program) {
			missing = append(missing, pkg)
		}
	}
	if len(missing) > 0 {
		quiet, err := holdServices()
		if err != nil {
			return err
		}
		l.say("installing %s from the distribution", strings.Join(missing, ", "))
		err = errors.Join(l.apt(ctx, "update", "-qq"), l.apt(ctx, append([]string{"install", "-qq", "-y", "--no-install-recommends"}, missing...)...), quiet())
		if err != nil {
			return err
		}
	}
	if !present(emulators + "/qemu-aarch64") {
		return l.logged(exec.CommandContext(ctx, "update-binfmts", "--enable", "qemu-aarch64"), "binfmt.log")
	}
	return nil
}

// selfSigned makes a certificate for localhost that is its own authority.
func selfSigned(certificate, key string) error {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "lab"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// trusting is a client that trusts one authority.
func trusting(certificate string) *http.Client {
	pool := x509.NewCertPool()
	if data, err := os.ReadFile(certificate); err == nil {
		pool.AppendCertsFromPEM(data)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
}

// applets are the names that the base image has for busybox.
var applets = []string{"sh", "cat", "cp", "dd", "echo", "env", "grep", "head", "id", "ls", "mkdir", "rm", "seq", "sha256sum", "sleep", "test", "touch", "tr", "uname", "wc"}

// PushBusybox makes the registry have busybox:1 for amd64 and arm64, of Debian's
// static packages, under the name that Docker Hub has for it. A registry that has
// it is left alone.
func (l *Lab) PushBusybox(ctx context.Context, registry *Registry) error {
	ref, err := name.ParseReference(registry.Address + "/library/busybox:1")
	if err != nil {
		return err
	}
	if _, err := remote.Head(ref, remote.WithContext(ctx)); err == nil {
		return nil
	}
	l.say("making the image busybox:1 for amd64 and arm64 from Debian packages")
	index := v1.ImageIndex(empty.Index)
	for _, arch := range []string{"amd64", "arm64"} {
		image, err := l.busybox(ctx, arch)
		if err != nil {
			return err
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	return remote.WriteIndex(ref, index, remote.WithContext(ctx))
}

// busybox is the image of one architecture.
func (l *Lab) busybox(ctx context.Context, arch string) (v1.Image, error) {
	program, err := l.busyboxProgram(ctx, arch)
	if err != nil {
		return nil, err
	}
	var content bytes.Buffer
	archive := tar.NewWriter(&content)
	entries := []*tar.Header{
		{Name: "bin/", Typeflag: tar.TypeDir, Mode: 0o755}, {Name: "etc/", Typeflag: tar.TypeDir, Mode: 0o755},
		{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o1777}, {Name: "bin/busybox", Typeflag: tar.TypeReg, Mode: 0o755, Size: int64(len(program))},
	}
	for _, applet := range applets {
		entries = append(entries, &tar.Header{Name: "bin/" + applet, Typeflag: tar.TypeSymlink, Linkname: "busybox", Mode: 0o777})
	}
	for _, header := range entries {
		if err := archive.WriteHeader(header); err != nil {
			return nil, err
		}
		if header.Size > 0 {
			if _, err := archive.Write(program); err != nil {
				return nil, err
			}
		}
	}
	if err := archive.Close(); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	config, err := image.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", arch
	config.Config.Env, config.Config.Cmd = []string{"PATH=/bin"}, []string{"sh"}
	return mutate.ConfigFile(image, config)
}

// busyboxProgram takes the program out of Debian's package for an architecture,
// without telling the machine's own apt about that architecture.
func (l *Lab) busyboxProgram(ctx context.Context, arch string) ([]byte, error) {
	dir, err := os.MkdirTemp(l.Dir, "busybox-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for _, folder := range []string{"lists/partial", "cache/archives/partial"} {
		if err := os.MkdirAll(filepath.Join(dir, folder), 0o755); err != nil {
			return nil, err
		}
	}
	settings := []string{
		"APT::Architecture=" + arch, "APT::Architectures::=" + arch, "Dir::State::lists=" + dir + "/lists", "Dir::Cache=" + dir + "/cache",
		"Dir::State::status=/dev/null", "APT::Sandbox::User=root",
	}
	for _, args := range [][]string{{"update", "-qq"}, {"download", "-qq", "busybox-static"}} {
		for _, s := range settings {
			args = append(args, "-o", s)
		}
		cmd := exec.CommandContext(ctx, "apt-get", args...)
		cmd.Dir = dir
		if err := l.logged(cmd, "busybox.log"); err != nil {
			return nil, err
		}
	}
	packages, _ := filepath.Glob(filepath.Join(dir, "*.deb"))
	if len(packages) != 1 {
		return nil, fmt.Errorf("apt-get left %d packages of busybox-static: %s", len(packages), strings.Join(packages, " "))
	}
	out := filepath.Join(dir, "root")
	if err := l.logged(exec.CommandContext(ctx, "dpkg-deb", "--extract", packages[0], out), "busybox.log"); err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(out, "bin", "busybox"))
}
