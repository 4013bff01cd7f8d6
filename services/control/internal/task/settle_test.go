package task_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
)

func (b *bundle) cancel() {
	b.t.Helper()
	_, err := b.runs.Cancel(b.t.Context(), b.id)
	require.NoError(b.t, err)
}

func (b *bundle) again() error {
	_, err := b.runs.Create(b.t.Context(), run.Request{FlowVersion: "orders:v1", SourcePath: "s3://b/1.csv"})
	return err
}

func TestACancelBeforeAnyLoadNeedsNoSettlement(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	b.cancel()
	v := b.run()
	require.Equal(t, store.RunFailed, v.State)
	require.Equal(t, store.OutcomeAborted, v.Outcome)
	require.Equal(t, "ABORTED", v.Receipt.GetTargets()[0].GetOutcome())
	require.EqualValues(t, 20, v.Receipt.GetCounts().GetMapped())
}

func TestACancelDuringALoadSettlesTheTargetFirst(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	load := b.claim(store.TaskLoad, 0)
	b.cancel()
	v := b.run()
	require.Equal(t, store.RunSyncingTarget, v.State, "not before the target is settled")
	require.True(t, v.CancelRequested)
	require.Nil(t, v.Error)
	beat, err := b.Heartbeat(t.Context(), proof(load), 1)
	require.NoError(t, err)
	require.Equal(t, run.ReasonCancelled, beat.CancelReason)
	b.fail(load, "CANCELLED", run.ReasonCancelled, false)
	require.Equal(t, store.RunSyncingTarget, b.run().State)
	settle := b.claim(store.TaskSettle, 0)
	require.Contains(t, settle.Connectors, "warehouse")
	require.Len(t, settle.Parts, 2)
	beat, err = b.Heartbeat(t.Context(), proof(settle), 0)
	require.NoError(t, err)
	require.False(t, beat.Cancel, "a settlement is not cancelled")
	b.complete(settle, controltest.Aborted(b.id))
	v = b.run()
	require.Equal(t, store.RunFailed, v.State)
	require.Equal(t, run.ReasonCancelled, v.Error.GetReason())
	require.Equal(t, store.OutcomeAborted, v.Outcome)
	require.NoError(t, b.again())
}

func TestACommitWinsAgainstACancel(t *testing.T) {
	t.Parallel()
	t.Run("told by the load", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.toLoad()
		load := b.claim(store.TaskLoad, 0)
		b.cancel()
		b.complete(load, b.load(load, 0))
		require.Equal(t, store.RunSucceeded, b.run().State)
		require.Equal(t, store.TaskCancelled, b.task(store.TaskSettle, 0).State)
	})
	t.Run("found by the settlement", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.toLoad()
		load := b.claim(store.TaskLoad, 0)
		b.cancel()
		settle := b.claim(store.TaskSettle, 0)
		b.complete(settle, b.load(settle, 0))
		v := b.run()
		require.Equal(t, store.RunSucceeded, v.State)
		require.True(t, v.CancelRequested)
		require.ErrorIs(t, b.Complete(t.Context(), proof(load), b.load(load, 0)), store.ErrFenced, "it has nothing left to say")
	})
}

func TestOnceSettlingNobodyBeginsTheLoadAgain(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	b.claim(store.TaskLoad, 0)
	b.cancel()
	b.clock.Advance(time.Minute)
	_, err := b.try(store.TaskLoad, 0)
	require.ErrorIs(t, err, store.ErrNotClaimable)
	require.NoError(t, b.Lapse(t.Context(), b.taskID(store.TaskLoad, 0)))
	require.Equal(t, store.TaskFailed, b.task(store.TaskLoad, 0).State)
	require.Equal(t, store.RunSyncingTarget, b.run().State)
}

func TestADefiniteErrorOfTheFirstLoadNeedsNoSettlement(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	load := b.claim(store.TaskLoad, 0)
	b.fail(load, "FAILED_PRECONDITION", "TABLE_NOT_FOUND", false)
	v := b.run()
	require.Equal(t, store.RunFailed, v.State)
	require.Equal(t, "TABLE_NOT_FOUND", v.Error.GetReason())
	require.Equal(t, store.OutcomeAborted, v.Outcome)
	require.NoError(t, b.again())
}

func TestALoadThatMayHaveCommittedIsSettled(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(b *bundle)
	}{
		{"an error of unknown cause", func(b *bundle) {
			b.fail(b.claim(store.TaskLoad, 0), "INTERNAL", "CONNECTOR_FAULT", false)
		}},
		{"the worker does not know", func(b *bundle) {
			rec := controltest.Receipt(&typev1.Receipt{RunId: b.id}, "UNKNOWN", 0, 0)
			require.NoError(b.t, b.Fail(b.t.Context(), proof(b.claim(store.TaskLoad, 0)), failure("NOT_FOUND", "X", false), rec))
		}},
		{"an earlier attempt lapsed", func(b *bundle) {
			b.claim(store.TaskLoad, 0)
			b.clock.Advance(time.Minute)
			b.fail(b.claim(store.TaskLoad, 0), "NOT_FOUND", "X", false)
		}},
		{"an earlier attempt was given back", func(b *bundle) {
			require.NoError(b.t, b.Release(b.t.Context(), proof(b.claim(store.TaskLoad, 0))))
			b.fail(b.claim(store.TaskLoad, 0), "NOT_FOUND", "X", false)
		}},
		{"an earlier attempt lost its connection", func(b *bundle) {
			b.fail(b.claim(store.TaskLoad, 0), "UNAVAILABLE", "X", true)
			b.clock.Advance(time.Minute)
			b.fail(b.claim(store.TaskLoad, 0), "NOT_FOUND", "X", false)
		}},
		{"the deadline passes during the load", func(b *bundle) {
			load := b.claim(store.TaskLoad, 0)
			b.clock.Advance(6 * time.Hour)
			b.fail(load, "DEADLINE_EXCEEDED", run.ReasonDeadline, false)
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.toLoad()
			c.end(b)
			require.Equal(t, store.RunSyncingTarget, b.run().State)
			require.ErrorIs(t, b.again(), run.ErrDuplicate)
			settle := b.claim(store.TaskSettle, 0)
			b.complete(settle, controltest.Aborted(b.id))
			require.Equal(t, store.RunFailed, b.run().State)
			require.NoError(t, b.again())
		})
	}
}

func TestLeasesExhaustedDuringALoadCrashTheRunOnceItIsSettled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	for range 2 {
		b.claim(store.TaskLoad, 0)
		b.clock.Advance(time.Minute)
	}
	require.NoError(t, b.Lapse(t.Context(), b.taskID(store.TaskLoad, 0)))
	require.Equal(t, store.RunSyncingTarget, b.run().State)
	b.complete(b.claim(store.TaskSettle, 0), controltest.Aborted(b.id))
	v := b.run()
	require.Equal(t, store.RunCrashed, v.State)
	require.Equal(t, run.ReasonLeasesExhausted, v.Error.GetReason())
}

// unsettled brings a run to where its settlement has used up its attempts.
func unsettled(t *testing.T) *bundle {
	t.Helper()
	b := setup(t)
	b.toLoad()
	b.claim(store.TaskLoad, 0)
	b.cancel()
	for range 2 {
		b.clock.Advance(time.Minute)
		b.fail(b.claim(store.TaskSettle, 0), "UNAVAILABLE", "TARGET_AWAY", true)
	}
	return b
}

func TestATargetThatCannotBeAskedLeavesTheRunUnsettled(t *testing.T) {
	t.Parallel()
	b := unsettled(t)
	v := b.run()
	require.Equal(t, store.RunFailed, v.State)
	require.Equal(t, store.OutcomeUnknown, v.Outcome)
	require.Equal(t, run.ReasonTargetUnsettled, v.Error.GetReason())
	require.Equal(t, run.ReasonCancelled, v.Error.GetMetadata()["cause"])
	require.Equal(t, "UNKNOWN", v.Receipt.GetTargets()[0].GetOutcome())
	err := b.again()
	require.ErrorIs(t, err, run.ErrDuplicate)
	var duplicate *run.DuplicateError
	require.ErrorAs(t, err, &duplicate)
	require.Equal(t, store.OutcomeUnknown, duplicate.Outcome)

	_, err = b.try(store.TaskSettle, 0)
	require.ErrorIs(t, err, store.ErrNotClaimable, "not so soon")
	for range 5 { // it is asked for as long as it takes
		b.clock.Advance(time.Minute)
		ids, err := b.db.UnclaimedTasks(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, []string{b.taskID(store.TaskSettle, 0)}, ids)
		b.fail(b.claim(store.TaskSettle, 0), "NOT_FOUND", "X", false)
	}
}

func TestAnUnsettledRunIsSettledAtLast(t *testing.T) {
	t.Parallel()
	t.Run("aborted", func(t *testing.T) {
		t.Parallel()
		b := unsettled(t)
		ended := b.run().EndTime
		b.clock.Advance(time.Minute)
		b.complete(b.claim(store.TaskSettle, 0), controltest.Aborted(b.id))
		v := b.run()
		require.Equal(t, store.RunFailed, v.State)
		require.Equal(t, store.OutcomeAborted, v.Outcome)
		require.Equal(t, "ABORTED", v.Receipt.GetTargets()[0].GetOutcome())
		require.Equal(t, ended, v.EndTime)
		require.NoError(t, b.again())
	})
	t.Run("committed", func(t *testing.T) {
		t.Parallel()
		b := unsettled(t)
		b.clock.Advance(time.Minute)
		settle := b.claim(store.TaskSettle, 0)
		b.complete(settle, b.load(settle, 0))
		v := b.run()
		require.Equal(t, store.RunFailed, v.State, "only a resume changes a final state")
		require.Equal(t, store.OutcomeCommitted, v.Outcome)
		require.Equal(t, "COMMITTED", v.Receipt.GetTargets()[0].GetOutcome())
		require.Equal(t, run.ReasonTargetUnsettled, v.Error.GetReason())
		require.Equal(t, "COMMITTED", v.Error.GetMetadata()["outcome"])
		require.ErrorIs(t, b.again(), run.ErrDuplicate, "its rows are there")
		_, err := b.runs.Create(t.Context(), run.Request{FlowVersion: "orders:v1", SourcePath: "s3://b/1.csv", ForceRerun: true})
		require.NoError(t, err)
	})
}

func TestASettlementWhoseWorkersDieLeavesTheRunUnsettled(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	b.claim(store.TaskLoad, 0)
	b.cancel()
	for range 2 {
		b.claim(store.TaskSettle, 0)
		b.clock.Advance(time.Minute)
		require.NoError(t, b.Lapse(t.Context(), b.taskID(store.TaskSettle, 0)))
	}
	v := b.run()
	require.Equal(t, store.RunFailed, v.State)
	require.Equal(t, store.OutcomeUnknown, v.Outcome)
	b.clock.Advance(time.Minute)
	b.complete(b.claim(store.TaskSettle, 0), controltest.Aborted(b.id))
	require.Equal(t, store.OutcomeAborted, b.run().Outcome)
}

func TestTheRowsThatALoadRefusedAreKeptThoughItFailed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	load := b.claim(store.TaskLoad, 0)
	partial := controltest.Receipt(&typev1.Receipt{RunId: b.id}, "ABORTED", 0, 3)
	partial.Targets[0].StagedRejects = controltest.Object(load, "rejects.parquet", 3)
	require.NoError(t, b.Fail(t.Context(), proof(load), failure("FAILED_PRECONDITION", "ERROR_BUDGET_EXCEEDED", false), partial))
	require.Equal(t, store.RunFailed, b.run().State)
	got := b.task(store.TaskLoad, 0)
	require.Equal(t, store.TaskFailed, got.State)
	require.EqualValues(t, 3, got.Manifest.GetLoad().GetRejects().GetRows())
}

func TestALoadThatFindsAnEarlierCommitNamesItsRejects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.toLoad()
	first := b.claim(store.TaskLoad, 0)
	b.clock.Advance(time.Minute)
	second := b.claim(store.TaskLoad, 0)
	m := b.load(second, 1)
	m.GetLoad().Rejects = controltest.Object(first, "rejects.parquet", 1)
	b.complete(second, m)
	require.Equal(t, store.RunPartialFailed, b.run().State)
}
