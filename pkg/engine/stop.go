package engine

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/compose-spec/compose-go/v2/types"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"

	"github.com/shiksha/actions/pkg/event"
	"github.com/shiksha/actions/pkg/stack"
)

// removalTime is how long to wait for a removal that somebody else began.
const removalTime = 30 * time.Second

// Stop stops units, all at once: their stop signal, then grace (rounded up to
// whole seconds, 0 kills at once; stack.OwnGrace is what each was made with), then
// SIGKILL, which is told. A unit that is stopped or gone already is no error. It runs no hooks; see
// StopService. A stopped unit stays so when the engine starts again, whatever its
// restart policy, until Restart.
func (e *Engine) Stop(ctx context.Context, ids []string, grace time.Duration) error {
	return e.each(ids, func(id string) error { return e.stop(ctx, "", id, grace) })
}

// StopService is Stop with the service's pre_stop hooks run in each running unit
// first, as `docker compose stop` does. A hook that fails is reported as a warning
// and the unit stopped all the same. A unit that was made with a longer grace has that: the
// file is of another release, and the unit may be in the middle of a task.
func (e *Engine) StopService(ctx context.Context, s *stack.Stack, service string, ids []string, grace time.Duration) error {
	hooks := s.Project.Services[service].PreStop
	return e.each(ids, func(id string) error {
		e.preStop(ctx, s, service, id, hooks)
		return e.stop(ctx, service, id, grace)
	})
}

// stop stops a unit of a service, or of "" for none, which has grace and no more.
func (e *Engine) stop(ctx context.Context, service, id string, grace time.Duration) error {
	res, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	was := res.Container
	known := err == nil && was.State != nil && was.HostConfig != nil // else the stop says why
	if known {
		e.hold(ctx, id, was)
	}
	own := ownGrace(was)
	var o client.ContainerStopOptions
	if grace == stack.OwnGrace || known && service != "" && own > grace {
		grace = own
	} else {
		seconds := int((max(grace, 0) + time.Second - 1) / time.Second)
		grace, o.Timeout = time.Duration(seconds)*time.Second, &seconds
	}
	began := time.Now()
	_, err = e.api.ContainerStop(ctx, id, o)
	if err != nil && !isGone(err) {
		return fmt.Errorf("stop %s: %w", e.unit(id), err)
	}
	// Who is given less than it asked for is in our way: that it is killed is meant.
	if known && was.State.Running && grace > 0 && grace >= own && time.Since(began) >= grace {
		e.tellKilled(ctx, service, id, grace)
	}
	return nil
}

// ownGrace is the time to end that a unit was made with.
func ownGrace(c container.InspectResponse) time.Duration {
	switch {
	case c.Config == nil || c.Config.StopTimeout == nil:
		return stack.DefaultGrace // the engine's, too
	case *c.Config.StopTimeout < 0:
		return math.MaxInt64 // it is waited for without an end
	}
	return time.Duration(*c.Config.StopTimeout) * time.Second
}

// tellKilled tells of a unit that had to be killed at the end of its time: nothing else
// does, and it will be at each release.
func (e *Engine) tellKilled(ctx context.Context, service, id string, grace time.Duration) {
	const sigkilled = 137
	res, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if st := res.Container.State; err != nil || st == nil || st.Running || st.ExitCode != sigkilled || st.OOMKilled {
		return
	}
	e.sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Service: service, Unit: e.unit(id),
		Text: fmt.Sprintf("did not end within %s and was killed, with what it was doing: does its stop signal reach the program "+
			"(exec in a shell's command, or init: true)? Else give it a longer stop_grace_period", grace)})
}

// hold has a unit that is about to be stopped stay so. An engine that starts again
// starts a unit with `always` whoever stopped it, and one with `on-failure` that did
// not end with 0: after a release that was cut off here the old unit would come back
// beside the new one, on the same volume. One that does not run the engine does not
// take for stopped, and `unless-stopped` would have it start, whatever it ended with:
// its policy is `no`, until it is replaced or let go. It is done before the stop, with which the
// engine goes on when nobody waits any more. A policy that cannot be changed keeps no
// unit from being stopped.
func (e *Engine) hold(ctx context.Context, id string, c container.InspectResponse) {
	policy, name := c.HostConfig.RestartPolicy, container.RestartPolicyUnlessStopped
	if !c.State.Running {
		name = container.RestartPolicyDisabled
	}
	if policy.IsNone() || policy.Name == name || e.setPolicy(ctx, id, container.RestartPolicy{Name: name}) != nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, twice := e.held[id]; !twice {
		e.held[id] = policy
	}
}

// letGo gives a unit that is about to be started again the policy back that it had
// before hold. It is done before the start: an engine that changes a running unit
// writes its limits anew, which may cost it its GPU. What the engine refuses is a warning;
// the error says that it was not asked.
func (e *Engine) letGo(ctx context.Context, id string) error {
	e.mu.Lock()
	policy, ok := e.held[id]
	e.mu.Unlock()
	if !ok {
		return nil
	}
	if err := e.setPolicy(ctx, id, policy); err != nil {
		if answered(err) {
			return nil
		}
		return fmt.Errorf("give %s its restart policy back: %w", e.unit(id), err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.held, id)
	return nil
}

// setPolicy changes the restart policy of a unit.
func (e *Engine) setPolicy(ctx context.Context, id string, policy container.RestartPolicy) error {
	_, err := e.api.ContainerUpdate(ctx, id, client.ContainerUpdateOptions{RestartPolicy: &policy})
	if err != nil && answered(err) && !isGone(err) {
		e.sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Unit: e.unit(id),
			Text: "its restart policy could not be set to " + string(policy.Name) + ": " + err.Error()})
	}
	return err
}

// preStop runs the hooks in turn; a failed one ends them, as with Compose.
func (e *Engine) preStop(ctx context.Context, s *stack.Stack, service, id string, hooks []types.ServiceHook) {
	for i, h := range hooks {
		var env []string
		for k, v := range h.Environment {
			if v != nil {
				env = append(env, k+"="+*v)
			}
		}
		res, err := e.exec(ctx, id, nil, client.ExecCreateOptions{
			User: h.User, Privileged: h.Privileged, Env: env, WorkingDir: h.WorkingDir, Cmd: h.Command,
		})
		if isGone(err) || errdefs.IsConflict(err) {
			return // gone, or does not run: nothing to prepare
		}
		if err == nil && res.exit == 0 {
			continue
		}
		text := fmt.Sprintf("pre_stop hook %d of %s ended with %d; the unit is stopped all the same", i, service, res.exit)
		if err != nil {
			text = fmt.Sprintf("pre_stop hook %d of %s: %v; the unit is stopped all the same", i, service, err)
		}
		e.sink.Emit(event.Event{Time: time.Now(), Level: event.Warning, Service: service, Unit: e.unit(id),
			Text: text, Output: s.HideSecrets(strings.TrimSpace(res.stdout + res.stderr))})
		return
	}
}

// Remove removes stopped units, all at once. Their anonymous volumes stay, for whoever
// follows them or to be told of (TellLeft); those of a unit that never ran hold nothing
// and go. One that is gone already is no error; one that runs is, and stays.
func (e *Engine) Remove(ctx context.Context, ids []string) error {
	return e.each(ids, func(id string) error {
		res, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
		if isGone(err) {
			return nil
		}
		if err == nil && ran(res.Container) {
			e.leave(res.Container) // before: who is cut off finds no unit the next time
		}
		if err == nil {
			err = e.remove(ctx, id, !ran(res.Container))
		}
		if err != nil {
			return fmt.Errorf("remove %s: %w", e.unit(id), err)
		}
		return nil
	})
}

// Scrap removes stopped units of an attempt that came to nothing, or whose successors
// begin empty, with the anonymous volumes that were made for them. What they took over
// from others stays: the engine counts it as theirs no more than a volume with a name.
func (e *Engine) Scrap(ctx context.Context, ids []string) error {
	return e.each(ids, func(id string) error {
		if err := e.remove(ctx, id, true); err != nil {
			return fmt.Errorf("remove %s: %w", e.unit(id), err)
		}
		return nil
	})
}

// ran tells whether a unit may have written anything. One that was never started but
// has volumes of another unit may be the last that has them.
func ran(c container.InspectResponse) bool {
	shares := c.HostConfig != nil && len(c.HostConfig.VolumesFrom) > 0
	return c.State == nil || !instant(c.State.StartedAt).IsZero() || shares
}

func (e *Engine) remove(ctx context.Context, id string, volumes bool) error {
	_, err := e.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{RemoveVolumes: volumes})
	if err == nil || isGone(err) {
		return nil
	}
	if !errdefs.IsConflict(err) {
		return err
	}
	// A conflict is one of three: it runs, it is being removed, or it is dead and
	// needs force.
	res, look := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if isGone(look) {
		return nil
	}
	if look != nil || res.Container.State == nil || res.Container.State.Running {
		return err
	}
	if res.Container.State.Status == container.StateRemoving || strings.Contains(err.Error(), "already in progress") {
		return e.awaitGone(ctx, id)
	}
	_, err = e.api.ContainerRemove(ctx, id, client.ContainerRemoveOptions{RemoveVolumes: volumes, Force: true})
	if isGone(err) {
		return nil
	}
	return err
}

// awaitGone waits for a removal under way.
func (e *Engine) awaitGone(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, removalTime, fmt.Errorf("its removal by somebody else took longer than %s", removalTime))
	defer cancel()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{}); isGone(err) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
