// Package deploy is the doorway of the verb deploy, and of what belongs to it:
// plan, status and history. It declares the inputs, turns them into the verb's
// options and the verb's result into outputs, a summary and lines for people.
// action.yml and the tables of README.md are generated from the declarations.
package deploy

//go:generate go test -count=1 -run ^TestGenerated$ . -write

import (
	"cmp"
	"encoding/json"
	"strings"
	"time"

	"github.com/shiksha/actions/actions/door"
	"github.com/shiksha/actions/actions/inputs"
	"github.com/shiksha/actions/pkg/checkout"
	"github.com/shiksha/actions/pkg/converge"
	verb "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/probe"
)

// Source is where a stack comes from.
type Source struct {
	ComposeFile inputs.List    `name:"compose-file" group:"stack" placeholder:"FILE,..." help:"Compose files in the workspace, later ones win. Default: compose.yaml, or whatever Compose itself looks for."`
	Project     string         `name:"project" group:"stack" help:"Name of the Compose project. Default: the name in the Compose file, else the folder's (in a workflow the repository's)."`
	EnvFile     inputs.EnvFile `name:"env-file" group:"stack" placeholder:"FILE" help:"Variables for the Compose file: lines of NAME=value (a secret of the workflow, say), or the path of such a file in the workspace. What contains a = or a line end is content, the rest is a path."`
	Version     string         `name:"version" group:"stack" help:"Name of this release. The Compose file sees it as the variable VERSION."`
	Images      inputs.Content `name:"images" group:"stack" placeholder:"SERVICE=REF,..." help:"Images that override the Compose file's, as service=reference, one a line or separated by commas, or as the JSON object that the build's output images is."`
}

// Inputs is everything a deploy can be told. The Compose file says the rest.
type Inputs struct {
	inputs.Connection
	inputs.Vault
	inputs.Platform

	Source
	Registry string        `name:"registry" group:"stack" help:"Registry that the next two inputs log in to, like ghcr.io. The credentials are used for this pull and are not stored on the host."`
	Username string        `name:"registry-username" group:"stack" help:"User name at the registry."`
	Password inputs.Secret `name:"registry-password" group:"stack" placeholder:"@FILE" help:"Password or token at the registry."`

	Services      inputs.List   `name:"services" group:"rollout" placeholder:"SERVICE,..." help:"Release only these services. Default: all."`
	Strategy      string        `name:"strategy" group:"rollout" default:"rolling" enum:"rolling,replace" help:"rolling follows each service's update_config and loses no request; replace stops everything that changes at once (for staging)."`
	Preflight     string        `name:"preflight" group:"rollout" default:"on" enum:"on,strict,warn,off" help:"Checks before the release: on refuses errors and reports warnings, strict refuses both, warn refuses nothing, off does not check."`
	Adopt         bool          `name:"adopt" group:"rollout" default:"false" help:"Release even if something on the host was changed by hand since the last release. The plan shows what; the release undoes it."`
	DryRun        bool          `name:"dry-run" group:"rollout" default:"false" help:"Make and print the plan; change nothing."`
	Rollback      bool          `name:"rollback-on-failure" group:"rollout" default:"true" negatable:"" help:"When a release fails, roll back everything that it changed. With false, only the failed batch is rolled back."`
	KeepReleases  int           `name:"keep-releases" group:"rollout" default:"5" min:"1" help:"How many releases the host remembers, with those that failed among them; the two newest verified ones stay in any case. Older ones cannot be gone back to."`
	StateDir      string        `name:"state-dir" group:"rollout" placeholder:"DIR" help:"Folder on the host for releases and the lock. Default: /var/lib/shiksha, or the user's own state folder where that cannot be written, or is empty and theirs is not."`
	LockWait      time.Duration `name:"lock-wait" group:"rollout" default:"10m" help:"How long to wait while another run releases this project."`
	WaitTimeout   time.Duration `name:"wait-timeout" group:"rollout" default:"10m" help:"Longest time for one batch to become healthy, or for a service that others wait for to end. A service's own healthcheck usually ends sooner."`
	RemoveOrphans bool          `name:"remove-orphans" group:"rollout" default:"false" help:"Remove services that are no longer in the Compose file. Those of an inactive profile are in it, and stay. The plan always lists both."`

	Checks       string        `name:"checks" group:"checks" placeholder:"FILE" help:"File of checks in the workspace that decide whether the release stays. Default: the checks of the Compose file, else what it promises: units, health, images, restarts, published ports. The file is not kept with the release, so a rollback does not run it; what stands under x-shiksha.checks is."`
	SkipChecks   inputs.List   `name:"skip-checks" group:"checks" placeholder:"NAME,..." help:"Checks to leave out, by name."`
	CheckTimeout time.Duration `name:"check-timeout" group:"checks" default:"5m" help:"Longest time for all checks. What is not over by then is unknown, and the release is rolled back."`
	Window       time.Duration `name:"stability-window" group:"checks" default:"0s" help:"How long nothing may restart, lose its health or stop answering. 0s: as long as the longest monitor of the stack's services, which new units were watched for already."`
	URL          string        `name:"url" group:"checks" placeholder:"URL" help:"Address under which users reach the stack. Checks with only a path ask there, and {{url}} is its value."`
	FailOn       string        `name:"fail-on" group:"checks" default:"fail" enum:"fail,warn" help:"warn makes a warning of a check fail the release too."`

	ProbeURL    string `name:"probe-url" group:"probe" placeholder:"URL" help:"Address to request during the whole release, to measure what users see. Default: no probe."`
	ProbeRate   int    `name:"probe-rate" group:"probe" default:"20" min:"1" max:"10000" help:"Requests a second of the probe."`
	ProbeBudget int    `name:"probe-budget" group:"probe" default:"0" min:"0" help:"How many requests of the probe may fail, but for those in an interruption that the plan announces. One more and the release is rolled back."`

	inputs.Telling
}

// Check tells what is wrong with the inputs beyond their types.
func (in *Inputs) Check(s inputs.Source) []error {
	var problems []error
	if in.Host != "" || !in.DryRun {
		problems = in.Connection.Check(s)
	}
	if _, err := in.References(); err != nil {
		problems = append(problems, err)
	}
	problems = append(problems, inputs.CheckURL("probe-url", in.ProbeURL)...)
	problems = append(problems, inputs.CheckURL("url", in.URL)...)
	problems = append(problems, inputs.CheckLogin(in.Username, in.Password)...)
	problems = append(problems, in.Telling.Check()...)
	problems = append(problems, inputs.CheckStateDir(in.StateDir)...)
	return append(problems, inputs.CheckProject(in.Project)...)
}

// References reads the images input: service=reference, by line or comma, or the
// JSON object that a build gives.
func (in *Source) References() (map[string]string, error) {
	images := map[string]string{}
	if strings.HasPrefix(string(in.Images), "{") {
		return imagesOf(string(in.Images))
	}
	for _, item := range strings.FieldsFunc(string(in.Images), func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		item = strings.TrimSpace(item)
		if item == "" || strings.HasPrefix(item, "#") {
			continue
		}
		service, ref, ok := strings.Cut(item, "=")
		service, ref = strings.TrimSpace(service), strings.TrimSpace(ref)
		if !ok || service == "" || ref == "" {
			return nil, fault.New(fault.Input, "images", "write service=reference, for example api=ghcr.io/example/api@sha256:...",
				"%q is not service=reference", item)
		}
		if _, twice := images[service]; twice {
			return nil, fault.New(fault.Input, "images", "give one image a service", "names the service %s twice", service)
		}
		images[service] = ref
	}
	if len(images) == 0 {
		return nil, nil
	}
	return images, nil
}

func imagesOf(text string) (map[string]string, error) {
	images := map[string]string{}
	decoder := json.NewDecoder(strings.NewReader(text))
	if err := decoder.Decode(&images); err != nil || decoder.More() {
		return nil, fault.New(fault.Input, "images", `for example {"api": "ghcr.io/example/api@sha256:..."}, as the output images of the build has it`,
			"begins like JSON and is not an object of service to reference")
	}
	for service, ref := range images {
		if service == "" || ref == "" {
			return nil, fault.New(fault.Input, "images", "leave out what was not built", "names no image for the service %q", service)
		}
	}
	if len(images) == 0 {
		return nil, nil
	}
	return images, nil
}

// options gives the verb what it needs.
func (in *Inputs) options(s *door.Session) (verb.Options, error) {
	o, err := in.Source.options(s)
	if err != nil {
		return verb.Options{}, err
	}
	o.Host = in.Config(s.Person)
	o.Vault = in.VaultConfig(o.Host)
	o.Registry = engine.Auth{Registry: in.Registry, Username: in.Username, Password: string(in.Password)}
	o.Services, o.Strategy, o.Preflight = in.Services, in.Strategy, in.Preflight
	o.Adopt, o.Engine = in.Adopt, in.Engine
	o.DryRun, o.RollbackOnFailure, o.RemoveOrphans = in.DryRun, in.Rollback, in.RemoveOrphans
	o.KeepReleases, o.StateDir, o.LockWait, o.WaitTimeout = in.KeepReleases, in.StateDir, in.LockWait, in.WaitTimeout
	o.ProbeBudget = in.ProbeBudget
	if o.Verify, err = in.verifier(s); err != nil {
		return verb.Options{}, err
	}
	o.Run = origin(s)
	if in.ProbeURL != "" {
		o.Probe = probe.Config{URL: in.ProbeURL, Rate: in.ProbeRate}
	}
	return o, nil
}

// origin records which run releases, and what; people release without one. A workflow may
// release something else than its event's commit, like the tag of a version: what is
// checked out counts, as for a build. A pull request's merge stays: GitHub shows it there.
func origin(s *door.Session) converge.Origin {
	run := s.Action.Run()
	commit := run.Commit
	if commit != "" && !strings.HasPrefix(run.FullRef, "refs/pull/") {
		commit = cmp.Or(checkout.Commit(s.Workspace, run.Repository), commit)
	}
	return converge.Origin{Commit: commit, Actor: run.Actor, URL: run.URL, Repository: run.Repository}
}
