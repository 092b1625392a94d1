package compose

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/compose-spec/compose-go/v2/types"

	"github.com/shiksha/actions/pkg/extension"
	"github.com/shiksha/actions/pkg/stack"
	"github.com/shiksha/actions/pkg/suggest"
)

// extension reads x-shiksha of a service.
func (l *loading) extension(s types.ServiceConfig) (stack.Extension, error) {
	at := "services." + s.Name + "."
	for _, key := range sortedKeys(s.Extensions) {
		if suggest.Near(key, extension.Key) {
			return stack.Extension{}, l.input(at+key, fmt.Sprintf("did you mean %q?", extension.Key), "service %s: unknown key %q", s.Name, key)
		}
	}
	value, ok := s.Extensions[extension.Key]
	if !ok {
		return stack.Extension{Drain: stack.DefaultDrain}, nil
	}
	ext, bad := extension.ParseService(value)
	if bad != nil {
		path := at + extension.Key
		if bad.Path != "" {
			path += "." + bad.Path
		}
		return stack.Extension{}, l.input(path, bad.Hint, "service %s: %w", s.Name, bad)
	}
	return ext, nil
}

// checks finds the checks at the top level: those of the last file that has some.
func (l *loading) checks() (found *stack.Checks, err error) {
	for _, file := range l.files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		checks, err := extension.FindChecks(l.ws.rel(file), content)
		if err != nil {
			return nil, err
		}
		if checks != nil {
			found = checks
		}
	}
	return found, nil
}

// verifyGateways makes sure that every gateway can reach what it balances.
func (l *loading) verifyGateways(s *stack.Stack) error {
	for _, name := range sortedKeys(s.Services) {
		service := s.Services[name]
		if service.Ext.Gateway == "" {
			continue
		}
		at := "services." + name + "." + extension.Key + ".gateway"
		gateway, ok := s.Services[service.Ext.Gateway]
		if !ok {
			hint := "name a service of the stack"
			if near := suggest.Nearest(service.Ext.Gateway, sortedKeys(s.Services)); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return l.input(at, hint, "service %s: its gateway %s is not in the stack", name, service.Ext.Gateway)
		}
		if gateway == service {
			return l.input(at, "name the service that balances it", "service %s cannot be its own gateway", name)
		}
		shared := slices.ContainsFunc(service.Networks, func(n string) bool { return slices.Contains(gateway.Networks, n) })
		if !shared {
			return l.input(at, "put both on one network", "service %s and its gateway %s share no network", name, gateway.Name)
		}
	}
	return nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	return slices.Sorted(maps.Keys(m))
}
