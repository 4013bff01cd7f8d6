package run

import (
	"context"
	"time"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

// noTime is a time that never was.
var noTime time.Time

// Stop ends a run that cannot go on, as FAILED or CRASHED. Targets that have committed stay. Where a load may have
// committed, its target is settled first: the run goes on in SYNCING_TARGET with an Ending, and SETTLE tasks decide. A run
// that has ended or was stopped before is left alone.
func (c *Change) Stop(ctx context.Context, to store.RunState, cause *typev1.Error) error {
	if c.Run.State.Final() || c.Run.Ending != nil {
		return nil
	}
	if c.Run.State == store.RunSyncingTarget {
		return c.stopLoads(ctx, to, cause)
	}
	task, err := c.receiptTask(ctx)
	if err != nil {
		return err
	}
	if task != nil {
		c.partialReceipt(task)
	}
	return c.End(ctx, to, store.OutcomeNone, cause)
}

// stopLoads stops every load that has not committed. If a target failed before, that is what the run ends with.
func (c *Change) stopLoads(ctx context.Context, to store.RunState, cause *typev1.Error) error {
	t, err := c.targets(ctx)
	if err != nil {
		return err
	}
	ending := &store.Ending{State: to, Error: cause}
	// A worker that says that time is up says nothing new.
	if first := t.failure(); first != nil && first.Error.GetReason() != cause.GetReason() {
		if ending.State, ending.Error, err = c.ending(ctx, t); err != nil {
			return err
		}
	}
	c.Run.Ending, c.dirty = ending, true
	for _, load := range t.loads {
		from := load.State
		switch from {
		case store.TaskRunning:
			// It may still commit and say so, but nobody may begin it again.
			load.MaxAttempts = load.Attempt
			if err := c.settle(ctx, t, load.Part); err != nil {
				return err
			}
		case store.TaskReady, store.TaskWaiting:
			load.State, load.EndTime = store.TaskCancelled, c.Now
		default:
			continue
		}
		load.Error = cause
		if err := c.tx.UpdateTask(ctx, load, from); err != nil {
			return err
		}
	}
	return c.Decide(ctx)
}

// Cancel stops the run because somebody asked for it. ErrEnded if it has ended.
func (c *Change) Cancel(ctx context.Context) error {
	if c.Run.State.Final() {
		return ErrEnded
	}
	if c.Run.CancelRequested {
		return nil
	}
	c.Run.CancelRequested = true
	c.dirty = true
	return c.Stop(ctx, store.RunFailed, cancelled(c.Run))
}

// Overdue stops the run if it is out of time.
func (c *Change) Overdue(ctx context.Context) error {
	if c.Now.Before(c.Run.Deadline) {
		return nil
	}
	version, err := c.tx.Version(ctx, c.Run.Flow, c.Run.Version)
	if err != nil {
		return err
	}
	return c.Stop(ctx, store.RunFailed, overdue(c.Run, deadlineOf(version.Spec.GetLimits())))
}
