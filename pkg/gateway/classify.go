package gateway

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/shiksha/actions/pkg/fault"
)

// Kind says how a gateway reaches a service.
type Kind string

// The kinds. Static is the one that the override serves; WrongPort is static too,
// but on another port than the stack says.
const (
	Static        Kind = "static"
	WrongPort     Kind = "wrong-port"
	Resolve       Kind = "resolve"
	Variable      Kind = "variable"
	ContainerName Kind = "container-name"
	Alias         Kind = "alias"
	NotReferenced Kind = "not-referenced"
	Overridden    Kind = "extra-hosts"
	ReadOnly      Kind = "read-only"
	NoShell       Kind = "no-shell"
	NotNginx      Kind = "not-nginx"
	NoSignal      Kind = "no-signal"
	Invalid       Kind = "invalid"
)

// Verdict says what a finding means for a rollout.
type Verdict string

// The verdicts: the override works, it works and there is something to tell, it
// cannot work.
const (
	Works     Verdict = "works"
	Announced Verdict = "announced"
	Refused   Verdict = "refused"
)

// Use is one place of the configuration that reaches the service.
type Use struct {
	Kind Kind
	File string
	Line int
	Text string
}

// String is the place and its text, for people.
func (u Use) String() string { return fmt.Sprintf("%s:%d `%s`", u.File, u.Line, u.Text) }

// Finding is what Classify found. Text is one sentence for people, Hint the mend
// ("" when it works), Notes are further things worth telling that stop nothing.
type Finding struct {
	Gateway, Service string
	Kind             Kind
	Verdict          Verdict
	Text, Hint       string
	Uses             []Use
	Notes            []string
}

// Err gives a refused finding as a fault.Refused error, and nil for any other.
func (f Finding) Err() error {
	if f.Verdict != Refused {
		return nil
	}
	return fault.New(fault.Refused, "service "+f.Service, f.Hint, "%s", f.Text)
}

// Configured tells whether what was found is of the configuration alone, which another
// one mends without another unit.
func (f Finding) Configured() bool {
	return !slices.Contains([]Kind{Overridden, ReadOnly, NoShell, NotNginx, NoSignal}, f.Kind)
}

const (
	notWritable      = "its /etc/hosts cannot be written (read_only, or not the root user), so the addresses cannot be moved"
	notWritableHint  = "take read_only off the gateway (nginx's own folders can be tmpfs or read-only mounts)"
	notSignalled     = "its nginx master process cannot be signalled from inside"
	notSignalledHint = "give the gateway the capability KILL, or run its nginx as root"
)

// names is what else is known about the names on the service's networks.
type names struct {
	aliases, others []string
}

// NameOption tells Classify about names.
type NameOption func(*names)

// Aliases gives other names of the service: network aliases, container_name.
func Aliases(list ...string) NameOption {
	return func(n *names) { n.aliases = append(n.aliases, list...) }
}

// OtherServices gives the names of the other services of the stack, so that a
// service `api-2` is not taken for the second unit of `api`.
func OtherServices(list ...string) NameOption {
	return func(n *names) { n.others = append(n.others, list...) }
}

// Classify reads the gateway's configuration (nginx -T) and tells how it reaches
// the service on the port (0: any) and whether the override can move its traffic.
// It changes nothing. An error means that it could not look.
func (g *Nginx) Classify(ctx context.Context, service string, port int, opts ...NameOption) (Finding, error) {
	found := Finding{Gateway: g.unit.Service, Service: service, Verdict: Refused}
	seen, err := g.look(ctx)
	switch {
	case err != nil:
		return g.closed(found, err)
	case !seen.writable:
		found.Kind, found.Text, found.Hint = ReadOnly, g.where()+": "+notWritable, notWritableHint
		return found, nil
	case !seen.signalled:
		found.Kind, found.Text, found.Hint = NoSignal, g.where()+": "+notSignalled, notSignalledHint
		return found, nil
	}
	if line := foreignLine(seen.hosts, service); line != "" {
		found.Kind = Overridden
		found.Text = fmt.Sprintf("%s names %s in its /etc/hosts already (%q), and nginx would send requests there as well",
			g.where(), service, line)
		found.Hint = "take " + service + " out of extra_hosts of the gateway"
		return found, nil
	}
	return g.classifyConfig(ctx, seen, found, port, opts)
}

// Sends is Classify for a gateway that nothing is moved in: it tells what the configuration
// sends to the service, also where the override could not be written or loaded.
func (g *Nginx) Sends(ctx context.Context, service string, opts ...NameOption) (Finding, error) {
	found := Finding{Gateway: g.unit.Service, Service: service, Verdict: Refused}
	seen, err := g.look(ctx)
	if err != nil {
		return g.closed(found, err)
	}
	return g.classifyConfig(ctx, seen, found, 0, opts)
}

// closed goes on where a look failed: what has no shell, or runs no nginx, is found so.
func (g *Nginx) closed(found Finding, err error) (Finding, error) {
	switch {
	case errors.Is(err, errNoShell):
		found.Kind, found.Text = NoShell, g.where()+" has no shell in its image, so its /etc/hosts cannot be written"
	case errors.Is(err, errNoMaster):
		found.Kind, found.Text = NotNginx, g.where()+" runs no nginx master process, and only nginx can be moved"
	default:
		return found, err
	}
	found.Hint = fault.Hint(err)
	return found, nil
}

// classifyConfig goes on with the configuration itself.
func (g *Nginx) classifyConfig(ctx context.Context, seen sight, found Finding, port int, opts []NameOption) (Finding, error) {
	res, err := g.script(ctx, "read nginx's configuration", `"$@" -T`, nil, seen.invocation...)
	if err != nil {
		return found, err
	}
	if res.exit != 0 {
		found.Kind, found.Hint = Invalid, "mend the gateway's configuration"
		found.Text = g.where() + " could not be reloaded as it is, nginx -t fails: " + lastLines(res.stderr, 2)
		return found, nil
	}
	config := parseDump(res.stdout)
	if len(config) == 0 {
		return found, g.fail("", "nginx -T printed no configuration")
	}
	var known names
	for _, opt := range opts {
		opt(&known)
	}
	return judge(found, g.where(), port, readNetwork(config), known), nil
}

// judge decides from the targets. What the override cannot serve weighs more than
// what it can: one such upstream loses requests.
func judge(found Finding, where string, port int, net network, known names) Finding {
	rightPort, dynamic := false, ""
	for _, t := range net.targets {
		kind := kindOf(t, found.Service, known)
		if t.host == "" && t.late && dynamic == "" {
			dynamic = Use{Variable, t.from.file, t.from.line, t.from.text()}.String()
		}
		if kind == "" {
			continue
		}
		rightPort = rightPort || kind == Static && (port == 0 || t.port == strconv.Itoa(port))
		found.Uses = append(found.Uses, Use{kind, t.from.file, t.from.line, t.from.text()})
	}
	found.Notes = append(found.Notes, net.notes...)
	if dynamic != "" {
		found.Notes = append(found.Notes, dynamic+" takes its server from the request, which is not looked into")
	}
	for _, kind := range []Kind{Resolve, Variable, ContainerName, Alias, Static} {
		for _, u := range found.Uses {
			if u.Kind == kind {
				return decide(found, where, u, port, rightPort)
			}
		}
	}
	found.Kind = NotReferenced
	found.Text = fmt.Sprintf("%s sends nothing to %s: no upstream server or pass names it", where, found.Service)
	found.Hint = fmt.Sprintf("name `server %s:%d;` in an upstream there, or take x-shiksha.gateway off %s",
		found.Service, max(port, 1), found.Service)
	return found
}

// decide words the finding for its weightiest use.
func decide(found Finding, where string, use Use, port int, rightPort bool) Finding {
	service := found.Service
	plain := fmt.Sprintf("use `server %s:%s;` in an upstream (nginx reads the name at each reload)", service, portText(port))
	found.Kind = use.Kind
	switch use.Kind {
	case Static:
		found.Verdict = Works
		found.Text = fmt.Sprintf("%s reaches %s by %s", where, service, use)
		if !rightPort {
			found.Kind, found.Verdict = WrongPort, Announced
			found.Text += fmt.Sprintf(", not on the port %d that x-shiksha names", port)
			found.Hint = "make the two ports the same"
		}
		found.Notes = append(found.Notes, failNotes(found.Uses)...)
	case Resolve:
		found.Text = fmt.Sprintf("%s asks DNS for %s all the time (%s), so it sends requests to new units before they are ready", where, service, use)
		found.Hint = "take `resolve` off the server; the rollout reloads nginx when addresses change"
	case Variable:
		found.Text = fmt.Sprintf("%s reaches %s through a variable (%s), so it asks DNS at each request", where, service, use)
		found.Hint = plain + " and pass to that upstream"
	case ContainerName:
		found.Text = fmt.Sprintf("%s reaches %s by the name of one unit (%s), which is another one after a rollout", where, service, use)
		found.Hint = plain
	case Alias:
		found.Text = fmt.Sprintf("%s reaches %s by another name (%s), and only the service's own name can be moved", where, service, use)
		found.Hint = plain
	}
	return found
}

func portText(port int) string {
	if port == 0 {
		return "<port>"
	}
	return strconv.Itoa(port)
}

// kindOf tells how a target reaches the service, "" when it does not.
func kindOf(t target, service string, known names) Kind {
	host := strings.TrimSuffix(t.host, ".")
	is := func(name string) bool { return host != "" && strings.EqualFold(host, name) }
	var by Kind
	switch {
	case is(service):
		by = Static
	case unitName(service).MatchString(host):
		by = ContainerName
	case strings.HasPrefix(strings.ToLower(host), strings.ToLower(service)+"."):
		by = Alias // Docker's DNS also answers <service>.<network>
	}
	for _, alias := range known.aliases {
		if is(alias) && by == "" {
			by = Alias
		}
	}
	for _, other := range known.others {
		if is(other) && !is(service) {
			by = ""
		}
	}
	switch {
	case by != "" && t.resolve:
		return Resolve
	case by != "" && t.late:
		return Variable
	case by == Static && t.host != service:
		return Alias // in /etc/hosts neither `api.` nor, for musl, `API` is `api`
	}
	return by
}

// unitName matches names that Compose gives to units: api-1, project-api-1, project_api_1.
func unitName(service string) *regexp.Regexp {
	return regexp.MustCompile(`(?i)^(?:[a-z0-9][a-z0-9_-]*[-_])?` + regexp.QuoteMeta(service) + `[-_][0-9]+$`)
}

// failNotes tells about servers that nginx takes out of use after failures.
func failNotes(uses []Use) []string {
	for _, u := range uses {
		if u.Kind == Static && strings.HasPrefix(u.Text, "server ") && !strings.Contains(u.Text, "max_fails=0") {
			return []string{u.String() + " leaves a unit out for fail_timeout after max_fails failures (1 if unset); " +
				"max_fails=0 is better where a rollout changes units"}
		}
	}
	return nil
}
