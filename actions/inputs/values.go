package inputs

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/shiksha/actions/pkg/fault"
)

// fromRunner marks a value that came from an INPUT_ variable.
type fromRunner string

// given is one value on its way into a field.
type given struct {
	text   string
	runner bool
	flag   *kong.Value
	source Source
}

// problem is an error about the input that the value is for.
func (g given) problem(hint, format string, args ...any) error {
	return fault.New(fault.Input, g.flag.Name, hint, format, args...)
}

// mapper makes a kong mapper of set. A value that cannot be used is kept as a
// problem, so that the next one is looked at too.
func (p *Parser) mapper(set func(given, reflect.Value) error) kong.Mapper {
	return kong.MapperFunc(func(ctx *kong.DecodeContext, target reflect.Value) error {
		token, err := ctx.Scan.PopValue(ctx.Value.Name)
		if err != nil {
			return fmt.Errorf("needs a value")
		}
		p.apply(ctx.Value, token, target, set)
		return nil
	})
}

func (p *Parser) apply(flag *kong.Value, token kong.Token, target reflect.Value, set func(given, reflect.Value) error) {
	runner, isRunner := token.Value.(fromRunner)
	g := given{text: fmt.Sprint(token.Value), runner: isRunner, flag: flag, source: p.source}
	if isRunner {
		g.text = string(runner)
	}
	if err := set(g, target); err != nil {
		p.problems = append(p.problems, err)
	}
}

func setString(g given, target reflect.Value) error {
	text := strings.TrimSpace(g.text)
	if enum := g.flag.EnumSlice(); g.flag.Enum != "" && !slices.Contains(enum, text) {
		// The default keeps kong from complaining a second time.
		target.SetString(g.flag.Default)
		return g.problem("", "%q is none of %s", text, strings.Join(enum, ", "))
	}
	target.SetString(text)
	return nil
}

func setInt(g given, target reflect.Value) error {
	n, err := strconv.Atoi(strings.TrimSpace(g.text))
	if err != nil {
		return g.problem("", "%q is not a whole number", g.text)
	}
	if low := g.flag.Tag.Get("min"); low != "" {
		if least, _ := strconv.Atoi(low); n < least {
			return g.problem("", "%d is less than %d", n, least)
		}
	}
	if high := g.flag.Tag.Get("max"); high != "" {
		if most, _ := strconv.Atoi(high); n > most {
			return g.problem("", "%d is more than %d", n, most)
		}
	}
	target.SetInt(int64(n))
	return nil
}

func setDuration(g given, target reflect.Value) error {
	d, err := time.ParseDuration(strings.TrimSpace(g.text))
	if err != nil {
		return g.problem("write it with its unit, like 90s, 10m or 1h30m", "%q is not a length of time", g.text)
	}
	if d < 0 {
		return g.problem("", "%s is negative", d)
	}
	target.SetInt(int64(d))
	return nil
}

// List is an input of several values, separated by commas or line ends.
type List []string

func setList(g given, target reflect.Value) error {
	list := target.Interface().(List)
	for _, item := range strings.FieldsFunc(g.text, func(r rune) bool { return r == ',' || r == '\n' || r == '\r' }) {
		if item = strings.TrimSpace(item); item != "" && !slices.Contains(list, item) {
			list = append(list, item)
		}
	}
	target.Set(reflect.ValueOf(list))
	return nil
}

// Lines is an input of several values, one a line, that may hold commas. On the
// command line it is given once for each.
type Lines []string

func setLines(g given, target reflect.Value) error {
	lines := target.Interface().(Lines)
	for line := range strings.SplitSeq(g.text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	target.Set(reflect.ValueOf(lines))
	return nil
}

// boolMapper takes a flag alone, or with =true or =false. The runner has YAML's
// two words only.
type boolMapper struct{ p *Parser }

// IsBool tells kong that the flag needs no value.
func (boolMapper) IsBool() bool { return true }

// Decode sets the field.
func (b boolMapper) Decode(ctx *kong.DecodeContext, target reflect.Value) error {
	if ctx.Scan.Peek().Type != kong.FlagValueToken {
		target.SetBool(true)
		return nil
	}
	b.p.apply(ctx.Value, ctx.Scan.Pop(), target, setBool)
	return nil
}

func setBool(g given, target reflect.Value) error {
	switch strings.TrimSpace(g.text) {
	case "true", "True", "TRUE":
		target.SetBool(true)
	case "false", "False", "FALSE":
		target.SetBool(false)
	default:
		return g.problem("write true or false", "%q is neither true nor false", g.text)
	}
	return nil
}

// describe adds to the help of an input what its tags say: the values it takes.
func describe(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if v.Tag.Required {
		help = "(required) " + help
	}
	if v.Enum != "" {
		help += " One of: " + strings.Join(v.EnumSlice(), ", ") + "."
	}
	return help
}
