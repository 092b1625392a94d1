package extension

import "regexp"

// finding is the name of one, such as P02.health; the number alone lets a service
// off all of it.
var finding = regexp.MustCompile(`^P[0-9]{2}(\.[a-z-]+)?$`)

// parseExempt reads what a service is let off. An exemption without a reason is
// refused: whoever reads the file in a year has to know why.
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
		case !finding.MatchString(key):
			return nil, bad("exempt."+key, example, "x-shiksha.exempt: %q is not the name of a finding", key)
		case why == "":
			return nil, bad("exempt."+key, example, "x-shiksha.exempt.%s needs a reason in words", key)
		}
		exempt[key] = why
	}
	return exempt, nil
}
