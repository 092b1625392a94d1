package build

import (
	"cmp"
	"encoding/json"

	verb "github.com/shiksha/actions/pkg/build"
	"github.com/shiksha/actions/pkg/report"
)

// output is one output of the action.
type output struct {
	// Name and Help go to action.yml and the README.
	Name, Help string
	value      func(r *verb.Result, report []byte) string
}

// outputs are set after every run, also after one that failed.
var outputs = []output{
	{"images", "What a deploy takes as its images: a JSON object of service to repository@digest. Empty ({}) when nothing was pushed.",
		func(r *verb.Result, _ []byte) string { return texts(r.Images) }},
	{"digests", "JSON object of target to digest.",
		func(r *verb.Result, _ []byte) string {
			return perTarget(r, func(t verb.Target) any { return t.Digest })
		}},
	{"tags", "JSON object of target to the list of full references it was pushed (or loaded) as.",
		func(r *verb.Result, _ []byte) string {
			return perTarget(r, func(t verb.Target) any { return append([]string{}, t.Tags...) })
		}},
	{"metadata", "JSON object of target to what BuildKit answered about it.",
		func(r *verb.Result, _ []byte) string {
			return perTarget(r, func(t verb.Target) any { return t.Metadata })
		}},
	{"report", "Everything about the build as one JSON object.",
		func(_ *verb.Result, report []byte) string { return string(report) }},
}

func texts(m map[string]string) string {
	if m == nil {
		return "{}"
	}
	data, _ := json.Marshal(m) // texts only
	return string(data)
}

func perTarget(r *verb.Result, value func(verb.Target) any) string {
	all := map[string]any{}
	for _, t := range r.Targets {
		all[t.Name] = value(t)
	}
	data, err := json.Marshal(all)
	if err != nil {
		return "{}"
	}
	return string(data)
}

// tell makes plain data for the renderers of the verb's result.
func tell(r *verb.Result, o verb.Options, runURL string, err error) *report.Build {
	b := &report.Build{
		Outcome: "built", Builder: r.Builder, Why: r.Why, Commit: cmp.Or(r.Commit, o.Git.Commit), RunURL: runURL, Pushed: o.Push,
		Started: r.Started, Images: r.Images, Notes: r.Notes,
	}
	if !r.Ended.IsZero() {
		b.Seconds = r.Ended.Sub(r.Started).Seconds()
	}
	for _, t := range r.Targets {
		told := report.Target{Name: t.Name, Digest: t.Digest, Kept: t.Kept, Tags: t.Tags, Steps: t.Steps, Cached: t.Cached,
			Warnings: t.Warnings, Seconds: t.Took.Seconds()}
		for _, p := range t.Platforms {
			told.Platforms = append(told.Platforms, report.Platform{Name: p.Name, Digest: p.Digest, Size: p.Size})
		}
		b.Targets = append(b.Targets, told)
	}
	b.Fail(err)
	return b
}
