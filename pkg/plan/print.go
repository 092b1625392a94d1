package plan

import (
	"fmt"
	"strings"
)

// String prints the plan as a table: one block a service, with its action, the
// reasons and what users notice.
func (p *Plan) String() string {
	var b strings.Builder
	width := len("service")
	for _, name := range append(append(p.services(), p.Networks...), p.Volumes...) {
		width = max(width, len(name))
	}
	for _, k := range p.Networks {
		fmt.Fprintf(&b, "  %-*s  %-17s  network\n", width, k, Create)
	}
	for _, k := range p.Volumes {
		fmt.Fprintf(&b, "  %-*s  %-17s  volume\n", width, k, Create)
	}
	row := func(name, what, text string) {
		fmt.Fprintf(&b, "%s\n", strings.TrimRight(fmt.Sprintf("  %-*s  %-17s  %s", width, name, what, text), " "))
	}
	for _, pull := range p.Pulls {
		row(pull.Service, "pull", pull.text())
	}
	if r := p.Restores; r != nil {
		row(r.Service, "restore", r.text(p.Steps))
	}
	for _, name := range p.Backups {
		row(name, "back up", "a dump, read back whole, before the migration")
	}
	for _, m := range p.Migrations {
		row(m.Service, "migrate", strings.Join(m.Command, " "))
	}
	for _, s := range p.Steps {
		lines := s.lines(p.FreeMemory)
		first := ""
		if len(lines) > 0 {
			first = lines[0]
		}
		row(s.Service, s.title(), first)
		for i := 1; i < len(lines); i++ {
			fmt.Fprintf(&b, "  %-*s  %-17s  %s\n", width, "", "", lines[i])
		}
	}
	for _, d := range p.Drift {
		fmt.Fprintf(&b, "  drift: %s\n", d)
	}
	for _, n := range p.Notes {
		fmt.Fprintf(&b, "  note: %s\n", n)
	}
	for _, r := range p.Refusals {
		fmt.Fprintf(&b, "  refused: %s\n", r)
	}
	if p.Empty() && len(p.Refusals) == 0 {
		b.WriteString("  nothing to do\n")
	}
	return b.String()
}

func (p *Plan) services() []string {
	var names []string
	for _, s := range p.Steps {
		names = append(names, s.Service)
	}
	return names
}

// title is the action with its numbers: "surge 3 (1 by 1)".
func (s Step) title() string {
	switch s.Action {
	case Surge, StopFirst, Drain:
		if s.Batch < s.Missing() {
			return fmt.Sprintf("%s %d, %d a time", s.Action, s.Missing(), s.Batch)
		}
		return fmt.Sprintf("%s %d", s.Action, s.Missing())
	case Create:
		return fmt.Sprintf("create %d", s.Replicas)
	case Scale:
		return fmt.Sprintf("scale %d -> %d", len(s.Good)+len(s.Old), s.Replicas)
	}
	return string(s.Action)
}

// text says what of an image is pulled.
func (p Pull) text() string {
	if p.Bytes == 0 {
		return short(p.Image)
	}
	return size(p.Bytes) + " of " + short(p.Image)
}

func (s Step) lines(free int64) []string {
	lines := append([]string(nil), s.Reasons...)
	if s.Memory > 0 {
		text := "needs up to " + size(s.Memory) + " more while both run"
		if free > 0 {
			text += "; the host has " + size(free) + " free"
		}
		lines = append(lines, text)
	}
	switch {
	case s.Interruption != "":
		lines = append(lines, "interruption: "+s.Interruption)
	case s.Action == Surge && s.Virtual:
		lines = append(lines, "no interruption: new units first, and the Swarm balances what serves")
	case s.Action == Surge && s.Gateway != "" && s.unled:
		lines = append(lines, "new units first; nothing of "+s.Gateway+" runs now that could be switched")
	case s.Action == Surge && s.Gateway != "":
		lines = append(lines, "no interruption: new units first, then "+s.Gateway+" is switched")
	case s.Action == Surge:
		lines = append(lines, "new units first; nothing balances it, so callers see what Docker's DNS shows")
	case s.Action == Reload:
		lines = append(lines, "no interruption: reloaded, not replaced")
	}
	return lines
}
