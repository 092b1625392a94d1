package main

import (
	"fmt"
	"strconv"
	"strings"
)

// columns of the table; figures stand right, words left.
var columns = []struct {
	title string
	right bool
}{
	{"", false}, {"shiksha", true}, {"compared with", false}, {"", true}, {"ratio", true}, {"target", true}, {"", false},
}

// table prints the figures, the medians of so many runs.
func table(figures []figure, runs int) string {
	lines := [][]string{{}}
	for _, c := range columns {
		lines[0] = append(lines[0], c.title)
	}
	for _, f := range figures {
		lines = append(lines, f.cells())
	}
	widths := make([]int, len(columns))
	for _, line := range lines {
		for i, cell := range line {
			widths[i] = max(widths[i], len(cell))
		}
	}
	var out strings.Builder
	for _, line := range lines {
		var text strings.Builder
		for i, cell := range line {
			pad := strings.Repeat(" ", widths[i]-len(cell))
			if columns[i].right {
				cell = pad + cell
			} else {
				cell += pad
			}
			text.WriteString(cell + "  ")
		}
		out.WriteString(strings.TrimRight(text.String(), " ") + "\n")
	}
	if runs > 1 {
		fmt.Fprintf(&out, "\nMedians of %d runs; a ratio is the median of the ratios of neighbouring runs. What has a target\nwithout a ratio is of the worst run.\n", runs)
	}
	return out.String()
}

func (f figure) cells() []string {
	ours := f.OursMedian
	if f.Target.Of == "value" {
		ours = f.OursWorst
	}
	theirs, ratio := "", ""
	if len(f.Theirs) > 0 {
		theirs = amount(f.TheirsMedian, f.Unit)
		if f.Unit != "" {
			ratio = strconv.FormatFloat(f.Ratio, 'f', 2, 64)
		}
	}
	return []string{f.Name, amount(ours, f.Unit), f.Against, theirs, ratio, f.Target.text(f.Unit), f.Verdict}
}

func (t target) text(unit string) string {
	var limit string
	switch t.Of {
	case "":
		return ""
	case "ratio":
		limit = strconv.FormatFloat(t.Limit, 'f', 2, 64)
	default:
		limit = amount(t.Limit, unit)
	}
	switch {
	case t.Exactly:
		return "= " + limit
	case t.Below:
		return "< " + limit
	}
	return "<= " + limit
}

// amount prints a number with three digits that matter.
func amount(v float64, unit string) string {
	switch {
	case unit == "":
		return strconv.FormatFloat(v, 'f', -1, 64)
	case unit == "ms" && v >= 1000:
		return strconv.FormatFloat(v/1000, 'f', 2, 64) + " s"
	case v < 10:
		return strconv.FormatFloat(v, 'f', 1, 64) + " " + unit
	}
	return strconv.FormatFloat(v, 'f', 0, 64) + " " + unit
}
