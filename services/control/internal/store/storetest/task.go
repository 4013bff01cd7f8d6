package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

const (
	long  = time.Hour
	short = time.Microsecond
)

// lapse waits until the lease of a task that was claimed for a short time has lapsed.
func (f *fixture) lapse(t *testing.T, task store.Task) {
	t.Helper()
	require.Eventually(t, func() bool { return f.now(t).After(task.LeaseUntil) }, time.Minute, time.Millisecond)
}

func (f *fixture) updateTask(t *testing.T, task store.Task, from store.TaskState) error {
	t.Helper()
	return f.try(t, func(ctx context.Context, tx store.Tx) error { return tx.UpdateTask(ctx, task, from) })
}

var taskTests = []test{
	{"is stored with all that can change", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		now := f.now(t)
		task := f.task(t, r.ID, store.TaskMap, 7, func(task *store.Task) {
			task.State, task.ReadyTime, task.WakeTime = store.TaskWaiting, now, now.Add(time.Second)
			task.Input = &typev1.StagedPart{FirstRow: 42}
		})
		check := func() {
			t.Helper()
			got, err := f.Task(t.Context(), task.ID)
			require.NoError(t, err)
			require.True(t, proto.Equal(task.Input, got.Input))
			require.True(t, proto.Equal(task.Manifest, got.Manifest))
			require.True(t, proto.Equal(task.Error, got.Error))
			want := task
			want.Input, want.Manifest, want.Error, got.Input, got.Manifest, got.Error = nil, nil, nil, nil, nil, nil
			require.Equal(t, want, got)
		}
		check()
		task.State, task.Attempt, task.MaxAttempts, task.Errors, task.Worker = store.TaskDone, 2, 0, 1, "w"
		task.Rows, task.Wakes, task.EndTime, task.LeaseUntil = 9, 3, now.Add(time.Minute), now.Add(time.Hour)
		task.Manifest = &typev1.Manifest{Output: &typev1.Manifest_Part{Part: &typev1.PartManifest{Part: 7, Warnings: map[string]int64{"a": 1}}}}
		task.Error = testError("A")
		require.NoError(t, f.updateTask(t, task, store.TaskWaiting))
		check()
		require.ErrorIs(t, f.updateTask(t, task, store.TaskWaiting), store.ErrFenced, "it is not in that state any more")
		err := f.try(t, func(ctx context.Context, tx store.Tx) error { return tx.CreateTasks(ctx, []store.Task{task}) })
		require.ErrorIs(t, err, store.ErrExists)
		_, err = f.Task(t.Context(), "none")
		require.ErrorIs(t, err, store.ErrNotFound)
		err = f.try(t, func(ctx context.Context, tx store.Tx) error {
			return tx.CreateTasks(ctx, []store.Task{{ID: "x", RunID: "run_none", Kind: store.TaskMap, State: store.TaskReady}})
		})
		require.ErrorIs(t, err, store.ErrNotFound, "no task without its run")
	}},
	{"is claimed when ready and due, with a higher attempt and fence each time", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		now := f.now(t)
		task := f.task(t, r.ID, store.TaskStage, 0, func(task *store.Task) { task.ReadyTime = now })
		other := f.task(t, r.ID, store.TaskMap, 0, func(task *store.Task) { task.ReadyTime = now })
		first, err := f.claim(t, task.ID, long)
		require.NoError(t, err)
		require.EqualValues(t, 1, first.Attempt)
		require.Positive(t, first.Fence)
		require.Equal(t, store.TaskRunning, first.State)
		require.Equal(t, "worker", first.Worker)
		require.WithinRange(t, first.LeaseUntil, now.Add(long), now.Add(long+time.Minute))
		require.False(t, first.StartTime.IsZero())
		_, err = f.claim(t, task.ID, long)
		require.ErrorIs(t, err, store.ErrNotClaimable)
		second, err := f.claim(t, other.ID, long)
		require.NoError(t, err)
		require.Greater(t, second.Fence, first.Fence)
		back := first
		back.State, back.Rows = store.TaskReady, 5
		require.NoError(t, f.updateTask(t, back, store.TaskRunning))
		again, err := f.claim(t, task.ID, long)
		require.NoError(t, err)
		require.EqualValues(t, 2, again.Attempt)
		require.Greater(t, again.Fence, second.Fence)
		require.Equal(t, first.StartTime, again.StartTime)
		require.Zero(t, again.Rows, "rows count within an attempt")
		require.ErrorIs(t, f.updateTask(t, back, store.TaskRunning), store.ErrFenced, "a stale fence")
		_, err = f.claim(t, "none", long)
		require.ErrorIs(t, err, store.ErrNotFound)
	}},
	{"is not claimable before its time, while it waits, once it ended, or without attempts", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		now := f.now(t)
		for i, change := range []func(*store.Task){
			func(task *store.Task) { task.ReadyTime = now.Add(time.Hour) },
			func(task *store.Task) { task.State = store.TaskWaiting },
			func(task *store.Task) { task.State = store.TaskDone },
			func(task *store.Task) { task.State = store.TaskFailed },
			func(task *store.Task) { task.State = store.TaskCancelled },
			func(task *store.Task) { task.Attempt = task.MaxAttempts },
			func(task *store.Task) { task.State, task.LeaseUntil = store.TaskRunning, now.Add(time.Hour) },
			func(task *store.Task) {
				task.State, task.LeaseUntil, task.Attempt = store.TaskRunning, now, task.MaxAttempts
			},
		} {
			task := f.task(t, r.ID, store.TaskMap, int32(i), change)
			_, err := f.claim(t, task.ID, long)
			require.ErrorIs(t, err, store.ErrNotClaimable, "case %d", i)
			got, err := f.Task(t.Context(), task.ID)
			require.NoError(t, err)
			require.Equal(t, task, got, "a refused claim changes nothing")
		}
		unlimited := f.task(t, r.ID, store.TaskSettle, 0, func(task *store.Task) { task.MaxAttempts, task.Attempt = 0, 100 })
		_, err := f.claim(t, unlimited.ID, long)
		require.NoError(t, err)
	}},
	{"is taken over when the lease has lapsed, and then the old claim is fenced", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		task := f.task(t, r.ID, store.TaskStage, 0, nil)
		beat := func(c store.Claim) error {
			return f.try(t, func(ctx context.Context, tx store.Tx) error {
				_, err := tx.BeatTask(ctx, c, 1, long)
				return err
			})
		}
		old, err := f.claim(t, task.ID, short)
		require.NoError(t, err)
		f.lapse(t, old)
		lapsed, err := f.LapsedTasks(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, []string{task.ID}, lapsed)
		taken, err := f.claim(t, task.ID, long)
		require.NoError(t, err)
		require.EqualValues(t, 2, taken.Attempt)
		lapsed, err = f.LapsedTasks(t.Context(), 10)
		require.NoError(t, err)
		require.Empty(t, lapsed)
		require.ErrorIs(t, beat(claimOf(old)), store.ErrFenced)
		require.ErrorIs(t, beat(store.Claim{TaskID: task.ID, Attempt: old.Attempt, Fence: taken.Fence}), store.ErrFenced)
		require.ErrorIs(t, beat(store.Claim{TaskID: task.ID, Attempt: taken.Attempt, Fence: old.Fence}), store.ErrFenced)
		require.ErrorIs(t, beat(store.Claim{TaskID: "none", Attempt: 1, Fence: 1}), store.ErrFenced)
		require.NoError(t, beat(claimOf(taken)))
	}},
	{"keeps its lease by heartbeats, also a lapsed one that nobody took", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		task := f.task(t, r.ID, store.TaskStage, 0, nil)
		claimed, err := f.claim(t, task.ID, short)
		require.NoError(t, err)
		f.lapse(t, claimed)
		for _, c := range []struct{ rows, want int64 }{{5, 5}, {3, 5}, {9, 9}} {
			var got store.Task
			f.update(t, func(ctx context.Context, tx store.Tx) (err error) {
				got, err = tx.BeatTask(ctx, claimOf(claimed), c.rows, long)
				return err
			})
			require.Equal(t, c.want, got.Rows)
			require.True(t, got.LeaseUntil.After(claimed.LeaseUntil))
		}
		_, err = f.claim(t, task.ID, long)
		require.ErrorIs(t, err, store.ErrNotClaimable)
	}},
	{"goes to one of many that claim it", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		var ids []string
		for part := range 5 {
			ids = append(ids, f.task(t, r.ID, store.TaskMap, int32(part), nil).ID)
		}
		var (
			wg     sync.WaitGroup
			mu     sync.Mutex
			won    = map[string]int{}
			fences = map[int64]bool{}
		)
		for range 6 {
			wg.Go(func() {
				for _, id := range ids {
					task, err := f.claim(t, id, long)
					if errors.Is(err, store.ErrNotClaimable) {
						continue
					}
					if err != nil {
						t.Errorf("unexpected: %v", err)
						return
					}
					mu.Lock()
					won[id]++
					fences[task.Fence] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		require.Len(t, won, len(ids))
		require.Len(t, fences, len(ids), "every claim has its own fence")
		for id, n := range won {
			require.Equal(t, 1, n, id)
		}
	}},
	{"is taken over by one of many", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		task := f.task(t, r.ID, store.TaskStage, 0, nil)
		claimed, err := f.claim(t, task.ID, short)
		require.NoError(t, err)
		f.lapse(t, claimed)
		var wg sync.WaitGroup
		results := make(chan error, 6)
		for range 6 {
			wg.Go(func() {
				_, err := f.claim(t, task.ID, long)
				results <- err
			})
		}
		wg.Wait()
		close(results)
		won := 0
		for err := range results {
			if err == nil {
				won++
			} else {
				require.ErrorIs(t, err, store.ErrNotClaimable)
			}
		}
		require.Equal(t, 1, won)
	}},
	{"is listed by stage and part", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		f.task(t, f.run(t, nil).ID, store.TaskMap, 0, nil)
		for _, k := range []store.TaskKind{store.TaskSettle, store.TaskLoad, store.TaskClose} {
			f.task(t, r.ID, k, 0, nil)
		}
		for _, part := range []int32{11, 2, 1, 10, 0} {
			f.task(t, r.ID, store.TaskMap, part, func(task *store.Task) { task.State = store.TaskWaiting })
		}
		f.task(t, r.ID, store.TaskStage, 0, nil)
		names := func(kinds ...store.TaskKind) []string {
			tasks, err := f.Tasks(t.Context(), r.ID, kinds...)
			require.NoError(t, err)
			var out []string
			for _, task := range tasks {
				out = append(out, fmt.Sprintf("%s.%d", task.Kind, task.Part))
			}
			return out
		}
		require.Equal(t, []string{"STAGE.0", "MAP.0", "MAP.1", "MAP.2", "MAP.10", "MAP.11", "CLOSE.0", "LOAD.0", "SETTLE.0"}, names())
		require.Equal(t, []string{"STAGE.0", "LOAD.0"}, names(store.TaskLoad, store.TaskStage))
		f.update(t, func(ctx context.Context, tx store.Tx) error {
			waiting, err := tx.WaitingTasks(ctx, r.ID, 2)
			require.NoError(t, err)
			require.Len(t, waiting, 2)
			require.Equal(t, []int32{0, 1}, []int32{waiting[0].Part, waiting[1].Part})
			waiting[0].State = store.TaskDone
			return tx.UpdateTask(ctx, waiting[0], store.TaskWaiting)
		})
		n, err := f.UnfinishedTasks(t.Context(), r.ID, store.TaskMap)
		require.NoError(t, err)
		require.Equal(t, 4, n)
	}},
	{"is unclaimed from its wake time on", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		now := f.now(t)
		late := f.task(t, r.ID, store.TaskMap, 0, func(task *store.Task) { task.WakeTime = now })
		later := f.task(t, r.ID, store.TaskMap, 1, func(task *store.Task) { task.WakeTime = now.Add(-time.Second) })
		f.task(t, r.ID, store.TaskMap, 2, func(task *store.Task) { task.WakeTime = now.Add(time.Hour) })
		f.task(t, r.ID, store.TaskMap, 3, func(task *store.Task) { task.WakeTime, task.State = now, store.TaskWaiting })
		ids, err := f.UnclaimedTasks(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, []string{later.ID, late.ID}, ids)
		_, err = f.claim(t, later.ID, long)
		require.NoError(t, err)
		ids, err = f.UnclaimedTasks(t.Context(), 10)
		require.NoError(t, err)
		require.Equal(t, []string{late.ID}, ids)
	}},
	{"is cancelled with its run, unless it ended or is kept", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		other := f.task(t, f.run(t, nil).ID, store.TaskMap, 0, nil)
		states := []store.TaskState{store.TaskWaiting, store.TaskReady, store.TaskRunning, store.TaskDone, store.TaskFailed}
		for i, state := range states {
			f.task(t, r.ID, store.TaskMap, int32(i), func(task *store.Task) { task.State, task.LeaseUntil = state, f.now(t).Add(long) })
		}
		kept := f.task(t, r.ID, store.TaskSettle, 0, nil)
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.CancelTasks(ctx, r.ID, store.TaskSettle) })
		tasks, err := f.Tasks(t.Context(), r.ID, store.TaskMap)
		require.NoError(t, err)
		var got []store.TaskState
		for _, task := range tasks {
			got = append(got, task.State)
			require.Equal(t, task.State == store.TaskCancelled, !task.EndTime.IsZero())
		}
		require.Equal(t, []store.TaskState{store.TaskCancelled, store.TaskCancelled, store.TaskCancelled, store.TaskDone, store.TaskFailed}, got)
		for _, id := range []string{other.ID, kept.ID} {
			task, err := f.Task(t.Context(), id)
			require.NoError(t, err)
			require.Equal(t, store.TaskReady, task.State)
		}
	}},
	{"of a target says what became of it", func(t *testing.T, f *fixture) {
		r, other, none := f.run(t, nil), f.run(t, nil), f.run(t, nil)
		now := f.now(t)
		first := f.task(t, r.ID, store.TaskLoad, 0, func(task *store.Task) { task.Uncertain = true })
		f.task(t, r.ID, store.TaskLoad, 1, func(task *store.Task) {
			task.State, task.Attempt, task.Rows, task.StartTime, task.EndTime = store.TaskDone, 3, 40, now, now.Add(time.Second)
			task.Outcome = store.OutcomeCommitted
		})
		f.task(t, r.ID, store.TaskSettle, 0, nil)
		f.task(t, other.ID, store.TaskLoad, 0, nil)
		got, err := f.Task(t.Context(), first.ID)
		require.NoError(t, err)
		require.True(t, got.Uncertain)
		require.Equal(t, store.OutcomeNone, got.Outcome)
		got.Uncertain, got.Outcome, got.State = false, store.OutcomeUnknown, store.TaskFailed
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.UpdateTask(ctx, got, store.TaskReady) })
		got, err = f.Task(t.Context(), first.ID)
		require.NoError(t, err)
		require.False(t, got.Uncertain)
		targets, err := f.TargetSummaries(t.Context(), []string{r.ID, other.ID, none.ID})
		require.NoError(t, err)
		egress := func(s store.StageSummary) store.StageSummary {
			s.Stage, s.Total = typev1.Stage_STAGE_EGRESS, 1
			return s
		}
		require.Equal(t, map[string][]store.TargetSummary{
			r.ID: {
				{Part: 0, Outcome: store.OutcomeUnknown, StageSummary: egress(store.StageSummary{})},
				{Part: 1, Outcome: store.OutcomeCommitted, StageSummary: egress(store.StageSummary{
					Done: 1, Attempt: 3, Rows: 40, StartTime: now, EndTime: now.Add(time.Second),
				})},
			},
			other.ID: {{StageSummary: egress(store.StageSummary{})}},
		}, targets)
	}},
	{"adds up to stages", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		empty := f.run(t, nil)
		now := f.now(t)
		f.task(t, r.ID, store.TaskStage, 0, func(task *store.Task) {
			task.State, task.Attempt, task.Rows, task.StartTime, task.EndTime = store.TaskDone, 2, 100, now, now.Add(time.Second)
		})
		for part := range int32(3) {
			f.task(t, r.ID, store.TaskMap, part, func(task *store.Task) {
				if part < 2 {
					task.State, task.Rows, task.Attempt = store.TaskDone, 30, part+1
					task.StartTime, task.EndTime = now.Add(time.Duration(2-part)*time.Second), now.Add(time.Minute)
				}
			})
		}
		f.task(t, r.ID, store.TaskSettle, 0, nil)
		get := func() []store.StageSummary {
			got, err := f.StageSummaries(t.Context(), []string{r.ID, empty.ID, "none"})
			require.NoError(t, err)
			require.Len(t, got, 1)
			return got[r.ID]
		}
		ingest := store.StageSummary{Stage: typev1.Stage_STAGE_INGEST, Total: 1, Done: 1, Attempt: 2, Rows: 100, StartTime: now, EndTime: now.Add(time.Second)}
		transform := store.StageSummary{Stage: typev1.Stage_STAGE_TRANSFORM, Total: 3, Done: 2, Attempt: 2, Rows: 60, StartTime: now.Add(time.Second)}
		require.Equal(t, []store.StageSummary{ingest, transform}, get())
		f.task(t, r.ID, store.TaskClose, 0, func(task *store.Task) { task.Attempt = 3 })
		transform.Total, transform.Attempt = 4, 3
		require.Equal(t, []store.StageSummary{ingest, transform}, get())
		none, err := f.StageSummaries(t.Context(), nil)
		require.NoError(t, err)
		require.Empty(t, none)
	}},
}

var outboxTests = []test{
	{"keeps messages in order until they are deleted", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		var want []string
		for i := range 3 {
			var batch []store.Message
			for j := range 120 {
				id := fmt.Sprintf("m%d-%d", i, j)
				want = append(want, id)
				batch = append(batch, store.Message{
					ID: id, Kind: store.MessageRun, RunID: r.ID, Subject: "lume.run", Body: []byte{0, 255, byte(j)},
					Headers: map[string]string{"traceparent": id},
				})
			}
			f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.AddMessages(ctx, batch) })
		}
		f.update(t, func(ctx context.Context, tx store.Tx) error { return tx.AddMessages(ctx, nil) })
		var got []string
		var seqs []int64
		var after int64
		for {
			messages, err := f.Messages(t.Context(), after, 50)
			require.NoError(t, err)
			if len(messages) == 0 {
				break
			}
			for _, m := range messages {
				require.Greater(t, m.Seq, after)
				after = m.Seq
				got, seqs = append(got, m.ID), append(seqs, m.Seq)
				require.Equal(t, m.ID, m.Headers["traceparent"])
				require.False(t, m.CreateTime.IsZero())
				require.Equal(t, store.MessageRun, m.Kind)
			}
		}
		require.Equal(t, want, got)
		f.update(t, func(ctx context.Context, tx store.Tx) error {
			return tx.DeleteMessages(ctx, append(seqs[:len(seqs)-1], 1<<40))
		})
		left, err := f.Messages(t.Context(), 0, 50)
		require.NoError(t, err)
		require.Len(t, left, 1)
		require.Equal(t, want[len(want)-1], left[0].ID)
	}},
	{"shows a message once its transaction has committed, in whatever order", func(t *testing.T, f *fixture) {
		r := f.run(t, nil)
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for j := range 5 {
					f.update(t, func(ctx context.Context, tx store.Tx) error {
						return tx.AddMessages(ctx, []store.Message{{ID: fmt.Sprintf("%d-%d", i, j), RunID: r.ID}})
					})
				}
			})
		}
		wg.Wait()
		messages, err := f.Messages(t.Context(), 0, 100)
		require.NoError(t, err)
		require.Len(t, messages, 40)
	}},
}
