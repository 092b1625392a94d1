package swarm

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/swarm"
)

// goal is what a service is to become. It judges what the manager says: it makes no
// call.
type goal struct {
	service  string
	hash     string
	force    uint64
	replicas int
	// global is set for what runs on every node: replicas is then what was known when
	// the release began, and a node may join it.
	global bool
	// tolerated is how many tasks may be missing or fail, by max_failure_ratio.
	tolerated int
	job       bool
	// known are the tasks that there were before: what became of them is not held
	// against the change.
	known map[string]bool
	// back is set for the way back.
	back bool
}

// rejections is how often a node may refuse a task before that is a failure: a pull
// that was cut off is tried again by Swarm. unplaced is how long a task may wait for
// a node that takes it.
const rejections, unplaced = 3, 45 * time.Second

// judge tells whether the service is what it is to be. An error is a failure, in the
// words of the task that failed.
func (g goal) judge(s state) (bool, error) {
	if g.job {
		return g.judgeJob(s)
	}
	status := statusOf(s.service)
	if !g.back {
		switch status.State {
		case swarm.UpdateStatePaused:
			return false, g.failed(s, "Swarm paused the update")
		case swarm.UpdateStateRollbackStarted, swarm.UpdateStateRollbackCompleted, swarm.UpdateStateRollbackPaused:
			return false, g.failed(s, "Swarm rolled the update back")
		}
	} else if status.State == swarm.UpdateStateRollbackPaused {
		return false, g.failed(s, "Swarm paused the way back")
	}
	well, others := g.count(s)
	moving := status.State == swarm.UpdateStateUpdating || status.State == swarm.UpdateStateRollbackStarted
	if others == 0 && well >= g.replicas-g.tolerated && (well <= g.replicas || g.global) && !moving {
		return true, nil
	}
	if moving {
		return false, g.unplaced(s)
	}
	bad := g.failures(s)
	rejected := 0
	for _, t := range bad {
		if t.Status.State == swarm.TaskStateRejected {
			rejected++
		}
	}
	if n := len(bad) - rejected; n > g.tolerated || rejected >= rejections*max(1, g.replicas) {
		return false, g.failed(s, fmt.Sprintf("%d of its tasks failed", len(bad)))
	}
	return false, g.unplaced(s)
}

func statusOf(svc swarm.Service) swarm.UpdateStatus {
	if svc.UpdateStatus == nil {
		return swarm.UpdateStatus{}
	}
	return *svc.UpdateStatus
}

func rollingBack(s swarm.UpdateState) bool {
	return s == swarm.UpdateStateRollbackStarted || s == swarm.UpdateStateRollbackCompleted
}

func (g goal) judgeJob(s state) (bool, error) {
	complete := 0
	for _, t := range current(s.service, s.tasks) {
		switch t.Status.State {
		case swarm.TaskStateComplete:
			complete++
		case swarm.TaskStateFailed, swarm.TaskStateRejected:
			return false, fmt.Errorf("the job failed: %s", wordsOf(t))
		}
	}
	return complete >= g.replicas, g.unplaced(s)
}

// count gives the tasks that are what they are to be and run, and all others that
// Swarm still wants.
func (g goal) count(s state) (well, others int) {
	for _, t := range current(s.service, s.tasks) {
		switch {
		case !g.mine(t):
			others++
		case t.Status.State == swarm.TaskStateRunning:
			well++
		}
	}
	return well, others
}

// mine tells whether a task is made of what is to run.
func (g goal) mine(t swarm.Task) bool {
	return hashOf(t.Spec) == g.hash && t.Spec.ForceUpdate == g.force
}

// failures are the tasks of this change that failed, the oldest first.
func (g goal) failures(s state) []swarm.Task {
	var out []swarm.Task
	for _, t := range s.tasks {
		bad := t.Status.State == swarm.TaskStateFailed || t.Status.State == swarm.TaskStateRejected ||
			t.Status.State == swarm.TaskStateComplete && !g.job
		if bad && g.mine(t) && !g.known[t.ID] {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b swarm.Task) int { return a.Status.Timestamp.Compare(b.Status.Timestamp) })
	return out
}

// failed is the error of a change, with the words of the task that failed.
func (g goal) failed(s state, what string) error {
	if bad := g.failures(s); len(bad) > 0 {
		// The first one: what came after it may be its doing.
		first := slices.IndexFunc(bad, func(t swarm.Task) bool { return t.Status.State != swarm.TaskStateComplete })
		return fmt.Errorf("%s: %s", what, wordsOf(bad[max(first, 0)]))
	}
	if message := statusOf(s.service).Message; message != "" {
		return fmt.Errorf("%s: %s", what, message)
	}
	return fmt.Errorf("%s", what)
}

// wordsOf says what became of a task as Swarm says it.
func wordsOf(t swarm.Task) string {
	if t.Status.State == swarm.TaskStateComplete {
		return fmt.Sprintf("task %d ended with exit code 0: by itself, or because its health check failed, which Swarm stops a task for", t.Slot)
	}
	text := cmp.Or(t.Status.Err, t.Status.Message, string(t.Status.State))
	if c := t.Status.ContainerStatus; c != nil && c.ExitCode != 0 && !strings.Contains(text, fmt.Sprint(c.ExitCode)) {
		text += fmt.Sprintf(" (exit code %d)", c.ExitCode)
	}
	return fmt.Sprintf("task %d is %s: %s", t.Slot, t.Status.State, text)
}

// unplaced is an error when a task has waited too long for a node. The manager's own
// clock says how long.
func (g goal) unplaced(s state) error {
	var newest time.Time
	for _, t := range s.tasks {
		if t.UpdatedAt.After(newest) {
			newest = t.UpdatedAt
		}
	}
	for _, t := range current(s.service, s.tasks) {
		if g.mine(t) && t.Status.State == swarm.TaskStatePending && t.Status.Err != "" && newest.Sub(t.CreatedAt) > unplaced {
			return fmt.Errorf("no node takes task %d: %s", t.Slot, t.Status.Err)
		}
	}
	return nil
}

// figure says in words how far the service is.
func (g goal) figure(s state) string {
	well, others := g.count(s)
	if g.job {
		return fmt.Sprintf("%d of %d tasks of the job have ended", len(current(s.service, s.tasks))-others, g.replicas)
	}
	of := g.replicas
	if g.global {
		of = max(of, well)
	}
	text := fmt.Sprintf("%d of %d tasks run", well, of)
	if others > 0 {
		text += fmt.Sprintf(", %d old ones are left", others)
	}
	return text
}

// stuck says what the tasks that are missing are at.
func (g goal) stuck(s state) string {
	var out []string
	for _, t := range current(s.service, s.tasks) {
		if g.mine(t) && t.Status.State != swarm.TaskStateRunning {
			out = append(out, wordsOf(t))
		}
	}
	if len(out) == 0 {
		return g.figure(s)
	}
	return g.figure(s) + "; " + strings.Join(out, "; ")
}
