package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/agext/levenshtein"
	"github.com/containerd/platforms"
	"github.com/docker/buildx/util/buildflags"

	"github.com/shiksha/actions/pkg/fault"
)

// The caches of a build.
const (
	CacheRegistry = "registry"
	CacheGitHub   = "gha"
	CacheNone     = "none"
)

// Options say what to build and where it goes.
type Options struct {
	// Workspace is the folder that everything local has to be in.
	Workspace string
	// ComposeFiles are relative to it; empty for Compose's own names. BakeFile, when
	// set, gives the targets instead.
	ComposeFiles []string
	BakeFile     string
	Project      string
	// Folder is what the workspace is called where its path does not tell; the
	// project is named after it when nothing else names it.
	Folder string
	// EnvFile is dotenv content, EnvFileName what errors call it; Environment wins.
	EnvFile     []byte
	EnvFileName string
	Environment map[string]string
	// Targets are the services (or bake targets) to build; empty for all.
	Targets   []string
	Platforms []string

	Push, Load bool
	// Tags are tags or full references that take the place of those made of the
	// commit. What the Compose file names is always among them.
	Tags     []string
	Registry Login
	// Cache is CacheRegistry, CacheGitHub or CacheNone; empty for CacheRegistry
	// when pushing, else CacheNone. CacheFrom and CacheTo are in BuildKit's form and
	// are added to it.
	Cache              string
	CacheFrom, CacheTo []string
	GitHub             GitHubCache

	// BuildArgs win over the Compose file's. Secrets are by id, for every target.
	BuildArgs map[string]string
	Secrets   map[string][]byte
	Labels    map[string]string
	// Provenance is "true", "false", "min", "max" or BuildKit's own form; empty is
	// min for what is pushed. SBOM is "true", "false" or "generator=image".
	Provenance, SBOM string

	// Builder is tcp://, unix:// or the name of a container that runs BuildKit;
	// empty to find or start one. Image is what one is started of.
	Builder, Image string
	// DockerHost is the engine's address, empty for the usual socket.
	DockerHost    string
	NoCache, Pull bool
	// Outputs are exporters in BuildKit's form (type=local,dest=out).
	Outputs []string
	Git     Git
	// Protect, when set, is told the secrets that the files name, before anything of
	// them could be printed.
	Protect func(secrets ...string)
}

// Login is how to log in to one registry; without a Username it is none.
type Login struct{ Registry, Username, Password string }

// String names the login and not its secret.
func (l Login) String() string { return l.Username + "@" + l.domain() }

// GoString is String, so that no verb prints the secret.
func (l Login) GoString() string { return l.String() }

// domain is the registry as references name it; empty where none was given.
func (l Login) domain() string {
	host := strings.TrimPrefix(strings.TrimPrefix(l.Registry, "https://"), "http://")
	host, _, _ = strings.Cut(host, "/")
	switch host {
	case "":
		if l.Username != "" {
			return hub
		}
		return ""
	case "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com":
		return hub
	}
	return strings.ToLower(host)
}

// hub is the domain of Docker Hub in references.
const hub = "docker.io"

// GitHubCache is the runner's cache service.
type GitHubCache struct{ URL, Token string }

// DefaultImage is what a builder is started of: the BuildKit that this program
// speaks the language of.
const DefaultImage = "moby/buildkit:v0.34.2"

func (o *Options) files() string {
	if o.BakeFile != "" {
		return o.BakeFile
	}
	if len(o.ComposeFiles) > 0 {
		return strings.Join(o.ComposeFiles, ", ")
	}
	return "the Compose file"
}

// cache is the cache that is used.
func (o *Options) cache() string {
	switch {
	case o.Cache != "":
		return o.Cache
	case o.Push:
		return CacheRegistry
	}
	return CacheNone
}

// check refuses what cannot be meant, whatever the files say.
func (o *Options) check() error {
	for _, p := range o.Platforms {
		if err := checkPlatform("platforms", p); err != nil {
			return err
		}
	}
	if o.Load && len(o.Platforms) > 1 {
		return fault.New(fault.Input, "load", "leave load out, or name one of the platforms",
			"an engine takes one platform, and there are %d: %s", len(o.Platforms), strings.Join(o.Platforms, ", "))
	}
	for name, list := range map[string][]string{"cache-from": o.CacheFrom, "cache-to": o.CacheTo} {
		if _, err := buildflags.ParseCacheEntry(list); err != nil {
			return fault.New(fault.Input, name, "write it as BuildKit does, for example type=registry,ref=ghcr.io/team/shop:cache", "%w", err)
		}
	}
	if _, err := buildflags.ParseExports(o.Outputs); err != nil {
		return fault.New(fault.Input, "outputs", "write it as BuildKit does, for example type=local,dest=out", "%w", err)
	}
	if o.cache() == CacheGitHub && (o.GitHub.URL == "" || o.GitHub.Token == "") {
		return fault.New(fault.Input, "cache", "use cache: registry outside of a GitHub workflow",
			"gha is the cache of a GitHub workflow, and this run has none (ACTIONS_RESULTS_URL and ACTIONS_RUNTIME_TOKEN are not set)")
	}
	return o.checkAttestations()
}

func (o *Options) checkAttestations() error {
	switch o.Provenance {
	case "", "true", "false", "min", "max":
	default:
		if !strings.Contains(o.Provenance, "=") {
			return fault.New(fault.Input, "provenance", "use true, false, min or max", "%q is none of them", o.Provenance)
		}
	}
	switch {
	case o.SBOM == "", o.SBOM == "true", o.SBOM == "false", strings.HasPrefix(o.SBOM, "generator="):
	default:
		return fault.New(fault.Input, "sbom", "use true, false or generator=image", "%q is none of them", o.SBOM)
	}
	wants := o.Provenance != "" && o.Provenance != "false" || o.SBOM != "" && o.SBOM != "false"
	if o.Load && wants {
		return fault.New(fault.Input, "load", "push instead, or leave provenance and sbom out",
			"an engine cannot take provenance or an SBOM with an image")
	}
	return nil
}

// known are the platforms there are images for.
var known = []string{
	"linux/amd64", "linux/amd64/v2", "linux/amd64/v3", "linux/amd64/v4", "linux/arm64", "linux/arm64/v8", "linux/arm/v5", "linux/arm/v6",
	"linux/arm/v7", "linux/arm", "linux/386", "linux/ppc64le", "linux/s390x", "linux/riscv64", "linux/loong64", "linux/mips64", "linux/mips64le",
	"windows/amd64", "windows/arm64", "wasip1/wasm",
}

func checkPlatform(where, text string) error {
	p, err := platforms.Parse(text)
	if err == nil && slices.Contains(known, platforms.Format(platforms.Normalize(p))) {
		return nil
	}
	hint := "known are " + strings.Join([]string{"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/386", "linux/ppc64le", "linux/s390x", "linux/riscv64"}, ", ")
	if near := nearest(text, known); near != "" {
		hint = fmt.Sprintf("did you mean %s?", near)
	}
	return fault.New(fault.Input, where, hint, "%q is not a platform that is known", text)
}

// nearest gives the candidate that is at most two changes away, or "".
func nearest(text string, candidates []string) string {
	best, least := "", 3
	for _, c := range candidates {
		if d := levenshtein.Distance(strings.ToLower(text), c, nil); d < least {
			best, least = c, d
		}
	}
	return best
}

// short is a short name for a long text.
func short(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:8])
}

func sprintf(format string, args ...any) string {
	if len(args) == 0 {
		return format
	}
	return fmt.Sprintf(format, args...)
}
