package deploy

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/shiksha/actions/pkg/converge"
	verb "github.com/shiksha/actions/pkg/deploy"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// A check that could only be unknown after the release, migration included, refuses it before
// it begins. A plan of a pull request may have neither address nor version yet.
func TestChecksThatCouldOnlyBeUnknown(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		checks string
		args   []string
		says   string
	}{
		"no address":             {"{name: front, http: {path: /}}", nil, `the check "front" asks the address that users come in by`},
		"an address":             {"{name: front, http: {path: /}}", []string{"--url=https://x.example.org"}, ""},
		"no address, only told":  {"{name: front, level: warn, http: {path: /}}", nil, ""},
		"no address, left out":   {"{name: front, http: {path: /}}", []string{"--skip-checks=front"}, ""},
		"no address in a plan":   {"{name: front, http: {path: /}}", []string{"--dry-run"}, ""},
		"no version":             {"{name: page, exec: {service: web, command: [look, '{{ version }}']}}", nil, `the check "page" names {{version}}`},
		"a version":              {"{name: page, exec: {service: web, command: [look, '{{ version }}']}}", []string{"--version=v2"}, ""},
		"no version, only told":  {"{name: page, level: warn, exec: {service: web, command: [look, '{{version}}']}}", nil, ""},
		"no version, left out":   {"{name: page, exec: {service: web, command: [look, '{{version}}']}}", []string{"--skip-checks=page"}, ""},
		"no version in a plan":   {"{name: page, exec: {service: web, command: [look, '{{version}}']}}", []string{"--dry-run"}, ""},
		"no such name":           {"{name: page, exec: {service: web, command: [look, '{{verison}}']}}", []string{"--version=v2"}, "{{verison}}"},
		"no such name in a plan": {"{name: page, exec: {service: web, command: [look, '{{verison}}']}}", []string{"--dry-run"}, "{{verison}}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			workspace := t.TempDir()
			require.NoError(t, os.WriteFile(filepath.Join(workspace, "verify.yml"), []byte("- "+c.checks+"\n- {name: disk, disk: {}}\n"), 0o600))
			do := func(_ context.Context, o verb.Options, _ event.Sink) (*converge.Result, error) {
				if _, err := o.Verify(&stack.Stack{Name: "shop", Order: []string{"web"}}); err != nil {
					return nil, err
				}
				return result(), nil
			}
			o := enter(t, &commands{Deploy: Command{Verb: do}}, nil, workspace, append([]string{"deploy", "--host=a@b", "--checks=verify.yml"}, c.args...)...)
			if c.says == "" {
				assert.Zero(t, o.code, o.stderr)
				return
			}
			assert.Equal(t, 3, o.code, o.stderr)
			assert.Contains(t, o.stderr, c.says)
			assert.Contains(t, o.stderr, "hint", "it says what to do")
		})
	}
}
