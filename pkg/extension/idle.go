package extension

import "time"

// Idle says how a worker is let finish its work before it is stopped: Stop makes it
// take no more work, then Wait, asked again and again, ends with 0 when none is
// left. Budget bounds the waiting; after it the worker is stopped all the same.
type Idle struct {
	Stop, Wait []string
	Budget     time.Duration
}

// DefaultIdleBudget is how long a worker that names no budget may take.
const DefaultIdleBudget = 10 * time.Minute

var idleKeys = []string{"stop", "idle", "budget"}

// parseIdle reads the mapping form of drain.
func parseIdle(tree map[string]any) (*Idle, *Error) {
	idle := &Idle{Budget: DefaultIdleBudget}
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
