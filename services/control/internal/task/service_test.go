package task_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/receipt"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/task"
)

func TestMain(m *testing.M) {
	// The PostgreSQL server of the tests ends with the process.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("os/exec.(*Cmd).Wait"))
}

type bundle struct {
	*task.Service
	t     *testing.T
	runs  *run.Service
	db    store.Store
	clock *controltest.Clock
	id    string
}

// setup creates a run of a flow.
func setup(t *testing.T, change ...func(*flowv1.Flow)) *bundle {
	t.Helper()
	clock := controltest.NewClock()
	db := controltest.Open(t, clock)
	controltest.Publish(t, db, controltest.Flow("orders", change...))
	b := &bundle{
		Service: task.NewService(db, controltest.Connectors{}, task.Config{}),
		t:       t, runs: run.NewService(db), db: db, clock: clock,
	}
	t.Cleanup(b.runs.Close)
	r, err := b.runs.Create(t.Context(), run.Request{FlowVersion: "orders:v1", SourcePath: "s3://b/1.csv"})
	require.NoError(t, err)
	b.id = r.ID
	return b
}

func (b *bundle) run() run.View {
	b.t.Helper()
	v, err := b.runs.Get(b.t.Context(), b.id)
	require.NoError(b.t, err)
	return v
}

func (b *bundle) taskID(kind store.TaskKind, part int32) string {
	return run.NewTask(store.Run{ID: b.id}, kind, part).ID
}

func (b *bundle) task(kind store.TaskKind, part int32) store.Task {
	b.t.Helper()
	task, err := b.db.Task(b.t.Context(), b.taskID(kind, part))
	require.NoError(b.t, err)
	return task
}

func (b *bundle) try(kind store.TaskKind, part int32) (task.Assignment, error) {
	return b.Claim(b.t.Context(), b.taskID(kind, part), kind.Stage(), "worker")
}

func (b *bundle) claim(kind store.TaskKind, part int32) task.Assignment {
	b.t.Helper()
	a, err := b.try(kind, part)
	require.NoError(b.t, err)
	return a
}

func proof(a task.Assignment) store.Claim {
	return store.Claim{TaskID: a.Task.ID, Attempt: a.Task.Attempt, Fence: a.Task.Fence}
}

func (b *bundle) complete(a task.Assignment, m *typev1.Manifest) {
	b.t.Helper()
	require.NoError(b.t, b.Complete(b.t.Context(), proof(a), m))
}

func (b *bundle) fail(a task.Assignment, code, reason string, retryable bool) {
	b.t.Helper()
	require.NoError(b.t, b.Fail(b.t.Context(), proof(a), failure(code, reason, retryable), nil))
}

func failure(code, reason string, retryable bool) *typev1.Error {
	return &typev1.Error{Code: code, Reason: reason, Message: "m", Retryable: retryable}
}

// toLoad brings the run to where its LOAD task can be claimed.
func (b *bundle) toLoad() {
	b.t.Helper()
	b.complete1(2, 10, 0)
	for part := range int32(2) {
		b.complete2(part, 0, 0)
	}
}

func (b *bundle) complete1(parts int, rows, malformed int64) {
	b.t.Helper()
	a := b.claim(store.TaskStage, 0)
	b.complete(a, controltest.Staged(a, parts, rows, malformed))
}

func (b *bundle) complete2(part int32, rejected, filtered int64) {
	b.t.Helper()
	a := b.claim(store.TaskMap, part)
	b.complete(a, controltest.Mapped(a, rejected, filtered))
}

// load is the manifest of a load that has committed.
func (b *bundle) load(a task.Assignment, refused int64) *typev1.Manifest {
	b.t.Helper()
	m := run.Manifests{Ingest: a.Ingest, Parts: a.Parts, Closing: a.Closing}
	return controltest.Loaded(&typev1.Receipt{RunId: b.id, Counts: m.Counts()}, refused, receipt.Target(a.Spec, a.Task.Part).GetName())
}

func TestARunGoesThroughItsStages(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claim(store.TaskStage, 0)
	require.Equal(t, store.RunSyncingSource, b.run().State)
	require.Equal(t, time.Minute, a.Lease)
	require.Equal(t, "orders", a.Spec.GetName())
	require.Equal(t, []string{"id"}, a.SourceColumns)
	require.Contains(t, a.Connectors, "bucket")
	require.NotContains(t, a.Connectors, "warehouse")
	require.Nil(t, a.Ingest)
	require.Equal(t, "runs/"+b.id+"/ingest/1-"+itoa(a.Task.Fence)+"/", a.StagingPrefix)
	b.complete(a, controltest.Staged(a, 3, 10, 1))

	require.Equal(t, store.RunTransforming, b.run().State)
	for part := range int32(3) {
		a := b.claim(store.TaskMap, part)
		require.Empty(t, a.Connectors)
		require.Len(t, a.Ingest.GetParts(), 1, "its own part only")
		require.EqualValues(t, part*10, a.Ingest.GetParts()[0].GetFirstRow())
		require.EqualValues(t, 31, a.Ingest.GetRecordsRead())
		b.complete(a, controltest.Mapped(a, 1, 2))
	}

	require.Equal(t, store.RunSyncingTarget, b.run().State)
	a = b.claim(store.TaskLoad, 0)
	require.Contains(t, a.Connectors, "warehouse")
	require.Len(t, a.Ingest.GetParts(), 3)
	require.Len(t, a.Parts, 3)
	require.Nil(t, a.Closing)
	b.complete(a, b.load(a, 0))

	v := b.run()
	require.Equal(t, store.RunPartialFailed, v.State)
	require.Equal(t, store.OutcomeCommitted, v.Outcome)
	require.Nil(t, v.Error)
	require.False(t, v.EndTime.IsZero())
	require.True(t, proto.Equal(&typev1.RecordCounts{Read: 31, Malformed: 1, Filtered: 6, Rejected: 3, Mapped: 21, RowsToWrite: 21}, v.Receipt.GetCounts()))
	require.Equal(t, []string{
		"created", "syncing_source", "stage_completed", "transforming", "stage_completed", "syncing_target", "stage_completed", "partial_failed",
	}, b.events())
}

func TestARunWithoutRejectsSucceeds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	a := b.claim(store.TaskLoad, 0)
	b.complete(a, b.load(a, 0))
	require.Equal(t, store.RunSucceeded, b.run().State)
}

func TestARowThatTheTargetRefusesIsAReject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	a := b.claim(store.TaskLoad, 0)
	b.complete(a, b.load(a, 1))
	require.Equal(t, store.RunPartialFailed, b.run().State)
}

func TestAnEmptyBatchIsLoadedAllTheSame(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.complete1(0, 0, 0)
	require.Equal(t, store.RunSyncingTarget, b.run().State)
	a := b.claim(store.TaskLoad, 0)
	b.complete(a, b.load(a, 0))
	require.Equal(t, store.RunSucceeded, b.run().State)
}

func TestPartsAreHandedOutAFewAtATime(t *testing.T) {
	t.Parallel()
	b := setup(t) // max_parallel_tasks is 2
	b.complete1(5, 10, 0)
	states := func() (out []store.TaskState) {
		tasks, err := b.db.Tasks(t.Context(), b.id, store.TaskMap)
		require.NoError(t, err)
		for _, task := range tasks {
			out = append(out, task.State)
		}
		return out
	}
	const w, r, d = store.TaskWaiting, store.TaskReady, store.TaskDone
	require.Equal(t, []store.TaskState{r, r, w, w, w}, states())
	_, err := b.try(store.TaskMap, 2)
	require.ErrorIs(t, err, store.ErrNotClaimable)
	b.complete2(1, 0, 0)
	require.Equal(t, []store.TaskState{r, d, r, w, w}, states())
	a := b.claim(store.TaskMap, 0)
	b.fail(a, "UNAVAILABLE", "X", true)
	require.Equal(t, []store.TaskState{r, d, r, w, w}, states(), "a retry keeps its place")
	b.complete2(2, 0, 0)
	b.complete2(3, 0, 0)
	require.Equal(t, []store.TaskState{r, d, d, d, r}, states())
	b.complete2(4, 0, 0)
	require.Equal(t, store.RunTransforming, b.run().State)
	b.clock.Advance(time.Minute)
	b.complete2(0, 0, 0)
	require.Equal(t, store.RunSyncingTarget, b.run().State)
}

func TestABatchRuleIsClosedOverAllParts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*flowv1.Flow){
		"key":    func(f *flowv1.Flow) { f.Columns[0].Key = true },
		"unique": func(f *flowv1.Flow) { f.Rules = []*flowv1.Rule{{Name: "u", Unique: []string{"id"}}} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, change)
			b.complete1(2, 10, 0)
			b.complete2(0, 0, 0)
			b.complete2(1, 0, 0)
			require.Equal(t, store.RunTransforming, b.run().State)
			a := b.claim(store.TaskClose, 0)
			require.Len(t, a.Parts, 2)
			b.complete(a, controltest.Closed(a, 3))
			require.Equal(t, store.RunSyncingTarget, b.run().State)
			a = b.claim(store.TaskLoad, 0)
			require.EqualValues(t, 3, a.Closing.GetRejected())
			b.complete(a, b.load(a, 0))
			v := b.run()
			require.Equal(t, store.RunPartialFailed, v.State)
			require.EqualValues(t, 17, v.Receipt.GetCounts().GetMapped())
		})
	}
}

func TestABatchThatMustNotBeLoadedFailsBeforeTheTarget(t *testing.T) {
	t.Parallel()
	mode := func(f *flowv1.Flow) { f.Target.Mode = "replace" }
	for _, c := range []struct {
		name               string
		change             func(*flowv1.Flow)
		malformed          int64
		rejected, filtered int64 // of 10 rows
		reason             string
	}{
		{name: "budget", change: func(f *flowv1.Flow) { f.ErrorBudget = &flowv1.ErrorBudget{MaxRejectedRows: proto.Int64(2)} }, malformed: 1, rejected: 2, reason: "ERROR_BUDGET_EXCEEDED"},
		{name: "within budget", change: func(f *flowv1.Flow) { f.ErrorBudget = &flowv1.ErrorBudget{MaxRejectedRows: proto.Int64(3)} }, malformed: 1, rejected: 2},
		{name: "all rejected", rejected: 10, reason: "ALL_ROWS_REJECTED"},
		{name: "all that was wanted rejected", rejected: 4, filtered: 6, reason: "ALL_ROWS_REJECTED"},
		{name: "all filtered", filtered: 10},
		{name: "empty replace", change: mode, filtered: 10, reason: "EMPTY_REPLACE"},
		{name: "permitted empty replace", change: func(f *flowv1.Flow) { mode(f); f.AllowEmpty = true }, filtered: 10},
		{name: "replace", change: mode, filtered: 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if c.change == nil {
				c.change = func(*flowv1.Flow) {}
			}
			b := setup(t, c.change)
			b.complete1(1, 10, c.malformed)
			b.complete2(0, c.rejected, c.filtered)
			v := b.run()
			if c.reason == "" {
				require.Equal(t, store.RunSyncingTarget, v.State)
				return
			}
			require.Equal(t, store.RunFailed, v.State)
			require.Equal(t, c.reason, v.Error.GetReason())
			require.Equal(t, typev1.Stage_STAGE_TRANSFORM, v.Error.GetStage())
			require.NotEmpty(t, v.Error.GetNextAction())
			require.Equal(t, 10+c.malformed, v.Receipt.GetCounts().GetRead(), "the receipt as far as it is known")
			require.Empty(t, v.Receipt.GetTargets())
			tasks, err := b.db.Tasks(t.Context(), b.id, store.TaskLoad)
			require.NoError(t, err)
			require.Empty(t, tasks)
		})
	}
}

func TestAllMalformedIsAllRejected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.complete1(0, 0, 5)
	require.Equal(t, "ALL_ROWS_REJECTED", b.run().Error.GetReason())
}

func TestRecordsThatDoNotAddUpCrashTheRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.complete1(1, 10, 0)
	a := b.claim(store.TaskMap, 0)
	m := controltest.Mapped(a, 0, 0)
	m.GetPart().Counts.Mapped-- // a record vanishes
	b.complete(a, m)
	v := b.run()
	require.Equal(t, store.RunCrashed, v.State)
	require.Equal(t, run.ReasonReceiptImbalance, v.Error.GetReason())
}

func TestAReceiptThatDoesNotBalanceCrashesTheRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	a := b.claim(store.TaskLoad, 0)
	rec := &typev1.Receipt{RunId: b.id, Counts: run.Manifests{Ingest: a.Ingest, Parts: a.Parts}.Counts()}
	rec.Counts.RowsToWrite++ // one more than was written
	m := controltest.Loaded(rec, 0)
	m.GetLoad().ReceiptJson = jsonOf(t, controltest.Receipt(rec, "COMMITTED", 20, 0))
	b.complete(a, m)
	v := b.run()
	require.Equal(t, store.RunCrashed, v.State)
	require.Equal(t, store.OutcomeCommitted, v.Outcome, "the rows are there: another run is a duplicate")
	require.Equal(t, run.ReasonReceiptImbalance, v.Error.GetReason())
}

func TestAManifestOfSomethingElseIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claim(store.TaskStage, 0)
	refused := func(a task.Assignment, m *typev1.Manifest) {
		t.Helper()
		require.ErrorIs(t, b.Complete(t.Context(), proof(a), m), task.ErrManifest)
	}
	refused(a, &typev1.Manifest{})
	refused(a, controltest.Aborted(b.id))
	foreign := controltest.Staged(a, 1, 10, 0)
	foreign.GetIngest().Parts[0].Data.Key = "runs/other/ingest/1-1/part-00000.parquet"
	refused(a, foreign)
	b.complete(a, controltest.Staged(a, 2, 10, 0))
	a = b.claim(store.TaskMap, 1)
	other := controltest.Mapped(a, 0, 0)
	other.GetPart().Part = 0
	refused(a, other)
	b.complete(a, controltest.Mapped(a, 0, 0))
	b.complete2(0, 0, 0)
	a = b.claim(store.TaskLoad, 0)
	refused(a, controltest.Aborted(b.id))
	refused(a, controltest.Loaded(&typev1.Receipt{RunId: "run_other"}, 0))
	strange := b.load(a, 1)
	strange.GetLoad().Rejects = &typev1.StagedObject{Key: "runs/" + b.id + "/ingest/1-1/rejects.parquet"}
	refused(a, strange)
	m := controltest.Aborted(b.id)
	m.GetLoad().ReceiptJson = "{"
	refused(a, m)
	require.Equal(t, store.TaskRunning, b.task(store.TaskLoad, 0).State)
}

func TestAClaimIsOfItsStageOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.Claim(t.Context(), b.taskID(store.TaskStage, 0), typev1.Stage_STAGE_EGRESS, "w")
	require.ErrorIs(t, err, store.ErrNotClaimable)
	for _, id := range []string{"", "none", b.id, b.id + ".map.0", "run_none.stage.0"} {
		_, err := b.Claim(t.Context(), id, typev1.Stage_STAGE_TRANSFORM, "w")
		require.ErrorIs(t, err, store.ErrNotFound)
	}
	b.claim(store.TaskStage, 0)
	_, err = b.try(store.TaskStage, 0)
	require.ErrorIs(t, err, store.ErrNotClaimable)
}

type broken struct{ err error }

func (b broken) Open(context.Context, []string) (map[string]task.Connector, error) { return nil, b.err }

func TestAClaimThatCannotBeAssignedIsGivenBack(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		err      error
		attempts int32
		errors   int32
		reason   string
	}{
		{err: store.ErrUnavailable},
		{err: errors.New("keyset"), attempts: 1, errors: 1, reason: "TASK_NOT_ASSIGNED"},
		{err: fault.New(codes.Unavailable, "KMS_AWAY", "away").AsRetryable(), attempts: 1, errors: 1, reason: "KMS_AWAY"},
	} {
		b := setup(t)
		s := task.NewService(b.db, broken{c.err}, task.Config{})
		_, err := s.Claim(t.Context(), b.taskID(store.TaskStage, 0), typev1.Stage_STAGE_INGEST, "w")
		require.ErrorIs(t, err, c.err)
		got := b.task(store.TaskStage, 0)
		require.Equal(t, store.TaskReady, got.State)
		require.Equal(t, c.attempts, got.Attempt)
		require.Equal(t, c.errors, got.Errors)
		require.Equal(t, c.reason, got.Error.GetReason())
	}
}

func TestAnAssignmentThatCanNeverBePutTogetherFailsTheRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	s := task.NewService(b.db, broken{fault.New(codes.FailedPrecondition, "SECRET_MISSING", "m")}, task.Config{})
	_, err := s.Claim(t.Context(), b.taskID(store.TaskLoad, 0), typev1.Stage_STAGE_EGRESS, "w")
	require.Error(t, err)
	v := b.run()
	require.Equal(t, store.RunFailed, v.State, "a load that never began needs no settlement")
	require.Equal(t, "SECRET_MISSING", v.Error.GetReason())
	require.Equal(t, typev1.Stage_STAGE_EGRESS, v.Error.GetStage())
}
