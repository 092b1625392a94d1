package build

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/docker/buildx/bake"
	"github.com/docker/buildx/build"
	"github.com/docker/buildx/builder"
	"github.com/docker/buildx/util/buildflags"
	"github.com/docker/buildx/util/confutil"
	"github.com/docker/cli/cli/config/types"
	buildkit "github.com/moby/buildkit/client"
	"github.com/moby/buildkit/session"
	"github.com/moby/buildkit/session/auth/authprovider"
	"github.com/moby/buildkit/session/secrets/secretsprovider"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// tries is how often a build is begun whose export a registry did not take. All
// but the export is cached then.
const tries = 4

// epoch is the build argument that makes times in an image those of the commit.
const epoch = "SOURCE_DATE_EPOCH"

// solve builds all targets at once. Before is what the registry has of them.
func (r *run) solve(ctx context.Context, before map[string]image) error {
	r.warnArguments()
	var first *progress // of later tries every step is cached
	for try := 1; ; try++ {
		options, err := r.options(ctx)
		if err != nil {
			return err
		}
		p := newProgress(r, "build")
		if first == nil {
			first = p
		}
		answers, err := r.build(ctx, options, p)
		if err == nil {
			return r.collect(ctx, first, answers, before)
		}
		if r.anew(ctx) {
			first = nil // it ended before all steps were told
			continue
		}
		wait, again, failure := r.failed(ctx, err, p, try)
		if !again {
			r.collectFailed(p)
			return failure
		}
		r.say(event.Warning, "build", "", "%s; trying again in %s", failure, wait)
		select {
		case <-ctx.Done():
			return fault.As(fault.Interrupted, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// build hands the targets to buildx, in one session with the builder.
func (r *run) build(ctx context.Context, options map[string]build.Options, p *progress) (map[string]*buildkit.SolveResponse, error) {
	loaded := make(chan error, len(options))
	loads := 0
	for name, o := range options {
		for i := range o.Exports {
			if r.builder.loads(o.Exports[i]) {
				o.Exports[i].Output = r.builder.loader(ctx, loaded)
				loads++
			}
		}
		options[name] = o
	}
	done := make(chan struct{})
	go p.watch(done)
	answers, err := build.Build(ctx, []builder.Node{r.builder.node}, options, nil, confutil.NewConfig(nil, confutil.WithDir(r.dir)), p, nil)
	close(done)
	for ; err == nil && loads > 0; loads-- {
		err = <-loaded
	}
	return answers, err
}

// options are the targets in the library's form.
func (r *run) options(ctx context.Context) (map[string]build.Options, error) {
	specs := map[string]*bake.Target{}
	for _, t := range r.plan.targets {
		spec, err := r.spec(t)
		if err != nil {
			return nil, err
		}
		specs[t.name] = spec
	}
	options, err := bake.TargetsToBuildOpt(specs, nil)
	if err != nil {
		return nil, fault.New(fault.Input, r.o.files(), "", "%w", err)
	}
	login := authprovider.NewDockerAuthProvider(authprovider.DockerAuthProviderConfig{AuthConfigProvider: r.authConfig})
	for _, t := range r.plan.targets {
		o := options[t.name]
		o.Session = append(append([]session.Attachable{login}, withoutSecrets(o.Session)...), r.secrets(t))
		o.CacheTo = append(o.CacheTo, r.cacheTo(t)...)
		for _, c := range o.CacheTo {
			if dest := c.Attrs["dest"]; c.Type == "local" && dest != "" {
				r.writes(dest)
			}
		}
		o.CacheFrom = append(o.CacheFrom, r.cacheFrom(t)...)
		// The builder's record of a build has all arguments, in a form that no mask sees.
		o.ProvenanceResponseMode = confutil.MetadataProvenanceModeDisabled
		o.FrontendAttrs = map[string]string{}
		if r.o.Git.Commit != "" {
			o.FrontendAttrs["vcs:revision"] = r.o.Git.Commit
		}
		if r.o.Git.Source != "" {
			o.FrontendAttrs["vcs:source"] = r.o.Git.Source
		}
		if err := r.exports(&o, t); err != nil {
			return nil, err
		}
		options[t.name] = o
	}
	return options, nil
}

// spec is a target with the inputs laid over it.
func (r *run) spec(t *target) (*bake.Target, error) {
	spec := *t.spec
	spec.Tags, spec.Secrets = t.tags, nil
	spec.Args, spec.Labels = maps.Clone(spec.Args), maps.Clone(spec.Labels)
	if spec.Args == nil {
		spec.Args = map[string]*string{}
	}
	if spec.Labels == nil {
		spec.Labels = map[string]*string{}
	}
	for k, v := range r.labels() {
		if _, given := spec.Labels[k]; !given || r.o.Labels[k] != "" {
			spec.Labels[k] = &v
		}
	}
	for k, v := range r.o.BuildArgs {
		spec.Args[k] = &v
	}
	if _, given := spec.Args[epoch]; !given && !r.o.Git.Time.IsZero() {
		seconds := strconv.FormatInt(r.o.Git.Time.Unix(), 10)
		spec.Args[epoch] = &seconds
	}
	if r.o.NoCache {
		spec.NoCache = &r.o.NoCache
	}
	if r.o.Pull {
		spec.Pull = &r.o.Pull
	}
	attests, err := buildflags.ParseAttests(r.attests(spec.Attest))
	if err != nil {
		return nil, fault.New(fault.Input, "provenance", "use true, false, min or max", "%w", err)
	}
	spec.Attest = spec.Attest.Merge(attests)
	return &spec, nil
}

// attests says what is attested. Provenance of what is pushed is its least form:
// the full one holds every build argument.
func (r *run) attests(own buildflags.Attests) []string {
	provenance, sbom := r.o.Provenance, r.o.SBOM
	var list []string
	switch {
	case provenance == "" && slices.ContainsFunc(own, func(a *buildflags.Attest) bool { return a.Type == "provenance" }):
	case provenance == "" && r.o.Push && !r.o.Load:
		provenance = "mode=min"
	case provenance == "":
		provenance = "false"
	case provenance == "min" || provenance == "max":
		provenance = "mode=" + provenance
	}
	if provenance != "" {
		list = append(list, buildflags.CanonicalizeAttest("provenance", provenance))
	}
	if sbom != "" { // "false" too: the file may ask for one
		list = append(list, buildflags.CanonicalizeAttest("sbom", sbom))
	}
	return list
}

// exports says where the image goes.
func (r *run) exports(o *build.Options, t *target) error {
	if t.linked {
		o.Exports = []buildkit.ExportEntry{{Type: "cacheonly", Attrs: map[string]string{}}}
		return nil
	}
	reproducible := func(attrs map[string]string) map[string]string {
		if r.dated(t) {
			attrs["rewrite-timestamp"] = "true"
		}
		return attrs
	}
	if r.o.Load {
		kind := buildkit.ExporterDocker
		if r.builder.kind == "docker" {
			kind = buildkit.ExporterImage
		}
		if !r.o.Push || kind == buildkit.ExporterDocker {
			o.Exports = append(o.Exports, buildkit.ExportEntry{Type: kind, Attrs: reproducible(map[string]string{})})
		}
	}
	more, err := r.outputs(t)
	if err != nil {
		return err
	}
	o.Exports = append(o.Exports, more...)
	if r.o.Push { // as the last one: its digest is the one that BuildKit answers with
		o.Exports = append(o.Exports, buildkit.ExportEntry{Type: buildkit.ExporterImage,
			Attrs: reproducible(map[string]string{"push": "true", "oci-mediatypes": "true"})})
	}
	if len(o.Exports) == 0 {
		o.Exports = []buildkit.ExportEntry{{Type: "cacheonly", Attrs: map[string]string{}}}
	}
	return nil
}

// dated tells whether the times in a target's image are to be one that is known.
func (r *run) dated(t *target) bool {
	return !t.linked && (t.spec.Args[epoch] != nil || !r.o.Git.Time.IsZero())
}

// outputs are the exporters of the input; what they write stays in the workspace.
func (r *run) outputs(t *target) ([]buildkit.ExportEntry, error) {
	entries, err := buildflags.ParseExports(r.o.Outputs)
	if err != nil {
		return nil, fault.New(fault.Input, "outputs", "", "%w", err)
	}
	for _, e := range entries {
		if e.Destination == "" {
			continue
		}
		if !filepath.IsAbs(e.Destination) {
			e.Destination = filepath.Join(r.o.Workspace, e.Destination)
		}
		if len(r.plan.targets) > 1 {
			e.Destination = filepath.Join(e.Destination, t.name)
		}
		r.writes(e.Destination)
		parent := filepath.Dir(e.Destination)
		if err := confine(r.o.Workspace, standing(parent), "outputs", "the destination "+e.Destination+" in"); err != nil {
			return nil, err
		}
		if err := os.MkdirAll(parent, 0o755); err != nil {
			return nil, fault.New(fault.Input, "outputs", "", "cannot make the folder %s: %w", parent, cause(err))
		}
	}
	made, _, err := build.CreateExports(entries)
	if err != nil {
		return nil, fault.New(fault.Input, "outputs", "", "%w", err)
	}
	for _, e := range made {
		if r.builder.loads(e) && r.builder.engine == nil {
			return nil, fault.New(fault.Input, "outputs", "give it a dest for a file, or say load: true",
				"type=docker without dest is for an engine, and this builder has none beside it")
		}
	}
	return made, nil
}

// writes keeps a path that is about to be written to.
func (r *run) writes(path string) {
	if whole, err := filepath.Abs(path); err == nil && !slices.Contains(r.result.Written, whole) {
		r.result.Written = append(r.result.Written, whole)
	}
}

// secrets are what RUN --mount=type=secret can have, by id.
func (r *run) secrets(t *target) session.Attachable {
	all := map[string][]byte{}
	maps.Copy(all, t.secrets)
	maps.Copy(all, r.o.Secrets)
	return secretsprovider.FromMap(all)
}

// withoutSecrets takes the library's own provider out, which would read files and
// the environment of this process. The two look alike: it is the first one.
func withoutSecrets(list []session.Attachable) []session.Attachable {
	if len(list) == 0 {
		return list
	}
	return list[1:]
}

// authConfig gives BuildKit the login for a registry, when it asks.
func (r *run) authConfig(_ context.Context, host string, _ []string, _ authprovider.ExpireCachedAuthCheck) (types.AuthConfig, error) {
	if host == "registry-1.docker.io" || host == "https://index.docker.io/v1/" {
		host = hub
	}
	l := r.o.Registry
	if l.Username == "" || l.domain() != host {
		return types.AuthConfig{}, nil
	}
	return types.AuthConfig{Username: l.Username, Password: l.Password, ServerAddress: host}, nil
}

func (r *run) cacheTo(t *target) []buildkit.CacheOptionsEntry {
	list := r.ownCache(t)
	for i := range list {
		// A cache that cannot be written is no reason to lose a build.
		list[i].Attrs["mode"], list[i].Attrs["ignore-error"] = "max", "true"
		if list[i].Type == CacheRegistry {
			list[i].Attrs["image-manifest"], list[i].Attrs["oci-mediatypes"] = "true", "true"
		}
	}
	if !r.o.Push && r.o.cache() == CacheRegistry {
		list = nil // read it, but leave the registry alone
	}
	given, _ := buildflags.ParseCacheEntry(r.o.CacheTo)
	return append(list, build.CreateCaches(given)...)
}

func (r *run) cacheFrom(t *target) []buildkit.CacheOptionsEntry {
	given, _ := buildflags.ParseCacheEntry(r.o.CacheFrom)
	return append(r.ownCache(t), build.CreateCaches(given)...)
}

// ownCache is where the cache of a target is.
func (r *run) ownCache(t *target) []buildkit.CacheOptionsEntry {
	switch r.o.cache() {
	case CacheRegistry:
		if t.repo == "" {
			return nil
		}
		return []buildkit.CacheOptionsEntry{{Type: CacheRegistry, Attrs: map[string]string{"ref": t.repo + ":buildcache-" + sanitize(t.name)}}}
	case CacheGitHub:
		// The library would take the first version of the service, which is gone:
		// the variable that tells of the second is not given to container actions.
		return []buildkit.CacheOptionsEntry{{Type: CacheGitHub, Attrs: map[string]string{
			"version": "2", "url_v2": r.o.GitHub.URL, "token": r.o.GitHub.Token, "scope": t.name, "timeout": "5m",
		}}}
	}
	return nil
}

var secretName = regexp.MustCompile(`(?i)SECRET|PASSW|TOKEN|API_?KEY|PRIVATE_?KEY|CREDENTIAL`)

// warnArguments warns of build arguments that look like secrets: everybody who has
// the image can read them in its history.
func (r *run) warnArguments() {
	for _, t := range r.plan.targets {
		names := map[string]bool{}
		for k, v := range t.spec.Args {
			names[k] = v != nil && *v != ""
		}
		for k, v := range r.o.BuildArgs {
			names[k] = v != ""
		}
		for k, set := range names {
			if set && secretName.MatchString(k) && !strings.HasSuffix(strings.ToUpper(k), "_FILE") {
				r.say(event.Warning, "load", t.name, "the build argument %s looks like a secret, and whoever has the image can read it: "+
					"give it in secrets and use RUN --mount=type=secret,id=%s", k, strings.ToLower(k))
			}
		}
	}
}
