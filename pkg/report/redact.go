package report

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"io"
	"net/url"
	"regexp"
	"slices"
	"sort"
	"strings"
	"sync"
)

// MinSecret is the length from which a text is treated as a secret: hiding
// shorter ones would make everything unreadable and protect nothing.
const MinSecret = 4

// Hidden stands where a secret was.
const Hidden = "***"

// Redactor takes known secrets out of text. The zero value knows none. It is
// safe for concurrent use.
type Redactor struct {
	mu       sync.RWMutex
	forms    []string
	replacer *strings.Replacer
}

// Add makes the secrets known, each as it is, line by line, and in the forms
// that programs print it in: base64, percent-encoded, as a JSON string and as in our
// own Markdown and JUnit. It gives the forms that were not known before, for masks of a
// runner: each is one line, the longest first.
func (r *Redactor) Add(secrets ...string) (added []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[string]bool{}
	for _, f := range r.forms {
		known[f] = true
	}
	for _, s := range secrets {
		for _, f := range forms(s) {
			if !known[f] {
				known[f] = true
				added = append(added, f)
			}
		}
	}
	// The longest first: a secret that contains another must go as a whole.
	r.forms = append(r.forms, added...)
	for _, list := range [][]string{r.forms, added} {
		sort.SliceStable(list, func(i, j int) bool { return len(list[i]) > len(list[j]) })
	}
	pairs := make([]string, 0, 2*len(r.forms))
	for _, f := range r.forms {
		pairs = append(pairs, f, Hidden)
	}
	r.replacer = strings.NewReplacer(pairs...)
	return added
}

// String gives text without the secrets.
func (r *Redactor) String(text string) string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if r.replacer == nil {
		return text
	}
	return r.replacer.Replace(text)
}

// Writer gives a writer that passes text on to w without the secrets. It holds
// an unfinished line back until its end arrives, since a secret may come in two
// pieces; Close passes on what is left and leaves w open.
func (r *Redactor) Writer(w io.Writer) io.WriteCloser {
	return &redactingWriter{redactor: r, w: w}
}

type redactingWriter struct {
	redactor *Redactor
	w        io.Writer
	mu       sync.Mutex
	rest     []byte
}

func (w *redactingWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rest = append(w.rest, p...)
	end := bytes.LastIndexByte(w.rest, '\n') + 1
	if end == 0 {
		return len(p), nil
	}
	lines := string(w.rest[:end])
	w.rest = append(w.rest[:0], w.rest[end:]...)
	_, err := io.WriteString(w.w, w.redactor.String(lines))
	return len(p), err
}

func (w *redactingWriter) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, err := io.WriteString(w.w, w.redactor.String(string(w.rest)))
	w.rest = nil
	return err
}

// frame is the first or last line of a key.
var frame = regexp.MustCompile(`-----(BEGIN|END) [A-Za-z0-9 ]+-----`)

// secretLines are the lines of a secret without the frame of a key: that is no secret,
// and hiding it would hide what an error says about it. A key that was pasted on one
// line is still read, so it is taken apart as its reader does.
func secretLines(secret string) []string {
	lines := strings.Split(strings.ReplaceAll(secret, "\r", ""), "\n")
	for _, line := range lines {
		if inner := frame.ReplaceAllString(line, " "); inner != line {
			lines = append(lines, strings.Fields(strings.NewReplacer(`\r`, " ", `\n`, " ").Replace(inner))...)
		}
	}
	return slices.DeleteFunc(lines, func(line string) bool { return strings.HasPrefix(line, "-----") })
}

// forms lists how a secret may appear on a line.
func forms(secret string) []string {
	whole := strings.TrimSpace(secret)
	var out []string
	add := func(s string) {
		if s = strings.TrimSpace(s); len(s) >= MinSecret {
			out = append(out, s)
		}
	}
	for _, line := range secretLines(whole) {
		add(line)
		add(clean(line)) // as a console prints it
		add(escape(line))
		add(Brief(line)) // which a summary escapes
		add(escape(Brief(line)))
		add(inXML(line))
		add(inJSON(line))
	}
	if len(whole) < MinSecret {
		return out
	}
	add(base64.StdEncoding.EncodeToString([]byte(whole)))
	add(base64.StdEncoding.EncodeToString([]byte(whole + "\n")))
	add(base64.RawURLEncoding.EncodeToString([]byte(whole)))
	add(url.QueryEscape(whole))
	add(url.PathEscape(whole))
	add(inJSON(whole))
	return out
}

// inJSON is a text as a JSON string has it, "" where none could.
func inJSON(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		return ""
	}
	return string(quoted[1 : len(quoted)-1])
}

// inXML is a text as our JUnit has it.
func inXML(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // a builder takes everything
	return b.String()
}
