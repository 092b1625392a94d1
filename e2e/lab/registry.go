package lab

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/shiksha/actions/e2e/ports"
)

// RegistryEnv names the variable with the address of a registry that runs
// already: labs in child processes share the one of their parent.
const RegistryEnv = "SHIKSHA_LAB_REGISTRY"

// RegistryOptions says how a registry is started.
type RegistryOptions struct {
	// Port on 127.0.0.1; 0 takes a free one.
	Port int
	// Listen is the IP address it listens on and is called by; empty is 127.0.0.1,
	// called localhost.
	Listen string
	// Username and Password are asked for when they are set.
	Username, Password string
	// TLS makes it speak HTTPS only, with a certificate that Certificate of the
	// registry signs.
	TLS bool
	// Storage is where its images are, instead of the lab's folder.
	Storage string
}

// Registry is a running image registry. Engines take one on localhost without
// TLS.
type Registry struct {
	// Address is where it is, for example "localhost:5000".
	Address string
	// Certificate is the file of the authority to trust, empty without TLS.
	Certificate string
	options     RegistryOptions
	lab         *Lab
	server      *server
}

func (l *Lab) ensureRegistry(ctx context.Context) error {
	if shared := os.Getenv(RegistryEnv); shared != "" {
		l.Registry = shared
		return nil
	}
	const usual = 5000
	port := l.options.RegistryPort
	if left := l.leftover(fmt.Sprintf("registry-%d", cmp.Or(port, usual)), "docker-registry"); left != nil {
		if err := left.stop(ctx); err != nil {
			return err
		}
	}
	if port == 0 && ports.IsFree(usual) {
		port = usual
	}
	registry, err := l.StartRegistry(ctx, RegistryOptions{Port: port})
	if err != nil {
		return err
	}
	l.Registry = registry.Address
	return nil
}

// StartRegistry runs Debian's docker-registry until the lab closes. Its images
// stay in the lab's folder, so that the next time is fast.
func (l *Lab) StartRegistry(ctx context.Context, options RegistryOptions) (*Registry, error) {
	if options.Port == 0 {
		port, err := ports.Free()
		if err != nil {
			return nil, err
		}
		options.Port = port
	}
	name := fmt.Sprintf("registry-%d", options.Port)
	config, certificate, err := l.registryConfig(name, options)
	if err != nil {
		return nil, err
	}
	address := fmt.Sprintf("%s:%d", cmp.Or(options.Listen, "localhost"), options.Port)
	l.say("starting a registry on %s", address)
	server, err := l.start(name, "docker-registry", "serve", config)
	if err != nil {
		return nil, err
	}
	r := &Registry{Address: address, Certificate: certificate, options: options, lab: l, server: server}
	l.AtClose(r.Stop)
	return r, l.await(ctx, server, 20*time.Second, r.answers)
}

// Stop ends the registry; its images stay.
func (r *Registry) Stop(ctx context.Context) error {
	if !r.server.running() {
		return nil
	}
	return r.server.stop(ctx)
}

// Push pushes an image that is on this machine. The reference has to begin with
// the registry's address.
func (r *Registry) Push(ctx context.Context, ref string) error {
	if r.options.Username == "" {
		_, err := r.lab.Docker(ctx, "push", "--quiet", ref)
		return err
	}
	config, err := os.MkdirTemp(r.lab.Dir, "docker-config-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(config) }()
	login := base64.StdEncoding.EncodeToString([]byte(r.options.Username + ":" + r.options.Password))
	auths, err := json.Marshal(map[string]any{"auths": map[string]any{r.Address: map[string]string{"auth": login}}})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(config, "config.json"), auths, 0o600); err != nil {
		return err
	}
	_, err = r.lab.Docker(ctx, "--config", config, "push", "--quiet", ref)
	return err
}

func (r *Registry) answers(ctx context.Context) bool {
	scheme, client := "http", http.DefaultClient
	if r.Certificate != "" {
		scheme, client = "https", trusting(r.Certificate)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, scheme+"://"+r.Address+"/v2/", nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized
}

func (l *Lab) registryConfig(name string, options RegistryOptions) (path, certificate string, err error) {
	var auth string
	if options.Username != "" {
		hash, err := bcrypt.GenerateFromPassword([]byte(options.Password), bcrypt.MinCost)
		if err != nil {
			return "", "", err
		}
		users := filepath.Join(l.Dir, name+".htpasswd")
		if err := os.WriteFile(users, fmt.Appendf(nil, "%s:%s\n", options.Username, hash), 0o600); err != nil {
			return "", "", err
		}
		auth = fmt.Sprintf("auth:\n  htpasswd:\n    realm: lab\n    path: %s\n", users)
	}
	storage := options.Storage
	if storage == "" {
		storage = filepath.Join(l.Dir, "registry")
	}
	listen := fmt.Sprintf("  addr: %s:%d", cmp.Or(options.Listen, "127.0.0.1"), options.Port)
	if options.TLS {
		key := filepath.Join(l.Dir, name+".key")
		certificate = filepath.Join(l.Dir, name+".crt")
		if err := selfSigned(certificate, key); err != nil {
			return "", "", err
		}
		listen += "\n  tls:\n    certificate: " + certificate + "\n    key: " + key
	}
	config := strings.Join([]string{
		"version: 0.1",
		"log:", "  level: warn", "  accesslog:", "    disabled: true",
		"storage:", "  filesystem:", "    rootdirectory: " + storage, "  delete:", "    enabled: true",
		"http:", listen, auth,
	}, "\n")
	path = filepath.Join(l.Dir, name+".yml")
	return path, certificate, os.WriteFile(path, []byte(config), 0o600)
}
