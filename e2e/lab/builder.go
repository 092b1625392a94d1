package lab

import (
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
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/shiksha/actions/e2e/peers"
)

// Builder is a running BuildKit daemon.
type Builder struct {
	// Address is for the input builder.
	Address string
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
	program, err := peers.Buildkitd(ctx, l.options.Out)
	if err != nil {
		return nil, err
	}
	root, err := os.MkdirTemp("", "shiksha-buildkit-")
	if err != nil {
		return nil, err
	}
	b := &Builder{Root: root, Address: "unix://" + filepath.Join(root, "sock"), lab: l}
	l.atClose(func(ctx context.Context) error { return errors.Join(b.Stop(ctx), b.forget(), os.RemoveAll(root)) })
	config := filepath.Join(root, "buildkitd.toml")
	if err := os.WriteFile(config, []byte(builderConfig(mirror, registry)), 0o600); err != nil {
		return nil, err
	}
	b.argv = []string{program, "--config", config, "--root", filepath.Join(root, "state"), "--addr", b.Address,
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
