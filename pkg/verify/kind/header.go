package kind

import (
	"net/textproto"
	"regexp"
	"strings"

	"github.com/invopop/jsonschema"
	"go.yaml.in/yaml/v4"
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

// sensitive are headers whose value is a secret by what they are.
var sensitive = regexp.MustCompile(`(?i)^(Authorization|Proxy-Authorization|Cookie)$|key|token|secret|password`)

// value is what to send; one that may be a secret is shown nowhere.
func (h Header) value(s *Sight, name, service string) (string, error) {
	if h.secret != nil {
		return s.reveal(h.secret, service)
	}
	if sensitive.MatchString(textproto.CanonicalMIMEHeaderKey(name)) {
		s.Hide(h.text)
		// "Bearer abc": a server repeats the second word alone.
		s.Hide(strings.Fields(h.text)...)
	}
	return s.expand(h.text)
}

// JSONSchema describes it.
func (Header) JSONSchema() *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string"}, Secret{}.JSONSchema()}}
}
