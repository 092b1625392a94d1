package extension

import (
	"fmt"

	"github.com/shiksha/actions/pkg/suggest"
)

// parseExempt reads what a service is let off. An exemption without a reason is
// refused: whoever reads the file in a year has to know why. So is one from nothing
// that a preflight finds: it would do nothing, and nobody would know.
func parseExempt(v any) (map[string]string, *Error) {
	const example = `exempt: {P02.health: "it ends by itself"}`
	tree, ok := v.(map[string]any)
	if !ok {
		return nil, bad("exempt", example, "x-shiksha.exempt has to be a mapping of findings to reasons")
	}
	exempt := map[string]string{}
	for _, key := range sortedKeys(tree) {
		why, _ := tree[key].(string)
		switch {
		case !isFinding(key):
			hint := example
			if near := suggest.Nearest(key, findings); near != "" {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return nil, bad("exempt."+key, hint, "x-shiksha.exempt: %q is not the name of a finding", key)
		case why == "":
			return nil, bad("exempt."+key, example, "x-shiksha.exempt.%s needs a reason in words", key)
		}
		exempt[key] = why
	}
	return exempt, nil
}
