package run

import (
	"context"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Stop ends a run that cannot go on, as FAILED or CRASHED. Where a load may have committed, the target is settled first:
// the run goes on in SYNCING_TARGET with an Ending, and a SETTLE task decides. A run that has ended or is being settled
// is left alone.
func (c *Change) Stop(ctx context.Context, to store.RunState, cause *typev1.Error) error {
	if c.Run.State.Final() || c.Run.Ending != nil {
		return nil
	}
	if c.Run.State == store.RunSyncingTarget {
		return c.stopLoad(ctx, to, cause)
	}
	if err := c.partialReceipt(ctx, store.OutcomeNone); err != nil {
		return err
	}
	return c.End(ctx, to, store.OutcomeNone, cause)
}

func (c *Change) stopLoad(ctx context.Context, to store.RunState, cause *typev1.Error) error {
	loads, err := c.tx.Tasks(ctx, c.Run.ID, store.TaskLoad)
	if err != nil {
		return err
	}
	uncertain := c.Run.Uncertain
	for _, load := range loads {
		uncertain = uncertain || load.State == store.TaskRunning
	}
	if !uncertain {
		if err := c.partialReceipt(ctx, store.OutcomeAborted); err != nil {
			return err
		}
		return c.End(ctx, to, store.OutcomeAborted, cause)
	}
	for _, load := range loads {
		from := load.State
		switch from {
		case store.TaskRunning:
			// It may still commit and say so, but nobody may begin it again.
			load.MaxAttempts = load.Attempt
		case store.TaskReady, store.TaskWaiting:
			load.State, load.EndTime = store.TaskCancelled, c.Now
		default:
			continue
		}
		if err := c.tx.UpdateTask(ctx, load, from); err != nil {
			return err
		}
	}
	c.Run.Ending = &store.Ending{State: to, Error: cause}
	c.dirty = true
	return c.AddTasks(ctx, NewTask(c.Run, store.TaskSettle, 0))
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
	return c.Stop(ctx, store.RunFailed, cancelled())
}

// Overdue stops the run if it is out of time.
func (c *Change) Overdue(ctx context.Context) error {
	if c.Now.Before(c.Run.Deadline) {
		return nil
	}
	return c.Stop(ctx, store.RunFailed, deadline(c.Run))
}

// Unsettle ends a run whose target could not be settled in the attempts that it has. Its pair stays busy.
func (c *Change) Unsettle(ctx context.Context) error {
	to, cause := store.RunFailed, c.Run.Error
	if c.Run.Ending != nil {
		cause = c.Run.Ending.Error
	}
	if err := c.partialReceipt(ctx, store.OutcomeUnknown); err != nil {
		return err
	}
	return c.End(ctx, to, store.OutcomeUnknown, unsettled(cause), store.TaskSettle)
}

// Settle ends the uncertainty about a run: its target has answered that there is nothing of it, and never will be.
func (c *Change) Settle(ctx context.Context) error {
	if c.Run.State.Final() {
		return c.settleEnded(ctx, store.OutcomeAborted, nil)
	}
	to, cause := store.RunFailed, (*typev1.Error)(nil)
	if c.Run.Ending != nil {
		to, cause = c.Run.Ending.State, c.Run.Ending.Error
	}
	if err := c.partialReceipt(ctx, store.OutcomeAborted); err != nil {
		return err
	}
	return c.End(ctx, to, store.OutcomeAborted, cause)
}

// Commit ends a run whose load has committed with this receipt. A run that ended unsettled keeps its state, which is
// final, and gets the receipt.
func (c *Change) Commit(ctx context.Context, receipt *typev1.Receipt) error {
	if c.Run.State.Final() {
		return c.settleEnded(ctx, store.OutcomeCommitted, receipt)
	}
	c.Run.Receipt = receipt
	c.counts = receipt.GetCounts()
	if err := c.StageCompleted(typev1.Stage_STAGE_EGRESS); err != nil {
		return err
	}
	to := store.RunSucceeded
	if rejected(receipt) > 0 {
		to = store.RunPartialFailed
	}
	return c.End(ctx, to, store.OutcomeCommitted, nil)
}

// settleEnded notes what the target of a run that ended unsettled has answered at last.
func (c *Change) settleEnded(ctx context.Context, outcome store.Outcome, receipt *typev1.Receipt) error {
	if c.Run.Outcome != store.OutcomeUnknown {
		return nil
	}
	c.Run.Outcome = outcome
	c.Run.Error = settled(c.Run.Error, outcome)
	if receipt != nil {
		c.Run.Receipt = receipt
	} else {
		for _, t := range c.Run.Receipt.GetTargets() {
			t.Outcome = string(outcome)
		}
	}
	c.dirty = true
	return c.tx.CancelTasks(ctx, c.Run.ID)
}

// rejected counts the records of a committed run that are not in its target for a fault of theirs.
func rejected(r *typev1.Receipt) int64 {
	n := r.GetCounts().GetMalformed() + r.GetCounts().GetRejected()
	for _, t := range r.GetTargets() {
		n += t.GetRefused()
	}
	return n
}
