package build

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/distribution/reference"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
)

// name gives every target its references and refuses what a deploy would not
// find again.
func (p *plan) name(r *run) error {
	for _, t := range p.targets {
		if err := t.nameIt(r); err != nil {
			return err
		}
		if r.o.Push && len(t.tags) == 0 && !t.linked {
			return fault.New(fault.Input, t.place, fmt.Sprintf("give %s `image: ghcr.io/team/%s` (it is what a deploy pulls), or leave push out", t.name, t.name),
				"%s would be pushed, but nothing says as what: it has no image", t.name)
		}
		if len(r.o.Platforms) > 0 {
			t.spec.Platforms = r.o.Platforms
		}
		if r.o.Load && len(t.spec.Platforms) > 1 && !t.linked {
			return fault.New(fault.Input, "load", "name one in platforms, or leave load out", "%s is built for %s, and an engine takes one platform",
				t.name, strings.Join(t.spec.Platforms, ", "))
		}
	}
	return p.links()
}

// links refuses a context that is the image of a target that is not built.
func (p *plan) links() error {
	for _, t := range p.targets {
		for _, path := range t.spec.Contexts {
			other, ok := strings.CutPrefix(path, "target:")
			if ok && !slices.ContainsFunc(p.targets, func(t *target) bool { return t.name == other }) {
				return fault.New(fault.Input, "targets", "add "+other+" to it", "%s is built from the image of %s, which is not among the targets", t.name, other)
			}
		}
	}
	return nil
}

func (t *target) nameIt(r *run) error {
	if t.image == "" {
		if len(t.spec.Tags) == 0 {
			return nil
		}
		t.image = t.spec.Tags[0]
	}
	named, err := t.parse(r, t.image)
	if err != nil {
		return err
	}
	t.repo = named.Name()
	if domain := reference.Domain(named); r.o.Push && r.o.Registry.domain() != "" && domain != r.o.Registry.domain() {
		return mismatch("registry", t, r.o.Registry.domain(), "name the registry that the Compose file names, or change its image")
	}
	add := func(ref reference.Named) {
		if text := ref.String(); !slices.Contains(t.tags, text) {
			t.tags = append(t.tags, text)
		}
	}
	if _, digested := named.(reference.Digested); digested {
		return fault.New(fault.Input, t.place, "name it by a tag", "%s: what is built cannot be named by a digest: %s", t.name, t.image)
	}
	add(reference.TagNameOnly(named))
	for _, text := range t.spec.Tags {
		extra, err := t.parse(r, text)
		if err != nil {
			return err
		}
		if r.o.BakeFile != "" && extra.Name() != t.repo {
			return mismatch(r.o.BakeFile, t, extra.String(), "let both name the same repository")
		}
		add(reference.TagNameOnly(extra))
	}
	return t.extraTags(r, named, add)
}

// extraTags adds the tags input, or what the commit is called.
func (t *target) extraTags(r *run, named reference.Named, add func(reference.Named)) error {
	tags := r.o.Tags
	if len(tags) == 0 {
		tags = r.o.Git.tags()
	}
	for _, tag := range tags {
		if !strings.ContainsAny(tag, "/:") {
			tagged, err := reference.WithTag(reference.TrimNamed(named), tag)
			if err != nil {
				return fault.New(fault.Input, "tags", "a tag has letters, digits, _, . and -, 128 at most", "%q cannot be a tag", tag)
			}
			add(tagged)
			continue
		}
		full, err := t.parse(r, tag)
		if err != nil {
			return fault.New(fault.Input, "tags", "write a tag (v1), or a full reference (ghcr.io/team/shop:v1)", "%q cannot be used: %w", tag, err)
		}
		if full.Name() == t.repo {
			add(reference.TagNameOnly(full))
		} else if len(r.plan.targets) == 1 || !r.plan.owns(r, full.Name()) {
			return mismatch("tags", t, full.String(), "let both name the same repository, or write the tag alone")
		}
	}
	return nil
}

// silent is for names that are told elsewhere.
var silent = &run{sink: event.Discard, result: &Result{}}

// owns tells whether any target is pushed to a repository.
func (p *plan) owns(r *run, repo string) bool {
	return slices.ContainsFunc(p.targets, func(t *target) bool {
		named, err := t.parse(silent, t.image)
		return err == nil && named.Name() == repo
	})
}

// mismatch is the error that shows both names: what would be pushed is not what
// would be deployed.
func mismatch(where string, t *target, pushed, hint string) error {
	return fault.New(fault.Input, where, hint, "%s would be pushed as %s, but %s deploys %s: a deploy would not find what was built",
		t.name, pushed, t.place, t.image)
}

// parse reads a reference. A repository in upper case, as GitHub's names may be,
// is written in lower case, and that is said.
func (t *target) parse(r *run, text string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(text)
	if err == nil {
		return named, nil
	}
	repo, tag := text, ""
	if i := strings.LastIndex(text, ":"); i > strings.LastIndex(text, "/") {
		repo, tag = text[:i], text[i:]
	}
	named, lower := reference.ParseNormalizedNamed(strings.ToLower(repo) + tag)
	if lower != nil {
		return nil, fault.New(fault.Input, t.place, "write it like ghcr.io/team/shop:v1", "%s: %q is not the name of an image: %w", t.name, text, err)
	}
	r.say(event.Notice, "load", t.name, "%s is written in lower case, as registries need it: %s", text, named)
	return named, nil
}

var notInTag = regexp.MustCompile(`[^A-Za-z0-9_.-]+`)

// tags are what the commit is called: its branch, pull request or version, and
// its short hash.
func (g Git) tags() []string {
	var tags []string
	kind, name, _ := strings.Cut(strings.TrimPrefix(g.Ref, "refs/"), "/")
	switch kind {
	case "heads":
		tags = append(tags, sanitize(name))
	case "pull":
		number, _, _ := strings.Cut(name, "/")
		tags = append(tags, "pr-"+number)
	case "tags":
		if v, err := version(name); err == nil {
			tags = append(tags, g.versionTags(v)...)
		} else {
			tags = append(tags, sanitize(name))
		}
	}
	if len(g.Commit) >= 7 {
		tags = append(tags, "sha-"+g.Commit[:7])
	}
	// A branch may have no letter that a tag can have; it is no reason to build nothing.
	return slices.DeleteFunc(tags, func(tag string) bool { return tag == "" })
}

func sanitize(name string) string {
	name = strings.TrimLeft(notInTag.ReplaceAllString(name, "-"), ".-")
	return name[:min(len(name), 128)]
}

func version(tag string) (*semver.Version, error) {
	return semver.StrictNewVersion(strings.TrimPrefix(tag, "v"))
}

// versionTags are 1.2.3, 1.2, 1 and latest, each only where no newer version has
// it: a fix for an old line must not take the tags of a newer one back. A
// pre-release has its own tag only.
func (g Git) versionTags(v *semver.Version) []string {
	tags := []string{sanitize(v.String())}
	if v.Prerelease() != "" {
		return tags
	}
	newest := func(same func(*semver.Version) bool) bool {
		return !slices.ContainsFunc(g.Versions, func(tag string) bool {
			o, err := version(tag)
			return err == nil && o.Prerelease() == "" && same(o) && o.GreaterThan(v)
		})
	}
	if newest(func(o *semver.Version) bool { return o.Major() == v.Major() && o.Minor() == v.Minor() }) {
		tags = append(tags, fmt.Sprintf("%d.%d", v.Major(), v.Minor()))
	}
	if v.Major() > 0 && newest(func(o *semver.Version) bool { return o.Major() == v.Major() }) {
		tags = append(tags, fmt.Sprint(v.Major()))
	}
	if newest(func(*semver.Version) bool { return true }) {
		tags = append(tags, "latest")
	}
	return tags
}

// registryTags completes the commit, and for a version reads which versions the
// registry has: a shallow checkout does not know the other tags.
func (r *run) registryTags(ctx context.Context) {
	given := r.o.Git.Commit
	r.o.Git = r.o.Git.complete(r.o.Workspace)
	r.result.Commit = r.o.Git.Commit
	if given != "" && given != r.o.Git.Commit {
		r.note("load", "", "the checkout is at %.7s, not at the event's commit %.7s: the images are named, labelled and dated after the checkout", r.o.Git.Commit, given)
	}
	name, tagged := strings.CutPrefix(r.o.Git.Ref, "refs/tags/")
	if _, err := version(name); err != nil || !tagged || !r.o.Push || len(r.o.Tags) > 0 {
		return
	}
	for _, t := range r.plan.targets {
		if t.image != "" {
			r.o.Git.Versions = append(r.o.Git.Versions, r.listTags(ctx, t)...)
		}
	}
}

// labels describe an image as the OCI annotations do.
func (r *run) labels() map[string]string {
	labels := map[string]string{}
	set := func(key, value string) {
		if value != "" {
			labels["org.opencontainers.image."+key] = value
		}
	}
	set("source", r.o.Git.Source)
	set("revision", r.o.Git.Commit)
	if !r.o.Git.Time.IsZero() {
		set("created", r.o.Git.Time.UTC().Format(time.RFC3339))
	}
	set("version", r.o.Environment["VERSION"])
	maps.Copy(labels, r.o.Labels)
	return labels
}
