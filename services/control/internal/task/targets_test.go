package task_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
)

const (
	none, committed, aborted = store.OutcomeNone, store.OutcomeCommitted, store.OutcomeAborted
	unknown, partial         = store.OutcomeUnknown, store.OutcomePartial
)

// loading brings a run with targets of these names to where they can be loaded.
func loading(t *testing.T, names ...string) *bundle {
	t.Helper()
	b := setup(t, controltest.Targets(names...))
	b.toLoad()
	return b
}

// commit loads a target.
func (b *bundle) commit(part int32) {
	b.t.Helper()
	a := b.claim(store.TaskLoad, part)
	b.complete(a, b.load(a, 0))
}

// spoil lets the load of a target fail for good, its target certainly untouched.
func (b *bundle) spoil(part int32) {
	b.t.Helper()
	b.fail(b.claim(store.TaskLoad, part), "NOT_FOUND", "TABLE_NOT_FOUND", false)
}

// lose lets the load of a target fail for good without knowing whether it has committed.
func (b *bundle) lose(part int32) {
	b.t.Helper()
	b.fail(b.claim(store.TaskLoad, part), "INTERNAL", "CONNECTOR_FAULT", false)
}

func (b *bundle) resume() error {
	_, err := b.runs.Resume(b.t.Context(), b.id, "")
	return err
}

// targets are the outcomes of the targets, as the run shows them while it goes on.
func (b *bundle) targets() []store.Outcome {
	b.t.Helper()
	var out []store.Outcome
	for _, s := range b.run().Targets {
		out = append(out, s.Outcome)
	}
	return out
}

// ended requires an end with these outcomes of the targets, in the receipt too.
func (b *bundle) ended(state store.RunState, together store.Outcome, targets ...store.Outcome) run.View {
	b.t.Helper()
	v := b.run()
	require.Equal(b.t, state, v.State)
	require.Equal(b.t, together, v.Outcome)
	require.Equal(b.t, targets, b.targets())
	for i, target := range v.Receipt.GetTargets() {
		require.Equal(b.t, string(targets[i]), target.GetOutcome())
		require.Equal(b.t, targets[i] == committed, target.GetError() == nil, "who has not committed says why")
	}
	require.Len(b.t, v.Receipt.GetTargets(), len(targets))
	return v
}

func TestARunEndsWhenItsLastTargetHasCommitted(t *testing.T) {
	t.Parallel()
	b := loading(t, "a", "b")
	b.commit(1)
	require.Equal(t, store.RunSyncingTarget, b.run().State)
	require.Equal(t, []store.Outcome{none, committed}, b.targets())
	b.commit(0)
	v := b.ended(store.RunSucceeded, committed, committed, committed)
	require.Equal(t, "a", v.Receipt.GetTargets()[0].GetTarget())
	require.EqualValues(t, 20, v.Receipt.GetTargets()[1].GetWritten())
	require.Equal(t, []string{
		"created", "syncing_source", "stage_completed", "transforming", "stage_completed", "syncing_target", "stage_completed", "succeeded",
	}, b.events())
}

func TestARowThatOneTargetRefusesMakesTheRunPartial(t *testing.T) {
	t.Parallel()
	b := loading(t, "a", "b")
	b.commit(0)
	a := b.claim(store.TaskLoad, 1)
	b.complete(a, b.load(a, 1))
	b.ended(store.RunPartialFailed, committed, committed, committed)
}

func TestATargetThatFailsIsNothingToTheOthers(t *testing.T) {
	t.Parallel()
	for name, order := range map[string]func(b *bundle){
		"fails first": func(b *bundle) {
			b.spoil(1)
			require.Equal(b.t, store.RunSyncingTarget, b.run().State)
			require.Equal(b.t, []store.Outcome{none, aborted, none}, b.targets())
			b.commit(2)
			b.commit(0)
		},
		"fails last": func(b *bundle) { b.commit(0); b.commit(2); b.spoil(1) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t, controltest.Targets("a", "b", "c"), func(f *flowv1.Flow) { *f.Limits.MaxParallelTasks = 3 })
			b.toLoad()
			order(b)
			v := b.ended(store.RunFailed, partial, committed, aborted, committed)
			require.Equal(t, "TABLE_NOT_FOUND", v.Error.GetReason())
			require.Equal(t, "b", v.Error.GetMetadata()["target"])
			require.Contains(t, v.Error.GetNextAction(), "lume runs resume "+b.id)
			require.Equal(t, "TABLE_NOT_FOUND", v.Receipt.GetTargets()[1].GetError().GetReason())
			require.Zero(t, v.Receipt.GetTargets()[1].GetWritten())
			require.EqualValues(t, 20, v.Receipt.GetTargets()[2].GetWritten())
		})
	}
}

func TestTargetsAreLoadedAFewAtATime(t *testing.T) {
	t.Parallel()
	b := loading(t, "a", "b", "c", "d") // max_parallel_tasks is 2
	_, err := b.try(store.TaskLoad, 2)
	require.ErrorIs(t, err, store.ErrNotClaimable)
	b.spoil(0)
	_, err = b.try(store.TaskLoad, 3)
	require.ErrorIs(t, err, store.ErrNotClaimable)
	b.commit(2)
	b.commit(1)
	b.commit(3)
	b.ended(store.RunFailed, partial, aborted, committed, committed, committed)
}

func TestALoadGetsTheSecretsOfItsOwnTargetAlone(t *testing.T) {
	t.Parallel()
	b := setup(t, controltest.Targets("a", "b"), func(f *flowv1.Flow) { f.Targets[0].Connector = "bucket" })
	b.toLoad()
	for part, names := range [][]string{{"bucket"}, {"warehouse"}} {
		a := b.claim(store.TaskLoad, int32(part))
		require.Len(t, a.Connectors, 1)
		require.Contains(t, a.Connectors, names[0])
		require.EqualValues(t, part, a.Task.Part)
	}
}

func TestAReceiptOfAnotherTargetIsRefused(t *testing.T) {
	t.Parallel()
	b := loading(t, "a", "b")
	a, other := b.claim(store.TaskLoad, 0), b.claim(store.TaskLoad, 1)
	require.ErrorContains(t, b.Complete(t.Context(), proof(a), b.load(other, 0)), `of target "b", not "a"`)
}

func TestOnlyTheTargetThatMayHaveCommittedIsSettled(t *testing.T) {
	t.Parallel()
	for _, found := range []store.Outcome{aborted, committed} {
		b := loading(t, "a", "b")
		b.lose(0)
		settle := b.claim(store.TaskSettle, 0)
		_, err := b.try(store.TaskSettle, 1)
		require.ErrorIs(t, err, store.ErrNotFound)
		b.commit(1)
		require.Equal(t, store.RunSyncingTarget, b.run().State, "a is not decided")
		if found == committed {
			b.complete(settle, b.load(settle, 0))
			b.ended(store.RunSucceeded, committed, committed, committed)
			continue
		}
		b.complete(settle, controltest.Aborted(b.id, "a"))
		v := b.ended(store.RunFailed, partial, aborted, committed)
		require.Equal(t, "CONNECTOR_FAULT", v.Error.GetReason())
	}
}

func TestAStopLeavesWhatHasCommitted(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stop   func(b *bundle)
		reason string
	}{
		"cancel": {(*bundle).cancel, run.ReasonCancelled},
		"deadline": {func(b *bundle) {
			b.clock.Advance(6 * time.Hour)
			require.NoError(b.t, b.runs.Overdue(b.t.Context(), b.id))
		}, run.ReasonDeadline},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := loading(t, "a", "b", "c")
			b.commit(0)
			load := b.claim(store.TaskLoad, 1)
			c.stop(b)
			beat, err := b.Heartbeat(t.Context(), proof(load), 1)
			require.NoError(t, err)
			require.Equal(t, c.reason, beat.CancelReason)
			require.Equal(t, []store.Outcome{committed, none, aborted}, b.targets(), "c never began")
			b.fail(load, "CANCELLED", run.ReasonCancelled, false)
			b.complete(b.claim(store.TaskSettle, 1), controltest.Aborted(b.id, "b"))
			v := b.ended(store.RunFailed, partial, committed, aborted, aborted)
			require.Equal(t, c.reason, v.Error.GetReason())
			require.Contains(t, v.Error.GetNextAction(), "lume runs resume")
		})
	}
}

func TestACancelOfARunWithAFailedTargetEndsItForThatFailure(t *testing.T) {
	t.Parallel()
	b := loading(t, "a", "b")
	b.spoil(1)
	b.cancel()
	v := b.ended(store.RunFailed, aborted, aborted, aborted)
	require.Equal(t, "TABLE_NOT_FOUND", v.Error.GetReason())
	require.Equal(t, run.ReasonCancelled, v.Receipt.GetTargets()[0].GetError().GetReason())
}

func TestOneTargetThatCannotBeAskedLeavesTheRunUnsettled(t *testing.T) {
	t.Parallel()
	b := loading(t, "a", "b")
	b.lose(0)
	for range 2 {
		b.clock.Advance(time.Minute)
		b.fail(b.claim(store.TaskSettle, 0), "UNAVAILABLE", "TARGET_AWAY", true)
	}
	require.Equal(t, store.RunSyncingTarget, b.run().State, "b goes on")
	b.commit(1)
	v := b.ended(store.RunFailed, unknown, unknown, committed)
	require.Equal(t, run.ReasonTargetUnsettled, v.Error.GetReason())
	require.Equal(t, "a", v.Error.GetMetadata()["target"])
	b.clock.Advance(time.Minute)
	b.complete(b.claim(store.TaskSettle, 0), controltest.Aborted(b.id, "a"))
	v = b.ended(store.RunFailed, partial, aborted, committed)
	require.Contains(t, v.Error.GetNextAction(), "lume runs resume")
	require.NoError(t, b.resume())
	b.commit(0)
	b.ended(store.RunSucceeded, committed, committed, committed)
}

func TestAResumeLoadsWhatHasNotCommittedUnderTheSameRun(t *testing.T) {
	t.Parallel()
	b := loading(t, "a", "b", "c")
	b.commit(0)
	b.spoil(1)
	b.lose(2)
	b.complete(b.claim(store.TaskSettle, 2), controltest.Aborted(b.id, "c"))
	before := b.ended(store.RunFailed, partial, committed, aborted, aborted)
	first := b.task(store.TaskLoad, 0)

	err := b.again()
	var duplicate *run.DuplicateError
	require.ErrorAs(t, err, &duplicate)
	require.Equal(t, run.DuplicateError{RunID: b.id, State: store.RunFailed, Outcome: partial}, *duplicate)

	b.clock.Advance(7 * time.Hour)
	v, err := b.runs.Resume(t.Context(), b.id, "again")
	require.NoError(t, err)
	require.Equal(t, store.RunSyncingTarget, v.State)
	require.Nil(t, v.Error)
	require.Nil(t, v.Receipt)
	require.True(t, v.EndTime.IsZero())
	require.Equal(t, b.clock.Now().Add(6*time.Hour), v.Deadline)
	require.Equal(t, []store.Outcome{committed, none, none}, b.targets())
	_, err = b.runs.Resume(t.Context(), b.id, "again")
	require.NoError(t, err, "a retry of the request")
	require.ErrorIs(t, b.resume(), run.ErrInFlight)
	_, err = b.try(store.TaskLoad, 0)
	require.ErrorIs(t, err, store.ErrNotClaimable, "what has committed is never touched")
	_, err = b.try(store.TaskSettle, 2)
	require.ErrorIs(t, err, store.ErrNotClaimable, "nobody has to ask any more")

	a := b.claim(store.TaskLoad, 2)
	require.EqualValues(t, 2, a.Task.Attempt, "numbers go on")
	require.EqualValues(t, 3, a.Task.MaxAttempts)
	b.lose(1)
	require.EqualValues(t, 2, b.task(store.TaskLoad, 1).Attempt)
	settle := b.claim(store.TaskSettle, 1)
	b.complete(a, b.load(a, 0))
	b.complete(settle, b.load(settle, 0))
	v = b.ended(store.RunSucceeded, committed, committed, committed, committed)
	require.True(t, v.EndTime.After(before.EndTime))
	require.Equal(t, first, b.task(store.TaskLoad, 0))
	require.Equal(t, []string{"failed", "syncing_target", "stage_completed", "succeeded"}, b.events()[6:])
	require.ErrorIs(t, b.resume(), run.ErrNothingToResume)
}

func TestARunCanBeResumedAsOftenAsItFails(t *testing.T) {
	t.Parallel()
	b := loading(t, "a")
	for range 4 {
		b.lose(0)
		b.complete(b.claim(store.TaskSettle, 0), controltest.Aborted(b.id, "a"))
		b.ended(store.RunFailed, aborted, aborted)
		require.NoError(t, b.resume())
	}
	b.cancel()
	b.ended(store.RunFailed, aborted, aborted)
	require.NoError(t, b.resume())
	require.False(t, b.run().CancelRequested)
	for range 2 { // both attempts of the new load
		b.claim(store.TaskLoad, 0)
		b.clock.Advance(time.Minute)
		require.NoError(t, b.Lapse(t.Context(), b.taskID(store.TaskLoad, 0)))
	}
	b.complete(b.claim(store.TaskSettle, 0), controltest.Aborted(b.id, "a"))
	b.ended(store.RunCrashed, aborted, aborted)
	require.NoError(t, b.resume(), "a crashed run, too")
	b.commit(0)
	b.ended(store.RunSucceeded, committed, committed)
}

func TestATargetThatNeverAnsweredCanBeLoadedAgain(t *testing.T) {
	t.Parallel()
	b := unsettled(t)
	b.clock.Advance(time.Minute)
	late := b.claim(store.TaskSettle, 0)
	require.NoError(t, b.resume())
	require.ErrorIs(t, b.Complete(t.Context(), proof(late), controltest.Aborted(b.id)), store.ErrFenced)
	b.spoil(0)
	require.Equal(t, store.RunSyncingTarget, b.run().State, "an earlier attempt may have committed: it is settled")
	b.complete(b.claim(store.TaskSettle, 0), controltest.Aborted(b.id))
	b.ended(store.RunFailed, aborted, aborted)
}

func TestAResumeThatCannotBeIsRefused(t *testing.T) {
	t.Parallel()
	create := func(b *bundle, force bool) string {
		r, err := b.runs.Create(b.t.Context(), run.Request{FlowVersion: "orders:v1", SourcePath: "s3://b/1.csv", ForceRerun: force})
		require.NoError(b.t, err)
		return r.ID
	}
	for name, c := range map[string]struct {
		before func(b *bundle)
		want   error
	}{
		"it goes on":       {func(*bundle) {}, run.ErrInFlight},
		"it failed before": {(*bundle).cancel, run.ErrNotResumable},
		"it has committed": {func(b *bundle) { b.toLoad(); b.commit(0) }, run.ErrNothingToResume},
		"it committed unsettled": {func(b *bundle) {
			*b = *unsettled(b.t)
			b.clock.Advance(time.Minute)
			s := b.claim(store.TaskSettle, 0)
			b.complete(s, b.load(s, 0))
		}, run.ErrNothingToResume},
		"its data are swept": {func(b *bundle) {
			b.toLoad()
			b.spoil(0)
			require.NoError(b.t, b.db.Update(b.t.Context(), func(tx store.Tx) error { return tx.BeginSweep(b.t.Context(), b.id) }))
		}, run.ErrSwept},
		"another run is in flight": {func(b *bundle) { b.toLoad(); b.spoil(0); create(b, false) }, run.ErrDuplicate},
		"another run has committed since": {func(b *bundle) {
			b.toLoad()
			b.spoil(0)
			first := b.id
			b.id = create(b, false)
			b.toLoad()
			b.commit(0)
			b.id = first
		}, run.ErrDuplicate},
		"its connector is gone": {func(b *bundle) {
			b.toLoad()
			b.spoil(0)
			require.NoError(b.t, b.db.Update(b.t.Context(), func(tx store.Tx) error {
				return tx.DeleteConnector(context.WithoutCancel(b.t.Context()), "warehouse", "")
			}))
		}, store.ErrNotFound},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			c.before(b)
			before := b.run()
			require.ErrorIs(t, b.resume(), c.want)
			require.Equal(t, before.Revision, b.run().Revision, "nothing has changed")
		})
	}
	t.Run("but not for a run that it was forced over", func(t *testing.T) {
		t.Parallel()
		b := setup(t)
		b.toLoad()
		b.commit(0)
		b.clock.Advance(time.Second)
		b.id = create(b, true)
		b.toLoad()
		b.spoil(0)
		require.NoError(t, b.resume())
	})
	_, err := setup(t).runs.Resume(t.Context(), "run_none", "")
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestAResumeAndANewRunAtOnceAreOne(t *testing.T) {
	t.Parallel()
	b := loading(t, "a")
	b.spoil(0)
	results := make(chan error, 2)
	go func() { results <- b.resume() }()
	go func() { results <- b.again() }()
	errs := []error{<-results, <-results}
	if errs[0] != nil {
		errs[0], errs[1] = errs[1], errs[0]
	}
	require.NoError(t, errs[0])
	require.ErrorIs(t, errs[1], run.ErrDuplicate)
}

func TestACommitThatDoesNotBalanceCrashesARunOfManyTargets(t *testing.T) {
	t.Parallel()
	b := loading(t, "a", "b")
	b.spoil(1)
	a := b.claim(store.TaskLoad, 0)
	m := b.load(a, 0)
	rec := controltest.Receipt(&typev1.Receipt{RunId: b.id, Counts: run.Manifests{Ingest: a.Ingest, Parts: a.Parts}.Counts()}, "COMMITTED", 19, 0, "a")
	m.GetLoad().ReceiptJson = jsonOf(t, rec)
	b.complete(a, m)
	v := b.run()
	require.Equal(t, store.RunCrashed, v.State)
	require.Equal(t, partial, v.Outcome)
	require.Equal(t, run.ReasonReceiptImbalance, v.Error.GetReason())
}
