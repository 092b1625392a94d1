package workflow

import (
	"io/fs"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/rhysd/actionlint"

	"github.com/shiksha/actions/pkg/preflight/finding"
)

// scripts are the shell scripts of a job, in the order in which they run.
func scripts(job *actionlint.Job) []*actionlint.ExecRun {
	var out []*actionlint.ExecRun
	for _, step := range job.Steps {
		if run, ok := step.Exec.(*actionlint.ExecRun); ok && run.Run != nil {
			out = append(out, run)
		}
	}
	return out
}

// uses tells whether a job has a step of an action.
func uses(job *actionlint.Job, is func(name string) bool) bool {
	return slices.ContainsFunc(job.Steps, func(s *actionlint.Step) bool {
		run, ok := s.Exec.(*actionlint.ExecAction)
		return ok && run.Uses != nil && is(run.Uses.Value)
	})
}

var (
	migration   = regexp.MustCompile(`docker[- ]compose\s[^\n;&|]*\b(run|exec)\s[^\n;&|]*\b(alembic\s+upgrade|manage\.py\s+migrate|prisma\s+migrate|db:migrate|flyway\s+migrate|knex\s+migrate|migration:run|goose\s+up)`)
	composePull = regexp.MustCompile(`docker[- ]compose\s[^\n;&|]*\bpull\b|docker\s+pull\s`)
)

// migrations finds those that run in the image of the release before: the schema is
// then the old one, and the new code starts on it.
func (f *findings) migrations(name string, job *actionlint.Job) {
	pulled := false
	for _, run := range scripts(job) {
		text := run.Run.Value
		m := migration.FindStringSubmatchIndex(text)
		if m == nil {
			pulled = pulled || composePull.MatchString(text)
			continue
		}
		before := pulled || composePull.MatchString(text[:m[0]])
		if inside := text[m[2]:m[3]] == "exec"; inside || !before {
			f.Warn("P16.migration", finding.In("", name, run.Run.Pos.Line), "make it a part of the release: x-shiksha.migrate runs in the new image, after the pull and a backup",
				"the migration runs in the image that is there, before the new one is: it is the old code's")
		}
	}
}

var (
	remoteCommand = regexp.MustCompile(`(?m)(^|[\s;&|(])(ssh|scp|rsync|sftp)\s`)
	bringsKey     = regexp.MustCompile(`ssh-agent|ssh-add|\.ssh/|IdentityFile|(ssh|scp|sftp)\s[^\n]*-i\s|sshpass`)
)

// keys finds jobs that connect and have no key: every job begins on a new machine, and
// what another one loaded is not there.
func (f *findings) keys(name string, job *actionlint.Job) {
	if job.RunsOn != nil && slices.ContainsFunc(job.RunsOn.Labels, func(l *actionlint.String) bool { return l.Value == "self-hosted" }) {
		return // its machine may have one
	}
	agent := uses(job, func(uses string) bool { return strings.Contains(uses, "ssh") || strings.Contains(uses, "tailscale") })
	var first *actionlint.ExecRun
	for _, run := range scripts(job) {
		agent = agent || bringsKey.MatchString(run.Run.Value)
		if first == nil && remoteCommand.MatchString(run.Run.Value) {
			first = run
		}
	}
	if first != nil && !agent {
		f.Warn("P16.ssh-key", finding.In("", name, first.Run.Pos.Line), "let shiksha do it: its inputs ssh-key and known-hosts are required wherever it runs",
			"job %s connects, and nothing in this job loads a key or knows the host: it begins on a new machine", job.ID.Value)
	}
}

var looksUp = regexp.MustCompile(`(?:docker\s+(?:manifest\s+inspect|pull|buildx\s+imagetools\s+inspect)|crane\s+(?:manifest|digest)|skopeo\s+inspect)\s+(?:-\S+\s+)*["']?([^\s"']+)`)

// lookups finds jobs that ask a registry for an image without a login, and for a tag
// that the build does not push.
func (f *findings) lookups(name string, job *actionlint.Job, env ...*actionlint.Env) {
	login := uses(job, func(uses string) bool { return strings.HasPrefix(uses, "docker/login-action@") })
	for _, run := range scripts(job) {
		where := finding.In("", name, run.Run.Pos.Line)
		login = login || strings.Contains(run.Run.Value, "docker login") || strings.Contains(run.Run.Value, "skopeo login")
		// An expression may hold spaces, which end a reference otherwise.
		text := expressions.ReplaceAllStringFunc(run.Run.Value, func(e string) string { return strings.ReplaceAll(e, " ", "") })
		for _, m := range looksUp.FindAllStringSubmatch(text, -1) {
			colon := strings.LastIndex(m[1], ":")
			if colon < strings.LastIndex(m[1], "/") {
				continue
			}
			repository, tag := fill(m[1][:colon], env), m[1][colon+1:]
			if registry, _, _ := strings.Cut(repository, "/"); !login && strings.Contains(registry, ".") {
				f.Warn("P16.login", where, "log in first (docker/login-action), or let shiksha deploy ask: it resolves every image with the run's login", "it asks %s for an image without a login: a private one is not found", registry)
			}
			if wholeTag.MatchString(tag) && slices.ContainsFunc(f.semver, func(pushed string) bool { return last(pushed) == last(repository) }) {
				f.Warn("P16.tag", where, "leave the v out (${VERSION#v}), or hand the output images of the build on: it has the digests",
					"it looks for the tag as git has it, v1.0.0; the build pushes it without the v, 1.0.0")
			}
		}
	}
}

// wholeTag is a tag that is the git tag, or a version given by hand, as it is.
var wholeTag = regexp.MustCompile(`(?i)^(\$\{\{(github\.ref_name|(github\.event\.)?inputs\.\w*(version|tag|release)\w*)\}\}|\$\{?\w*(version|tag|ref_name)\w*\}?)$`)

// versions lists the repositories that get the version without its v and no tag with it.
func (f *findings) versions(w *actionlint.Workflow) {
	for _, id := range finding.SortedKeys(w.Jobs) {
		for _, step := range w.Jobs[id].Steps {
			run, ok := step.Exec.(*actionlint.ExecAction)
			if !ok || run.Uses == nil || !strings.HasPrefix(run.Uses.Value, "docker/metadata-action@") {
				continue
			}
			tags, images := input(run, "tags"), input(run, "images")
			if strings.Contains(tags, "pattern={{version}}") && !strings.Contains(tags, "event=tag") && !strings.Contains(tags, "pattern=v{{version}}") {
				f.semver = append(f.semver, repositories(images, w.Env, w.Jobs[id].Env)...)
			}
		}
	}
}

func input(run *actionlint.ExecAction, name string) string {
	if given := run.Inputs[name]; given != nil && given.Value != nil {
		return given.Value.Value
	}
	return ""
}

// dockerfiles finds builds whose Dockerfile is not there, or cannot work.
func (f *findings) dockerfiles(name string, root fs.FS, job *actionlint.Job) {
	for _, step := range job.Steps {
		run, ok := step.Exec.(*actionlint.ExecAction)
		if !ok || run.Uses == nil || !strings.HasPrefix(run.Uses.Value, "docker/build-push-action@") {
			continue
		}
		folder, file := input(run, "context"), input(run, "file")
		if strings.Contains(folder+file, "${{") || strings.Contains(folder, "://") {
			continue
		}
		if file == "" {
			file = path.Join(folder, "Dockerfile")
		}
		file = path.Clean(file)
		content, err := fs.ReadFile(root, file)
		switch {
		case os.IsNotExist(err):
			f.Warn("P16.dockerfile", finding.In("", name, run.Uses.Pos.Line), "name the one that is there: file: ...", "it builds from %s, which the repository does not have", file)
		case err == nil:
			f.stages(file, string(content))
		}
	}
}

var (
	dockerFrom = regexp.MustCompile(`(?i)^\s*FROM\s`)
	production = regexp.MustCompile(`\b(npm\s+(ci|install|i)\b.*(--omit[= ]dev|--only[= ]prod\w*|--production)|yarn\s+install\b.*--production|pnpm\s+(install|i)\b.*(--prod|-P)\b)`)
	builds     = regexp.MustCompile(`\b((npm|yarn|pnpm)\s+(run\s+)?build|tsc\b|vite\s+build|next\s+build|webpack\b)`)
)

// stages finds a stage of a Dockerfile that builds with what it has left out.
func (f *findings) stages(file, text string) {
	lean := false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case dockerFrom.MatchString(line):
			lean = false
		case production.MatchString(line):
			lean = true
		}
		if lean && builds.MatchString(line) {
			f.Warn("P16.build-packages", finding.In("", file, i+1), "install everything in the stage that builds, and copy its result into one that has the production packages only",
				"this stage installs the production packages only, and then builds, for which it needs the others")
			return
		}
	}
}
