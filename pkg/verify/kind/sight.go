package kind

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/shiksha/actions/pkg/check"
)

// Finding is what one look found.
type Finding struct {
	Outcome check.Outcome
	// Where is what decided: a unit, an address.
	Where                 string
	Expected, Found, Hint string
	Evidence              []check.Evidence
	// Final is a finding that no other look could change: nobody waits for a better one.
	Final bool
}

// Sight is one look under way: the scene, the variables known so far, and what was
// found. The worst that is found decides; of equals the first.
type Sight struct {
	*Scene
	Ctx  context.Context
	Name string
	Vars map[string]string
	// Back is how far to look back.
	Back time.Duration
	// Finding is what came of it.
	Finding Finding

	where string
	// told are the values that every report names, and secret the variables that are
	// sent as secrets.
	told, secret map[string]bool
}

// Begin starts a look for the check of a name.
func (s *Scene) Begin(ctx context.Context, name string) *Sight {
	vars := map[string]string{"version": s.Version, "project": s.Project, "url": strings.TrimRight(s.URL, "/"), "release": ""}
	if s.Number > 0 {
		vars["release"] = strconv.Itoa(s.Number)
	}
	for service, r := range s.Services {
		vars["image."+service] = r.Image
		if _, digest, ok := strings.Cut(r.Pinned, "@"); ok {
			vars["digest."+service] = digest
		}
	}
	told := map[string]bool{}
	for _, value := range vars {
		told[value] = true
	}
	return &Sight{Scene: s, Ctx: ctx, Name: name, Vars: vars, Back: s.Window, Finding: Finding{Outcome: check.Pass}, told: told}
}

// Fork starts a look at one part of a check that has several: it knows the same
// variables, and tells those that it learns to the rest.
func (s *Sight) Fork() *Sight {
	return &Sight{Scene: s.Scene, Ctx: s.Ctx, Name: s.Name, Vars: s.Vars, Back: s.Back, Finding: Finding{Outcome: check.Pass}, told: s.told, secret: s.secret}
}

// at says what the next findings are about.
func (s *Sight) at(where string) { s.where = where }

// saw keeps evidence: what was asked, what came back.
func (s *Sight) saw(probe, found string) {
	f := &s.Finding
	f.Evidence = append(f.Evidence, check.Evidence{At: time.Now().UTC(), Probe: s.brief(probe), Found: s.brief(found)})
	if len(f.Evidence) > maxEvidence {
		f.Evidence = f.Evidence[len(f.Evidence)-maxEvidence:]
	}
}

// need is one comparison: unless it holds the look fails. The point is its name in
// the test that turns each comparison off.
func (s *Sight) need(point string, holds bool, expected, found string, hint ...string) bool {
	return s.compare(point, check.Fail, holds, expected, found, hint)
}

// want is a comparison whose failure is only a warning.
func (s *Sight) want(point string, holds bool, expected, found string, hint ...string) bool {
	return s.compare(point, check.Warn, holds, expected, found, hint)
}

// know is a comparison that decides whether there is data at all.
func (s *Sight) know(point string, holds bool, expected, found string, hint ...string) bool {
	return s.compare(point, check.Unknown, holds, expected, found, hint)
}

func (s *Sight) compare(point string, otherwise check.Outcome, holds bool, expected, found string, hint []string) bool {
	if holds || point == s.mute {
		s.settle(check.Pass, expected, found, "")
		return true
	}
	s.settle(otherwise, expected, found, strings.Join(hint, "; "))
	return false
}

// blind says that the look could not be had. That nothing runs which could be
// looked at is known, though.
func (s *Sight) blind(err error, hint ...string) {
	if errors.Is(err, errNoUnit) {
		s.need("running", false, "a running unit", err.Error())
		return
	}
	s.settle(check.Unknown, "an answer", err.Error(), strings.Join(hint, "; "))
}

// Broke says that the look ended in a mistake of ours. What is known already, stays
// known.
func (s *Sight) Broke(mistake any) {
	s.settle(check.Unknown, "a look to its end", fmt.Sprintf("the check %q broke: %v", s.Name, mistake), "this is a mistake of the program and not of the service: report it, with the check as it is written")
}

// settle takes an outcome in.
func (s *Sight) settle(o check.Outcome, expected, found, hint string) {
	f := &s.Finding
	if Worse(o, f.Outcome) {
		*f = Finding{Outcome: o, Where: s.where, Expected: s.brief(expected), Found: s.brief(found),
			Hint: s.Clean(hint), Evidence: f.Evidence}
	}
	if f.Outcome == check.Pass {
		f.Where, f.Expected, f.Found = s.where, s.brief(expected), s.brief(found)
	}
}

// Absorb takes the finding of a part in. A part that only warns cannot fail.
func (s *Sight) Absorb(part *Sight, name, level string) {
	f := part.Finding
	if level == LevelWarn && Worse(f.Outcome, check.Warn) {
		f.Outcome = check.Warn
	}
	mine := &s.Finding
	mine.Evidence = append(mine.Evidence, f.Evidence...)
	if len(mine.Evidence) > 2*maxEvidence {
		mine.Evidence = mine.Evidence[len(mine.Evidence)-2*maxEvidence:]
	}
	if Worse(f.Outcome, mine.Outcome) {
		f.Expected, f.Evidence = name+": "+f.Expected, mine.Evidence
		*mine = f
	}
}

var variable = regexp.MustCompile(`\{\{\s*([\w.-]+)\s*\}\}`)

// expand puts variables into a text. One that is not known is an error.
func (s *Sight) expand(text string) (string, error) {
	return s.expandAs(text, func(value string) string { return value })
}

// expandAs puts variables into a text in the way that the text needs.
func (s *Sight) expandAs(text string, quote func(value string) string) (string, error) {
	var unknown string
	out := variable.ReplaceAllStringFunc(text, func(m string) string {
		name := variable.FindStringSubmatch(m)[1]
		value, ok := s.Vars[name]
		if !ok || value == "" {
			unknown = name
		}
		return quote(value)
	})
	if unknown != "" {
		known := slices.DeleteFunc(sorted(s.Vars), func(name string) bool { return s.Vars[name] == "" })
		return "", fmt.Errorf("{{%s}} has no value here, as %s have", unknown, strings.Join(known, ", "))
	}
	return out, nil
}

// learn keeps what a probe found under a name.
func (s *Sight) learn(captures map[string]Pattern, text string) {
	for _, name := range sorted(captures) {
		m := captures[name].FindStringSubmatch(text)
		if !s.need("capture", m != nil, fmt.Sprintf("a match of %s for {{%s}}", captures[name], name), quoted(text)) || m == nil {
			continue
		}
		s.Vars[name] = captured(m)
	}
}

// captured is what the first group of a pattern matched; without a group, all of it.
func captured(match []string) string { return match[min(1, len(match)-1)] }

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// brief makes a text one line that fits a report. Secrets go first: one that is
// cut in two is not known any more.
func (s *Sight) brief(text string) string { return cut(s.Clean(text)) }

// cut makes a text one line that fits a report.
func cut(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) <= maxText {
		return text
	}
	end := maxText
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + " ..."
}

// quoted shows what something said; nothing is said so. The report makes it brief
// once secrets are out of it.
func quoted(text string) string {
	if text = strings.TrimSpace(text); text == "" {
		return "nothing"
	}
	return text
}
