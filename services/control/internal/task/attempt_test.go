package task_test

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/task"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

func jsonOf(t *testing.T, r *typev1.Receipt) string {
	t.Helper()
	b, err := protojson.Marshal(r)
	require.NoError(t, err)
	return string(b)
}

// events returns the last tokens of the subjects of the run's events, in order.
func (b *bundle) events() []string {
	b.t.Helper()
	messages, err := b.db.Messages(b.t.Context(), 0, 1000)
	require.NoError(b.t, err)
	var out []string
	for _, m := range messages {
		if m.Kind != store.MessageRun || m.RunID != b.id {
			continue
		}
		var event struct {
			Type string `json:"type"`
		}
		require.NoError(b.t, json.Unmarshal(m.Body, &event))
		out = append(out, event.Type[len("lume.run."):])
	}
	return out
}

func TestARetryableErrorIsTriedAgainAfterADelayThatGrows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claim(store.TaskStage, 0)
	b.fail(a, "UNAVAILABLE", "SOURCE_AWAY", true)
	got := b.task(store.TaskStage, 0)
	require.Equal(t, store.TaskReady, got.State)
	require.Equal(t, "SOURCE_AWAY", got.Error.GetReason())
	require.Equal(t, typev1.Stage_STAGE_INGEST, got.Error.GetStage())
	delay := got.ReadyTime.Sub(b.clock.Now())
	require.GreaterOrEqual(t, delay, 500*time.Millisecond)
	require.LessOrEqual(t, delay, time.Second)
	_, err := b.try(store.TaskStage, 0)
	require.ErrorIs(t, err, store.ErrNotClaimable, "not due yet")
	require.Equal(t, store.RunSyncingSource, b.run().State)

	b.clock.Advance(time.Second)
	a = b.claim(store.TaskStage, 0)
	require.EqualValues(t, 2, a.Task.Attempt)
	b.fail(a, "UNAVAILABLE", "SOURCE_AWAY", true)
	v := b.run()
	require.Equal(t, store.RunFailed, v.State, "no attempt is left")
	require.Equal(t, "SOURCE_AWAY", v.Error.GetReason())
	require.Nil(t, v.Receipt, "nothing was read")
}

func TestAnErrorThatIsNotRetryableFailsTheRunAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claim(store.TaskStage, 0)
	b.fail(a, "NOT_FOUND", "SOURCE_OBJECT_NOT_FOUND", false)
	v := b.run()
	require.Equal(t, store.RunFailed, v.State)
	require.Equal(t, "SOURCE_OBJECT_NOT_FOUND", v.Error.GetReason())
	require.Equal(t, store.TaskFailed, b.task(store.TaskStage, 0).State)
}

func TestAWorkerThatLosesItsLeaseIsFenced(t *testing.T) {
	t.Parallel()
	b := setup(t)
	old := b.claim(store.TaskStage, 0)
	b.clock.Advance(59 * time.Second)
	_, err := b.Heartbeat(t.Context(), proof(old), 5)
	require.NoError(t, err)
	b.clock.Advance(59 * time.Second)
	_, err = b.try(store.TaskStage, 0)
	require.ErrorIs(t, err, store.ErrNotClaimable, "a heartbeat keeps the lease")
	b.clock.Advance(time.Second)
	now := b.claim(store.TaskStage, 0)
	_, err = b.Heartbeat(t.Context(), proof(old), 6)
	require.ErrorIs(t, err, store.ErrFenced)
	require.ErrorIs(t, b.Complete(t.Context(), proof(old), controltest.Staged(old, 1, 10, 0)), store.ErrFenced)
	require.ErrorIs(t, b.Fail(t.Context(), proof(old), failure("INTERNAL", "X", false), nil), store.ErrFenced)
	require.ErrorIs(t, b.Release(t.Context(), proof(old)), store.ErrFenced)
	require.NotEqual(t, old.StagingPrefix, now.StagingPrefix)
	b.complete(now, controltest.Staged(now, 1, 10, 0))
}

func TestACallThatIsRepeatedIsAnsweredAsBefore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claim(store.TaskStage, 0)
	released := proof(a)
	require.NoError(t, b.Release(t.Context(), released))
	require.NoError(t, b.Release(t.Context(), released))
	a = b.claim(store.TaskStage, 0)
	failed := proof(a)
	require.NoError(t, b.Fail(t.Context(), failed, failure("UNAVAILABLE", "X", true), nil))
	require.NoError(t, b.Fail(t.Context(), failed, failure("UNAVAILABLE", "X", true), nil))
	require.EqualValues(t, 1, b.task(store.TaskStage, 0).Errors)
	b.clock.Advance(time.Minute)
	a = b.claim(store.TaskStage, 0)
	m := controltest.Staged(a, 2, 10, 0)
	b.complete(a, m)
	b.complete(a, m)
	tasks, err := b.db.Tasks(t.Context(), b.id, store.TaskMap)
	require.NoError(t, err)
	require.Len(t, tasks, 2)
	require.ErrorIs(t, b.Fail(t.Context(), proof(a), failure("INTERNAL", "X", false), nil), store.ErrFenced)
}

func TestAReleasedAttemptDoesNotCount(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var prefixes []string
	for range 5 {
		a := b.claim(store.TaskStage, 0)
		require.EqualValues(t, 1, a.Task.Attempt)
		require.NotContains(t, prefixes, a.StagingPrefix)
		prefixes = append(prefixes, a.StagingPrefix)
		require.NoError(t, b.Release(t.Context(), proof(a)))
	}
}

func TestLapsedLeasesCrashTheRunWhenNoAttemptIsLeft(t *testing.T) {
	t.Parallel()
	b := setup(t)
	lapse := func() { require.NoError(t, b.Lapse(t.Context(), b.taskID(store.TaskStage, 0))) }
	b.claim(store.TaskStage, 0)
	lapse()
	require.Equal(t, store.TaskRunning, b.task(store.TaskStage, 0).State, "the lease stands")
	b.clock.Advance(time.Minute)
	lapse()
	require.Equal(t, store.TaskReady, b.task(store.TaskStage, 0).State)
	b.claim(store.TaskStage, 0)
	b.clock.Advance(time.Minute)
	_, err := b.try(store.TaskStage, 0)
	require.ErrorIs(t, err, store.ErrNotClaimable, "no attempt is left")
	lapse()
	v := b.run()
	require.Equal(t, store.RunCrashed, v.State)
	require.Equal(t, run.ReasonLeasesExhausted, v.Error.GetReason())
	require.Equal(t, "2", v.Error.GetMetadata()["attempts"])
}

func TestATaskThatNobodyClaimsIsPublishedAgainLessAndLessOften(t *testing.T) {
	t.Parallel()
	b := setup(t)
	published := func() int {
		messages, err := b.db.Messages(t.Context(), 0, 1000)
		require.NoError(t, err)
		n := 0
		for _, m := range messages {
			if m.Kind == store.MessageStage {
				n++
			}
		}
		return n
	}
	require.Equal(t, 1, published())
	wake := func() { require.NoError(t, b.Wake(t.Context(), b.taskID(store.TaskStage, 0))) }
	wake()
	require.Equal(t, 1, published(), "not due")
	for i, after := range []time.Duration{30 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute, 5 * time.Minute, 5 * time.Minute} {
		b.clock.Advance(after - time.Second)
		wake()
		require.Equal(t, 1+i, published(), "case %d", i)
		b.clock.Advance(time.Second)
		wake()
		require.Equal(t, 2+i, published(), "case %d", i)
	}
}

func TestACancelReachesTheWorkerAtItsNextHeartbeat(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claim(store.TaskStage, 0)
	beat, err := b.Heartbeat(t.Context(), proof(a), 1)
	require.NoError(t, err)
	require.Equal(t, task.Beat{Lease: time.Minute}, beat)
	_, err = b.runs.Cancel(t.Context(), b.id)
	require.NoError(t, err)
	beat, err = b.Heartbeat(t.Context(), proof(a), 1)
	require.NoError(t, err)
	require.True(t, beat.Cancel)
	require.Equal(t, run.ReasonCancelled, beat.CancelReason)
	require.NoError(t, b.Fail(t.Context(), proof(a), failure("CANCELLED", run.ReasonCancelled, false), nil))
	require.ErrorIs(t, b.Complete(t.Context(), proof(a), controltest.Staged(a, 1, 1, 0)), store.ErrFenced)
	require.Equal(t, store.RunFailed, b.run().State)
}

func TestADeadlineReachesTheWorkerAndEndsTheRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	a := b.claim(store.TaskStage, 0)
	b.clock.Advance(6 * time.Hour)
	beat, err := b.Heartbeat(t.Context(), proof(a), 1)
	require.NoError(t, err)
	require.Equal(t, run.ReasonDeadline, beat.CancelReason)
	b.fail(a, "DEADLINE_EXCEEDED", run.ReasonDeadline, false)
	v := b.run()
	require.Equal(t, store.RunFailed, v.State)
	require.Equal(t, run.ReasonDeadline, v.Error.GetReason())
	require.Contains(t, v.Error.GetMessage(), "6h0m0s", "control's own words")
}
