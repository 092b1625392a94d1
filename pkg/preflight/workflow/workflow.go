// Package workflow looks at the workflows of a repository, with actionlint and with
// rules about deploying.
package workflow

import (
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/rhysd/actionlint"

	"github.com/shiksha/actions/pkg/preflight/finding"
)

const workflowDir = ".github/workflows"

// findings are those about workflows.
type findings struct {
	*finding.Findings
	// semver are the repositories that are pushed to by versions without their v.
	semver []string
}

// Look looks at the workflows of the repository. They are policy: a release works
// without them, until it does not.
func Look(all *finding.Findings) {
	f := &findings{Findings: all}
	// A pull request may make any of these a link that leads out of the checkout.
	root, err := os.OpenRoot(f.Options.Workspace)
	if err != nil {
		return
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), workflowDir)
	if err != nil {
		return // a stack may live in a repository without any
	}
	before := len(f.Results)
	var files []file
	for _, e := range entries {
		if ext := path.Ext(e.Name()); !e.Type().IsRegular() || ext != ".yml" && ext != ".yaml" {
			continue
		}
		content, err := root.ReadFile(path.Join(workflowDir, e.Name()))
		if err != nil {
			continue
		}
		w, _ := actionlint.Parse(content)
		files = append(files, file{path.Join(workflowDir, e.Name()), content, w})
		if w != nil {
			f.versions(w)
		}
	}
	for _, file := range files {
		f.workflow(file.name, file.content, file.parsed, root.FS())
	}
	if len(files) > 0 && len(f.Results) == before {
		f.Pass("P16.workflows", "%d workflows: pinned, one at a time, with the least permissions", len(files))
	}
}

// file is one workflow; parsed is nil where actionlint cannot.
type file struct {
	name    string
	content []byte
	parsed  *actionlint.Workflow
}

func (f *findings) workflow(name string, content []byte, w *actionlint.Workflow, root fs.FS) {
	f.actionlint(name, content)
	if w == nil {
		return // actionlint said why
	}
	for _, event := range w.On {
		if event.EventName() == "pull_request_target" {
			f.Warn("P16.pull-request-target", finding.In("", name, finding.LineOf(content, "pull_request_target")), "use pull_request; what needs secrets runs after the merge",
				"pull_request_target gives the code of a stranger's pull request the secrets of this repository")
		}
	}
	pushed := f.pushes(w)
	f.builtImages(name, pushed)
	for _, id := range finding.SortedKeys(w.Jobs) {
		f.job(name, w, w.Jobs[id])
		f.migrations(name, w.Jobs[id])
		f.keys(name, w.Jobs[id])
		f.lookups(name, w.Jobs[id], w.Env, w.Jobs[id].Env)
		f.dockerfiles(name, root, w.Jobs[id])
	}
}

// newer are keys that GitHub takes and actionlint does not know yet.
var newer = regexp.MustCompile(`unexpected key "(queue" for "concurrency|deployment" for "environment)" section`)

// actionlint's findings are told as they are; it reads no other file and runs no
// other program.
func (f *findings) actionlint(name string, content []byte) {
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{WorkingDir: f.Options.Workspace})
	if err != nil {
		return
	}
	errs, err := linter.Lint(name, content, nil)
	if err != nil {
		f.Skip("P16.actionlint", finding.In("", name, 0), "", "actionlint cannot read it: %s", finding.OneLine(err.Error()))
	}
	for _, e := range errs {
		if newer.MatchString(e.Message) {
			continue
		}
		f.Warn("P16.actionlint", finding.In("", name, e.Line), "correct the workflow; https://rhysd.github.io/actionlint/ tries it", "%s", finding.OneLine(e.Error()))
	}
}

// job looks at one job; what is asked of those that deploy is asked of no other.
func (f *findings) job(name string, w *actionlint.Workflow, job *actionlint.Job) {
	deploys := deploys(job)
	if job.Environment == nil && deploys {
		f.Warn("P16.environment", finding.In("", name, job.Pos.Line), "add `environment: production` with reviewers, and keep the key in it",
			"job %s deploys and has no environment: everybody who may push may release", job.ID.Value)
	}
	if w.Concurrency == nil && job.Concurrency == nil && deploys {
		f.Warn("P16.concurrency", finding.In("", name, job.Pos.Line), "add `concurrency: {group: deploy-production, cancel-in-progress: false}`",
			"job %s deploys and two of it may run at once", job.ID.Value)
	}
	f.permissions(name, w, job)
	f.rollbackJob(name, job)
	for _, step := range job.Steps {
		switch run := step.Exec.(type) {
		case *actionlint.ExecAction:
			f.pinned(name, run)
		case *actionlint.ExecRun:
			f.script(name, run)
		}
	}
}

var (
	deployUse    = regexp.MustCompile(`(^|/)actions/(actions/)?(deploy|rollback)@|/ssh-action@|shiksha/actions@`)
	deployScript = regexp.MustCompile(`(?m)^\s*shiksha (deploy|rollback)\b|\bssh\s.*(docker|compose)|<<.*\n(.*\n)*.*docker[- ]compose`)
)

// onlyLook are the commands of the one action that change nothing on a host.
var onlyLook = []string{"plan", "build", "verify"}

// deploys tells whether a job changes what runs on a host; a plan does not.
func deploys(job *actionlint.Job) bool {
	return slices.ContainsFunc(job.Steps, func(s *actionlint.Step) bool {
		switch run := s.Exec.(type) {
		case *actionlint.ExecAction:
			return run.Uses != nil && deployUse.MatchString(run.Uses.Value) && input(run, "dry-run") != "true" &&
				!(strings.HasPrefix(run.Uses.Value, "shiksha/actions@") && slices.Contains(onlyLook, input(run, "command")))
		case *actionlint.ExecRun:
			return run.Run != nil && deployScript.MatchString(run.Run.Value)
		}
		return false
	})
}

var commitSHA = regexp.MustCompile(`@[0-9a-f]{40}$|^\./|@sha256:[0-9a-f]{64}$`)

// pinned asks for a commit where the action is not GitHub's own or ours: a tag, and
// a branch all the more, is what its owner says it is today.
func (f *findings) pinned(name string, run *actionlint.ExecAction) {
	if run.Uses == nil {
		return
	}
	uses := run.Uses.Value
	trusted := strings.HasPrefix(uses, "actions/") || strings.HasPrefix(uses, "github/") || strings.HasPrefix(uses, "shiksha/")
	_, ref, _ := strings.Cut(uses, "@")
	branch := ref == "main" || ref == "master"
	if !commitSHA.MatchString(uses) && (!trusted || branch) {
		f.Warn("P16.pinned", finding.In("", name, run.Uses.Pos.Line), "write the commit: uses: "+strings.TrimSuffix(uses, "@"+ref)+"@<40 digits> # "+ref,
			"%s is whatever its owner makes of it tomorrow, with this workflow's secrets", uses)
	}
}

func (f *findings) permissions(name string, w *actionlint.Workflow, job *actionlint.Job) {
	p := job.Permissions
	if p == nil {
		p = w.Permissions
	}
	switch {
	case p == nil:
		f.Warn("P16.permissions", finding.In("", name, job.Pos.Line), "add `permissions: {contents: read}` at the top of the workflow",
			"job %s says no permissions, so its token has what the repository's default gives", job.ID.Value)
	case p.All != nil && p.All.Value == "write-all":
		f.Warn("P16.permissions", finding.In("", name, p.Pos.Line), "name only those it needs: `permissions: {contents: read}`", "job %s may do everything with the repository", job.ID.Value)
	}
}

// rollbackJob finds jobs that undo a deployment whatever failed: failure() is true
// when any job before failed, also one before the deployment.
func (f *findings) rollbackJob(name string, job *actionlint.Job) {
	if job.If == nil || len(job.Needs) == 0 || !strings.Contains(job.If.Value, "failure()") || strings.Contains(job.If.Value, ".result") {
		return
	}
	if strings.Contains(strings.ToLower(job.ID.Value), "rollback") || deploys(job) {
		f.Warn("P16.rollback", finding.In("", name, job.If.Pos.Line), "take the job out: deploy goes back by itself; or ask for needs."+job.Needs[0].Value+".result == 'failure'",
			"failure() is true when any job before failed, also when nothing was deployed yet: it would roll a good release back")
	}
}

var (
	sshCommand = regexp.MustCompile(`(?m)\bssh\s`)
	keyscan    = regexp.MustCompile(`\bssh-keyscan\b`)
	hereSecret = regexp.MustCompile(`(?s)<<-?\s*["']?(\w+)["']?\s*\n.*?(\$\{\{\s*secrets\.|\$\{?\w*(TOKEN|SECRET|PASSWORD)\w*).*?\n\s*\w+`)
	quotedHere = regexp.MustCompile(`<<-?\s*["']\w+["']`)
	remoteBash = regexp.MustCompile(`(?s)(bash -s|\bssh\s[^\n]*)<<-?\s*["']?\w+["']?\s*\n\s*(.*)`)
	localPort  = regexp.MustCompile(`(?:localhost|127\.0\.0\.1):(\d+)`)
	scaleFlag  = regexp.MustCompile(`--scale[= ]([\w.-]+)=\d+`)
	composeUp  = regexp.MustCompile(`docker[- ]compose\s[^\n;|&]*?\b(up|pull|restart|stop|run|exec)\s([^\n;|&]*)`)
	loopSleep  = regexp.MustCompile(`(?s)\bfor\s.*?\bdo\b.*?\bsleep\s+\d+\s*\n?\s*done\s*$`)
)

// script looks at a shell script of a workflow for the ways in which deploying by
// hand goes wrong.
func (f *findings) script(name string, run *actionlint.ExecRun) {
	if run.Run == nil {
		return
	}
	text := run.Run.Value
	where := finding.In("", name, run.Run.Pos.Line)
	if keyscan.MatchString(text) {
		f.Warn("P16.keyscan", where, "keep the host's key in a variable and give it as known-hosts", "ssh-keyscan trusts whoever answers, in every run")
	}
	if sshCommand.MatchString(text) {
		f.remote(where, text)
	}
	for _, m := range scaleFlag.FindAllStringSubmatch(text, -1) {
		f.serviceName(where, m[1])
	}
	for _, m := range composeUp.FindAllStringSubmatch(text, -1) {
		f.composeArguments(where, m[1], m[2])
	}
	if loopSleep.MatchString(strings.TrimSpace(text)) {
		f.Warn("P16.loop", where, "end it with `exit 1` after the loop, or let shiksha verify wait", "the loop ends with sleep, so the step passes when every try has failed")
	}
}

// remote looks at what is sent to a shell on the host.
func (f *findings) remote(where finding.Place, text string) {
	if m := remoteBash.FindStringSubmatch(text); m != nil && !strings.Contains(m[2], "set -e") && !strings.Contains(text, "bash -e") {
		f.Warn("P16.remote-errors", where, "begin it with `set -euo pipefail`, or let shiksha deploy do it", "the remote script goes on after an error: a failed step is green")
	}
	if hereSecret.MatchString(text) && !quotedHere.MatchString(text) {
		f.Warn("P16.remote-secrets", where, "give secrets as inputs of shiksha deploy: they go in headers and files of mode 0600", "a secret becomes part of the remote command's text")
	}
	for _, m := range localPort.FindAllStringSubmatch(text, -1) {
		if !slices.ContainsFunc(f.hostPorts(), func(p string) bool { return p == m[1] }) {
			f.Warn("P16.ports", where, "ask through the gateway, or by a check of shiksha verify inside the network", "it asks port %s of the host, which no service publishes", m[1])
		}
	}
}

func (f *findings) hostPorts() []string {
	var out []string
	for _, name := range f.Stack.Order {
		for _, p := range f.Stack.Services[name].HostPorts {
			port, _, _ := strings.Cut(p, "/")
			out = append(out, port)
		}
	}
	return out
}

var expressions = regexp.MustCompile(`\$\{\{\s*([^}]*?)\s*\}\}`)

// pushes lists the repositories that a workflow pushes images to, as far as they
// are written: what cannot be known stands as "*".
func (f *findings) pushes(w *actionlint.Workflow) []string {
	var out []string
	for _, id := range finding.SortedKeys(w.Jobs) {
		job := w.Jobs[id]
		for _, step := range job.Steps {
			run, ok := step.Exec.(*actionlint.ExecAction)
			if !ok || run.Uses == nil {
				continue
			}
			input := ""
			switch {
			case strings.HasPrefix(run.Uses.Value, "docker/build-push-action@"):
				input = "tags"
			case strings.HasPrefix(run.Uses.Value, "docker/metadata-action@"):
				input = "images"
			default:
				continue
			}
			if given := run.Inputs[input]; given != nil && given.Value != nil {
				out = append(out, repositories(given.Value.Value, w.Env, job.Env)...)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// repositories reads references, by line or comma, without their tags.
func repositories(text string, envs ...*actionlint.Env) []string {
	var out []string
	for _, item := range strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == '\n' }) {
		item = fill(strings.TrimSpace(item), envs)
		if i := strings.LastIndex(item, ":"); i > strings.LastIndex(item, "/") {
			item = item[:i]
		}
		if item != "" && item != "*" && !strings.HasPrefix(item, "type=") {
			out = append(out, item)
		}
	}
	return out
}

// fill puts the values of env in the place of their expressions, and * in that of
// all others.
func fill(text string, envs []*actionlint.Env) string {
	return expressions.ReplaceAllStringFunc(text, func(whole string) string {
		name, ok := strings.CutPrefix(expressions.FindStringSubmatch(whole)[1], "env.")
		for _, env := range slices.Backward(envs) {
			if !ok || env == nil {
				continue
			}
			if v := env.Vars[strings.ToLower(name)]; v != nil && v.Value != nil {
				return expressions.ReplaceAllString(v.Value.Value, "*")
			}
		}
		return "*"
	})
}

// builtImages finds services whose image is called like one that a workflow pushes
// but is another: what is deployed is then not what was built.
func (f *findings) builtImages(name string, pushed []string) {
	for _, service := range f.Stack.Order {
		image := f.Stack.Services[service].Image
		if f.Options.Images[service] != "" {
			continue // what build gave wins
		}
		named, err := reference.ParseNormalizedNamed(image)
		if err != nil {
			continue
		}
		own := named.Name()
		_, hub := strings.CutPrefix(own, "docker.io/")
		var namesake string
		for _, repo := range pushed {
			if sameRepository(own, repo) || hub && sameRepository(strings.TrimPrefix(own, "docker.io/"), repo) {
				namesake = ""
				break
			}
			if last(repo) == last(own) && last(repo) != "*" {
				namesake = repo
			}
		}
		if namesake != "" {
			f.Warn("P01.images", finding.At(service, "image"), "write image: "+namesake+", or hand the outputs of build to the images input",
				"it deploys %s, but %s pushes %s", own, name, namesake)
		}
	}
}

func last(repo string) string { return repo[strings.LastIndex(repo, "/")+1:] }

// sameRepository compares a repository with a pushed one in which * stands for
// anything.
func sameRepository(own, pushed string) bool {
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(strings.ToLower(pushed)), `\*`, ".+") + "$"
	ok, err := regexp.MatchString(pattern, own)
	return err == nil && ok
}
