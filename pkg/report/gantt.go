package report

import (
	"fmt"
	"sort"
	"strings"
	"time"
)

// maxBars is how many parts of a release its picture shows; more would be
// unreadable, and GitHub draws no diagram of over 50,000 characters.
const maxBars = 120

// gantt draws when each part of the release ran, as a Mermaid diagram, which
// GitHub shows as a picture. Times are absolute: the reader's browser prints
// them in the reader's own time.
func (r *Release) gantt() string {
	var b strings.Builder
	room, left := maxBars, 0
	for _, section := range r.sections() {
		spans := flatten(section)
		if len(spans) > room {
			left += len(spans) - room
			spans = spans[:room]
		}
		if room -= len(spans); len(spans) == 0 {
			continue
		}
		fmt.Fprintf(&b, "    section %s\n", plain(section[0].Section))
		for _, s := range spans {
			state := "done, "
			if s.Failed {
				state = "crit, "
			}
			fmt.Fprintf(&b, "    %s %s :%s%d, %d\n", plain(s.Name), seconds(s.Ended.Sub(s.Started).Seconds()), state,
				s.Started.UnixMilli(), s.Ended.UnixMilli())
		}
	}
	if b.Len() == 0 {
		return ""
	}
	text := "### When\n\n```mermaid\ngantt\n    dateFormat x\n    axisFormat %H:%M:%S\n    tickInterval " + r.ticks() + "\n    todayMarker off\n" + b.String() + "```\n\n"
	if left > 0 {
		text += plural(left, "more part") + " did not fit into the picture.\n\n"
	}
	return text
}

// maxTicks is how many times fit below the picture without running into each other.
const maxTicks = 9

// ticks is how far apart the times below the picture are, as Mermaid writes it; left
// to itself it would write one a second.
func (r *Release) ticks() string {
	var from, to time.Time
	for _, s := range r.Spans {
		if from.IsZero() || s.Started.Before(from) {
			from = s.Started
		}
		if s.Ended.After(to) {
			to = s.Ended
		}
	}
	for _, step := range []int{1, 2, 5, 10, 15, 30} {
		if to.Sub(from) <= time.Duration(maxTicks*step)*time.Second {
			return fmt.Sprintf("%dsecond", step)
		}
	}
	for _, step := range []int{1, 2, 5, 10, 15, 30} {
		if to.Sub(from) <= time.Duration(maxTicks*step)*time.Minute {
			return fmt.Sprintf("%dminute", step)
		}
	}
	return "1hour"
}

// sections groups the spans by what they belong to, in the order of their starts.
func (r *Release) sections() [][]Span {
	spans := append([]Span(nil), r.Spans...)
	sort.SliceStable(spans, func(i, j int) bool {
		if !spans[i].Started.Equal(spans[j].Started) {
			return spans[i].Started.Before(spans[j].Started)
		}
		return spans[i].Ended.After(spans[j].Ended)
	})
	var out [][]Span
	at := map[string]int{}
	for _, s := range spans {
		i, known := at[s.Section]
		if !known {
			i = len(out)
			at[s.Section] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], s)
	}
	return out
}

// leastBar is the shortest part that is drawn.
const leastBar = 5 * time.Millisecond

// flatten makes bars that lie side by side of parts that contain each other: one
// that contains all the others is left out, any other ends where the one inside
// it begins. The spans are in the order of their starts.
func flatten(spans []Span) []Span {
	if len(spans) > 1 && containsAll(spans[0], spans[1:]) {
		spans = spans[1:]
	}
	var out []Span
	for i, s := range spans {
		if i+1 < len(spans) {
			if next := spans[i+1]; next.Started.Before(s.Ended) && !next.Ended.After(s.Ended) {
				s.Ended = next.Started
			}
		}
		if s.Ended.Sub(s.Started) >= leastBar || s.Failed {
			out = append(out, s)
		}
	}
	return out
}

func containsAll(outer Span, inner []Span) bool {
	for _, s := range inner {
		if s.Started.Before(outer.Started) || s.Ended.After(outer.Ended) {
			return false
		}
	}
	return true
}

// plain keeps of a name what means nothing to Mermaid.
func plain(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', strings.ContainsRune(" ._-", r):
			return r
		}
		return '_'
	}, name)
}
