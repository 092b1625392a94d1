package kind

import (
	"net/textproto"
	"regexp"
	"slices"
	"strings"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v4"

	"github.com/shiksha/actions/pkg/fault"
)

// Header is the value of a header to send: a text, or a secret.
type Header struct {
	text   string
	secret *Secret
}

// UnmarshalNode reads it.
func (h *Header) UnmarshalNode(n *yaml.Node) error {
	if n.Kind == yaml.ScalarNode {
		h.text = n.Value
		return nil
	}
	h.secret = &Secret{}
	return h.secret.UnmarshalNode(n)
}

// unsent refuses headers that a request has fields of its own for: Go's client leaves them
// out without a word, and another virtual host than the one that is meant would answer.
func unsent(headers map[string]Header) error {
	for _, name := range sorted(headers) {
		hint := "leave it out: the request says it by itself where it is needed"
		switch textproto.CanonicalMIMEHeaderKey(name) {
		case "Host":
			hint = strings.Join(strings.Fields("write host: "+headers[name].text+" beside headers"), " ")
		case "Content-Length", "Transfer-Encoding", "Trailer":
		default:
			continue
		}
		return fault.New(fault.Input, "", hint, "headers has %s, which would not be sent", name)
	}
	return nil
}

// sensitive are headers whose value is a secret by what they are.
var sensitive = regexp.MustCompile(`(?i)^(Authorization|Proxy-Authorization|Cookie)$|key|token|secret|password`)

// value is what to send; one that may be a secret is shown nowhere.
func (h Header) value(s *Sight, name, service string) (string, error) {
	if h.secret != nil {
		return s.reveal(h.secret, service)
	}
	text, err := s.expand(h.text)
	if err != nil || !isSensitive(name) {
		return text, err
	}
	// "Bearer abc": a server repeats the second word alone.
	s.hide(append(strings.Fields(text), text)...)
	return text, nil
}

// hide keeps secrets out of everything that the run tells, but for those that are what
// every report names.
func (s *Sight) hide(secrets ...string) {
	s.Hide(slices.DeleteFunc(secrets, func(secret string) bool { return s.told[secret] })...)
}

func isSensitive(header string) bool {
	return sensitive.MatchString(textproto.CanonicalMIMEHeaderKey(header))
}

// secretVariables are the variables that some part of a check sends as a secret: what
// is captured under their names is one from the beginning.
func (c *Check) secretVariables() map[string]bool {
	names := map[string]bool{}
	for _, p := range c.probes() {
		for name, h := range p.headers() {
			if !isSensitive(name) {
				continue
			}
			for _, m := range variable.FindAllStringSubmatch(h.text, -1) {
				names[m[1]] = true
			}
		}
	}
	return names
}

// headers are those that a probe sends.
func (p *Probe) headers() map[string]Header {
	switch {
	case p.HTTP != nil:
		return p.HTTP.Headers
	case p.RateLimit != nil:
		return p.RateLimit.Headers
	}
	return nil
}

// captures are what a probe keeps of an answer for the parts after it.
func (p *Probe) captures() map[string]Pattern {
	switch {
	case p.HTTP != nil:
		return p.HTTP.Capture
	case p.Exec != nil:
		return p.Exec.Capture
	}
	return nil
}

// conceal hides what will be captured of an answer, where it is a secret by its name or
// by how it is sent. It comes before anything is told of the answer: a secret that is
// cut in two is not known any more.
func (s *Sight) conceal(captures map[string]Pattern, text string) {
	for name, pattern := range captures {
		if m := pattern.FindStringSubmatch(text); m != nil && (s.secret[name] || isSensitive(name)) {
			s.hide(captured(m))
		}
	}
}

// JSONSchema describes it.
func (Header) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, Secret{}.JSONSchema()}}
}
