package action

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// MaxAnnotations is how many annotations of each type the runner keeps per
// step; what comes after is printed as a plain line.
const MaxAnnotations = 10

// maxAnnotation is how many characters of one annotation the runner keeps.
const maxAnnotation = 4096

// Level is the type of an annotation.
type Level string

// The types of annotations.
const (
	Notice  Level = "notice"
	Warning Level = "warning"
	Error   Level = "error"
)

// Mask makes the runner replace each of the values by *** in everything it
// shows from here on, so it comes before anything is printed. The runner takes
// a mask of several lines apart by itself, but act does not, so callers pass
// lines one by one.
func (a *Action) Mask(values ...string) {
	if !a.Active() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, v := range values {
		if strings.TrimSpace(v) != "" {
			a.gh.AddMask(v)
		}
	}
}

// Group starts a foldable part of the log. Groups do not nest: a new one ends
// the one before.
func (a *Action) Group(title string) {
	if a.Active() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.gh.Group(title)
	}
}

// EndGroup ends the foldable part of the log.
func (a *Action) EndGroup() {
	if a.Active() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.gh.EndGroup()
	}
}

// Annotate shows text at the top of the run, and in the log. After
// MaxAnnotations of a type it is a line of the log only.
func (a *Action) Annotate(level Level, text string) { a.AnnotateAt(level, "", 0, text) }

// AnnotateAt shows text beside a line of a file of the repository as well. An
// empty file is Annotate; line 0 is the whole file.
func (a *Action) AnnotateAt(level Level, file string, line int, text string) {
	if !a.Active() {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.notes[string(level)]++
	if a.notes[string(level)] > MaxAnnotations {
		fmt.Fprintf(a.w, "%s: %s\n", level, plain.Replace(text))
		return
	}
	text = cut(text, maxAnnotation)
	gh := a.gh
	if file != "" {
		place := map[string]string{"file": file}
		if line > 0 {
			place["line"] = strconv.Itoa(line)
		}
		gh = gh.WithFieldsMap(place)
	}
	switch level {
	case Error:
		gh.Errorf("%s", text)
	case Warning:
		gh.Warningf("%s", text)
	default:
		gh.Noticef("%s", text)
	}
}

// plain keeps a text of several lines from being read as a command: a line that
// begins with a word or a bar is none. The runner takes white space off a line
// before it looks, so an indent would not do, and obeys `##[command]` anywhere.
var plain = strings.NewReplacer("\r\n", "\n  | ", "\n", "\n  | ", "\r", "\n  | ", "##[", "## [")

// start is what makes a line a command; the runner takes white space of any kind off it.
var start = regexp.MustCompile(`(^|[\r\n])([\t\v\f\p{Z}\x{85}]*::)`)

// Inert makes a text that quotes somebody else fit to be printed as it is: no line of it
// is a command. JSON stays the same to whoever reads it.
func (a *Action) Inert(text string) string {
	switch {
	case !a.Active():
		return text
	case json.Valid([]byte(text)):
		return strings.ReplaceAll(text, "##[", `##\u005b`)
	}
	return strings.ReplaceAll(start.ReplaceAllString(text, "$1| $2"), "##[", "## [")
}

// Verbatim prints text of somebody else's, a container's log say, with workflow
// commands switched off: a line of it that looks like one is only a line. The
// token that switches them on again is random, so the text cannot contain it.
func (a *Action) Verbatim(text string) {
	if text == "" {
		return
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.Active() {
		_, _ = io.WriteString(a.w, text)
		return
	}
	token := rand.Text()
	_, _ = io.WriteString(a.w, "::stop-commands::"+token+"\n"+text+"::"+token+"::\n")
}

// cut shortens text to at most limit bytes without splitting a character.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	const ellipsis = "..."
	return strings.ToValidUTF8(text[:limit-len(ellipsis)], "") + ellipsis
}
