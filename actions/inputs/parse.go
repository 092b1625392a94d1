// Package inputs is how the doorways read what people give them. Each verb
// declares its inputs once, as a struct with kong tags; the command line and the
// runner's INPUT_ variables fill the same fields through the same checks, and
// every problem is told at once, by the name of its input.
package inputs

import (
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/shiksha/actions/pkg/fault"
)

// Source is where values come from besides the command line.
type Source struct {
	// Runner is set inside GitHub Actions; otherwise people are typing.
	Runner bool
	// Input gives an input of the runner by its name, "" for one not given.
	Input func(name string) string
	// Workspace is the folder that the files of the stack are in.
	Workspace string
	// ReadFile reads what an @path names.
	ReadFile func(path string) ([]byte, error)
}

// Parser reads arguments and inputs into a struct of commands.
type Parser struct {
	source Source
	kong   *kong.Kong
	// problems of the values read so far
	problems []error
}

// Groups are the headings of the inputs, in the order that help and the README
// show them.
var Groups = []kong.Group{
	{Key: "connection", Title: "Connection"},
	{Key: "stack", Title: "Stack"},
	{Key: "image", Title: "Images"},
	{Key: "registry", Title: "Registry"},
	{Key: "builder", Title: "Builder and cache"},
	{Key: "rollout", Title: "Rollout"},
	{Key: "checks", Title: "Checks"},
	{Key: "probe", Title: "Probe"},
	{Key: "telling", Title: "GitHub and notifications"},
}

// NewParser makes a parser that fills cli, a pointer to a struct of kong
// commands. Help goes to stdout and then ends the run through exit.
func NewParser(cli any, source Source, stdout, stderr io.Writer, exit func(int), options ...kong.Option) (*Parser, error) {
	p := &Parser{source: source}
	options = append([]kong.Option{
		kong.ExplicitGroups(Groups),
		kong.Writers(stdout, stderr),
		kong.Exit(exit),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, NoExpandSubcommands: true, FlagsLast: true, WrapUpperBound: 110}),
		kong.ValueFormatter(describe),
		kong.Resolvers(kong.ResolverFunc(p.resolve)),
		kong.TypeMapper(reflect.TypeFor[string](), p.mapper(setString)),
		kong.TypeMapper(reflect.TypeFor[int](), p.mapper(setInt)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), p.mapper(setDuration)),
		kong.TypeMapper(reflect.TypeFor[List](), p.mapper(setList)),
		kong.TypeMapper(reflect.TypeFor[Lines](), p.mapper(setLines)),
		kong.TypeMapper(reflect.TypeFor[Secret](), p.mapper(setSecret)),
		kong.TypeMapper(reflect.TypeFor[Content](), p.mapper(setContent)),
		kong.TypeMapper(reflect.TypeFor[EnvFile](), p.mapper(setEnvFile)),
		kong.TypeMapper(reflect.TypeFor[bool](), boolMapper{p}),
	}, options...)
	k, err := kong.New(cli, options...)
	if err != nil {
		return nil, err
	}
	p.kong = k
	// kong would stop at the first input that is missing; Parse tells all of
	// them, with examples. The tag stays for help and action.yml.
	_ = kong.Visit(k.Model, func(node kong.Visitable, next kong.Next) error {
		if flag, ok := node.(*kong.Flag); ok {
			flag.Required = false
		}
		return next(nil)
	})
	return p, nil
}

// Model is what was declared, for help and for generating action.yml.
func (p *Parser) Model() *kong.Application { return p.kong.Model }

// checker is a command that knows more about its inputs than their types say.
type checker interface {
	Check(Source) []error
}

// Parse reads the arguments, then the inputs, then the defaults. An error is of
// kind fault.Input and holds every problem found. The context is there even with
// an error, if the arguments named a command.
func (p *Parser) Parse(args []string) (*kong.Context, error) {
	p.problems = nil
	ctx, err := p.kong.Parse(args)
	if err != nil {
		hint := "see `" + p.kong.Model.Name + " --help`"
		if pe, ok := err.(*kong.ParseError); ok && pe.Context != nil && pe.Context.Selected() != nil {
			hint = "see `" + pe.Context.Selected().FullPath() + " --help`"
		}
		unknown := fault.New(fault.Input, "", hint, "%s", strings.TrimPrefix(err.Error(), p.kong.Model.Name+": "))
		return nil, join(append(p.problems, unknown))
	}
	problems := append(p.problems, p.missing(ctx)...)
	if node := ctx.Selected(); node != nil && node.Target.CanAddr() {
		if c, ok := node.Target.Addr().Interface().(checker); ok {
			problems = append(problems, c.Check(p.source)...)
		}
	}
	return ctx, join(problems)
}

// resolve gives kong the runner's input of a flag's name.
func (p *Parser) resolve(_ *kong.Context, _ *kong.Path, flag *kong.Flag) (any, error) {
	if p.source.Input == nil || flag.Tag.Has("person") {
		return nil, nil
	}
	if value := p.source.Input(flag.Name); value != "" {
		return fromRunner(value), nil
	}
	return nil, nil
}

func (p *Parser) missing(ctx *kong.Context) []error {
	var problems []error
	for _, flag := range ctx.Flags() {
		if flag.Tag.Required && flag.Target.IsZero() && !p.complained(flag.Name) {
			problems = append(problems, p.source.Missing(flag.Name, flag.Tag.Get("example")))
		}
	}
	return problems
}

// complained tells whether a value of that input was there but could not be used.
func (p *Parser) complained(name string) bool {
	for _, err := range p.problems {
		if f, ok := err.(*fault.Error); ok && f.Where == name {
			return true
		}
	}
	return false
}

// Missing is the problem of an input that has to be given, with an example in
// the way the reader writes inputs.
func (s Source) Missing(name, example string) error {
	hint := ""
	switch {
	case example != "" && s.Runner:
		hint = "for example " + name + ": " + example
	case example != "":
		hint = "for example --" + name + " " + example
	}
	return fault.New(fault.Input, name, hint, "is required")
}

// Secrets lists everything in the command's inputs that must never be shown.
func Secrets(ctx *kong.Context) []string {
	var secrets []string
	for _, flag := range ctx.Flags() {
		switch v := flag.Target.Interface().(type) {
		case Secret:
			secrets = append(secrets, string(v))
		case EnvFile:
			secrets = append(secrets, v.Secrets()...)
		}
	}
	return secrets
}
