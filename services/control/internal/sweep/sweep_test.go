package sweep_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/staging"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/sweep"
	"github.com/lume-data/lume/services/control/internal/task"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	*sweep.Sweeper
	db    store.Store
	runs  *run.Service
	tasks *task.Service
	clock *controltest.Clock
	files *staging.Store
	dir   string
}

func setup(t *testing.T) bundle {
	t.Helper()
	clock := controltest.NewClock()
	db := controltest.Open(t, clock)
	controltest.Publish(t, db, controltest.Flow("orders"))
	dir := t.TempDir()
	files, err := staging.Open(t.Context(), "file://"+dir)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, files.Close()) })
	b := bundle{db: db, runs: run.NewService(db), tasks: task.NewService(db, controltest.Connectors{}, task.Config{}), clock: clock, files: files, dir: dir}
	t.Cleanup(b.runs.Close)
	b.Sweeper = sweep.New(db, files, sweep.Config{}, "x", slog.New(slog.DiscardHandler))
	return b
}

// write stages an object whose file is as old as said.
func (b bundle) write(t *testing.T, key string, age time.Duration) {
	t.Helper()
	w, err := b.files.Create(t.Context(), key)
	require.NoError(t, err)
	_, err = w.Write([]byte(key))
	require.NoError(t, err)
	_, err = w.Commit(1)
	require.NoError(t, err)
	at := time.Now().Add(-age)
	require.NoError(t, os.Chtimes(filepath.Join(b.dir, filepath.FromSlash(key)), at, at))
}

func (b bundle) keys(t *testing.T) []string {
	t.Helper()
	var keys []string
	require.NoError(t, b.files.List(t.Context(), "", func(o staging.Object) error {
		keys = append(keys, o.Key)
		return nil
	}))
	slices.Sort(keys)
	return keys
}

// stage makes a run that has staged a part and rejects, and left something of an attempt that failed.
func (b bundle) stage(t *testing.T, path string) (id string, rejects string, data []string) {
	t.Helper()
	r, err := b.runs.Create(t.Context(), run.Request{FlowVersion: "orders:v1", SourcePath: path})
	require.NoError(t, err)
	stage := run.NewTask(r, store.TaskStage, 0)
	a, err := b.tasks.Claim(t.Context(), stage.ID, stage.Kind.Stage(), "w")
	require.NoError(t, err)
	m := controltest.Staged(a, 1, 10, 2)
	data = []string{m.GetIngest().GetParts()[0].GetData().GetKey(), "runs/" + r.ID + "/ingest/0-0/part-00000.parquet"}
	rejects = m.GetIngest().GetRejects().GetKey()
	for _, key := range append(data, rejects) {
		b.write(t, key, 0)
	}
	require.NoError(t, b.tasks.Complete(t.Context(), store.Claim{TaskID: a.Task.ID, Attempt: a.Task.Attempt, Fence: a.Task.Fence}, m))
	return r.ID, rejects, data
}

func (b bundle) cancel(t *testing.T, id string) {
	t.Helper()
	_, err := b.runs.Cancel(t.Context(), id)
	require.NoError(t, err)
}

func TestDataGoAfterADayAndRejectsAfterAMonth(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, rejects, _ := b.stage(t, "a")
	before := b.keys(t)
	require.NoError(t, b.Once(t.Context()))
	require.Equal(t, before, b.keys(t), "the run is in flight")
	b.cancel(t, id)
	b.clock.Advance(24*time.Hour - time.Second)
	require.NoError(t, b.Once(t.Context()))
	require.Equal(t, before, b.keys(t), "too young")
	b.clock.Advance(time.Second)
	require.NoError(t, b.Once(t.Context()))
	require.Equal(t, []string{rejects}, b.keys(t))
	b.clock.Advance(29 * 24 * time.Hour)
	require.NoError(t, b.Once(t.Context()))
	require.Empty(t, b.keys(t))
	r, err := b.db.Run(t.Context(), id)
	require.NoError(t, err)
	require.False(t, r.RejectsSweptTime.IsZero())
}

func TestALiveOrUnsettledRunLosesNothingHoweverOld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.stage(t, "live")
	id, _, _ := b.stage(t, "unsettled")
	require.NoError(t, b.db.Update(t.Context(), func(tx store.Tx) error {
		c, err := run.Lock(t.Context(), tx, id)
		if err != nil {
			return err
		}
		if err := c.End(t.Context(), store.RunFailed, store.OutcomeUnknown, &typev1.Error{}); err != nil {
			return err
		}
		return c.Save(t.Context())
	}))
	before := b.keys(t)
	for _, key := range before {
		at := time.Now().Add(-365 * 24 * time.Hour)
		require.NoError(t, os.Chtimes(filepath.Join(b.dir, filepath.FromSlash(key)), at, at))
	}
	b.clock.Advance(365 * 24 * time.Hour)
	require.NoError(t, b.Once(t.Context()))
	require.Equal(t, before, b.keys(t))
}

// failInTarget makes a run that failed in its target and can be resumed.
func (b bundle) failInTarget(t *testing.T, path string) string {
	t.Helper()
	id, _, _ := b.stage(t, path)
	for _, kind := range []store.TaskKind{store.TaskMap, store.TaskLoad} {
		a, err := b.tasks.Claim(t.Context(), run.NewTask(store.Run{ID: id}, kind, 0).ID, kind.Stage(), "w")
		require.NoError(t, err)
		claim := store.Claim{TaskID: a.Task.ID, Attempt: a.Task.Attempt, Fence: a.Task.Fence}
		if kind == store.TaskMap {
			require.NoError(t, b.tasks.Complete(t.Context(), claim, controltest.Mapped(a, 0, 0)))
			continue
		}
		require.NoError(t, b.tasks.Fail(t.Context(), claim, &typev1.Error{Code: "NOT_FOUND", Reason: "TABLE_NOT_FOUND"}, nil))
	}
	return id
}

func (b bundle) resume(t *testing.T, id string) error {
	t.Helper()
	_, err := b.runs.Resume(t.Context(), id, "")
	return err
}

// late lets something happen after the sweeper has found its runs.
type late struct {
	store.Store
	then func()
}

func (l late) SweepableRuns(ctx context.Context, age time.Duration, rejects bool, limit int) ([]store.Run, error) {
	runs, err := l.Store.SweepableRuns(ctx, age, rejects, limit)
	if len(runs) > 0 {
		l.then()
	}
	return runs, err
}

func TestARunThatIsResumedJustBeforeItsDataGoKeepsThem(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.failInTarget(t, "a")
	before := b.keys(t)
	b.clock.Advance(25 * time.Hour)
	db := late{Store: b.db, then: func() { require.NoError(t, b.resume(t, id)) }}
	require.NoError(t, sweep.New(db, b.files, sweep.Config{}, "x", slog.New(slog.DiscardHandler)).Once(t.Context()))
	require.Equal(t, before, b.keys(t))
}

// hooked lets something happen before the first object goes.
type hooked struct {
	*staging.Store
	first func()
}

func (h hooked) List(ctx context.Context, prefix string, fn func(staging.Object) error) error {
	if prefix != "previews/" && prefix != "runs/" {
		h.first()
	}
	return h.Store.List(ctx, prefix, fn)
}

func TestARunWhoseDataBeginToGoCannotBeResumed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id := b.failInTarget(t, "a")
	b.clock.Advance(25 * time.Hour)
	tried := 0
	files := hooked{Store: b.files, first: func() {
		tried++
		require.ErrorIs(t, b.resume(t, id), run.ErrSwept)
	}}
	require.NoError(t, sweep.New(b.db, files, sweep.Config{}, "x", slog.New(slog.DiscardHandler)).Once(t.Context()))
	require.Equal(t, 1, tried)
	require.ErrorIs(t, b.resume(t, id), run.ErrSwept)
}

func TestPreviewsGoAfterAnHour(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.write(t, "previews/1/part-00000.parquet", 2*time.Hour)
	b.write(t, "previews/2/part-00000.parquet", 30*time.Minute)
	require.NoError(t, b.Once(t.Context()))
	require.Equal(t, []string{"previews/2/part-00000.parquet"}, b.keys(t))
}

func TestWhatBelongsToNoRunGoesWhenItIsOld(t *testing.T) {
	t.Parallel()
	b := setup(t)
	id, _, _ := b.stage(t, "a")
	b.cancel(t, id)
	b.clock.Advance(31 * 24 * time.Hour)
	require.NoError(t, b.Once(t.Context()))
	require.Empty(t, b.keys(t))
	b.write(t, "runs/run_unknown/ingest/1-1/part-00000.parquet", 31*24*time.Hour)
	b.write(t, "runs/run_unknown/ingest/1-1/part-00001.parquet", time.Hour)
	b.write(t, "runs/"+id+"/ingest/9-9/part-00000.parquet", 31*24*time.Hour) // of a worker that came back late
	require.NoError(t, sweep.New(b.db, b.files, sweep.Config{}, "x", slog.New(slog.DiscardHandler)).Once(t.Context()))
	require.Equal(t, []string{"runs/run_unknown/ingest/1-1/part-00001.parquet"}, b.keys(t))
}

func TestItEndsWithItsContext(t *testing.T) {
	t.Parallel()
	b := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	cancel()
	require.NoError(t, <-done)
}
