package swarm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/swarm"
	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/engine"
	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/fault"
	"github.com/shiksha/actions/pkg/grace"
	"github.com/shiksha/actions/pkg/plan"
	"github.com/shiksha/actions/pkg/stack"
)

// undoBudget bounds the way back of one service, removeBudget how long its tasks may
// take to be gone; both beside the time that the file gives them to end.
const undoBudget, removeBudget = 3 * time.Minute, time.Minute

// Order says how a service is changed. Guard is asked while it is watched and ends that
// with its error. WaitTimeout is how long nothing may move, Login for the registry of
// its image, Release the number that its label gets. Span times an act until what it
// gives is called.
type Order struct {
	Stack       *stack.Stack
	Guard       func(ctx context.Context) error
	WaitTimeout time.Duration
	Login       engine.Auth
	Release     int
	Span        func(name, service string) func()
	// GoesBack, where it is set, is told that the change failed and is taken back.
	GoesBack func()
}

// Change carries one step of a plan out: a change of Swarm's spec that is watched to
// its end. One that fails is taken back, unless the file says otherwise.
func (s *Swarm) Change(ctx context.Context, step plan.Step, o Order) error {
	c := &change{Swarm: s, st: o.Stack, how: o, step: step, svc: o.Stack.Services[step.Service], span: o.Span}
	return c.run(ctx)
}

// change is one service on its way.
type change struct {
	*Swarm
	st   *stack.Stack
	how  Order
	step plan.Step
	svc  *stack.Service
	span func(name, service string) func()

	// id is the service's; before is it as it was, nil for a new one.
	id     string
	before *swarm.Service
	goal   goal
}

func (c *change) run(ctx context.Context) error {
	if err := c.find(ctx); err != nil {
		return err
	}
	if c.step.Action == plan.Remove {
		return c.remove(ctx, ctx)
	}
	follow, err := c.openTraffic(ctx)
	if err == nil {
		err = c.submit(ctx)
	}
	if err != nil {
		return errors.Join(err, c.unsent(ctx, follow))
	}
	err = c.watch(ctx, follow)
	switch {
	case err == nil:
		return follow.close(ctx)
	case ctx.Err() != nil || fault.Of(err) == fault.Interrupted:
		c.last(ctx, follow)
		return err
	}
	c.tail(ctx)
	return errors.Join(err, c.undo(ctx, follow))
}

// unsent leaves a service serving that Swarm was not given, or did not take, as it is
// to be: nothing of it changes, so nothing is left to follow. Only where its tasks were
// told to take no more work they begin anew.
func (c *change) unsent(ctx context.Context, follow *follower) error {
	if ctx.Err() != nil {
		return nil
	}
	if c.step.Action != plan.Drain || c.before == nil {
		return follow.close(ctx)
	}
	defer c.goesBack()()
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoBudget+c.grace())
	defer cancel()
	now, err := c.API.ServiceInspect(back, c.id, client.ServiceInspectOptions{})
	if err != nil {
		return fmt.Errorf("while going back: %w", err)
	}
	return c.renew(ctx, back, now.Service, follow)
}

// find looks for the service as it is.
func (c *change) find(ctx context.Context) error {
	services, err := c.services(ctx, c.st.Name)
	for _, svc := range services {
		if keyOf(svc.Spec.Labels, c.st.Name, svc.Spec.Name) == c.step.Service {
			c.id, c.before = svc.ID, &svc
		}
	}
	return err
}

// submit gives Swarm the service as it is to be.
func (c *change) submit(ctx context.Context) error {
	defer c.span("submit", c.svc.Name)()
	objects := c.objectsOf(c.st, c.svc.Name)
	ids, err := c.ensure(ctx, c.st, objects)
	if err != nil {
		return err
	}
	spec, err := specOf(c.st, c.svc.Name, objects, ids, c.how.Release)
	if err != nil {
		return err
	}
	auth, err := c.how.Login.Header(c.svc.Pinned)
	if err != nil {
		return err
	}
	known, err := c.tasks(ctx)
	if err != nil {
		return err
	}
	c.goal = goal{service: c.svc.Name, hash: c.svc.Hash, replicas: c.svc.Replicas, global: c.svc.Global, job: c.svc.Job, known: map[string]bool{},
		tolerated: int(c.svc.Update.MaxFailureRatio * float64(c.svc.Replicas))}
	for _, t := range known {
		c.goal.known[t.ID] = true
	}
	if c.before == nil {
		made, err := c.API.ServiceCreate(ctx, client.ServiceCreateOptions{Spec: spec, EncodedRegistryAuth: auth})
		c.id = made.ID
		return c.refused(err)
	}
	spec.TaskTemplate.ForceUpdate = c.force(known)
	c.goal.force = spec.TaskTemplate.ForceUpdate
	return c.update(ctx, spec, auth)
}

// update gives Swarm a service that it has as it is to be. Where the answer was lost
// Swarm may be rolling already: then somebody has to follow it.
func (c *change) update(ctx context.Context, spec swarm.ServiceSpec, auth string) error {
	_, err := c.API.ServiceUpdate(ctx, c.id, client.ServiceUpdateOptions{Version: c.before.Version, Spec: spec, EncodedRegistryAuth: auth})
	if err == nil || errdefs.IsInvalidArgument(err) || errdefs.IsConflict(err) {
		return c.refused(err)
	}
	for until := time.Now().Add(lostFor); time.Now().Before(until); {
		now, looked := c.state(ctx)
		if looked == nil {
			if now.service.Version.Index == c.before.Version.Index || hashOf(now.service.Spec.TaskTemplate) != c.goal.hash ||
				now.service.Spec.TaskTemplate.ForceUpdate != c.goal.force {
				break
			}
			c.say(event.Warning, c.svc.Name, "the manager did not answer (%v), but has taken it", err)
			return nil
		}
		if grace.Pause(ctx, pollEvery) != nil {
			break
		}
	}
	return c.refused(err)
}

// refused says what Swarm did not take.
func (c *change) refused(err error) error {
	if errdefs.IsInvalidArgument(err) || errdefs.IsConflict(err) {
		return fault.New(fault.Failed, "service "+c.svc.Name, "", "Swarm does not take it: %w", err)
	}
	return wrap(err, "give the service to the Swarm")
}

// force is the counter by which tasks are replaced that are what they are to be: the
// plan wants them anew.
func (c *change) force(known []swarm.Task) uint64 {
	force := c.before.Spec.TaskTemplate.ForceUpdate
	for _, t := range current(*c.before, known) {
		u := unitOf(*c.before, t, nil)
		if u.Hash == c.svc.Hash && slices.Contains(c.step.Old, u.ID) && u.Serving() {
			return force + 1
		}
	}
	// What it has given up on every node Swarm leaves so while the service stays what it is.
	over := func(t swarm.Task) bool { return failed(t) && hashOf(t.Spec) == c.svc.Hash }
	if c.svc.Global && c.step.Action == plan.Create && len(current(*c.before, known)) == 0 && slices.ContainsFunc(known, over) {
		return force + 1
	}
	return force
}

// tasks lists all tasks of the service; of a new one there are none.
func (c *change) tasks(ctx context.Context) ([]swarm.Task, error) {
	if c.id == "" {
		return nil, nil
	}
	res, err := c.API.TaskList(ctx, client.TaskListOptions{Filters: make(client.Filters).Add("service", c.id)})
	return res.Items, wrap(err, "list the tasks of %s", c.step.Service)
}

// undo brings the service back to what it was, unless the file wants it left as it
// is or Swarm has done so already. A job goes: what it was would run at once, and one that
// failed would stay red in every check of what serves again.
func (c *change) undo(ctx context.Context, follow *follower) error {
	if c.svc.Update.FailureAction != stack.Rollback {
		return nil
	}
	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoBudget+c.grace())
	defer cancel()
	defer c.goesBack()()
	if c.before == nil || c.svc.Job {
		watched, end := endsWith(ctx, back)
		defer end()
		return errors.Join(wrap(c.remove(back, watched), "while going back"), follow.close(back))
	}
	now, err := c.API.ServiceInspect(back, c.id, client.ServiceInspectOptions{})
	if err != nil {
		return fmt.Errorf("while going back: %w", err)
	}
	was := c.before.Spec.TaskTemplate
	if c.svc.Ext.Idle != nil {
		// Its old tasks were told to take no more work: they begin anew.
		return c.renew(ctx, back, now.Service, follow)
	}
	if c.goal.hash == hashOf(was) && c.goal.force == was.ForceUpdate {
		return follow.close(back)
	}
	if status := now.Service.UpdateStatus; status == nil || !rollingBack(status.State) {
		c.say(event.Warning, c.svc.Name, "going back")
		_, err := c.API.ServiceUpdate(back, c.id, client.ServiceUpdateOptions{Version: now.Service.Version, Spec: now.Service.Spec, Rollback: "previous"})
		if err != nil {
			return fmt.Errorf("while going back: %w", err)
		}
	}
	c.backTo(c.before.Spec)
	if err := c.watchBack(ctx, back, follow); err != nil {
		return fmt.Errorf("while going back: %w", err)
	}
	return follow.close(back)
}

// watchBack watches a service that goes back, until that is over or the run is told to end:
// Swarm goes on by itself.
func (c *change) watchBack(ctx, back context.Context, follow *follower) error {
	watched, end := endsWith(ctx, back)
	defer end()
	err := c.watch(watched, follow)
	if err != nil {
		c.last(ctx, follow)
	}
	return err
}

// endsWith gives a context for who waits on the way back, which ends with the run as well.
func endsWith(ctx, back context.Context) (context.Context, func()) {
	watched, end := context.WithCancelCause(back)
	stop := context.AfterFunc(ctx, func() { end(context.Cause(ctx)) })
	return watched, func() { stop(); end(nil) }
}

// goesBack tells that the change is taken back, and times it.
func (c *change) goesBack() (done func()) {
	if c.how.GoesBack != nil {
		c.how.GoesBack()
	}
	return c.span("undo", c.svc.Name)
}

// backTo makes a spec that the service had what it is to become.
func (c *change) backTo(was swarm.ServiceSpec) {
	c.goal.hash, c.goal.force = hashOf(was.TaskTemplate), was.TaskTemplate.ForceUpdate
	c.goal.replicas, c.goal.global, c.goal.back = wanted(was), was.Mode.Global != nil, true
}

// renew makes the service what it was, with tasks that are new all the same.
func (c *change) renew(ctx, back context.Context, now swarm.Service, follow *follower) error {
	c.say(event.Warning, c.svc.Name, "its tasks were told to take no more work; they begin anew")
	spec := c.before.Spec
	spec.TaskTemplate.ForceUpdate = max(now.Spec.TaskTemplate.ForceUpdate, spec.TaskTemplate.ForceUpdate) + 1
	c.backTo(spec)
	err := c.giveBack(back, now, spec)
	if err == nil {
		err = c.watchBack(ctx, back, follow)
	}
	if err != nil {
		return fmt.Errorf("while going back: %w", err)
	}
	return follow.close(back)
}

// giveBack gives Swarm a spec that it had before. The login of this release is the
// fresher one; where there is none, that of the spec stays. Swarm keeps it with what the
// service was before, unless that is what it is (again).
func (c *change) giveBack(ctx context.Context, now swarm.Service, spec swarm.ServiceSpec) error {
	auth, err := c.how.Login.Header(spec.TaskTemplate.ContainerSpec.Image)
	if err != nil {
		return err
	}
	from := swarm.RegistryAuthFromPreviousSpec
	if now.PreviousSpec == nil || hashOf(now.Spec.TaskTemplate) == hashOf(spec.TaskTemplate) {
		from = swarm.RegistryAuthFromSpec
	}
	_, err = c.API.ServiceUpdate(ctx, c.id, client.ServiceUpdateOptions{Version: now.Version, Spec: spec, EncodedRegistryAuth: auth, RegistryAuthFrom: from})
	return err
}

// remove takes the service away and waits until none of its tasks is left, or patience ends:
// Swarm ends them by itself.
func (c *change) remove(ctx, patience context.Context) error {
	if c.id == "" {
		return nil
	}
	tasks, err := c.tasks(ctx)
	if err != nil {
		return err
	}
	if _, err := c.API.ServiceRemove(ctx, c.id, client.ServiceRemoveOptions{}); err != nil && !errdefs.IsNotFound(err) {
		return fmt.Errorf("remove the service: %w", err)
	}
	budget := removeBudget + c.grace()
	for until := time.Now().Add(budget); ; {
		left := slices.DeleteFunc(slices.Clone(tasks), func(t swarm.Task) bool { return c.gone(ctx, t) })
		if len(left) == 0 {
			return nil
		}
		if time.Now().After(until) {
			return fmt.Errorf("%d of its tasks are not gone after %s", len(left), budget)
		}
		if err := grace.Pause(patience, pollEvery); err != nil {
			return err
		}
	}
}

// grace is the time that a task has to end, of what the service was and is to be.
func (c *change) grace() time.Duration {
	var longest time.Duration
	if c.svc != nil {
		longest = c.svc.StopGrace
	}
	if c.before == nil {
		return longest
	}
	if was := c.before.Spec.TaskTemplate.ContainerSpec; was != nil && was.StopGracePeriod != nil {
		longest = max(longest, *was.StopGracePeriod)
	}
	return longest
}

// gone tells whether a task runs no more. One of a removed service is forgotten by
// the manager once its node has ended it.
func (c *change) gone(ctx context.Context, t swarm.Task) bool {
	if t.Status.State == swarm.TaskStateShutdown || t.Status.State == swarm.TaskStateFailed || t.Status.State == swarm.TaskStateRejected ||
		t.Status.State == swarm.TaskStateComplete || t.Status.State == swarm.TaskStateOrphaned {
		return true
	}
	_, err := c.API.TaskInspect(ctx, t.ID, client.TaskInspectOptions{})
	return errdefs.IsNotFound(err)
}
