package kind

import (
	"errors"
	"fmt"
	"strings"

	"github.com/shiksha/actions/pkg/stack"
)

// Exec runs a command: in the units of a service, or on the host.
type Exec struct {
	Service string             `yaml:"service" help:"Service in whose running units the command runs, in each one. The command is a list and no shell reads it."`
	On      string             `yaml:"on" jsonschema:"enum=unit,enum=host" help:"unit (default) or host."`
	Units   string             `yaml:"units" jsonschema:"enum=all,enum=first" help:"all (default), or first: one unit is enough."`
	Command []string           `yaml:"command" jsonschema:"required" help:"The command and its arguments."`
	Env     map[string]*Secret `yaml:"env" help:"Variables that the command alone gets, from where they are."`
	Stdin   string             `yaml:"stdin" help:"What it reads."`
	Exit    int                `yaml:"exit" help:"Exit code that it has to end with. Default: 0."`
	Stdout  Match              `yaml:"stdout" help:"What it has to print, without surrounding white space. Empty output satisfies neither exists: true nor not."`
	Stderr  Match              `yaml:"stderr" help:"What it has to print to standard error. Empty output satisfies not, but not exists: true."`
	Capture map[string]Pattern `yaml:"capture" help:"Regular expressions on what it prints; what their first group matches is {{name}} in later parts of the same check."`
}

// Manner is how it is looked at.
func (e *Exec) Manner() Manner {
	m := calm(InUnit)
	if e.On == OnHost {
		m.Place = OnHost
	}
	return m
}

// Check tells what cannot be run.
func (e *Exec) Check() error {
	switch {
	case len(e.Command) == 0:
		return errors.New("command is empty")
	case (e.On == OnHost) == (e.Service != ""):
		return errors.New("needs either service, or on: host")
	case e.On == OnHost && len(e.Env) > 0:
		return errors.New("env is for commands in units: on the host it would stand in a command line")
	}
	return nil
}

// Look runs it.
func (e *Exec) Look(s *Sight) {
	argv := make([]string, len(e.Command))
	for i, word := range e.Command {
		var err error
		if argv[i], err = s.expand(word); err != nil {
			s.blind(err)
			return
		}
	}
	if e.On == OnHost {
		e.onHost(s, argv)
		return
	}
	var env []string
	for _, name := range sorted(e.Env) {
		value, err := s.reveal(e.Env[name], e.Service)
		if err != nil {
			s.blind(err)
			return
		}
		env = append(env, name+"="+value)
	}
	units, err := s.running(s.Ctx, e.Service)
	if err != nil {
		s.blind(err)
		return
	}
	if e.Units == "first" {
		units = units[:1]
	}
	for _, u := range units {
		s.at(u.Name)
		stdout, stderr, exit, err := s.Shell.ExecEnv(s.Ctx, u.ID, argv, env, []byte(e.Stdin))
		if err != nil {
			s.blind(err)
			continue
		}
		e.compare(s, argv, stdout, stderr, exit)
	}
}

func (e *Exec) onHost(s *Sight, argv []string) {
	out, err := s.Ground.Run(s.Ctx, argv, strings.NewReader(e.Stdin))
	if err != nil {
		s.blind(err)
		return
	}
	s.at("the host")
	e.compare(s, argv, string(out.Stdout), string(out.Stderr), out.Exit)
}

func (e *Exec) compare(s *Sight, argv []string, stdout, stderr string, exit int) {
	command := strings.Join(argv, " ")
	s.conceal(e.Capture, stdout)
	s.saw(command, fmt.Sprintf("exit %d: %s %s", exit, stdout, stderr))
	if !s.need("exec.exit", exit == e.Exit, fmt.Sprintf("exit code %d of %s", e.Exit, argv[0]), fmt.Sprintf("exit code %d: %s", exit, quoted(stderr+" "+stdout))) {
		return
	}
	e.Stdout.checkOutput(s, "what "+argv[0]+" prints", strings.TrimSpace(stdout), "exists", "not")
	// Silence is the best that standard error can say.
	e.Stderr.checkOutput(s, "standard error of "+argv[0], strings.TrimSpace(stderr), "exists")
	s.learn(e.Capture, stdout)
}

// run runs a command in one unit for the other kinds. Not ok means that nothing is
// known and the look says so: the unit is gone, or has no such program.
func (s *Sight) run(u stack.Unit, argv, env []string, stdin []byte) (out string, exit int, ok bool) {
	out, exit, ok = s.print(u, argv, env, stdin)
	return strings.TrimSpace(out), exit, ok
}

// print is run with all white space.
func (s *Sight) print(u stack.Unit, argv, env []string, stdin []byte) (out string, exit int, ok bool) {
	stdout, stderr, exit, err := s.Shell.ExecEnv(s.Ctx, u.ID, argv, env, stdin)
	if err == nil && (exit == 126 || exit == 127) {
		err = fmt.Errorf("%s has no %s", u.Name, argv[0])
	}
	if err != nil {
		s.saw(argv[0], err.Error())
		s.blind(err)
		return "", exit, false
	}
	s.saw(strings.Join(argv, " "), fmt.Sprintf("exit %d: %s %s", exit, stdout, stderr))
	if exit != 0 {
		stdout += stderr
	}
	return stdout, exit, true
}
