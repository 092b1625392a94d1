package extension

import "github.com/shiksha/actions/pkg/stack"

var idleKeys = []string{"stop", "idle", "budget"}

// parseIdle reads the mapping form of drain.
func parseIdle(tree map[string]any) (*stack.Idle, *Error) {
	idle := &stack.Idle{Budget: stack.DefaultIdleBudget}
	for _, key := range sortedKeys(tree) {
		var wrong *Error
		switch v := tree[key]; key {
		case "stop":
			idle.Stop, wrong = parseCommand("drain.stop", v)
		case "idle":
			idle.Wait, wrong = parseCommand("drain.idle", v)
		case "budget":
			idle.Budget, wrong = parseTime("drain.budget", v)
		default:
			wrong = unknown("x-shiksha.drain", key, idleKeys)
		}
		if wrong != nil {
			return nil, wrong
		}
	}
	if len(idle.Stop) == 0 || len(idle.Wait) == 0 {
		return nil, bad("drain", "drain: {stop: [worker, pause], idle: [worker, idle], budget: 20m}", "x-shiksha.drain of a worker needs stop and idle")
	}
	return idle, nil
}
