package storetest

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

// equalRuns compares runs whose messages compare by content.
func equalRuns(t *testing.T, want, got store.Run) {
	t.Helper()
	require.True(t, proto.Equal(want.Error, got.Error))
	require.True(t, proto.Equal(want.Receipt, got.Receipt))
	require.Equal(t, want.Ending == nil, got.Ending == nil)
	if want.Ending != nil {
		require.Equal(t, want.Ending.State, got.Ending.State)
		require.True(t, proto.Equal(want.Ending.Error, got.Ending.Error))
	}
	want.Error, got.Error, want.Receipt, got.Receipt, want.Ending, got.Ending = nil, nil, nil, nil, nil, nil
	require.Equal(t, want, got)
}

func ended(state store.RunState, outcome store.Outcome) func(*store.Run) {
	return func(r *store.Run) { r.State, r.Outcome, r.EndTime = state, outcome, r.CreateTime }
}

var runTests = []test{
	{"is stored with all that can change", func(t *testing.T, f *fixture) {
		r := f.run(t, func(r *store.Run) {
			r.Metadata, r.RequestID, r.TraceParent = []byte(`{"a":1}`), "req", "00-1-2-01"
		})
		require.EqualValues(t, 1, r.Revision)
		got, err := f.Run(t.Context(), r.ID)
		require.NoError(t, err)
		equalRuns(t, r, got)
		changed := f.change(t, r.ID, func(r *store.Run) {
			r.State, r.CancelRequested, r.ResumeRequestID = store.RunSyncingTarget, true, "again"
			r.Deadline = r.CreateTime.Add(time.Hour)
			r.Ending = &store.Ending{State: store.RunCrashed, Error: testError("A")}
			r.Receipt = &typev1.Receipt{RunId: r.ID, Warnings: map[string]int64{"x": 1, "y": 2}}
		})
		require.EqualValues(t, 2, changed.Revision)
		got, err = f.Run(t.Context(), r.ID)
		require.NoError(t, err)
		equalRuns(t, changed, got)
		require.Nil(t, got.Error)
		changed = f.change(t, r.ID, func(r *store.Run) {
			ended(store.RunFailed, store.OutcomeAborted)(r)
			r.Ending, r.Error = nil, testError("B")
		})
		got, err = f.Run(t.Context(), r.ID)
		require.NoError(t, err)
		equalRuns(t, changed, got)
		_, err = f.Run(t.Context(), "run_none")
		require.ErrorIs(t, err, store.ErrNotFound)
		err = f.try(t, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.LockRun(ctx, "run_none")
			return err
		})
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"is not overwritten by who has read it before a change", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		f.change(t, r.ID, func(r *store.Run) { r.State = store.RunSyncingSource })
		err := f.try(t, func(ctx context.Context, tx store.Tx) error {
			_, err := tx.UpdateRun(ctx, r)
			return err
		})
		require.ErrorIs(t, err, store.ErrConflict)
	}},
	{"has its request id alone", func(t *testing.T, f *fixture) {
		r := f.run(t, func(r *store.Run) { r.RequestID = "req" })
		require.ErrorIs(t, f.tryRun(t, func(r *store.Run) { r.RequestID = "req" }, nil), store.ErrExists)
		f.run(t, func(r *store.Run) { r.RequestID = "Req" })
		f.run(t, nil)
		f.run(t, nil) // any number without one
		got, err := f.RunByRequest(t.Context(), "req")
		require.NoError(t, err)
		require.Equal(t, r.ID, got.ID)
		for _, id := range []string{"", "req "} {
			_, err = f.RunByRequest(t.Context(), id)
			require.ErrorIs(t, err, store.ErrNotFound)
		}
	}},
	{"keeps its pair busy while it is open", func(t *testing.T, f *fixture) {
		same := func(r *store.Run) { r.SourcePath = "s3://b/x.csv" }
		pair := store.Pair{Flow: "orders", Version: 1, SourcePath: "s3://b/x.csv"}
		blocking := func() string {
			r, err := f.BlockingRun(t.Context(), pair)
			if errors.Is(err, store.ErrNotFound) {
				return ""
			}
			require.NoError(t, err)
			return r.ID
		}
		require.Empty(t, blocking())
		first := f.run(t, same)
		require.Equal(t, first.ID, blocking())
		require.ErrorIs(t, f.tryRun(t, same, nil), store.ErrExists)
		f.change(t, first.ID, ended(store.RunFailed, store.OutcomeUnknown))
		require.ErrorIs(t, f.tryRun(t, same, nil), store.ErrExists, "unsettled")
		require.Equal(t, first.ID, blocking())
		f.change(t, first.ID, func(r *store.Run) { r.Outcome = store.OutcomeAborted })
		require.Empty(t, blocking())
		second := f.run(t, same)
		f.change(t, second.ID, ended(store.RunPartialFailed, store.OutcomeCommitted))
		require.Equal(t, second.ID, blocking(), "committed")
		f.change(t, second.ID, func(r *store.Run) { r.State, r.Outcome = store.RunFailed, store.OutcomePartial })
		require.Equal(t, second.ID, blocking(), "committed in some of its targets")
		third := f.run(t, same) // what the caller permits
		require.Equal(t, third.ID, blocking(), "an open one counts before one that committed")
		f.change(t, third.ID, ended(store.RunCrashed, store.OutcomeNone))
		require.Equal(t, second.ID, blocking())
	}},
	{"has no rival but one that is open, or has committed since", func(t *testing.T, f *fixture) {
		same := func(r *store.Run) { r.SourcePath = "s3://b/rival.csv" }
		rival := func(r store.Run) string {
			got, err := f.RivalRun(t.Context(), r)
			if errors.Is(err, store.ErrNotFound) {
				return ""
			}
			require.NoError(t, err)
			return got.ID
		}
		earlier := f.run(t, same)
		f.change(t, earlier.ID, func(r *store.Run) {
			ended(store.RunSucceeded, store.OutcomeCommitted)(r)
			r.EndTime = r.CreateTime.Add(-time.Second)
		})
		r := f.run(t, same)
		require.Empty(t, rival(r), "what had committed before is what it was forced over")
		f.run(t, func(r *store.Run) { r.SourcePath = "s3://b/another.csv" })
		f.change(t, r.ID, ended(store.RunFailed, store.OutcomePartial))
		require.Empty(t, rival(r))
		other := f.run(t, same)
		require.Equal(t, other.ID, rival(r), "open")
		f.change(t, other.ID, func(o *store.Run) { ended(store.RunFailed, store.OutcomeAborted)(o); o.EndTime = r.CreateTime })
		require.Empty(t, rival(r))
		for _, outcome := range []store.Outcome{store.OutcomePartial, store.OutcomeCommitted} {
			f.change(t, other.ID, func(r *store.Run) { r.Outcome = outcome })
			require.Equal(t, other.ID, rival(r), outcome)
		}
		// A run that is older, but was resumed and has committed only now.
		f.change(t, other.ID, func(r *store.Run) { r.Outcome = store.OutcomeAborted })
		f.change(t, earlier.ID, func(e *store.Run) { e.EndTime = r.CreateTime })
		require.Equal(t, earlier.ID, rival(r))
	}},
	{"is created once per pair by many at once", func(t *testing.T, f *fixture) {
		f.run(t, nil)
		var created atomic.Int32
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				err := f.Update(t.Context(), func(tx store.Tx) error {
					_, err := tx.CreateRun(t.Context(), store.Run{
						ID: "run_many" + string(rune('a'+i)), Flow: "orders", Version: 1, SourcePath: "s3://b/many.csv", State: store.RunCreated,
					})
					return err
				})
				if err == nil {
					created.Add(1)
				} else if !errors.Is(err, store.ErrExists) {
					t.Errorf("unexpected: %v", err)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 1, created.Load())
	}},
	{"is listed newest first, by every filter", func(t *testing.T, f *fixture) {
		f.flow(t, "other")
		f.version(t, "other")
		f.run(t, nil)
		f.run(t, func(r *store.Run) { r.Flow = "other" })
		f.version(t, "orders")
		f.run(t, func(r *store.Run) { r.Version = 2 })
		last := f.run(t, func(r *store.Run) { r.SourcePath = "s3://bucket/1.csv"; r.Version = 2 })
		f.change(t, "run_0001", ended(store.RunFailed, store.OutcomeNone))
		list := func(filter store.RunFilter) []string {
			var ids []string
			for _, r := range pages(t, 1, func(ctx context.Context, p store.Page) ([]store.Run, string, error) {
				return f.ListRuns(ctx, filter, p)
			}) {
				ids = append(ids, r.ID)
			}
			return ids
		}
		require.Equal(t, []string{"run_0004", "run_0003", "run_0002", "run_0001"}, list(store.RunFilter{}))
		require.Equal(t, []string{"run_0002"}, list(store.RunFilter{Flow: "other"}))
		require.Equal(t, []string{"run_0004", "run_0003"}, list(store.RunFilter{Flow: "orders", Version: 2}))
		require.Equal(t, []string{"run_0004", "run_0001"}, list(store.RunFilter{SourcePath: "s3://bucket/1.csv"}))
		require.Equal(t, []string{"run_0001"}, list(store.RunFilter{States: []store.RunState{store.RunFailed, store.RunCrashed}}))
		require.Equal(t, []string{"run_0004"}, list(store.RunFilter{
			SourcePath: "s3://bucket/1.csv", States: []store.RunState{store.RunCreated}, Version: 2, Flow: "orders",
		}))
		require.Contains(t, list(store.RunFilter{CreatedAfter: last.CreateTime}), last.ID, "inclusive")
		require.NotContains(t, list(store.RunFilter{CreatedAfter: last.CreateTime.Add(time.Nanosecond)}), last.ID)
		require.NotContains(t, list(store.RunFilter{CreatedBefore: last.CreateTime}), last.ID, "exclusive")
		require.Contains(t, list(store.RunFilter{CreatedBefore: last.CreateTime.Add(time.Nanosecond)}), last.ID)
	}},
	{"is overdue from its deadline on, unless it ends", func(t *testing.T, f *fixture) {
		overdue := func() []string {
			ids, err := f.OverdueRuns(t.Context(), 10)
			require.NoError(t, err)
			return ids
		}
		now := f.now(t)
		late := f.run(t, func(r *store.Run) { r.Deadline = now })
		later := f.run(t, func(r *store.Run) { r.Deadline = now.Add(-time.Hour) })
		settling := f.run(t, func(r *store.Run) { r.Deadline = now })
		over := f.run(t, func(r *store.Run) { r.Deadline = now })
		f.run(t, nil)
		f.change(t, settling.ID, func(r *store.Run) { r.Ending = &store.Ending{State: store.RunFailed, Error: testError("A")} })
		f.change(t, over.ID, ended(store.RunSucceeded, store.OutcomeCommitted))
		require.Equal(t, []string{later.ID, late.ID}, overdue())
		one, err := f.OverdueRuns(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, []string{later.ID}, one)
	}},
	{"is sweepable some time after it ended and was settled, once", func(t *testing.T, f *fixture) {
		sweepable := func(age time.Duration, rejects bool) []string {
			runs, err := f.SweepableRuns(t.Context(), age, rejects, 10)
			require.NoError(t, err)
			var ids []string
			for _, r := range runs {
				ids = append(ids, r.ID)
			}
			return ids
		}
		now := f.now(t)
		done := f.run(t, nil)
		old := func(r *store.Run) { ended(store.RunFailed, store.OutcomeNone)(r); r.EndTime = now.Add(-2 * time.Hour) }
		f.change(t, done.ID, old)
		unsettled := f.run(t, nil)
		f.change(t, unsettled.ID, func(r *store.Run) { old(r); r.Outcome = store.OutcomeUnknown })
		f.run(t, nil)
		require.Equal(t, []string{done.ID}, sweepable(time.Hour, false))
		require.Equal(t, []string{done.ID}, sweepable(time.Hour, true))
		require.Empty(t, sweepable(3*time.Hour, false))
		begin := func() time.Time {
			f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.BeginSweep(ctx, done.ID) })
			got, err := f.Run(t.Context(), done.ID)
			require.NoError(t, err)
			require.True(t, got.SweptTime.IsZero())
			return got.SweepTime
		}
		begun := begin()
		require.False(t, begun.IsZero())
		require.Equal(t, begun, begin(), "it begins once")
		require.Equal(t, []string{done.ID}, sweepable(time.Hour, false), "until it is done")
		mark := func(rejects bool) {
			f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.MarkSwept(ctx, done.ID, rejects) })
		}
		mark(false)
		require.Empty(t, sweepable(time.Hour, false))
		require.Equal(t, []string{done.ID}, sweepable(time.Hour, true))
		mark(true)
		require.Empty(t, sweepable(time.Hour, true))
		got, err := f.Run(t.Context(), done.ID)
		require.NoError(t, err)
		require.False(t, got.SweptTime.IsZero())
		require.False(t, got.RejectsSweptTime.IsZero())
		require.EqualValues(t, 2, got.Revision, "it does not count as a change")
	}},
}
