package main

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// The limits. What is past one has more than one job; CONTRIBUTING.md says so too.
const (
	maxFunction  = 60
	maxFile      = 400
	maxFiles     = 12
	maxInterface = 8
	maxDepth     = 6
	minTested    = 0.8
)

// fileAKind is the one package with a file for each of its kinds.
const fileAKind = "pkg/verify/kind"

// table is the head and the row of a module, of what it ships.
func (h *house) table() string {
	var dirs []sized
	for name, n := range h.packages {
		dirs = append(dirs, sized{name + "/", n})
	}
	dirs = shipped(dirs)
	files, functions := shipped(h.files), shipped(h.functions)
	depth, _ := h.depth()
	return fmt.Sprintf(`| module | code files | pkgs | files/pkg p50-max | lines/file p50 / p90 / max | lines/func p50 / p90 / p99 / max | interface max | doc | test | depth |
|---|---|---|---|---|---|---|---|---|---|
| %s | %d | %d | %d-%d | %d / %d / %d | %d / %d / %d / %d | %d | %.0f %% | %.2f | %d |
`, h.module, len(files), len(dirs), percentile(dirs, 50), percentile(dirs, 100),
		percentile(files, 50), percentile(files, 90), percentile(files, 100),
		percentile(functions, 50), percentile(functions, 90), percentile(functions, 99), percentile(functions, 100),
		percentile(shipped(h.interfaces), 100), h.documented(), float64(h.test)/float64(h.code), depth)
}

// shipped leaves out the proofs.
func shipped(things []sized) []sized {
	return slices.DeleteFunc(slices.Clone(things), func(s sized) bool { return strings.HasPrefix(s.name, proofs) })
}

// documented is the share of exported functions, methods and types that have a doc
// comment, in percent.
func (h *house) documented() float64 {
	if h.exported == 0 {
		return 100
	}
	return 100 * float64(h.exported-len(h.bare)) / float64(h.exported)
}

// past lists what is past its limit, each in a line.
func (h *house) past() []string {
	var out []string
	over := func(things []sized, limit int, unit string) {
		for _, s := range things {
			if s.size > limit {
				out = append(out, fmt.Sprintf("%s: %d %s, at most %d", s.name, s.size, unit, limit))
			}
		}
	}
	over(h.functions, maxFunction, "lines")
	over(h.files, maxFile, "lines")
	over(h.interfaces, maxInterface, "methods")
	for dir, n := range h.packages {
		if n > maxFiles && dir != fileAKind {
			out = append(out, fmt.Sprintf("%s: %d files, at most %d", dir, n, maxFiles))
		}
	}
	for _, name := range h.bare {
		out = append(out, name+": exported, and no comment says what it is")
	}
	if tested := float64(h.test) / float64(h.code); tested < minTested {
		out = append(out, fmt.Sprintf("%.2f lines of test for a line of code, at least %.2f", tested, minTested))
	}
	if n, chain := h.depth(); n > maxDepth {
		out = append(out, fmt.Sprintf("imports %d deep, at most %d: %s", n, maxDepth, chain))
	}
	slices.Sort(out)
	return out
}

// depth is the number of steps of the longest chain of imports, and the chain.
func (h *house) depth() (int, string) {
	known := map[string][]string{}
	var chain func(dir string) []string
	chain = func(dir string) []string {
		if c, ok := known[dir]; ok {
			return c
		}
		var longest []string
		for _, to := range h.imports[dir] {
			if c := chain(to); len(c) > len(longest) {
				longest = c
			}
		}
		known[dir] = append([]string{dir}, longest...)
		return known[dir]
	}
	var longest []string
	for _, dir := range slices.Sorted(maps.Keys(h.imports)) {
		if c := chain(dir); len(c) > len(longest) {
			longest = c
		}
	}
	return max(len(longest)-1, 0), strings.Join(longest, " > ")
}

// percentile gives the size that p percent of the things do not exceed.
func percentile(things []sized, p int) int {
	if len(things) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(things), func(a, b sized) int { return cmp.Compare(a.size, b.size) })
	return sorted[(len(sorted)*p+99)/100-1].size
}
