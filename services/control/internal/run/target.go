package run

import (
	"context"
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/store"
)

// targets are the tasks of stage egress of a run: a LOAD task for each target, in the order of the flow, and the SETTLE
// tasks of those that needed one, by target.
type targets struct {
	loads   []store.Task
	settles map[int32]store.Task
}

func (c *Change) targets(ctx context.Context) (targets, error) {
	tasks, err := c.tx.Tasks(ctx, c.Run.ID, store.TaskLoad, store.TaskSettle)
	if err != nil {
		return targets{}, err
	}
	t := targets{settles: map[int32]store.Task{}}
	for _, task := range tasks {
		if task.Kind == store.TaskLoad {
			t.loads = append(t.loads, task)
		} else {
			t.settles[task.Part] = task
		}
	}
	return t, nil
}

// outcome of all targets together; none as long as one of them is not decided.
func (t targets) outcome() store.Outcome {
	outcomes := make([]store.Outcome, len(t.loads))
	for i, load := range t.loads {
		outcomes[i] = load.Outcome
	}
	return store.Together(outcomes)
}

// failure returns the load whose own error came first; nil if there is none.
func (t targets) failure() *store.Task {
	var first *store.Task
	for i := range t.loads {
		load := &t.loads[i]
		if load.State == store.TaskFailed && load.Outcome != store.OutcomeCommitted && (first == nil || load.EndTime.Before(first.EndTime)) {
			first = load
		}
	}
	return first
}

// Load begins stage egress with a task for each of n targets, as many at once as the run may have in flight.
func (c *Change) Load(ctx context.Context, n int) error {
	tasks := make([]store.Task, n)
	for i := range tasks {
		tasks[i] = NewTask(c.Run, store.TaskLoad, int32(i))
		if i >= int(c.Run.MaxParallelTasks) {
			tasks[i].State = store.TaskWaiting
		}
	}
	return c.AddTasks(ctx, tasks...)
}

// Decide follows from what has become of a LOAD or SETTLE task: a target whose load has ended without a commit is aborted
// if that is certain, and settled otherwise; the next target that waits gets its turn; and once the last target has its
// outcome the run ends. What a target does is nothing to the others.
func (c *Change) Decide(ctx context.Context) error {
	t, err := c.targets(ctx)
	if err != nil {
		return err
	}
	if c.Run.State.Final() {
		return c.settleEnded(ctx, t)
	}
	inFlight := 0
	for i := range t.loads {
		load := &t.loads[i]
		if load.State == store.TaskReady || load.State == store.TaskRunning {
			inFlight++
		}
		if load.Outcome != store.OutcomeNone || !load.State.Ended() {
			continue
		}
		if load.Uncertain {
			err = c.settle(ctx, t, load.Part)
		} else if settle, ok := t.settles[load.Part]; !ok || settle.State.Ended() {
			err = c.setOutcome(ctx, load, store.OutcomeAborted)
		}
		if err != nil {
			return err
		}
	}
	for i := range t.loads {
		if t.loads[i].State == store.TaskWaiting && inFlight < int(c.Run.MaxParallelTasks) {
			inFlight++
			if err := c.renew(ctx, &t.loads[i]); err != nil {
				return err
			}
		}
	}
	if t.outcome() == store.OutcomeNone {
		return nil
	}
	return c.conclude(ctx, t)
}

// Answered notes what has become of the run in a target, as its load or settlement found out, or that nobody could be
// asked (UNKNOWN). Nobody has to do the other of the two any more. Decide says what follows.
func (c *Change) Answered(ctx context.Context, by store.Task, outcome store.Outcome) error {
	t, err := c.targets(ctx)
	if err != nil {
		return err
	}
	if int(by.Part) >= len(t.loads) {
		return fmt.Errorf("task %s: the run has no LOAD task of that target", by.ID)
	}
	other, ok := t.settles[by.Part]
	if by.Kind == store.TaskSettle {
		other, ok = t.loads[by.Part], true
	}
	if ok && !other.State.Ended() {
		from := other.State
		other.State, other.EndTime, other.LeaseUntil = store.TaskCancelled, c.Now, noTime
		if err := c.tx.UpdateTask(ctx, other, from); err != nil {
			return err
		}
	}
	load := t.loads[by.Part]
	if by.Kind == store.TaskSettle {
		load = other
	}
	return c.setOutcome(ctx, &load, outcome)
}

func (c *Change) setOutcome(ctx context.Context, load *store.Task, outcome store.Outcome) error {
	load.Outcome = outcome
	c.dirty = true // for those who watch the run
	return c.tx.UpdateTask(ctx, *load, load.State)
}

// settle lets egress ask a target unless it does already.
func (c *Change) settle(ctx context.Context, t targets, part int32) error {
	task, ok := t.settles[part]
	if !ok {
		task = NewTask(c.Run, store.TaskSettle, part)
		t.settles[part] = task
		return c.AddTasks(ctx, task)
	}
	if !task.State.Ended() {
		return nil
	}
	err := c.renew(ctx, &task)
	t.settles[part] = task
	return err
}

// renew makes a task claimable at once that waits, or begins again after its end: with all the attempts of a new one, under
// numbers that nobody has had.
func (c *Change) renew(ctx context.Context, t *store.Task) error {
	from := t.State
	if from.Ended() {
		t.MaxAttempts, t.Errors, t.Error, t.Manifest = t.Attempt+c.Run.MaxAttempts, 0, nil, nil
	}
	t.State, t.EndTime, t.LeaseUntil, t.Wakes = store.TaskReady, noTime, noTime, 0
	t.ReadyTime, t.WakeTime = c.Now, c.Now.Add(WakeAfter)
	if err := c.Wake(*t); err != nil {
		return err
	}
	return c.tx.UpdateTask(ctx, *t, from)
}

// conclude ends a run whose targets are all decided.
func (c *Change) conclude(ctx context.Context, t targets) error {
	loaded, err := c.mergeReceipt(ctx, t)
	if err != nil {
		return err
	}
	outcome := t.outcome()
	for _, r := range append(loaded, c.Run.Receipt) {
		if err := receipt.Check(r); err != nil {
			// Egress balances before it commits: this is a fault of the platform, found too late to keep the target untouched.
			return c.End(ctx, store.RunCrashed, outcome, Imbalance(err, typev1.Stage_STAGE_EGRESS), store.TaskSettle)
		}
	}
	if outcome == store.OutcomeCommitted {
		if err := c.StageCompleted(typev1.Stage_STAGE_EGRESS); err != nil {
			return err
		}
		to := store.RunSucceeded
		if rejected(c.Run.Receipt) > 0 {
			to = store.RunPartialFailed
		}
		return c.End(ctx, to, outcome, nil)
	}
	to, cause, err := c.ending(ctx, t)
	if err != nil {
		return err
	}
	if outcome == store.OutcomeUnknown {
		var names []string
		for _, target := range c.Run.Receipt.GetTargets() {
			if target.GetOutcome() == receipt.Unknown {
				names = append(names, target.GetTarget())
			}
		}
		return c.End(ctx, store.RunFailed, outcome, unsettled(c.Run.ID, cause, names), store.TaskSettle)
	}
	return c.End(ctx, to, outcome, cause)
}

// ending is how a run ends that has not committed in all of its targets: as it was stopped, or for the first of its targets
// that failed.
func (c *Change) ending(ctx context.Context, t targets) (store.RunState, *typev1.Error, error) {
	if c.Run.Ending != nil {
		return c.Run.Ending.State, c.Run.Ending.Error, nil
	}
	first := t.failure()
	if first == nil {
		return "", nil, fmt.Errorf("run %s: none of its targets failed, and not all have committed", c.Run.ID)
	}
	version, err := c.tx.Version(ctx, c.Run.Flow, c.Run.Version)
	if err != nil {
		return "", nil, err
	}
	name := receipt.Target(version.Spec, first.Part).GetName()
	return endState(first.Error), ofTarget(first.Error, name, c.Run.ID), nil
}

// endState is CRASHED for a fault of the platform.
func endState(cause *typev1.Error) store.RunState {
	switch cause.GetReason() {
	case ReasonReceiptImbalance, ReasonLeasesExhausted:
		return store.RunCrashed
	}
	return store.RunFailed
}

// settleEnded notes what a target of a run that ended unsettled has answered at last. The run keeps its state, which only a
// resume changes.
func (c *Change) settleEnded(ctx context.Context, t targets) error {
	if c.Run.Outcome != store.OutcomeUnknown {
		return nil
	}
	if _, err := c.mergeReceipt(ctx, t); err != nil {
		return err
	}
	if c.Run.Outcome = t.outcome(); c.Run.Outcome == store.OutcomeUnknown {
		return nil // Other targets have yet to answer.
	}
	if c.Run.Error.GetReason() == ReasonTargetUnsettled {
		c.Run.Error = settled(c.Run)
	}
	return c.tx.CancelTasks(ctx, c.Run.ID)
}

// mergeReceipt gives the run the receipt of all its targets, and returns those that the targets committed.
func (c *Change) mergeReceipt(ctx context.Context, t targets) ([]*typev1.Receipt, error) {
	task, err := c.receiptTask(ctx)
	if err != nil || task == nil {
		return nil, err
	}
	var committed []*typev1.Receipt
	loaded := make([]*typev1.Receipt, len(t.loads))
	for i, load := range t.loads {
		if load.Outcome != store.OutcomeCommitted {
			continue
		}
		by := load
		if load.State != store.TaskDone {
			by = t.settles[load.Part]
		}
		if loaded[i], err = ParseReceipt(by.Manifest.GetLoad()); err != nil {
			return nil, fmt.Errorf("read the receipt of task %s: %w", by.ID, err)
		}
		committed = append(committed, loaded[i])
	}
	r := receipt.Merge(task, loaded)
	for i, load := range t.loads[:min(len(t.loads), len(r.Targets))] {
		r.Targets[i].Outcome = string(load.Outcome)
		if load.Outcome != store.OutcomeCommitted {
			r.Targets[i].Error = load.Error
		}
	}
	c.Run.Receipt, c.counts, c.dirty = r, r.GetCounts(), true
	return committed, nil
}

// ParseReceipt reads the receipt that a LOAD or SETTLE task has committed. It may come out of a target's marker, written by
// an older or newer release.
func ParseReceipt(load *typev1.LoadManifest) (*typev1.Receipt, error) {
	r := &typev1.Receipt{}
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal([]byte(load.GetReceiptJson()), r); err != nil {
		return nil, err
	}
	return r, nil
}

// rejected counts the records of a committed run that are not in its targets for a fault of theirs.
func rejected(r *typev1.Receipt) int64 {
	n := r.GetCounts().GetMalformed() + r.GetCounts().GetRejected()
	for _, t := range r.GetTargets() {
		n += t.GetRefused()
	}
	return n
}
