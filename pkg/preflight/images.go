package preflight

import (
	"regexp"
	"slices"
	"strings"

	"github.com/distribution/reference"
	"github.com/rhysd/actionlint"
)

var expressions = regexp.MustCompile(`\$\{\{\s*([^}]*?)\s*\}\}`)

// pushes lists the repositories that a workflow pushes images to, as far as they
// are written: what cannot be known stands as "*".
func (f *findings) pushes(w *actionlint.Workflow) []string {
	var out []string
	for _, id := range sortedKeys(w.Jobs) {
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
	for _, service := range f.st.Order {
		image := f.st.Services[service].Image
		if f.opts.Images[service] != "" {
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
			f.warn("P01.images", at(service, "image"), "write image: "+namesake+", or hand the outputs of build to the images input",
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
