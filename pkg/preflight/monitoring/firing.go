package monitoring

import (
	"slices"

	"github.com/prometheus/prometheus/promql/parser"
)

// series says whether an expression has a result.
type series int

const (
	// perhaps is what only a running Prometheus knows.
	perhaps series = iota
	never
	always
)

// result tells whether an expression has a result where some metrics have no series.
// A rule that asks for itself begins with nothing: within are those that are being read.
func (f *findings) result(expr string, missing func(metric string) bool, within ...string) series {
	tree, err := promql.ParseExpr(expr)
	if err != nil {
		return perhaps
	}
	r := reading{f.recorded, missing, within}
	return r.of(tree)
}

// reading is how the parts of one expression are read.
type reading struct {
	recorded map[string]string
	missing  func(metric string) bool
	within   []string
}

func (r reading) of(n parser.Node) series {
	switch n := n.(type) {
	case *parser.NumberLiteral, *parser.StringLiteral:
		return always
	case *parser.ParenExpr:
		return r.of(n.Expr)
	case *parser.UnaryExpr:
		return r.of(n.Expr)
	case *parser.SubqueryExpr:
		return r.of(n.Expr)
	case *parser.MatrixSelector:
		return r.of(n.VectorSelector)
	case *parser.VectorSelector:
		return r.selector(n)
	case *parser.AggregateExpr:
		// topk and its like may leave nothing of what there is.
		if all := r.of(n.Expr); all == never || n.Param == nil {
			return all
		}
	case *parser.Call:
		return r.call(n)
	case *parser.BinaryExpr:
		return r.binary(n)
	}
	return perhaps
}

// selector follows what a rule records to what it is made of.
func (r reading) selector(v *parser.VectorSelector) series {
	expr, recorded := r.recorded[v.Name]
	switch {
	case slices.Contains(r.within, v.Name):
		return never
	case recorded:
		f := findings{recorded: r.recorded}
		made := f.result(expr, r.missing, append(slices.Clone(r.within), v.Name)...)
		if made == always {
			return perhaps // its labels may be others
		}
		return made
	case v.Name != "" && r.missing(v.Name):
		return never
	}
	return perhaps
}

// call reads a function: all but a few have a result for what they are given.
func (r reading) call(c *parser.Call) series {
	given := always
	for _, arg := range c.Args {
		if t := arg.Type(); t == parser.ValueTypeVector || t == parser.ValueTypeMatrix {
			given = r.of(arg)
		}
	}
	switch c.Func.Name {
	case "absent", "absent_over_time":
		return map[series]series{never: always, always: never}[given]
	case "scalar":
		return always // of nothing it is NaN
	}
	if given == always && len(c.Args) > 0 && c.Func.Name != "vector" {
		return perhaps
	}
	return given
}

func (r reading) binary(b *parser.BinaryExpr) series {
	left, right := r.of(b.LHS), r.of(b.RHS)
	switch {
	case b.Op == parser.LOR && (left == always || right == always):
		return always
	case b.Op == parser.LOR && left == never && right == never:
		return never
	case b.Op == parser.LOR:
		return perhaps
	case b.Op == parser.LUNLESS && (left == never || right == never):
		return left
	case b.Op == parser.LUNLESS:
		return perhaps
	case left == never || right == never:
		return never
	}
	return perhaps
}
