package worker

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"time"

	"go.opentelemetry.io/otel/attribute"
	otelcodes "go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/fault"
)

// Reasons by which control answers.
const (
	reasonFenced       = "FENCED"
	reasonNotClaimable = "NOT_CLAIMABLE"
)

// Outcomes of a task as [Tracker] and metrics show them.
const (
	running   = "running"
	completed = "completed"
	failed    = "failed"
	fenced    = "fenced"
	released  = "released"
)

const (
	// callTimeout bounds one call to control.
	callTimeout = 15 * time.Second
	// reportFor is how long a result is offered to a control that does not answer. Control takes it as long as no other
	// attempt was claimed, lapsed lease or not.
	reportFor = 10 * time.Minute
	// releaseFor is the same for a task that is given back, while a process wants to end.
	releaseFor = 10 * time.Second
)

// wake claims the task of a wake-up and does it. ctx ends when the process must.
func (w *Worker) wake(ctx context.Context, ev *eventv1.StageEvent, d bus.Delivery) {
	ctx, span := w.tracer.Start(ctx, "task "+bus.StageName(w.cfg.Stage), trace.WithSpanKind(trace.SpanKindConsumer))
	defer span.End()
	asked := time.Now()
	task, err := w.claim(ctx, ev)
	if err != nil {
		w.forget(ctx, span, ev, d, err)
		return
	}
	span.SetAttributes(
		attribute.String("lume.run_id", task.GetRun().GetRunId()), attribute.String("lume.flow_version", task.GetRun().GetFlowVersion()),
		attribute.String("lume.task.kind", kindName(task.GetKind())), attribute.Int("lume.task.part", int(task.GetPart())),
		attribute.Int("lume.task.attempt", int(task.GetAttempt())),
	)
	w.do(ctx, span, task, d, asked)
}

// claim asks control for the task. It is not repeated: an answer that was lost leaves a claim that lapses.
func (w *Worker) claim(ctx context.Context, ev *eventv1.StageEvent) (*controlv1.Task, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := w.cfg.Tasks.Claim(ctx, &controlv1.ClaimRequest{TaskId: ev.GetTaskId(), Stage: w.cfg.Stage, Worker: w.cfg.Name})
	return answer.GetTask(), err
}

// forget ends a wake-up whose task was not claimed.
func (w *Worker) forget(ctx context.Context, span trace.Span, ev *eventv1.StageEvent, d bus.Delivery, err error) {
	e := fault.From(err)
	span.SetAttributes(attribute.String("lume.claim", e.Reason))
	switch {
	case e.Reason == reasonNotClaimable, e.Code == codes.NotFound, e.Code == codes.InvalidArgument:
		// Done, taken by another, or of a run that is gone.
		if e.Reason != reasonNotClaimable {
			w.log.WarnContext(ctx, "a wake-up names no task", "task", ev.GetTaskId(), "error", e)
		}
		w.ack(ctx, d)
	default:
		if ctx.Err() == nil {
			w.log.WarnContext(ctx, "a task cannot be claimed; trying again later", "task", ev.GetTaskId(), "error", e)
		}
		span.SetStatus(otelcodes.Error, e.Reason)
		w.nak(ctx, d, backoff(d.Attempt(), time.Second, 30*time.Second))
	}
}

// do runs a claimed task to its end and tells control.
func (w *Worker) do(ctx context.Context, span trace.Span, task *controlv1.Task, d bus.Delivery, asked time.Time) {
	entry := w.tracker.start(task)
	w.metrics.started(ctx, task)
	progress := &progress{entry: entry, tracker: w.tracker}
	taskCtx, cancel := context.WithCancelCause(ctx)
	lease := w.keepLease(taskCtx, cancel, task, progress, d, asked)

	manifest, err := w.handle(taskCtx, task, progress)
	cause := context.Cause(taskCtx)
	var outcome string
	var told *fault.Error
	switch {
	case errors.Is(cause, ErrFenced):
		outcome = fenced
	case err == nil:
		// Even if the lease was lost meanwhile: whether the result counts is for the database to say.
		outcome, told = w.complete(ctx, task, manifest)
	case errors.Is(cause, ErrCancelled):
		told = cancellation(cause)
		outcome = w.fail(ctx, task, told, receiptOf(err))
	case errors.Is(cause, ErrLeaseLost):
		outcome, told = fenced, fault.New(codes.Aborted, "LEASE_LOST", "the lease could not be prolonged in time")
	case errors.Is(cause, ErrShutdown):
		outcome = w.release(ctx, task)
	default:
		told = fault.From(err)
		if told.Stage == typev1.Stage_STAGE_UNSPECIFIED {
			told = told.WithStage(w.cfg.Stage)
		}
		w.log.ErrorContext(ctx, "a task failed", "task", task.GetTaskId(), "attempt", task.GetAttempt(), "error", told)
		outcome = w.fail(ctx, task, told, receiptOf(err))
	}
	cancel(nil)
	lease.Wait()

	reason := ""
	if told != nil {
		reason = told.Reason
		span.SetStatus(otelcodes.Error, reason)
	}
	span.SetAttributes(attribute.String("lume.task.outcome", outcome), attribute.Int64("lume.task.rows", progress.rows.Load()))
	w.metrics.ended(ctx, task, outcome, progress.rows.Load(), time.Since(asked))
	w.tracker.end(entry, outcome, reason)
	w.log.InfoContext(ctx, "task ended", "task", task.GetTaskId(), "kind", kindName(task.GetKind()), "part", task.GetPart(),
		"attempt", task.GetAttempt(), "outcome", outcome, "reason", reason, "rows", progress.rows.Load(), "seconds", time.Since(asked).Seconds())
	if outcome == fenced && errors.Is(cause, ErrLeaseLost) {
		// Nobody else may know yet that it is claimable again.
		w.nak(ctx, d, backoff(d.Attempt(), time.Second, 30*time.Second))
		return
	}
	w.ack(ctx, d)
}

// handle calls the handler and turns a panic into an error.
func (w *Worker) handle(ctx context.Context, task *controlv1.Task, report Reporter) (manifest *typev1.Manifest, err error) {
	defer func() {
		if p := recover(); p != nil {
			w.log.ErrorContext(ctx, "a task panicked", "task", task.GetTaskId(), "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			manifest, err = nil, fault.From(fmt.Errorf("panic: %v", p))
		}
	}()
	manifest, err = w.cfg.Handler.Handle(ctx, task, report)
	if err == nil && manifest.GetOutput() == nil {
		err = errors.New("the handler returned no manifest")
	}
	return manifest, err
}

// complete commits the manifest. If control refuses it for good, the task fails.
func (w *Worker) complete(ctx context.Context, task *controlv1.Task, manifest *typev1.Manifest) (string, *fault.Error) {
	err := w.tell(ctx, reportFor, func(ctx context.Context) error {
		_, err := w.cfg.Tasks.Complete(ctx, &controlv1.CompleteRequest{Claim: claimOf(task), Manifest: manifest})
		return err
	})
	switch {
	case err == nil:
		return completed, nil
	case err.Reason == reasonFenced:
		return fenced, err
	case err.Retryable || ctx.Err() != nil:
		w.log.ErrorContext(ctx, "a finished task could not be reported; it will run again", "task", task.GetTaskId(), "error", err)
		return failed, err
	}
	w.log.ErrorContext(ctx, "control refuses a manifest", "task", task.GetTaskId(), "error", err)
	return w.fail(ctx, task, err.WithStage(w.cfg.Stage), ""), err
}

// fail gives the task back with an error.
func (w *Worker) fail(ctx context.Context, task *controlv1.Task, e *fault.Error, receipt string) string {
	err := w.tell(ctx, reportFor, func(ctx context.Context) error {
		_, err := w.cfg.Tasks.Fail(ctx, &controlv1.FailRequest{Claim: claimOf(task), Error: e.Proto(), ReceiptJson: receipt})
		return err
	})
	if err == nil {
		return failed
	}
	if err.Reason == reasonFenced {
		return fenced
	}
	w.log.ErrorContext(ctx, "a failed task could not be reported; its lease will lapse", "task", task.GetTaskId(), "error", err)
	return failed
}

// release gives the task back uncounted.
func (w *Worker) release(ctx context.Context, task *controlv1.Task) string {
	err := w.tell(context.WithoutCancel(ctx), releaseFor, func(ctx context.Context) error {
		_, err := w.cfg.Tasks.Release(ctx, &controlv1.ReleaseRequest{Claim: claimOf(task)})
		return err
	})
	if err != nil && err.Reason == reasonFenced {
		return fenced
	}
	if err != nil {
		w.log.WarnContext(ctx, "a task could not be given back; its lease will lapse", "task", task.GetTaskId(), "error", err)
	}
	return released
}

// tell calls control until it answers, with pauses, for at most so long. The calls are idempotent by attempt and fence.
// When the process must end, one last call is made.
func (w *Worker) tell(ctx context.Context, most time.Duration, call func(context.Context) error) *fault.Error {
	until := time.Now().Add(most)
	for try := 1; ; try++ {
		callCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
		err := fault.From(call(callCtx))
		cancel()
		if err == nil || err.Reason == reasonFenced || !unanswered(err.Code) || time.Now().After(until) || ctx.Err() != nil {
			return err
		}
		pause := time.NewTimer(backoff(try, 100*time.Millisecond, 5*time.Second))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

// unanswered reports whether the same call may be answered otherwise later. A message that is too large is not one.
func unanswered(code codes.Code) bool {
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Aborted, codes.Canceled,
		// A new worker token, or a control that has none yet.
		codes.Unauthenticated:
		return true
	}
	return false
}

func (w *Worker) ack(ctx context.Context, d bus.Delivery) {
	if err := d.Ack(ctx); err != nil {
		w.log.WarnContext(ctx, "a wake-up could not be acknowledged; it comes again, and finds nothing to do", "cause", err)
	}
}

func (w *Worker) nak(ctx context.Context, d bus.Delivery, delay time.Duration) {
	if err := d.NakAfter(delay); err != nil {
		w.log.WarnContext(ctx, "a wake-up could not be given back; it comes again after a minute", "cause", err)
	}
}

func claimOf(task *controlv1.Task) *controlv1.Claim {
	return &controlv1.Claim{TaskId: task.GetTaskId(), Attempt: task.GetAttempt(), Fence: task.GetFence()}
}

// backoff doubles from first to most, with a jitter of a fifth.
func backoff(try int, first, most time.Duration) time.Duration {
	pause := most
	if shift := max(try-1, 0); shift < 16 {
		pause = min(first<<shift, most)
	}
	return pause - time.Duration(rand.Int64N(int64(pause)/5+1))
}

// kindName is a task's kind in lower case.
func kindName(kind controlv1.TaskKind) string {
	switch kind {
	case controlv1.TaskKind_TASK_KIND_STAGE:
		return "stage"
	case controlv1.TaskKind_TASK_KIND_MAP:
		return "map"
	case controlv1.TaskKind_TASK_KIND_CLOSE:
		return "close"
	case controlv1.TaskKind_TASK_KIND_LOAD:
		return "load"
	case controlv1.TaskKind_TASK_KIND_SETTLE:
		return "settle"
	}
	return "unspecified"
}
