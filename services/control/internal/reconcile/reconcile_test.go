package reconcile_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/reconcile"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	*reconcile.Reconciler
	db    store.Store
	runs  *run.Service
	tasks *task.Service
	clock *controltest.Clock
}

func setup(t *testing.T) bundle {
	t.Helper()
	clock := controltest.NewClock()
	db := controltest.Open(t, clock)
	controltest.Publish(t, db, controltest.Flow("orders"))
	b := bundle{db: db, runs: run.NewService(db), tasks: task.NewService(db, controltest.Connectors{}, task.Config{}), clock: clock}
	t.Cleanup(b.runs.Close)
	b.Reconciler = reconcile.New(db, b.tasks, b.runs, "x", slog.New(slog.DiscardHandler))
	return b
}

func (b bundle) create(t *testing.T, path string) (store.Run, store.Task) {
	t.Helper()
	r, err := b.runs.Create(t.Context(), run.Request{FlowVersion: "orders:v1", SourcePath: path})
	require.NoError(t, err)
	tasks, err := b.db.Tasks(t.Context(), r.ID)
	require.NoError(t, err)
	return r, tasks[0]
}

func (b bundle) wakes(t *testing.T) map[string]int {
	t.Helper()
	messages, err := b.db.Messages(t.Context(), 0, 10_000)
	require.NoError(t, err)
	out := map[string]int{}
	for _, m := range messages {
		if m.Kind == store.MessageStage {
			var ev eventv1.StageEvent
			require.NoError(t, proto.Unmarshal(m.Body, &ev))
			out[ev.GetTaskId()]++
		}
	}
	return out
}

func TestLostWakeUpsAreMadeUpFor(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var ids []string
	for i := range 120 { // more than one batch
		_, stage := b.create(t, fmt.Sprint(i))
		ids = append(ids, stage.ID)
	}
	require.NoError(t, b.Once(t.Context()))
	require.Len(t, b.wakes(t), 120)
	require.Equal(t, 1, b.wakes(t)[ids[0]], "too soon")
	b.clock.Advance(30 * time.Second)
	require.NoError(t, b.Once(t.Context()))
	for _, id := range ids {
		require.Equal(t, 2, b.wakes(t)[id])
	}
}

func TestADelayedRetryIsPublishedWhenItIsDue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, stage := b.create(t, "a")
	a, err := b.tasks.Claim(t.Context(), stage.ID, stage.Kind.Stage(), "w")
	require.NoError(t, err)
	require.NoError(t, b.tasks.Fail(t.Context(), store.Claim{TaskID: stage.ID, Attempt: a.Task.Attempt, Fence: a.Task.Fence}, retryable(), nil))
	require.NoError(t, b.Once(t.Context()))
	require.Equal(t, 1, b.wakes(t)[stage.ID])
	b.clock.Advance(time.Second)
	require.NoError(t, b.Once(t.Context()))
	require.Equal(t, 2, b.wakes(t)[stage.ID])
}

func TestDeadWorkersAreNoticed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, stage := b.create(t, "a")
	for attempt := 1; attempt <= 2; attempt++ {
		_, err := b.tasks.Claim(t.Context(), stage.ID, stage.Kind.Stage(), "w")
		require.NoError(t, err)
		require.NoError(t, b.Once(t.Context()))
		b.clock.Advance(time.Minute)
		require.NoError(t, b.Once(t.Context()))
	}
	got, err := b.db.Run(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, store.RunCrashed, got.State)
}

func TestADeadlineIsKeptThoughNobodyWorksOnTheRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, _ := b.create(t, "a")
	b.clock.Advance(6 * time.Hour)
	require.NoError(t, b.Once(t.Context()))
	got, err := b.db.Run(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, store.RunFailed, got.State)
	require.Equal(t, run.ReasonDeadline, got.Error.GetReason())
}

// fake is a database, tasks and runs of which one always fails.
type fake struct {
	store.Store
	lapsed  []string
	done    []string
	refuse  atomic.Bool
	leading atomic.Int32
}

func (f *fake) AcquireLease(context.Context, string, string, time.Duration) (bool, error) {
	f.leading.Add(1)
	return !f.refuse.Load(), nil
}
func (f *fake) ReleaseLease(context.Context, string, string) error    { return nil }
func (f *fake) LapsedTasks(context.Context, int) ([]string, error)    { return f.lapsed, nil }
func (f *fake) UnclaimedTasks(context.Context, int) ([]string, error) { return []string{"ready"}, nil }
func (f *fake) OverdueRuns(context.Context, int) ([]string, error)    { return nil, errors.New("away") }
func (f *fake) Wake(_ context.Context, id string) error               { f.done = append(f.done, id); return nil }
func (f *fake) Overdue(context.Context, string) error                 { return nil }
func (f *fake) Lapse(_ context.Context, id string) error {
	if id == "bad" {
		return errors.New("fault")
	}
	f.done = append(f.done, id)
	return nil
}

func TestOneThatFailsDoesNotKeepTheOthersWaiting(t *testing.T) {
	t.Parallel()
	f := &fake{lapsed: []string{"bad", "good"}}
	err := reconcile.New(f, f, f, "x", slog.New(slog.DiscardHandler)).Once(t.Context())
	require.ErrorContains(t, err, "fault")
	require.ErrorContains(t, err, "away")
	require.Equal(t, []string{"good", "ready"}, f.done)
}

func TestItLooksTwiceASecondWhileItLeadsAndAsksForTheLeaseSeldom(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- reconcile.New(f, f, f, "x", slog.New(slog.DiscardHandler)).Run(ctx) }()
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		require.Len(t, f.done, 21)
		require.EqualValues(t, 3, f.leading.Load(), "at 0, 5 and 10 seconds")
		f.refuse.Store(true)
		time.Sleep(5 * time.Second)
		synctest.Wait()
		seen := len(f.done)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.Len(t, f.done, seen, "another leads")
		cancel()
		require.NoError(t, <-done)
	})
}

func retryable() *typev1.Error {
	return &typev1.Error{Code: "UNAVAILABLE", Reason: "X", Retryable: true}
}
