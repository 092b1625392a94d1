package report

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/shiksha/actions/pkg/fault"
)

// Build is a finished build, also one that failed, as it is told. Its JSON is the
// `report` output.
type Build struct {
	// Outcome is "built" or the kind of the error that ended it.
	Outcome string `json:"outcome"`
	// Builder is what built, Why the reason that it was chosen.
	Builder string    `json:"builder,omitempty"`
	Why     string    `json:"why,omitempty"`
	Commit  string    `json:"commit,omitempty"`
	RunURL  string    `json:"run_url,omitempty"`
	Pushed  bool      `json:"pushed"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"`
	Targets []Target  `json:"targets"`
	// Images are services by what a deploy runs.
	Images map[string]string `json:"images"`
	Notes  []string          `json:"notes,omitempty"`
	// Error and Hint tell why it failed.
	Error string `json:"error,omitempty"`
	Hint  string `json:"hint,omitempty"`
}

// Target is one image of a build.
type Target struct {
	Name   string   `json:"name"`
	Digest string   `json:"digest,omitempty"`
	Kept   bool     `json:"kept,omitempty"`
	Tags   []string `json:"tags,omitempty"`
	// Steps counts the instructions but FROM, Cached those that did not run.
	Steps     int        `json:"steps"`
	Cached    int        `json:"cached"`
	Warnings  int        `json:"warnings"`
	Seconds   float64    `json:"seconds"`
	Platforms []Platform `json:"platforms,omitempty"`
}

// Platform is one platform of an image; Size is compressed, in bytes.
type Platform struct {
	Name   string `json:"name"`
	Digest string `json:"digest"`
	Size   int64  `json:"size"`
}

// JSON gives the build as one line of JSON.
func (b *Build) JSON() ([]byte, error) {
	c := *b
	if c.Targets == nil {
		c.Targets = []Target{}
	}
	if c.Images == nil {
		c.Images = map[string]string{}
	}
	return json.Marshal(&c)
}

// Fail records why the build failed; nil changes nothing.
func (b *Build) Fail(err error) {
	if err == nil {
		return
	}
	b.Error, b.Hint, b.Outcome = err.Error(), fault.Hint(err), fault.Of(err).String()
}

// Headline says how it ended in one sentence.
func (b *Build) Headline() string {
	if b.Outcome != "built" {
		return fmt.Sprintf("the build %s after %s", ended(b.Outcome), seconds(b.Seconds))
	}
	if len(b.Targets) == 0 {
		return "nothing to build"
	}
	steps, cached := 0, 0
	for _, t := range b.Targets {
		steps, cached = steps+t.Steps, cached+t.Cached
	}
	what := "built"
	if b.Pushed {
		what = "built and pushed"
	}
	return fmt.Sprintf("%s %s in %s, %d of %s cached", plural(len(b.Targets), "image"), what, seconds(b.Seconds), cached, plural(steps, "step"))
}

// ended makes a verb of an outcome.
func ended(outcome string) string {
	switch outcome {
	case "failed":
		return outcome
	case "bad-input":
		return "was refused (bad input)"
	}
	return "was " + clean(outcome)
}

// Text gives the build as the last lines of a console.
func (b *Build) Text() string {
	var out strings.Builder
	out.WriteString(b.Headline() + "\n")
	for _, t := range b.Targets {
		fmt.Fprintf(&out, "  %s  %s\n", clean(t.Name), dash(t.Digest))
		for _, p := range t.Platforms {
			fmt.Fprintf(&out, "    %-14s %s\n", clean(p.Name), size(p.Size))
		}
		for _, tag := range t.Tags {
			fmt.Fprintf(&out, "    %s\n", clean(tag))
		}
	}
	for _, n := range b.Notes {
		fmt.Fprintf(&out, "  note  %s\n", clean(n))
	}
	return out.String()
}

// Markdown gives the build as a job summary; empty where there was nothing to build.
func (b *Build) Markdown() string {
	if b.Outcome == "built" && len(b.Targets) == 0 {
		return ""
	}
	var out strings.Builder
	sign := "✅"
	switch b.Outcome {
	case "built":
	case "interrupted":
		sign = "⚠️"
	case "refused", "bad-input":
		sign = "⛔"
	default:
		sign = "❌"
	}
	fmt.Fprintf(&out, "## %s %s\n\n", sign, escape(b.Headline()))
	if b.Error != "" {
		fmt.Fprintf(&out, "<pre>\n%s\n</pre>\n\n", pre(b.Error))
		if b.Hint != "" {
			fmt.Fprintf(&out, "> %s\n\n", escape(b.Hint))
		}
	}
	if len(b.Targets) > 0 {
		out.WriteString("| Image | Platform | Compressed | Steps cached | Took | Digest |\n|---|---|--:|--:|--:|---|\n")
		for _, t := range b.Targets {
			t.row(&out)
		}
		out.WriteString("\n")
	}
	if b.Builder != "" {
		fmt.Fprintf(&out, "**Builder** %s: %s\n\n", escape(b.Builder), escape(b.Why))
	}
	for _, t := range b.Targets {
		if len(t.Tags) > 0 {
			fmt.Fprintf(&out, "<details><summary>Tags of %s</summary>\n\n<pre>\n%s\n</pre>\n\n</details>\n\n", escape(t.Name), pre(strings.Join(t.Tags, "\n")))
		}
	}
	for _, n := range b.Notes {
		fmt.Fprintf(&out, "- %s\n", escape(n))
	}
	return out.String()
}

// row writes the lines of one target.
func (t Target) row(out *strings.Builder) {
	digest := escape(t.Digest)
	if t.Kept {
		digest += " (unchanged)"
	}
	platforms := t.Platforms
	if len(platforms) == 0 {
		platforms = []Platform{{}}
	}
	for i, p := range platforms {
		if i > 0 {
			fmt.Fprintf(out, "| | %s | %s | | | |\n", escape(p.Name), size(p.Size))
			continue
		}
		fmt.Fprintf(out, "| %s | %s | %s | %d of %d | %s | %s |\n", escape(t.Name), escape(p.Name), size(p.Size),
			t.Cached, t.Steps, seconds(t.Seconds), digest)
	}
}

// size prints bytes for people, in decimal units as registries do.
func size(n int64) string {
	switch {
	case n == 0:
		return ""
	case n < 1000_000:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	case n < 1000_000_000:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}
