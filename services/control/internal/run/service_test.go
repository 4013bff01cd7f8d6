package run_test

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	eventv1 "github.com/lume-data/lume/gen/lume/event/v1"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/controltest"
	"github.com/lume-data/lume/services/control/internal/run"
	"github.com/lume-data/lume/services/control/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type bundle struct {
	*run.Service
	db    store.Store
	clock *controltest.Clock
}

func setup(t *testing.T, change ...func(*flowv1.Flow)) bundle {
	t.Helper()
	clock := controltest.NewClock()
	db := controltest.Open(t, clock)
	controltest.Publish(t, db, controltest.Flow("orders", change...))
	s := run.NewService(db)
	t.Cleanup(s.Close)
	return bundle{Service: s, db: db, clock: clock}
}

// change applies fn to a locked run.
func (b bundle) change(t *testing.T, id string, fn func(ctx context.Context, c *run.Change) error) error {
	t.Helper()
	ctx := t.Context()
	return b.db.Update(ctx, func(tx store.Tx) error {
		c, err := run.Lock(ctx, tx, id)
		if err != nil {
			return err
		}
		if err := fn(ctx, c); err != nil {
			return err
		}
		return c.Save(ctx)
	})
}

func (b bundle) end(t *testing.T, id string, to store.RunState, outcome store.Outcome) {
	t.Helper()
	require.NoError(t, b.change(t, id, func(ctx context.Context, c *run.Change) error {
		for c.Run.State != store.RunSyncingTarget && (to == store.RunSucceeded || to == store.RunPartialFailed || outcome == store.OutcomeUnknown) {
			next := map[store.RunState]store.RunState{
				store.RunCreated: store.RunSyncingSource, store.RunSyncingSource: store.RunTransforming, store.RunTransforming: store.RunSyncingTarget,
			}[c.Run.State]
			if err := c.Move(next); err != nil {
				return err
			}
		}
		return c.End(ctx, to, outcome, &typev1.Error{Reason: "R"})
	}))
}

func request(path string) run.Request {
	return run.Request{FlowVersion: "orders:v1", SourcePath: path}
}

func TestCreateAnswersWithARunThatAWorkerIsWokenFor(t *testing.T) {
	t.Parallel()
	b := setup(t, func(f *flowv1.Flow) { f.Limits.DeadlineSeconds = proto.Int64(60) })
	r, err := b.Create(t.Context(), run.Request{
		FlowVersion: "orders:v1", SourcePath: "s3://b/1.csv", Metadata: []byte(`{"team":"a"}`), TraceParent: "00-aa-bb-01",
	})
	require.NoError(t, err)
	require.Regexp(t, `^run_[0-9A-HJKMNP-TV-Z]{26}$`, r.ID)
	require.Equal(t, store.RunCreated, r.State)
	require.Equal(t, "orders:v1", r.FlowVersion())
	require.Equal(t, "sha256:0", r.VersionDigest)
	require.Equal(t, r.CreateTime.Add(time.Minute), r.Deadline)

	tasks, err := b.db.Tasks(t.Context(), r.ID)
	require.NoError(t, err)
	require.Len(t, tasks, 1)
	require.Equal(t, store.TaskStage, tasks[0].Kind)
	require.Equal(t, store.TaskReady, tasks[0].State)

	messages, err := b.db.Messages(t.Context(), 0, 10)
	require.NoError(t, err)
	require.Len(t, messages, 2)
	require.Equal(t, "lume.run.orders."+r.ID+".created", messages[0].Subject)
	require.Equal(t, "00-aa-bb-01", messages[0].Headers["traceparent"])
	var event map[string]any
	require.NoError(t, json.Unmarshal(messages[0].Body, &event))
	require.Equal(t, "1.0", event["specversion"])
	require.Equal(t, "lume.run.created", event["type"])
	require.Equal(t, r.ID, event["subject"])
	require.Equal(t, messages[0].ID, event["id"])
	require.Equal(t, "application/json", event["datacontenttype"])
	data := event["data"].(map[string]any)
	require.Equal(t, "CREATED", data["state"])
	require.Equal(t, map[string]any{"team": "a"}, data["runMetadata"])
	var wake eventv1.StageEvent
	require.NoError(t, proto.Unmarshal(messages[1].Body, &wake))
	require.Equal(t, tasks[0].ID, wake.GetTaskId())
	require.Equal(t, typev1.Stage_STAGE_INGEST, wake.GetStage())
}

func TestCreateResolvesVersionsAndAliases(t *testing.T) {
	t.Parallel()
	b := setup(t)
	controltest.Publish(t, b.db, controltest.Flow("orders"))
	require.NoError(t, b.db.Update(t.Context(), func(tx store.Tx) error {
		_, err := tx.SetAlias(t.Context(), store.Alias{Flow: "orders", Name: "production", Version: 2}, "")
		return err
	}))
	r, err := b.Create(t.Context(), run.Request{FlowVersion: "orders:production", SourcePath: "a"})
	require.NoError(t, err)
	require.Equal(t, "orders:v2", r.FlowVersion())
	for _, name := range []string{"orders:v3", "orders:staging", "other:v1"} {
		_, err := b.Create(t.Context(), run.Request{FlowVersion: name, SourcePath: "a"})
		require.ErrorIs(t, err, store.ErrNotFound)
		var missing *store.MissingError
		require.ErrorAs(t, err, &missing)
		require.Equal(t, name, missing.Name)
	}
	for _, name := range []string{"orders", "orders:", ":v1", "orders:V1", "orders:v1:v2", "Orders:v1", "orders:v1\n"} {
		_, err := b.Create(t.Context(), run.Request{FlowVersion: name, SourcePath: "a"})
		require.ErrorIs(t, err, run.ErrFlowVersion, name)
	}
}

func TestCreateRefusesADuplicateUntilItFailedOrIsForced(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		state         store.RunState
		outcome       store.Outcome
		plain, forced bool // whether another run may be created
	}{
		{name: "in flight", state: store.RunCreated},
		{name: "succeeded", state: store.RunSucceeded, outcome: store.OutcomeCommitted, forced: true},
		{name: "partial", state: store.RunPartialFailed, outcome: store.OutcomeCommitted, forced: true},
		{name: "failed", state: store.RunFailed, plain: true, forced: true},
		{name: "aborted", state: store.RunFailed, outcome: store.OutcomeAborted, plain: true, forced: true},
		{name: "crashed", state: store.RunCrashed, plain: true, forced: true},
		{name: "committed in some targets", state: store.RunFailed, outcome: store.OutcomePartial, forced: true},
		{name: "unsettled", state: store.RunFailed, outcome: store.OutcomeUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			for _, force := range []bool{false, true} {
				b := setup(t)
				first, err := b.Create(t.Context(), request("a"))
				require.NoError(t, err)
				if c.state.Final() {
					b.end(t, first.ID, c.state, c.outcome)
				}
				again := request("a")
				again.ForceRerun = force
				second, err := b.Create(t.Context(), again)
				if (force && c.forced) || (!force && c.plain) {
					require.NoError(t, err)
					require.NotEqual(t, first.ID, second.ID)
				} else {
					require.ErrorIs(t, err, run.ErrDuplicate)
					var duplicate *run.DuplicateError
					require.ErrorAs(t, err, &duplicate)
					require.Equal(t, run.DuplicateError{RunID: first.ID, State: c.state, Outcome: c.outcome}, *duplicate)
				}
				_, err = b.Create(t.Context(), request("b"))
				require.NoError(t, err, "another path is another pair")
			}
		})
	}
}

func TestCreateAnswersAKnownRequestWithItsRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	req := request("a")
	req.RequestID = "req-1"
	first, err := b.Create(t.Context(), req)
	require.NoError(t, err)
	second, err := b.Create(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, first.ID, second.ID)
	b.end(t, first.ID, store.RunFailed, store.OutcomeNone)
	third, err := b.Create(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, first.ID, third.ID, "also when it has ended")
	require.Equal(t, store.RunFailed, third.State)
	req.SourcePath = "b"
	_, err = b.Create(t.Context(), req)
	require.ErrorIs(t, err, run.ErrRequestReused, "a request id must not hide another batch")
	var reused *run.RequestReusedError
	require.ErrorAs(t, err, &reused)
	require.Equal(t, first.ID, reused.RunID)
}

func TestCreateNeedsTheConnectorsOfItsVersion(t *testing.T) {
	t.Parallel()
	b := setup(t)
	require.NoError(t, b.db.Update(t.Context(), func(tx store.Tx) error { return tx.DeleteConnector(t.Context(), "warehouse", "") }))
	_, err := b.Create(t.Context(), request("a"))
	require.ErrorIs(t, err, store.ErrNotFound)
	var missing *store.MissingError
	require.ErrorAs(t, err, &missing)
	require.Equal(t, "warehouse", missing.Name)
}

func TestCreateAtOnceMakesOneRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var wg sync.WaitGroup
	var created atomic.Int32
	for range 8 {
		wg.Go(func() {
			_, err := b.Create(t.Context(), request("a"))
			if err == nil {
				created.Add(1)
			} else if !errors.Is(err, run.ErrDuplicate) {
				t.Errorf("unexpected: %v", err)
			}
		})
	}
	wg.Wait()
	require.EqualValues(t, 1, created.Load())
}

func TestTheStateMachineHasNoOtherTransitions(t *testing.T) {
	t.Parallel()
	states := []store.RunState{
		store.RunCreated, store.RunSyncingSource, store.RunTransforming, store.RunSyncingTarget,
		store.RunSucceeded, store.RunPartialFailed, store.RunFailed, store.RunCrashed,
	}
	legal := map[[2]store.RunState]bool{}
	for i, from := range states[:4] {
		legal[[2]store.RunState{from, store.RunFailed}] = true
		legal[[2]store.RunState{from, store.RunCrashed}] = true
		legal[[2]store.RunState{from, states[i+1]}] = true
	}
	legal[[2]store.RunState{store.RunSyncingTarget, store.RunPartialFailed}] = true
	legal[[2]store.RunState{store.RunFailed, store.RunSyncingTarget}] = true // by a resume
	legal[[2]store.RunState{store.RunCrashed, store.RunSyncingTarget}] = true
	for _, from := range states {
		for _, to := range states {
			require.Equal(t, legal[[2]store.RunState{from, to}], run.Legal(from, to), "%s to %s", from, to)
		}
	}
	b := setup(t)
	r, err := b.Create(t.Context(), request("a"))
	require.NoError(t, err)
	err = b.change(t, r.ID, func(_ context.Context, c *run.Change) error { return c.Move(store.RunSucceeded) })
	var illegal *run.IllegalError
	require.ErrorAs(t, err, &illegal)
	got, err := b.Get(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, store.RunCreated, got.State)
}

func TestCancelBeforeTheTargetEndsTheRunAtOnce(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, err := b.Create(t.Context(), request("a"))
	require.NoError(t, err)
	v, err := b.Cancel(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, store.RunFailed, v.State)
	require.True(t, v.CancelRequested)
	require.Equal(t, run.ReasonCancelled, v.Error.GetReason())
	require.NotEmpty(t, v.Error.GetNextAction())
	tasks, err := b.db.Tasks(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, store.TaskCancelled, tasks[0].State)
	_, err = b.Cancel(t.Context(), r.ID)
	require.ErrorIs(t, err, run.ErrEnded)
	_, err = b.Cancel(t.Context(), "run_none")
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestOverdueEndsARunPastItsDeadlineOnly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, err := b.Create(t.Context(), request("a"))
	require.NoError(t, err)
	require.NoError(t, b.Overdue(t.Context(), r.ID))
	v, err := b.Get(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, store.RunCreated, v.State)
	b.clock.Advance(6 * time.Hour)
	require.NoError(t, b.Overdue(t.Context(), r.ID))
	v, err = b.Get(t.Context(), r.ID)
	require.NoError(t, err)
	require.Equal(t, store.RunFailed, v.State)
	require.Equal(t, run.ReasonDeadline, v.Error.GetReason())
	require.Equal(t, "6h0m0s", v.Error.GetMetadata()["deadline"])
}

func TestWatchSeesEveryStateThatStandsAndEndsWithTheLast(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, err := b.Create(t.Context(), request("a"))
	require.NoError(t, err)
	seen := make(chan run.View)
	done := make(chan error, 1)
	go func() {
		done <- b.Watch(t.Context(), r.ID, func(v run.View) error {
			seen <- v
			return nil
		})
	}()
	require.Equal(t, store.RunCreated, (<-seen).State)
	for _, to := range []store.RunState{store.RunSyncingSource, store.RunTransforming} {
		require.NoError(t, b.change(t, r.ID, func(_ context.Context, c *run.Change) error { return c.Move(to) }))
		require.Equal(t, to, (<-seen).State)
	}
	b.end(t, r.ID, store.RunCrashed, store.OutcomeNone)
	require.Equal(t, store.RunCrashed, (<-seen).State)
	require.NoError(t, <-done)

	stopped := errors.New("stopped")
	require.Equal(t, stopped, b.Watch(t.Context(), r.ID, func(run.View) error { return stopped }))
	require.ErrorIs(t, b.Watch(t.Context(), "run_none", nil), store.ErrNotFound)
	ctx, cancel := context.WithCancel(t.Context())
	other, err := b.Create(t.Context(), request("b"))
	require.NoError(t, err)
	require.ErrorIs(t, b.Watch(ctx, other.ID, func(run.View) error { cancel(); return nil }), context.Canceled)
}

func TestListShowsHowFarStagesAre(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, path := range []string{"a", "b", "c"} {
		_, err := b.Create(t.Context(), request(path))
		require.NoError(t, err)
	}
	views, next, err := b.List(t.Context(), store.RunFilter{}, store.Page{Size: 2})
	require.NoError(t, err)
	require.NotEmpty(t, next)
	require.Len(t, views, 2)
	require.Equal(t, "c", views[0].SourcePath)
	require.Equal(t, []store.StageSummary{{Stage: typev1.Stage_STAGE_INGEST, Total: 1}}, views[0].Stages)
}
