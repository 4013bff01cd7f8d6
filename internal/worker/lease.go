package worker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/fault"
)

const (
	// progressEvery is how often progress is published at most.
	progressEvery = 500 * time.Millisecond
	// messageEvery is how often the bus must hear that a wake-up is being worked on; it gives up after a minute.
	messageEvery = 15 * time.Second
	// leaseMargin is how long before the end of its lease a worker stops, at most: time for what is on its way to fail.
	leaseMargin = 10 * time.Second
	// defaultLease is taken if control names none.
	defaultLease = time.Minute
)

// cancelCause is ErrCancelled with control's reason.
type cancelCause struct{ reason string }

func (c *cancelCause) Error() string { return fmt.Sprintf("%s: %s", ErrCancelled.Error(), c.reason) }
func (c *cancelCause) Unwrap() error { return ErrCancelled }

// cancellation is what a cancelled task fails with.
func cancellation(cause error) *fault.Error {
	var c *cancelCause
	if errors.As(cause, &c) && c.reason == fault.ReasonDeadlineExceeded {
		e := fault.New(codes.DeadlineExceeded, fault.ReasonDeadlineExceeded, "the run did not end before its deadline").
			WithNext("run it again with a later deadline")
		e.Retryable = false
		return e
	}
	return fault.New(codes.Canceled, fault.ReasonCancelled, "the run was cancelled")
}

// keepLease sends heartbeats and progress until ctx ends, and ends it when the task is no longer this worker's. asked
// is when the claim was sent: the lease began later, by whichever clock.
func (w *Worker) keepLease(ctx context.Context, cancel context.CancelCauseFunc, task *controlv1.Task, p *progress, d bus.Delivery, asked time.Time) *sync.WaitGroup {
	var wg sync.WaitGroup
	lease := task.GetLease().AsDuration()
	if lease <= 0 {
		lease = defaultLease
	}
	wg.Go(func() { w.beat(ctx, cancel, task, p, asked, lease) })
	wg.Go(func() { w.publish(ctx, task, p, d) })
	return &wg
}

// stopAt is when a worker must have stopped unless the lease is prolonged.
func stopAt(begin time.Time, lease time.Duration) time.Time {
	return begin.Add(lease - min(leaseMargin, lease/6))
}

// beat sends heartbeats. All times are of the monotonic clock.
func (w *Worker) beat(ctx context.Context, cancel context.CancelCauseFunc, task *controlv1.Task, p *progress, begin time.Time, lease time.Duration) {
	last := stopAt(begin, lease)
	next := begin.Add(lease / 4)
	for {
		timer := time.NewTimer(min(time.Until(next), time.Until(last)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		if !time.Now().Before(last) {
			w.log.WarnContext(ctx, "the lease of a task could not be prolonged; stopping it", "task", task.GetTaskId())
			cancel(ErrLeaseLost)
			return
		}
		sent := time.Now()
		call, cancelCall := context.WithDeadline(ctx, earlier(last, sent.Add(callTimeout)))
		answer, err := w.cfg.Tasks.Heartbeat(call, &controlv1.HeartbeatRequest{Claim: claimOf(task), Rows: p.rows.Load()})
		cancelCall()
		if err == nil {
			if answer.GetCancel() {
				cancel(&cancelCause{answer.GetCancelReason()})
				return
			}
			if prolonged := answer.GetLease().AsDuration(); prolonged > 0 {
				lease = prolonged
			}
			last, next = stopAt(sent, lease), sent.Add(lease/4)
			continue
		}
		if ctx.Err() != nil {
			return
		}
		e := fault.From(err)
		if e.Reason == reasonFenced || e.Code == codes.NotFound {
			w.log.WarnContext(ctx, "another attempt has the task; stopping this one", "task", task.GetTaskId())
			cancel(ErrFenced)
			return
		}
		w.log.WarnContext(ctx, "a heartbeat was not answered", "task", task.GetTaskId(), "error", e)
		next = time.Now().Add(lease / 16)
	}
}

// publish tells watchers the progress, and the bus that the wake-up is being worked on.
func (w *Worker) publish(ctx context.Context, task *controlv1.Task, p *progress, d bus.Delivery) {
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	told := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		if time.Since(told) >= messageEvery {
			told = time.Now()
			if err := d.InProgress(); err != nil {
				w.log.WarnContext(ctx, "the bus did not hear that a task goes on", "task", task.GetTaskId(), "cause", err)
			}
		}
		if ev := p.event(w.cfg.Stage, task); ev != nil {
			_ = w.cfg.Bus.PublishProgress(ev) // Lost while the bus is away.
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
