package task

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Fail ends an attempt with an error: the task becomes ready again after a delay if the error is retryable and attempts
// are left, else the run fails. partial is what the worker knows of the receipt; nil if nothing. store.ErrFenced if the
// claim is stale.
func (s *Service) Fail(ctx context.Context, claim store.Claim, cause *typev1.Error, partial *typev1.Receipt) error {
	failed := func(t store.Task) bool {
		// Cancelled meanwhile: it has stopped as it was told to.
		return t.Attempt == claim.Attempt && (t.State == store.TaskCancelled || t.State == store.TaskFailed || t.State == store.TaskReady)
	}
	return s.on(ctx, claim, failed, func(st *step) error { return st.fail(ctx, cause, partial) })
}

func (st *step) fail(ctx context.Context, cause *typev1.Error, partial *typev1.Receipt) error {
	cause = proto.CloneOf(cause)
	if cause.GetStage() == typev1.Stage_STAGE_UNSPECIFIED {
		cause.Stage = st.task.Kind.Stage()
	}
	st.task.Errors++
	st.task.Error = cause
	if st.task.Kind == store.TaskLoad {
		st.task.Uncertain = st.task.Uncertain || !definite(cause, partial)
		if rejects := stagedRejects(st.task, partial); rejects != nil {
			st.task.Manifest = &typev1.Manifest{Output: &typev1.Manifest_Load{Load: &typev1.LoadManifest{Rejects: rejects}}}
		}
	}
	switch {
	case st.task.Kind == store.TaskSettle:
		return st.failSettle(ctx)
	case st.Run.Ending != nil: // the settlement decides
		if err := st.drop(ctx, store.TaskFailed); err != nil {
			return err
		}
		return st.Decide(ctx)
	case cause.GetReason() == run.ReasonDeadline && !st.Now.Before(st.Run.Deadline):
		if err := st.drop(ctx, store.TaskFailed); err != nil {
			return err
		}
		return st.Overdue(ctx)
	case cause.GetRetryable() && st.attemptsLeft():
		return st.ready(ctx, st.task, st.s.backoff(st.task.Errors))
	}
	return st.giveUp(ctx, store.RunFailed, cause)
}

// giveUp ends a task that cannot be done. The run ends with it, but for a load: the other targets go on to their own end.
func (st *step) giveUp(ctx context.Context, to store.RunState, cause *typev1.Error) error {
	if err := st.drop(ctx, store.TaskFailed); err != nil {
		return err
	}
	switch {
	case st.task.Kind == store.TaskLoad:
		return st.Decide(ctx)
	case cause.GetReason() == run.ReasonReceiptImbalance:
		to = store.RunCrashed // a broken invariant of the platform
	}
	return st.Stop(ctx, to, cause)
}

// stagedRejects are the rows that the target refused in an attempt that failed, as far as they were staged: they are
// worth reading all the same.
func stagedRejects(t store.Task, partial *typev1.Receipt) *typev1.StagedObject {
	for _, target := range partial.GetTargets() {
		if o := target.GetStagedRejects(); o != nil && strings.HasPrefix(o.GetKey(), StagingPrefix(t)) {
			return o
		}
	}
	return nil
}

// definite tells whether an attempt to load that failed has certainly left nothing in the target, and never will: its
// worker says so, or the error is one that is found before a commit. Any other error may stand for a commit whose answer
// was lost.
func definite(cause *typev1.Error, partial *typev1.Receipt) bool {
	for _, t := range partial.GetTargets() {
		switch store.Outcome(t.GetOutcome()) {
		case store.OutcomeUnknown:
			return false
		case store.OutcomeAborted:
			return true
		}
	}
	if cause.GetReason() == run.ReasonReceiptImbalance {
		return true
	}
	switch cause.GetCode() {
	case "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION", "OUT_OF_RANGE":
		return !cause.GetRetryable()
	}
	return false
}

func (st *step) attemptsLeft() bool {
	return st.task.MaxAttempts == 0 || st.task.Attempt < st.task.MaxAttempts
}

// failSettle tries again soon while attempts are left. Then nobody waits for the target any more: the run can end unsettled,
// and the target is asked now and then for as long as it takes.
func (st *step) failSettle(ctx context.Context) error {
	if st.task.MaxAttempts > 0 && st.task.Attempt < st.task.MaxAttempts {
		return st.ready(ctx, st.task, st.s.backoff(st.task.Errors))
	}
	first := st.task.MaxAttempts > 0
	st.task.MaxAttempts = 0
	if err := st.ready(ctx, st.task, jitter(st.s.cfg.SettleEvery)); err != nil || !first {
		return err
	}
	if err := st.Answered(ctx, st.task, store.OutcomeUnknown); err != nil {
		return err
	}
	return st.Decide(ctx)
}

// drop ends the task without a manifest.
func (st *step) drop(ctx context.Context, to store.TaskState) error {
	t, from := st.task, st.task.State
	t.State, t.EndTime, t.LeaseUntil = to, st.Now, noTime
	return st.tx.UpdateTask(ctx, t, from)
}

// ready makes a task claimable after a delay. Workers are told at once, or by the reconciler when the delay is over.
func (st *step) ready(ctx context.Context, t store.Task, delay time.Duration) error {
	from := t.State
	t.State, t.LeaseUntil, t.Wakes = store.TaskReady, noTime, 0
	t.ReadyTime = st.Now.Add(delay)
	t.WakeTime = t.ReadyTime
	if delay == 0 {
		t.WakeTime = st.Now.Add(run.WakeAfter)
		if err := st.Wake(t); err != nil {
			return err
		}
	}
	return st.tx.UpdateTask(ctx, t, from)
}

// Release gives a claimed task back unfinished; the attempt does not count. store.ErrFenced if the claim is stale.
func (s *Service) Release(ctx context.Context, claim store.Claim) error {
	return s.release(ctx, claim, true)
}

// release gives a task back that its worker may have begun, or that never reached one.
func (s *Service) release(ctx context.Context, claim store.Claim, begun bool) error {
	released := func(t store.Task) bool {
		return t.State == store.TaskCancelled || (t.State == store.TaskReady && t.Attempt == claim.Attempt-1)
	}
	return s.on(ctx, claim, released, func(st *step) error {
		if st.task.Kind == store.TaskLoad {
			st.task.Uncertain = st.task.Uncertain || begun
			if st.Run.Ending != nil {
				return st.drop(ctx, store.TaskCancelled) // the settlement decides
			}
		}
		st.task.Attempt--
		return st.ready(ctx, st.task, 0)
	})
}

// Lapse takes a task back whose lease has lapsed: it becomes ready again if attempts are left, else the run crashes.
func (s *Service) Lapse(ctx context.Context, taskID string) error {
	return s.look(ctx, taskID, func(st *step) error {
		if st.task.State != store.TaskRunning || st.task.LeaseUntil.After(st.Now) {
			return nil
		}
		if st.task.Kind == store.TaskLoad {
			st.task.Uncertain = true
		}
		switch {
		case st.task.Kind == store.TaskSettle && !st.attemptsLeft():
			return st.failSettle(ctx)
		case st.task.Kind == store.TaskLoad && st.Run.Ending != nil:
			return st.drop(ctx, store.TaskFailed)
		case st.attemptsLeft():
			return st.ready(ctx, st.task, 0)
		}
		cause := leasesExhausted(st.task)
		st.task.Error = cause
		return st.giveUp(ctx, store.RunCrashed, cause)
	})
}

// maxWakeAfter bounds the time between two publications of a task that nobody claims.
const maxWakeAfter = 5 * time.Minute

// Wake publishes a task again that is ready and that nobody claimed.
func (s *Service) Wake(ctx context.Context, taskID string) error {
	return s.look(ctx, taskID, func(st *step) error {
		t := st.task
		if t.State != store.TaskReady || t.WakeTime.After(st.Now) {
			return nil
		}
		if err := st.Wake(t); err != nil {
			return err
		}
		t.WakeTime = st.Now.Add(min(run.WakeAfter<<min(t.Wakes, 8), maxWakeAfter))
		t.Wakes++
		return st.tx.UpdateTask(ctx, t, store.TaskReady)
	})
}

// look runs fn on a task that nobody needs to hold.
func (s *Service) look(ctx context.Context, taskID string, fn func(*step) error) error {
	return s.db.Update(ctx, func(tx store.Tx) error {
		c, err := run.Lock(ctx, tx, run.OfTask(taskID))
		if err != nil {
			return err
		}
		t, err := tx.Task(ctx, taskID)
		if err != nil {
			return err
		}
		if err := fn(&step{Change: c, tx: tx, task: t, s: s}); err != nil {
			return err
		}
		return c.Save(ctx)
	})
}

func leasesExhausted(t store.Task) *typev1.Error {
	attempts := strconv.Itoa(int(t.Attempt))
	return &typev1.Error{
		Code: "INTERNAL", Reason: run.ReasonLeasesExhausted, Stage: t.Kind.Stage(),
		Message: fmt.Sprintf("the workers of the %s task stopped answering: %s of %s attempts ended with a lapsed lease or an error",
			stageName(t.Kind.Stage()), attempts, attempts),
		NextAction: "look for workers that crashed or ran out of memory, then run the batch again",
		Metadata:   map[string]string{"attempts": attempts, "worker": t.Worker},
	}
}
