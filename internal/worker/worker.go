package worker

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"go.opentelemetry.io/otel/trace"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/bus"
	"github.com/lume-data/lume/internal/telemetry"
)

// DefaultGrace is how long tasks in flight may go on after a stop before they are given back.
const DefaultGrace = 20 * time.Second

// Handler does the tasks of one stage. It is called from as many goroutines as there are slots.
type Handler interface {
	// Handle does a task and describes its outputs, which it has put below the task's staging prefix. It must return
	// soon after ctx ends; context.Cause says why it did (see the causes of this package). Errors are told to control by
	// [fault.From]: coded errors as they are, others as INTERNAL. The task holds secrets.
	Handle(ctx context.Context, task *controlv1.Task, report Reporter) (*typev1.Manifest, error)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(ctx context.Context, task *controlv1.Task, report Reporter) (*typev1.Manifest, error)

// Handle implements Handler.
func (f HandlerFunc) Handle(ctx context.Context, task *controlv1.Task, report Reporter) (*typev1.Manifest, error) {
	return f(ctx, task, report)
}

// Reporter takes the progress of a task. It is safe for concurrent use and cheap to call often.
type Reporter interface {
	// Progress says how many rows are done, of how many (0 if not known), and how many bytes were read or written.
	Progress(rows, totalRows, bytes int64)
}

// Causes for which a task's context ends, besides [ErrCancelled].
var (
	// ErrFenced means that another attempt has the task.
	ErrFenced = errors.New("worker: another attempt has claimed the task")
	// ErrLeaseLost means that the lease could not be prolonged in time, so that another attempt may have the task.
	ErrLeaseLost = errors.New("worker: the lease of the task was lost")
	// ErrShutdown means that this process stops.
	ErrShutdown = errors.New("worker: the worker shuts down")
	// ErrCancelled means that the run was cancelled or is out of time.
	ErrCancelled = errors.New("worker: the run was cancelled")
)

// Config of a worker.
type Config struct {
	Stage typev1.Stage
	// Slots is how many tasks run at once; default 1.
	Slots int
	// Name of the worker, for people; default host name, process id and a random part.
	Name string
	Bus  *bus.Bus
	// Tasks is control.
	Tasks   controlv1.TaskServiceClient
	Handler Handler
	// Grace is how long tasks in flight may go on after a stop; default [DefaultGrace], negative for not at all.
	Grace time.Duration
	// Log defaults to that of Telemetry.
	Log *slog.Logger
	// Telemetry gets spans and metrics; nil for none.
	Telemetry *telemetry.Providers
}

// Worker takes and does the tasks of one stage.
type Worker struct {
	cfg     Config
	log     *slog.Logger
	tracer  trace.Tracer
	metrics *metrics
	tracker *Tracker
}

// New makes a worker; Run starts it.
func New(cfg Config) (*Worker, error) {
	if cfg.Stage == typev1.Stage_STAGE_UNSPECIFIED || cfg.Bus == nil || cfg.Tasks == nil || cfg.Handler == nil {
		return nil, errors.New("worker: stage, bus, tasks and handler are required")
	}
	if cfg.Slots == 0 {
		cfg.Slots = 1
	}
	if cfg.Slots < 1 {
		return nil, fmt.Errorf("worker: %d slots", cfg.Slots)
	}
	if cfg.Grace == 0 {
		cfg.Grace = DefaultGrace
	}
	if cfg.Telemetry == nil {
		cfg.Telemetry = telemetry.NewNop()
	}
	if cfg.Log == nil {
		cfg.Log = cfg.Telemetry.Log
	}
	if cfg.Name == "" {
		host, err := os.Hostname()
		if err != nil {
			host = "worker"
		}
		cfg.Name = fmt.Sprintf("%s-%d-%s", host, os.Getpid(), rand.Text()[:6])
	}
	const scope = "github.com/lume-data/lume/internal/worker"
	m, err := newMetrics(cfg.Telemetry.Meter(scope))
	if err != nil {
		return nil, fmt.Errorf("make the worker's metrics: %w", err)
	}
	return &Worker{cfg: cfg, log: cfg.Log, tracer: cfg.Telemetry.Tracer(scope), metrics: m, tracker: newTracker()}, nil
}

// Tasks tracks what this worker does and has done.
func (w *Worker) Tasks() *Tracker { return w.tracker }

// Run takes tasks until ctx ends, drains, and returns when no task runs any more.
func (w *Worker) Run(ctx context.Context) error {
	// Tasks outlive ctx by the grace period.
	tasks, stopTasks := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopTasks(ErrShutdown)
	drained := make(chan struct{})
	defer close(drained)
	stop := context.AfterFunc(ctx, func() {
		grace := time.NewTimer(max(w.cfg.Grace, 0))
		defer grace.Stop()
		select {
		case <-grace.C:
			stopTasks(ErrShutdown)
		case <-drained:
		}
	})
	defer stop()
	return w.cfg.Bus.ConsumeStage(ctx, w.cfg.Stage, w.cfg.Slots, func(message context.Context, ev *eventv1.StageEvent, d bus.Delivery) {
		// Values, such as the trace, come from the message; the end comes from the worker.
		taskCtx, cancel := context.WithCancelCause(message)
		defer cancel(nil)
		defer context.AfterFunc(tasks, func() { cancel(context.Cause(tasks)) })()
		w.wake(telemetry.WithRun(taskCtx, ev.GetRunId()), ev, d)
	})
}
