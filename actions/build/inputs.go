// Package build is the doorway of the verb build: it declares the inputs, turns
// them into the verb's options, and the verb's result into outputs, a summary and
// lines for people. action.yml and the tables of README.md are generated from the
// declarations.
package build

//go:generate go test -count=1 -run ^TestGenerated$ . -write

import (
	"encoding/json"
	"strings"

	"github.com/compose-spec/compose-go/v2/dotenv"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	verb "github.com/shiksha/actions/pkg/build"
	"github.com/shiksha/actions/pkg/fault"
)

// Inputs is everything a build can be told. The Compose file says the rest.
type Inputs struct {
	ComposeFile inputs.List    `name:"compose-file" group:"stack" placeholder:"FILE,..." help:"Compose files in the workspace, later ones win. Default: compose.yaml, or whatever Compose itself looks for."`
	Project     string         `name:"project" group:"stack" help:"Name of the Compose project, which the Compose file sees as COMPOSE_PROJECT_NAME. Default: as for a deploy."`
	EnvFile     inputs.EnvFile `name:"env-file" group:"stack" placeholder:"FILE" help:"Variables for the Compose file: lines of NAME=value, or the path of such a file in the workspace. Only those that images depend on have to be set."`
	Version     string         `name:"version" group:"stack" help:"Name of this release. The Compose file sees it as the variable VERSION."`

	Recipe

	Push     bool          `name:"push" group:"registry" default:"false" help:"Push the images, under the names in the Compose file and with the tags."`
	Load     bool          `name:"load" group:"registry" default:"false" help:"Load the images into this machine's Docker Engine, which takes one platform."`
	Registry string        `name:"registry" group:"registry" help:"Registry that the next two inputs log in to, like ghcr.io. It has to be the one that the Compose file names."`
	Username string        `name:"registry-username" group:"registry" help:"User name at the registry."`
	Password inputs.Secret `name:"registry-password" group:"registry" placeholder:"@FILE" example:"${{ secrets.GITHUB_TOKEN }}" help:"Password or token at the registry."`
	Outputs  inputs.Lines  `name:"outputs" group:"registry" placeholder:"SPEC" help:"Exporters in BuildKit's form, one a line, like type=local,dest=out. What they write stays in the workspace; with several targets each has a folder of its name."`
}

// Recipe is how images are made. A pipeline is told the same.
type Recipe struct {
	BakeFile string      `name:"bake-file" group:"stack" placeholder:"FILE" help:"A bake file (HCL or JSON) that gives the targets instead of the Compose file. A target with the name of a service builds that service's image."`
	Targets  inputs.List `name:"targets" group:"stack" placeholder:"SERVICE,..." help:"Services to build (or targets of the bake file). Default: all that have build:."`

	Platforms  inputs.List    `name:"platforms" group:"image" placeholder:"PLATFORM,..." help:"Platforms to build for, like linux/amd64,linux/arm64. Default: what the Compose file says, else the builder's own."`
	BuildArgs  inputs.Content `name:"build-args" group:"image" placeholder:"NAME=VALUE,..." help:"Build arguments, as lines of NAME=value or as one JSON object. They override the Compose file's. Everybody who has the image can read them: no secrets."`
	Secrets    inputs.Secret  `name:"secrets" group:"image" placeholder:"@FILE" example:"npm=${{ secrets.NPM_TOKEN }}" help:"Secrets for RUN --mount=type=secret, as lines of id=value (values of several lines in quotes) or as one JSON object. They are in no layer, log or cache."`
	Labels     inputs.Content `name:"labels" group:"image" placeholder:"NAME=VALUE,..." help:"More labels, as lines of name=value or as one JSON object. Source, revision, version and creation time are set automatically."`
	Provenance string         `name:"provenance" group:"image" help:"Attestation of how an image was built: true, false, min or max (max has the build arguments too). Default: min for what is pushed."`
	SBOM       string         `name:"sbom" group:"image" help:"List of the packages in the image: true, false or generator=IMAGE. Default: false."`
	Tags       inputs.List    `name:"tags" group:"registry" placeholder:"TAG,..." help:"Tags besides the Compose file's own. Default, from git: the branch, pr-N of a pull request, 1.2.3, 1.2, 1 and latest of a version (each only while no newer one has it), and sha-abc1234."`

	Cache     string       `name:"cache" group:"builder" help:"Where build steps are cached: registry (beside the image, as its tag buildcache-TARGET), gha (the workflow's cache) or none. Default: registry when pushing, else none."`
	CacheFrom inputs.Lines `name:"cache-from" group:"builder" placeholder:"SPEC" help:"More caches to read, in BuildKit's form, one a line."`
	CacheTo   inputs.Lines `name:"cache-to" group:"builder" placeholder:"SPEC" help:"More caches to write, in BuildKit's form, one a line."`
	NoCache   bool         `name:"no-cache" group:"builder" default:"false" help:"Run every step even if it is cached."`
	Pull      bool         `name:"pull" group:"builder" default:"false" help:"Look for newer base images even if the builder has them."`
	Builder   string       `name:"builder" group:"builder" placeholder:"ADDRESS" help:"BuildKit to use: tcp://host:port, unix:///path, or the name of a container. Default: the engine's own where it can export what is asked, else one is started in a container and removed afterwards (its cache stays)."`
	Image     string       `name:"buildkit-image" group:"builder" default:"moby/buildkit:v0.34.2" help:"Image to start a builder from."`
}

// Check tells what is wrong with the inputs beyond their types.
func (in *Inputs) Check(s inputs.Source) []error {
	return append(in.Recipe.Check(s), inputs.CheckLogin(in.Username, in.Password)...)
}

// Check tells what is wrong with the recipe beyond the types.
func (in *Recipe) Check(s inputs.Source) []error {
	var problems []error
	add := func(err error) {
		if err != nil {
			problems = append(problems, err)
		}
	}
	_, err := pairs("build-args", string(in.BuildArgs), s.Runner)
	add(err)
	_, err = pairs("labels", string(in.Labels), s.Runner)
	add(err)
	_, err = secrets(string(in.Secrets))
	add(err)
	switch in.Cache {
	case "", verb.CacheRegistry, verb.CacheGitHub, verb.CacheNone:
	default:
		add(fault.New(fault.Input, "cache", "use registry, gha or none; other caches go to cache-from and cache-to", "%q is none of registry, gha, none", in.Cache))
	}
	return problems
}

// pairs reads NAME=value lines, or one JSON object of texts. On the command line it may
// be given by commas too; on a runner, where it is always lines, a comma is a comma.
func pairs(input, text string, runner bool) (map[string]string, error) {
	text = strings.TrimSpace(text)
	if strings.HasPrefix(text, "{") {
		return object(input, text)
	}
	found := map[string]string{}
	separator, hint := "\n", "write NAME=value, one a line, or a JSON object"
	if !runner && !strings.Contains(text, "\n") {
		separator, hint = ",", `write NAME=value; a value with a comma in a JSON object: {"NAME": "a,b"}`
	}
	for item := range strings.SplitSeq(text, separator) {
		item = strings.TrimSpace(item)
		if item == "" || separator == "\n" && strings.HasPrefix(item, "#") {
			continue
		}
		name, value, ok := strings.Cut(item, "=")
		if name = strings.TrimSpace(name); !ok || name == "" {
			return nil, fault.New(fault.Input, input, hint, "%q is not NAME=value", item)
		}
		if _, twice := found[name]; twice {
			return nil, fault.New(fault.Input, input, "give it once", "names %s twice", name)
		}
		found[name] = value
	}
	return found, nil
}

func object(input, text string) (map[string]string, error) {
	found := map[string]string{}
	decoder := json.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&found); err != nil || decoder.More() {
		// What was given is not repeated: it may be a secret.
		return nil, fault.New(fault.Input, input, `write {"name": "value"}, or NAME=value lines`, "begins like JSON and is not an object of texts")
	}
	return found, nil
}

// secrets reads id=value lines, with values of several lines in quotes, or one
// JSON object. No error repeats what was given.
func secrets(text string) (map[string]string, error) {
	if strings.HasPrefix(strings.TrimSpace(text), "{") {
		return object("secrets", text)
	}
	found := map[string]string{}
	// Nothing is filled in: a $ in a secret is a $. A line without a value would be looked
	// up, the last one would be a value without an id.
	bare := false
	hidden := strings.ReplaceAll(text, "$", dollar)
	err := dotenv.ParseWithFormat(strings.NewReader(hidden), "secrets", found, func(string) (string, bool) { bare = true; return "", true }, "")
	if _, unnamed := found[""]; err != nil || bare || unnamed {
		return nil, fault.New(fault.Input, "secrets", "write id=value, one a line; put a value of several lines in quotes", "cannot be read as id=value lines")
	}
	for id, value := range found {
		found[id] = strings.ReplaceAll(value, dollar, "$")
	}
	return found, nil
}

// dollar stands for a $ while secrets are read: a character that no text has.
const dollar = "\ufdd0"

// options gives the verb what it needs.
func (in *Inputs) options(s *door.Session) (verb.Options, error) {
	env, err := in.EnvFile.Bytes(s.Workspace)
	if err != nil {
		return verb.Options{}, fault.New(fault.Input, "env-file", "give the path of a file in the workspace, or lines of NAME=value", "%w", err)
	}
	s.Protect(inputs.SecretValues(string(env))...)
	args, err := pairs("build-args", string(in.BuildArgs), s.Action.Active())
	if err != nil {
		return verb.Options{}, err
	}
	labels, err := pairs("labels", string(in.Labels), s.Action.Active())
	if err != nil {
		return verb.Options{}, err
	}
	given, err := secrets(string(in.Secrets))
	if err != nil {
		return verb.Options{}, err
	}
	hidden := map[string][]byte{}
	for id, value := range given {
		s.Protect(value)
		hidden[id] = []byte(value)
	}
	url, token := s.Action.Cache()
	s.Protect(token)
	o := verb.Options{
		Workspace: s.Workspace, ComposeFiles: in.ComposeFile, BakeFile: in.BakeFile, Project: in.Project,
		EnvFile: env, EnvFileName: in.EnvFile.Name(s.Workspace), Targets: in.Targets, Platforms: in.Platforms,
		Push: in.Push, Load: in.Load, Tags: in.Tags,
		Registry: verb.Login{Registry: in.Registry, Username: in.Username, Password: string(in.Password)},
		Cache:    in.Cache, CacheFrom: in.CacheFrom, CacheTo: in.CacheTo, GitHub: verb.GitHubCache{URL: url, Token: token},
		BuildArgs: args, Secrets: hidden, Labels: labels, Provenance: in.Provenance, SBOM: in.SBOM,
		Builder: in.Builder, Image: in.Image, DockerHost: s.DockerHost, NoCache: in.NoCache, Pull: in.Pull, Outputs: in.Outputs,
		Protect: s.Protect,
	}
	if in.Version != "" {
		o.Environment = map[string]string{"VERSION": in.Version}
	}
	run := s.Action.Run()
	o.Git = verb.Git{Commit: run.Commit, Ref: run.FullRef}
	_, o.Folder, _ = strings.Cut(run.Repository, "/")
	if run.Repository != "" && run.Server != "" {
		o.Git.Source = run.Server + "/" + run.Repository
	}
	return o, nil
}
