package extension

import "slices"

// engines are the words for what a stack runs on.
var engines = []string{"auto", "compose", "swarm"}

// ParseEngine reads engine of x-shiksha at the top level, whatever the value of
// x-shiksha is; "" where it says nothing.
func ParseEngine(value any) (string, *Error) {
	tree, _ := value.(map[string]any)
	asked, ok := tree["engine"]
	if !ok {
		return "", nil
	}
	name, _ := asked.(string)
	if !slices.Contains(engines, name) {
		return "", bad("engine", "engine: swarm", "x-shiksha.engine has to be auto, compose or swarm")
	}
	return name, nil
}
