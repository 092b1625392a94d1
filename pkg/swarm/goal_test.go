package swarm

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/moby/moby/api/types/mount"
	"github.com/moby/moby/api/types/swarm"
	"github.com/stretchr/testify/assert"

	"github.com/shiksha/actions/pkg/stack"
)

var epoch = time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC)

// taskOf writes a task as "slot hash state [desired]"; what it says after a colon is
// its error.
func taskOf(i int, text string) swarm.Task {
	text, words, _ := strings.Cut(text, ": ")
	t := swarm.Task{ID: fmt.Sprintf("t%d", i), ServiceID: "s", DesiredState: swarm.TaskStateRunning, NodeID: "n"}
	var hash, state, desired string
	_, _ = fmt.Sscan(text, &t.Slot, &hash, &state, &desired)
	t.Status.State, t.Status.Err = swarm.TaskState(state), words
	t.Spec.ContainerSpec = &swarm.ContainerSpec{Labels: map[string]string{hashLabel: hash}}
	if desired != "" {
		t.DesiredState = swarm.TaskState(desired)
	}
	t.CreatedAt = epoch.Add(time.Duration(i) * time.Second)
	t.UpdatedAt, t.Status.Timestamp = t.CreatedAt, t.CreatedAt
	return t
}

func stateWith(status swarm.UpdateState, tasks ...string) state {
	s := state{service: swarm.Service{ID: "s", Spec: swarm.ServiceSpec{Annotations: swarm.Annotations{Name: "shop_api"}}}}
	if status != "" {
		s.service.UpdateStatus = &swarm.UpdateStatus{State: status, Message: "the updater's words"}
	}
	for i, text := range tasks {
		s.tasks = append(s.tasks, taskOf(i, text))
	}
	return s
}

// When a service is what it is to be, and in whose words it failed.
func TestJudge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		goal  goal
		state state
		done  bool
		err   string
	}{
		"nothing yet":            {goal{replicas: 2}, stateWith(""), false, ""},
		"one of two":             {goal{replicas: 2}, stateWith("", "1 new running", "2 new starting"), false, ""},
		"two of two":             {goal{replicas: 2}, stateWith("", "1 new running", "2 new running"), true, ""},
		"the updater goes on":    {goal{replicas: 2}, stateWith("updating", "1 new running", "2 new running"), false, ""},
		"updated":                {goal{replicas: 2}, stateWith("completed", "1 new running", "2 new running"), true, ""},
		"an old one is left":     {goal{replicas: 2}, stateWith("", "1 new running", "2 new running", "2 old running"), false, ""},
		"the old one is going":   {goal{replicas: 2}, stateWith("", "1 new running", "2 new running", "2 old running shutdown"), true, ""},
		"one too many":           {goal{replicas: 1}, stateWith("", "1 new running", "2 new running"), false, ""},
		"a node joined":          {goal{replicas: 2, global: true}, stateWith("", "0 new running", "0 new running", "0 new running"), true, ""},
		"a node is to come":      {goal{replicas: 2, global: true}, stateWith("", "0 new running"), false, ""},
		"back on every node":     {goal{global: true, back: true}, stateWith("rollback_completed", "0 new running", "0 new running"), true, ""},
		"going back everywhere":  {goal{global: true, back: true}, stateWith("", "0 new running", "0 newer running"), false, ""},
		"scaled to nothing":      {goal{replicas: 0}, stateWith("", "1 new running shutdown"), true, ""},
		"not scaled down yet":    {goal{replicas: 0}, stateWith("", "1 new running"), false, ""},
		"within the ratio":       {goal{replicas: 4, tolerated: 1}, stateWith("completed", "1 new running", "2 new running", "3 new running", "4 new failed shutdown"), true, ""},
		"a first task fails":     {goal{replicas: 1}, stateWith("", "1 new failed shutdown: task: non-zero exit (1)", "1 new ready"), false, "1 of its tasks failed: task 1 is failed: task: non-zero exit (1)"},
		"an old one failed":      {goal{replicas: 1}, stateWith("", "1 old failed shutdown", "1 new starting"), false, ""},
		"refused once":           {goal{replicas: 1}, stateWith("", "1 new rejected shutdown: No such image", "1 new preparing"), false, ""},
		"refused again":          {goal{replicas: 1}, stateWith("", "1 new rejected shutdown: No such image", "1 new rejected shutdown", "1 new rejected shutdown"), false, "3 of its tasks failed: task 1 is rejected: No such image"},
		"paused":                 {goal{replicas: 2}, stateWith("paused", "1 new failed shutdown: task: non-zero exit (1)", "2 old running"), false, "Swarm paused the update: task 1 is failed: task: non-zero exit (1)"},
		"paused without a word":  {goal{replicas: 2}, stateWith("paused", "1 old running", "2 old running"), false, "Swarm paused the update: the updater's words"},
		"rolled back":            {goal{replicas: 1}, stateWith("rollback_started", "1 new failed shutdown: x"), false, "Swarm rolled the update back: task 1 is failed: x"},
		"was rolled back":        {goal{replicas: 1}, stateWith("rollback_completed", "1 old running"), false, "Swarm rolled the update back"},
		"ended for its health":   {goal{replicas: 1}, stateWith("rollback_completed", "1 new complete shutdown", "1 old running"), false, "ended with exit code 0"},
		"going back":             {goal{replicas: 1, hash: "old", back: true}, stateWith("rollback_started", "1 old running"), false, ""},
		"went back":              {goal{replicas: 1, hash: "old", back: true}, stateWith("rollback_completed", "1 old running"), true, ""},
		"the way back is paused": {goal{replicas: 1, hash: "old", back: true}, stateWith("rollback_paused"), false, "Swarm paused the way back"},
		"no node takes it":       {goal{replicas: 1}, waiting("1 new pending: no suitable node (1 node not available)"), false, "no node takes task 1: no suitable node"},
		"no node yet":            {goal{replicas: 1}, stateWith("", "1 new pending: no suitable node"), false, ""},
		"anew, not yet":          {goal{replicas: 1, force: 1}, stateWith("", "1 new running"), false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if c.goal.hash == "" {
				c.goal.hash = "new"
			}
			done, err := c.goal.judge(c.state)
			assert.Equal(t, c.done, done)
			if c.err == "" {
				assert.NoError(t, err)
				return
			}
			assert.ErrorContains(t, err, c.err)
		})
	}
}

// waiting is a state of a task that was made a minute before the newest news.
func waiting(text string) state {
	s := stateWith("", text)
	s.tasks[0].UpdatedAt = s.tasks[0].CreatedAt.Add(time.Minute)
	return s
}

// What failed before the change is not held against it.
func TestJudgeForgivesWhatWasBefore(t *testing.T) {
	t.Parallel()
	s := stateWith("", "1 new failed shutdown", "1 new starting")
	_, err := goal{replicas: 1, hash: "new", known: map[string]bool{"t0": true}}.judge(s)
	assert.NoError(t, err)
}

func TestJudgeOfAJob(t *testing.T) {
	t.Parallel()
	last, before := swarm.Version{Index: 9}, swarm.Version{Index: 4}
	job := func(tasks ...string) state {
		s := stateWith("", tasks...)
		s.service.JobStatus = &swarm.JobStatus{JobIteration: last}
		for i := range s.tasks {
			s.tasks[i].JobIteration = &last
		}
		return s
	}
	g := goal{replicas: 1, hash: "new", job: true}
	done, err := g.judge(job("1 new complete complete"))
	assert.True(t, done)
	assert.NoError(t, err)
	done, err = g.judge(job("1 new running complete"))
	assert.False(t, done)
	assert.NoError(t, err)
	_, err = g.judge(job("1 new failed complete: task: non-zero exit (3)"))
	assert.ErrorContains(t, err, "the job failed: task 1 is failed: task: non-zero exit (3)")
	earlier := job("1 new failed complete")
	earlier.tasks[0].JobIteration = &before
	_, err = g.judge(earlier)
	assert.NoError(t, err, "an earlier run of the job")
}

// Requests go to tasks that run and that Swarm does not want to end.
func TestServing(t *testing.T) {
	t.Parallel()
	s := stateWith("updating", "1 old running shutdown", "1 new running", "2 old running", "2 new starting", "3 old failed shutdown", "3 new ready ready")
	var got []string
	for _, task := range serving(s) {
		got = append(got, task.ID)
	}
	assert.Equal(t, []string{"t1", "t2"}, got)
}

func TestUnitOf(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		state  stack.State
		health stack.UnitHealth
	}{
		"1 h running": {stack.Running, stack.NoHealth}, "1 h starting": {stack.Running, stack.HealthStart}, "1 h pending": {stack.Created, stack.NoHealth},
		"1 h failed": {stack.Exited, stack.NoHealth}, "1 h complete": {stack.Exited, stack.NoHealth}, "1 h rejected": {stack.Dead, stack.NoHealth},
	} {
		s := stateWith("", text)
		u := unitOf(s.service, s.tasks[0], map[string]swarm.Node{"n": {Description: swarm.NodeDescription{Hostname: "worker"}}})
		assert.Equal(t, want.state, u.State, text)
		assert.Equal(t, want.health, u.Health, text)
		assert.Equal(t, "h", u.Hash)
		assert.Equal(t, "worker", u.Node)
		assert.Equal(t, "shop_api.1.t0", u.Name)
	}
	checked := taskOf(0, "1 h running")
	checked.Spec.ContainerSpec.Healthcheck = nil
	checked.Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: "c0ffee", ExitCode: 3}
	u := unitOf(swarm.Service{}, checked, nil)
	assert.Equal(t, "c0ffee", u.ID, "a unit is its container once it has one")
	assert.Equal(t, 3, u.ExitCode)
}

// A task that failed before it had a container, or whose health check had it stopped, has
// no exit code, or 0: only a complete one did its work.
func TestUnitOfATaskThatFailedWithoutACode(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"1 h complete": 0, "1 h failed": -1, "1 h shutdown": -1, "1 h running": 0} {
		s := stateWith("", text)
		s.tasks[0].Status.ContainerStatus = nil
		assert.Equal(t, want, unitOf(s.service, s.tasks[0], nil).ExitCode, text)
		s.tasks[0].Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: "c0ffee"}
		assert.Equal(t, want, unitOf(s.service, s.tasks[0], nil).ExitCode, text)
	}
	failed := stateWith("", "1 h failed")
	failed.tasks[0].Status.ContainerStatus = &swarm.ContainerStatus{ContainerID: "c0ffee", ExitCode: 3}
	assert.Equal(t, 3, unitOf(failed.service, failed.tasks[0], nil).ExitCode)
}

// How many tasks run on every node is the Swarm's to say.
func TestFigureOfAGlobalService(t *testing.T) {
	t.Parallel()
	s := stateWith("", "0 new running", "0 new running", "0 new starting")
	assert.Equal(t, "2 of 4 tasks run", goal{hash: "new", replicas: 4, global: true}.figure(s))
	assert.Equal(t, "2 of 2 tasks run", goal{hash: "new", replicas: 1, global: true}.figure(s))
	assert.Equal(t, "2 of 1 tasks run", goal{hash: "new", replicas: 1}.figure(s))
}

// Where a task writes is seen once it has a node, so that what takes its place by another name
// is not started beside it.
func TestUnitOfATaskThatWrites(t *testing.T) {
	t.Parallel()
	task := taskOf(0, "1 old running")
	task.NodeID = "n1"
	task.Spec.ContainerSpec.Mounts = []mount.Mount{
		{Type: mount.TypeVolume, Source: "shop_data", Target: "/data"}, {Type: mount.TypeBind, Source: "/srv/pg/", Target: "/pg"},
		{Type: mount.TypeVolume, Source: "shop_seed", Target: "/seed", ReadOnly: true}, {Type: mount.TypeVolume, Target: "/cache"}, {Type: mount.TypeTmpfs, Target: "/tmp"},
	}
	assert.Equal(t, []string{"/srv/pg", "shop_data"}, unitOf(swarm.Service{}, task, nil).Writes)
	task.NodeID = ""
	assert.Empty(t, unitOf(swarm.Service{}, task, nil).Writes)
}
