package worker_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/telemetry"
	"github.com/lume-data/lume/internal/worker"
)

func TestATaskIsDoneOnceHoweverOftenItIsAnnounced(t *testing.T) {
	t.Parallel()
	s := newSetup(t, time.Minute)
	var ran atomic.Int64
	release := make(chan struct{})
	slow := func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) {
		ran.Add(1)
		<-release
		return manifest(), nil
	}
	s.run(slow)
	s.run(slow) // A second worker.
	s.add(t, s.bus, "a")
	for range 5 {
		s.wake(t, s.bus, "a")
	}
	eventually(t, "all were claimed", func() bool { return s.called("Claim") >= 6 })
	close(release)
	got := s.awaitState("a", "completed")
	s.wake(t, s.bus, "a")
	eventually(t, "the late one was claimed too", func() bool { return s.called("Claim") >= 7 })
	require.Equal(t, int64(1), ran.Load())
	require.Equal(t, 1, got.commits)
	require.Equal(t, int32(1), got.attempt)
}

func TestManyTasksOverTwoWorkers(t *testing.T) {
	t.Parallel()
	s := newSetup(t, time.Minute)
	s.run(done)
	s.run(done)
	for i := range 50 {
		s.add(t, s.bus, fmt.Sprint(i))
	}
	for i := range 50 {
		require.Equal(t, 1, s.awaitState(fmt.Sprint(i), "completed").commits)
	}
}

func TestAWorkerThatIsFencedStopsAndSaysNothing(t *testing.T) {
	t.Parallel()
	s := newSetup(t, 400*time.Millisecond)
	started, causes := make(chan *controlv1.Task, 1), make(chan error, 1)
	w, stop := s.run(hang(started, causes))
	s.add(t, s.bus, "a")
	first := <-started
	s.change("a", func(t *task) { t.attempt, t.fence = t.attempt+1, t.fence+100 }) // Another claim came in between.
	require.ErrorIs(t, <-causes, worker.ErrFenced)
	stop()
	require.Equal(t, "running", s.get("a").state)
	require.Zero(t, s.called("Complete")+s.called("Fail")+s.called("Release"))
	require.Equal(t, int32(1), first.GetAttempt())
	list, _ := w.Tasks().List("", 10, 0)
	require.Equal(t, "fenced", list[0].GetState())
}

func TestAWorkerThatCannotProlongItsLeaseStopsBeforeItEnds(t *testing.T) {
	t.Parallel()
	const lease = 900 * time.Millisecond
	s := newSetup(t, lease)
	s.set(func(method, _ string, _ bool) error {
		if method == "Heartbeat" {
			return status.Error(codes.Unavailable, "away")
		}
		return nil
	})
	started, causes := make(chan *controlv1.Task, 2), make(chan error, 2)
	s.run(hang(started, causes))
	begin := time.Now()
	s.add(t, s.bus, "a")
	<-started
	require.ErrorIs(t, <-causes, worker.ErrLeaseLost)
	require.Less(t, time.Since(begin), lease+200*time.Millisecond)
	// Nobody told control; the next attempt begins when the lease has lapsed.
	second := <-started
	require.Equal(t, int32(2), second.GetAttempt())
	require.Greater(t, second.GetFence(), int64(1))
}

func TestALateResultCountsUnlessAnotherAttemptWasClaimed(t *testing.T) {
	t.Parallel()
	s := newSetup(t, 300*time.Millisecond)
	s.set(func(method, _ string, _ bool) error {
		if method == "Heartbeat" {
			return status.Error(codes.Unavailable, "away")
		}
		return nil
	})
	stubborn := func(ctx context.Context, _ *controlv1.Task, _ worker.Reporter) (*typev1.Manifest, error) {
		<-ctx.Done() // It had finished anyway.
		return manifest(), nil
	}
	s.run(stubborn)
	s.add(t, s.bus, "a")
	require.Equal(t, 1, s.awaitState("a", "completed").commits)
}

func TestACancelledRunEndsItsTaskWithControlsReason(t *testing.T) {
	t.Parallel()
	for reason, code := range map[string]string{"CANCELLED": "CANCELLED", "DEADLINE_EXCEEDED": "DEADLINE_EXCEEDED"} {
		t.Run(reason, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, 300*time.Millisecond)
			started, causes := make(chan *controlv1.Task, 1), make(chan error, 1)
			s.run(hang(started, causes))
			s.add(t, s.bus, "a")
			<-started
			s.change("a", func(t *task) { t.cancel = reason })
			require.ErrorIs(t, <-causes, worker.ErrCancelled)
			got := s.awaitState("a", "failed")
			require.Equal(t, reason, got.err.GetReason())
			require.Equal(t, code, got.err.GetCode())
			require.False(t, got.err.GetRetryable())
		})
	}
}

func TestAnErrorReachesControlCodedAndShowsNothingElse(t *testing.T) {
	t.Parallel()
	coded := fault.New(codes.NotFound, "SOURCE_OBJECT_NOT_FOUND", "there is no object %s", "x.csv").WithNext("check source_path").WithCause(errors.New("canary"))
	for name, c := range map[string]struct {
		handler   handler
		reason    string
		retryable bool
		receipt   string
	}{
		"coded": {func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) {
			return nil, fmt.Errorf("open source: %w", coded)
		}, "SOURCE_OBJECT_NOT_FOUND", false, ""},
		"passing": {func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) {
			return nil, fault.New(codes.Unavailable, "SOURCE_UNAVAILABLE", "busy")
		}, "SOURCE_UNAVAILABLE", true, ""},
		"receipt": {func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) {
			return nil, worker.WithReceipt(coded, `{"x":1}`)
		}, "SOURCE_OBJECT_NOT_FOUND", false, `{"x":1}`},
		"plain": {func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) {
			return nil, errors.New("canary: password=hunter2")
		}, "INTERNAL", false, ""},
		"panic": {func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) {
			panic("canary")
		}, "INTERNAL", false, ""},
		"nothing": {func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) {
			return nil, nil
		}, "INTERNAL", false, ""},
		"refused manifest": {func(context.Context, *controlv1.Task, worker.Reporter) (*typev1.Manifest, error) {
			m := manifest()
			m.GetIngest().SourceFile = "refused"
			return m, nil
		}, "BAD_MANIFEST", false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSetup(t, time.Minute)
			s.run(c.handler)
			s.add(t, s.bus, "a")
			got := s.awaitState("a", "failed")
			require.Equal(t, c.reason, got.err.GetReason())
			require.Equal(t, c.retryable, got.err.GetRetryable())
			require.Equal(t, c.receipt, got.receipt)
			require.Equal(t, stage, got.err.GetStage())
			text, err := proto.Marshal(got.err)
			require.NoError(t, err)
			require.NotContains(t, string(text), "canary")

			s.add(t, s.bus, "b")
			s.awaitState("b", "failed") // The worker lives on.
		})
	}
}

func TestAResultIsOfferedUntilControlTakesItOnce(t *testing.T) {
	t.Parallel()
	s := newSetup(t, time.Minute)
	var before, after atomic.Int64
	s.set(func(method, _ string, commit bool) error {
		if method != "Complete" {
			return nil
		}
		if !commit && before.Add(1) <= 2 {
			return status.Error(codes.Unavailable, "away") // Nothing happened.
		}
		if commit && after.Add(1) == 1 {
			return status.Error(codes.Unavailable, "the answer was lost") // It happened.
		}
		return nil
	})
	w, _ := s.run(done)
	s.add(t, s.bus, "a")
	eventually(t, "the worker knows", func() bool {
		list, _ := w.Tasks().List("run_a", 1, 0)
		return len(list) == 1 && list[0].GetState() == "completed"
	})
	require.Equal(t, 1, s.get("a").commits)
	require.Equal(t, 4, s.called("Complete"))
}

func TestATaskIsClaimedWhenControlComesBack(t *testing.T) {
	t.Parallel()
	s := newSetup(t, time.Minute)
	var claims atomic.Int64
	s.set(func(method, _ string, _ bool) error {
		if method == "Claim" && claims.Add(1) <= 1 {
			return status.Error(codes.Unavailable, "away")
		}
		return nil
	})
	s.run(done)
	s.add(t, s.bus, "a")
	require.Equal(t, int32(1), s.awaitState("a", "completed").attempt)
}

func TestAWakeUpForATaskThatDoesNotExistIsForgotten(t *testing.T) {
	t.Parallel()
	s := newSetup(t, time.Minute)
	s.run(done)
	s.wake(t, s.bus, "ghost")
	s.add(t, s.bus, "a")
	s.awaitState("a", "completed")
	eventually(t, "it was claimed", func() bool { return s.called("Claim") == 2 })
}

func TestAStopLetsTasksFinishAndTakesNoNewOnes(t *testing.T) {
	t.Parallel()
	s := newSetup(t, time.Minute)
	started, finish := make(chan struct{}, 1), make(chan struct{})
	_, stop := s.run(func(ctx context.Context, _ *controlv1.Task, _ worker.Reporter) (*typev1.Manifest, error) {
		started <- struct{}{}
		select {
		case <-finish:
			return manifest(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, func(c *worker.Config) { c.Slots = 1; c.Grace = time.Minute })
	s.add(t, s.bus, "a")
	<-started
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	s.add(t, s.bus, "b")
	close(finish)
	<-stopped
	require.Equal(t, "completed", s.get("a").state)
	require.Equal(t, "ready", s.get("b").state)
	s.run(done)
	s.awaitState("b", "completed")
}

func TestAStopGivesBackWhatDoesNotFinishUncounted(t *testing.T) {
	t.Parallel()
	s := newSetup(t, time.Minute)
	started, causes := make(chan *controlv1.Task, 1), make(chan error, 1)
	w, stop := s.run(hang(started, causes), func(c *worker.Config) { c.Grace = 50 * time.Millisecond })
	s.add(t, s.bus, "a")
	<-started
	stop()
	require.ErrorIs(t, <-causes, worker.ErrShutdown)
	got := s.get("a")
	require.Equal(t, "ready", got.state)
	require.Zero(t, got.attempt)
	list, _ := w.Tasks().List("", 1, 0)
	require.Equal(t, "released", list[0].GetState())
}

func TestProgressIsPublishedAtMostTwiceASecond(t *testing.T) {
	t.Parallel()
	s := newSetup(t, 400*time.Millisecond)
	seen := make(chan *eventv1.Progress, 100)
	require.NoError(t, s.bus.WatchProgress(t.Context(), "run_a", func(p *eventv1.Progress) { seen <- p }))
	s.run(func(_ context.Context, _ *controlv1.Task, report worker.Reporter) (*typev1.Manifest, error) {
		end := time.After(1700 * time.Millisecond)
		for rows := int64(1); ; rows++ {
			select {
			case <-end:
				return manifest(), nil
			case <-time.After(time.Millisecond):
				report.Progress(rows, 9999, rows*10)
			}
		}
	})
	s.add(t, s.bus, "a")
	got := s.awaitState("a", "completed")
	require.Positive(t, got.rows, "heartbeats carry rows")
	require.NotEmpty(t, seen)
	require.LessOrEqual(t, len(seen), 4)
	p := <-seen
	require.Equal(t, "run_a", p.GetRunId())
	require.Equal(t, int64(9999), p.GetTotalRows())
	require.Equal(t, p.GetRows()*10, p.GetBytes())
	require.Equal(t, int32(1), p.GetAttempt())
}

func TestATaskJoinsTheTraceOfItsRun(t *testing.T) {
	t.Parallel()
	s := newSetup(t, time.Minute)
	memory := tracetest.NewInMemoryExporter()
	var out strings.Builder
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "x", LogWriter: io.Discard, Exporter: memory})
	require.NoError(t, err)
	ctx, root := tel.Tracer("test").Start(t.Context(), "run")
	_, stop := s.run(func(ctx context.Context, _ *controlv1.Task, report worker.Reporter) (*typev1.Manifest, error) {
		out.WriteString(telemetry.Run(ctx))
		report.Progress(7, 7, 7)
		return manifest(), nil
	}, func(c *worker.Config) { c.Telemetry = tel })
	s.mu.Lock()
	s.tasks["a"] = &task{state: "ready"}
	s.mu.Unlock()
	require.NoError(t, s.bus.PublishStage(ctx, "1", &eventv1.StageEvent{RunId: "run_a", Stage: stage, TaskId: "a"}, nil))
	s.awaitState("a", "completed")
	stop()
	root.End()
	spans := memory.GetSpans()
	require.Len(t, spans, 2)
	require.Equal(t, "task ingest", spans[0].Name)
	require.Equal(t, root.SpanContext().TraceID(), spans[0].SpanContext.TraceID())
	require.Equal(t, "run_a", out.String())
	require.NoError(t, tel.Shutdown(t.Context()))
}

func TestWatchersOfTasksSeeStartAndEnd(t *testing.T) {
	t.Parallel()
	s := newSetup(t, time.Minute)
	started, finish := make(chan struct{}, 1), make(chan struct{})
	w, _ := s.run(func(_ context.Context, _ *controlv1.Task, report worker.Reporter) (*typev1.Manifest, error) {
		started <- struct{}{}
		report.Progress(5, 5, 5)
		<-finish
		return manifest(), nil
	})
	s.add(t, s.bus, "a")
	<-started
	ctx, cancel := context.WithCancel(t.Context())
	states, ended := make(chan string, 10), make(chan error, 1)
	go func() {
		ended <- w.Tasks().Watch(ctx, "run_a", func(s *controlv1.TaskStatus) error {
			states <- s.GetState()
			return nil
		})
	}()
	require.Equal(t, "running", <-states)
	close(finish)
	last := ""
	for last != "completed" {
		last = <-states
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)

	for i := range 5 {
		s.add(t, s.bus, fmt.Sprint(i))
		<-started
		s.awaitState(fmt.Sprint(i), "completed")
	}
	eventually(t, "all have ended", func() bool {
		list, _ := w.Tasks().List("", 10, 0)
		return len(list) == 6 && list[0].GetEndTime() != nil
	})
	page, next := w.Tasks().List("", 4, 0)
	require.Len(t, page, 4)
	require.Equal(t, "4", page[0].GetTaskId())
	page, next = w.Tasks().List("", 4, next)
	require.Len(t, page, 2)
	require.Zero(t, next)
	require.Equal(t, "a", page[1].GetTaskId())
	page, _ = w.Tasks().List("run_2", 4, 0)
	require.Len(t, page, 1)
	stop := errors.New("stop")
	require.ErrorIs(t, w.Tasks().Watch(canceled(), "run_a", func(*controlv1.TaskStatus) error { return stop }), context.Canceled)
}

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
