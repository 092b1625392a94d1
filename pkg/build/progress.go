package build

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/shiksha/actions/pkg/event"
)

const (
	// maxLog is how much of a step's output is kept, its end.
	maxLog = 64 << 10
	// longestLast is how many bytes a line has that is shown of a step under way.
	longestLast = 200
	// lingers is how long a step runs before it is told that it still does.
	lingers = 30 * time.Second
)

// progress turns what BuildKit reports into events: each step once, when it has
// ended, with its whole output under it, so that parallel steps do not mix.
type progress struct {
	r      *run
	phase  string
	single string // the only target, whose name BuildKit's steps do not carry

	mu    sync.Mutex
	steps map[string]*step
	order []*step
}

// step is one vertex of a target.
type step struct {
	id     digest.Digest
	target string
	// platform, stage, number ("2/3") and text are of
	// "[api linux/arm64 compile 2/3] RUN make".
	platform, stage, number, text string
	internal                      bool
	started, ended                time.Time
	told                          time.Time
	cached, done                  bool
	err                           string
	log                           bytes.Buffer
	cut                           bool
}

func newProgress(r *run, phase string) *progress {
	p := &progress{r: r, phase: phase, steps: map[string]*step{}}
	if r.plan != nil && len(r.plan.targets) == 1 {
		p.single = r.plan.targets[0].name
	}
	return p
}

// Write takes a report.
func (p *progress) Write(s *client.SolveStatus) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, v := range s.Vertexes {
		p.vertex(v)
	}
	for _, l := range s.Logs {
		for _, st := range p.order {
			if st.id == l.Vertex && !st.done {
				st.write(l.Data)
				break
			}
		}
	}
}

// watch tells of steps that go on until done is closed: a step that prints nothing
// is not reported by BuildKit either.
func (p *progress) watch(done <-chan struct{}) {
	ticker := time.NewTicker(lingers / 3)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case now := <-ticker.C:
			p.beat(now)
		}
	}
}

// beat tells of the steps that have run for a while without an end.
func (p *progress) beat(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, st := range p.order {
		since := st.told
		if since.IsZero() {
			since = st.started
		}
		if !st.done && !st.started.IsZero() && !st.internal && now.Sub(since) > lingers {
			st.told = now
			p.r.say(event.Info, p.phase, st.target, "%s: running for %s%s", st.title(), now.Sub(st.started).Round(time.Second), st.last())
		}
	}
}

func (p *progress) vertex(v *client.Vertex) {
	key := string(v.Digest) + v.Name
	st := p.steps[key]
	if st == nil {
		st = p.parse(v)
		p.steps[key] = st
		p.order = append(p.order, st)
	}
	if v.Started != nil && st.started.IsZero() {
		st.started = *v.Started
	}
	st.cached = st.cached || v.Cached
	if v.Completed == nil || st.done {
		return
	}
	st.done, st.ended, st.err = true, *v.Completed, v.Error
	p.tell(st)
}

// tell says how a step ended.
func (p *progress) tell(st *step) {
	level, text := event.Info, st.title()
	took := st.ended.Sub(st.started)
	switch {
	case st.err != "" && (p.phase == "check" || strings.Contains(st.err, "context canceled")):
		level, text = event.Debug, text+": ended: "+st.err
	case st.err != "" && strings.HasPrefix(st.text, "importing cache manifest from"):
		level, text = event.Info, text+": there is none yet, or it cannot be read"
	case st.err != "" && exportsCache.MatchString(st.text):
		level, text = event.Warning, text+": the cache could not be written: "+st.err
	case st.err != "":
		level, text = event.Error, text+": failed"
	case st.cached:
		text += "  (cached)"
	default:
		text += fmt.Sprintf("  %.1fs", took.Seconds())
		if st.internal && took < 5*time.Second {
			level = event.Debug
		}
	}
	p.r.sink.Emit(event.Event{Time: time.Now(), Level: level, Phase: p.phase, Service: st.target, Text: text, Output: st.output()})
}

// exportsCache is how BuildKit calls the steps that write a cache.
var exportsCache = regexp.MustCompile(`^exporting (cache to |to GitHub Actions Cache$)`)

var unnamed = regexp.MustCompile(`^stage-\d+$`)

var bracket = regexp.MustCompile(`^\[([^\]]*)\] ?(.*)$`)

// parse reads the name of a step. Those of a Dockerfile have a number; what has none
// is BuildKit's own ("[internal] load build context", "[auth] ... token for ...").
func (p *progress) parse(v *client.Vertex) *step {
	st := &step{id: v.Digest, target: p.single, text: v.Name, internal: true}
	m := bracket.FindStringSubmatch(v.Name)
	if m == nil {
		return st
	}
	st.text = m[2]
	words := strings.Fields(m[1])
	if p.single == "" && len(words) > 0 && p.phase != "builder" {
		st.target, words = words[0], words[1:]
	}
	for _, word := range words {
		switch {
		case strings.Contains(word, "/") && word[0] >= '0' && word[0] <= '9':
			st.number, st.internal = word, false
		case strings.Contains(word, "/"):
			st.platform = word
		case !unnamed.MatchString(word):
			st.stage = word
		}
	}
	return st
}

// title names a step for people.
func (s *step) title() string {
	words := []string{s.platform, s.stage, s.number, s.text}
	return strings.Join(strings.Fields(strings.Join(words, " ")), " ")
}

func (s *step) write(data []byte) {
	s.log.Write(data)
	if over := s.log.Len() - maxLog; over > 0 {
		s.log.Next(over)
		s.cut = true
	}
}

func (s *step) output() string {
	text := strings.TrimRight(s.log.String(), "\r\n ")
	if s.cut {
		_, text, _ = strings.Cut(text, "\n")
		text = fmt.Sprintf("... the first part of the output was left out (more than %d KiB)\n", maxLog>>10) + text
	}
	return text
}

// last is the last line of the output, to show that a step is alive. A longer one is left
// out and not cut: half of a secret is known to nobody who hides it.
func (s *step) last() string {
	lines := s.tail(1)
	if len(lines) == 0 || len(lines[0]) > longestLast {
		return ""
	}
	return ", last: " + lines[0]
}

// tail gives the last lines of the output.
func (s *step) tail(n int) []string {
	text := strings.TrimRight(s.log.String(), "\r\n ")
	if text == "" {
		return nil
	}
	lines := strings.Split(text, "\n")
	return lines[max(0, len(lines)-n):]
}

// counted tells whether a step is work that a cache can spare.
func (s *step) counted() bool { return s.number != "" && !strings.HasPrefix(s.text, "FROM ") }

// figures are the steps of a target, those of them that were cached, and how long
// it took.
func (p *progress) figures(target string) (steps, cached int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var first, last time.Time
	for _, st := range p.order {
		if st.target != target || st.started.IsZero() {
			continue
		}
		if first.IsZero() || st.started.Before(first) {
			first = st.started
		}
		if st.ended.After(last) {
			last = st.ended
		}
		if st.counted() {
			steps++
			if st.cached {
				cached++
			}
		}
	}
	return steps, cached, max(0, last.Sub(first))
}

// failed gives the step of that digest, or the last one that failed by itself.
func (p *progress) failed(id string) *step {
	p.mu.Lock()
	defer p.mu.Unlock()
	var found *step
	for _, st := range p.order {
		if string(st.id) == id && id != "" {
			return st
		}
		if st.err != "" && !strings.Contains(st.err, "context canceled") {
			found = st
		}
	}
	return found
}

// WriteBuildRef is for tools that show builds later; nothing here does.
func (*progress) WriteBuildRef(string, string) {}

// ValidateLogSource tells that every log is taken.
func (*progress) ValidateLogSource(digest.Digest, any) bool { return true }

// ClearLogSource has nothing to clear.
func (*progress) ClearLogSource(any) {}
