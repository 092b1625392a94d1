package monitoring

import (
	"regexp"
	"slices"
	"strings"
)

// prometheusKind is in the type of every data source that is asked in PromQL: those
// of the clouds have their own names around it.
const prometheusKind = "prometheus"

var (
	// rangeVariable is one in brackets, with the unit that may follow it.
	rangeVariable = regexp.MustCompile(`\[\s*\$(?:\w+|\{\w+[^}]*\})\w*`)
	// textOrVariable matches texts and comments first, so that a variable in one is
	// not taken for a part of the expression.
	textOrVariable = regexp.MustCompile("\"(?:[^\"\\\\]|\\\\.)*\"|'(?:[^'\\\\]|\\\\.)*'|`[^`]*`|#[^\n]*|" + grafanaVariable.String())
	// grafanaVariable has the name in one of its groups.
	grafanaVariable = regexp.MustCompile(`\$\{(\w+)[^}]*\}|\$(\w+)|\[\[(\w+)[^\]]*\]\]`)
)

// roles are what a variable may stand for: a number, a name, an aggregation, a
// function, an operator, a matcher.
var roles = []string{"1", "v", "sum", "rate", "+", `v="v"`}

// atMost is how many readings of one expression are tried.
const atMost = 1296

// expression reads one whose variables stand for a duration after [ and elsewhere for
// any of the roles, each for its own. It is not sure of an error where there are too
// many variables to try them all.
func expression(expr string) (sure bool, err error) {
	expr = rangeVariable.ReplaceAllString(expr, "[5m")
	var names []string
	filled(expr, func(name string) string {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
		return name
	})
	tried := len(roles)
	for tried > 1 && power(tried, len(names)) > atMost {
		tried--
	}
	for n := range power(tried, len(names)) {
		role := map[string]string{}
		for _, name := range names {
			role[name], n = roles[n%tried], n/tried
		}
		_, wrong := promql.ParseExpr(filled(expr, func(name string) string { return role[name] }))
		if wrong == nil {
			return true, nil
		}
		if err == nil {
			err = wrong
		}
	}
	return tried == len(roles), err
}

// power is base to the n, or more than is tried.
func power(base, n int) int {
	out := 1
	for range n {
		if out *= base; out > atMost {
			break
		}
	}
	return out
}

// filled is the expression with a value for each of its variables. In a text any does.
func filled(expr string, value func(name string) string) string {
	return textOrVariable.ReplaceAllStringFunc(expr, func(found string) string {
		if strings.HasPrefix(found, "$") || strings.HasPrefix(found, "[[") {
			return value(variable(found))
		}
		return grafanaVariable.ReplaceAllString(found, "1")
	})
}

// variable is the name of the variable that stands first in a text, "" for none.
func variable(text string) string {
	m := grafanaVariable.FindStringSubmatch(text)
	if m == nil {
		return ""
	}
	return m[1] + m[2] + m[3]
}
