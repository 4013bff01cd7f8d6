package sqlstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

const taskColumns = `id, run_id, kind, part, state, attempt, max_attempts, errors, fence, worker, lease_until, row_count,
	ready_time, wake_time, wakes, start_time, end_time, input, manifest, error, uncertain, outcome`

// kindOrder sorts tasks of one run.
var kindOrder = map[store.TaskKind]int{
	store.TaskStage: 1, store.TaskMap: 2, store.TaskClose: 3, store.TaskLoad: 4, store.TaskSettle: 5,
}

func scanTask(row scanner) (store.Task, error) {
	var (
		t                                store.Task
		lease, ready, wake, start, ended int64
		uncertain                        int64
		input, manifest, failure         []byte
	)
	err := row.Scan(&t.ID, &t.RunID, &t.Kind, &t.Part, &t.State, &t.Attempt, &t.MaxAttempts, &t.Errors, &t.Fence, &t.Worker, &lease, &t.Rows,
		&ready, &wake, &t.Wakes, &start, &ended, &input, &manifest, &failure, &uncertain, &t.Outcome)
	if err != nil {
		return t, err
	}
	t.LeaseUntil, t.ReadyTime, t.WakeTime = fromMicros(lease), fromMicros(ready), fromMicros(wake)
	t.StartTime, t.EndTime = fromMicros(start), fromMicros(ended)
	t.Uncertain = uncertain != 0
	if t.Input, err = decode[typev1.StagedPart](input); err != nil {
		return t, err
	}
	if t.Manifest, err = decode[typev1.Manifest](manifest); err != nil {
		return t, err
	}
	t.Error, err = decode[typev1.Error](failure)
	return t, err
}

// Task implements [store.TaskReader].
func (r reader) Task(ctx context.Context, id string) (store.Task, error) {
	return one(ctx, r.conn, "read task", scanTask, "SELECT "+taskColumns+" FROM tasks WHERE id = ?", id)
}

// Tasks implements [store.TaskReader].
func (r reader) Tasks(ctx context.Context, runID string, kinds ...store.TaskKind) ([]store.Task, error) {
	query, args := "SELECT "+taskColumns+" FROM tasks WHERE run_id = ?", []any{runID}
	if len(kinds) > 0 {
		query += " AND kind_order IN (" + marks(len(kinds)) + ")"
		for _, k := range kinds {
			args = append(args, kindOrder[k])
		}
	}
	return all(ctx, r.conn, "read tasks", scanTask, query+" ORDER BY kind_order, part", args...)
}

// summaryChunk bounds the runs of one statement.
const summaryChunk = 200

// StageSummaries implements [store.TaskReader].
func (r reader) StageSummaries(ctx context.Context, runIDs []string) (map[string][]store.StageSummary, error) {
	out := make(map[string][]store.StageSummary, len(runIDs))
	for len(runIDs) > 0 {
		n := min(len(runIDs), summaryChunk)
		if err := r.stageSummaries(ctx, runIDs[:n], out); err != nil {
			return nil, err
		}
		runIDs = runIDs[n:]
	}
	return out, nil
}

func (r reader) stageSummaries(ctx context.Context, runIDs []string, out map[string][]store.StageSummary) error {
	type summary struct {
		runID string
		ended int32
		store.StageSummary
	}
	list, err := all(ctx, r.conn, "sum up stages", func(row scanner) (summary, error) {
		var (
			s          summary
			kind       store.TaskKind
			start, end int64
		)
		err := row.Scan(&s.runID, &kind, &s.Total, &s.Done, &s.ended, &s.Attempt, &s.Rows, &start, &end)
		s.Stage = kind.Stage()
		s.StartTime, s.EndTime = fromMicros(start), fromMicros(end)
		return s, err
	}, `SELECT run_id, kind, count(*),
			CAST(sum(CASE WHEN state = 'DONE' THEN 1 ELSE 0 END) AS BIGINT),
			CAST(sum(CASE WHEN end_time > 0 THEN 1 ELSE 0 END) AS BIGINT),
			max(attempt), CAST(sum(row_count) AS BIGINT),
			COALESCE(min(CASE WHEN start_time > 0 THEN start_time END), 0), max(end_time)
		FROM tasks WHERE kind_order < 5 AND run_id IN (`+marks(len(runIDs))+`)
		GROUP BY run_id, kind_order, kind ORDER BY run_id, kind_order`, anys(runIDs)...)
	if err != nil {
		return err
	}
	for _, s := range list {
		if s.ended < s.Total {
			s.EndTime = time.Time{}
		}
		stages := out[s.runID]
		if n := len(stages); n > 0 && stages[n-1].Stage == s.Stage {
			stages[n-1] = merge(stages[n-1], s.StageSummary)
			continue
		}
		out[s.runID] = append(stages, s.StageSummary)
	}
	return nil
}

// merge adds the closing task b to the tasks a of the same stage. It maps no rows of its own.
func merge(a, b store.StageSummary) store.StageSummary {
	a.Total += b.Total
	a.Done += b.Done
	a.Attempt = max(a.Attempt, b.Attempt)
	a.EndTime = b.EndTime
	return a
}

// TargetSummaries implements [store.TaskReader].
func (r reader) TargetSummaries(ctx context.Context, runIDs []string) (map[string][]store.TargetSummary, error) {
	out := make(map[string][]store.TargetSummary, len(runIDs))
	for len(runIDs) > 0 {
		n := min(len(runIDs), summaryChunk)
		if err := r.targetSummaries(ctx, runIDs[:n], out); err != nil {
			return nil, err
		}
		runIDs = runIDs[n:]
	}
	return out, nil
}

func (r reader) targetSummaries(ctx context.Context, runIDs []string, out map[string][]store.TargetSummary) error {
	type target struct {
		runID string
		store.TargetSummary
	}
	list, err := all(ctx, r.conn, "sum up targets", func(row scanner) (target, error) {
		s := target{TargetSummary: store.TargetSummary{StageSummary: store.StageSummary{Stage: typev1.Stage_STAGE_EGRESS, Total: 1}}}
		var start, end int64
		err := row.Scan(&s.runID, &s.Part, &s.Outcome, &s.Done, &s.Attempt, &s.Rows, &start, &end)
		s.StartTime, s.EndTime = fromMicros(start), fromMicros(end)
		return s, err
	}, `SELECT run_id, part, outcome, CASE WHEN state = 'DONE' THEN 1 ELSE 0 END, attempt, row_count, start_time, end_time
		FROM tasks WHERE kind_order = 4 AND run_id IN (`+marks(len(runIDs))+`) ORDER BY run_id, part`, anys(runIDs)...)
	if err != nil {
		return err
	}
	for _, s := range list {
		out[s.runID] = append(out[s.runID], s.TargetSummary)
	}
	return nil
}

// UnfinishedTasks implements [store.TaskReader].
func (r reader) UnfinishedTasks(ctx context.Context, runID string, kind store.TaskKind) (int, error) {
	var n int
	err := r.get(ctx, "count tasks", "SELECT count(*) FROM tasks WHERE run_id = ? AND kind_order = ? AND state <> 'DONE'",
		[]any{runID, kindOrder[kind]}, &n)
	return n, err
}

// LapsedTasks implements [store.TaskReader].
func (r reader) LapsedTasks(ctx context.Context, limit int) ([]string, error) {
	now, err := r.now(ctx)
	if err != nil {
		return nil, err
	}
	return all(ctx, r.conn, "find lapsed tasks", scanText,
		"SELECT id FROM tasks WHERE state = 'RUNNING' AND lease_until <= ? ORDER BY lease_until LIMIT ?", micros(now), limit)
}

// UnclaimedTasks implements [store.TaskReader].
func (r reader) UnclaimedTasks(ctx context.Context, limit int) ([]string, error) {
	now, err := r.now(ctx)
	if err != nil {
		return nil, err
	}
	return all(ctx, r.conn, "find unclaimed tasks", scanText,
		"SELECT id FROM tasks WHERE state = 'READY' AND wake_time <= ? ORDER BY wake_time LIMIT ?", micros(now), limit)
}

// CreateTasks implements [store.TaskWriter].
func (t *tx) CreateTasks(ctx context.Context, tasks []store.Task) error {
	for _, task := range tasks {
		input, manifest, failure, err := encodeTask(task)
		if err != nil {
			return err
		}
		n, err := t.exec(ctx, "create task", "INSERT INTO tasks (kind_order, "+taskColumns+`)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
			kindOrder[task.Kind], task.ID, task.RunID, string(task.Kind), task.Part, string(task.State), task.Attempt, task.MaxAttempts, task.Errors,
			task.Fence, task.Worker, micros(task.LeaseUntil), task.Rows, micros(task.ReadyTime), micros(task.WakeTime), task.Wakes,
			micros(task.StartTime), micros(task.EndTime), input, manifest, failure, flag(task.Uncertain), string(task.Outcome))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("create task %s: %w", task.ID, store.ErrExists)
		}
		t.touch(task.RunID)
	}
	return nil
}

func encodeTask(t store.Task) (input, manifest, failure []byte, err error) {
	if input, err = encode(t.Input); err != nil {
		return nil, nil, nil, err
	}
	if manifest, err = encode(t.Manifest); err != nil {
		return nil, nil, nil, err
	}
	failure, err = encode(t.Error)
	return input, manifest, failure, err
}

// ClaimTask implements [store.TaskWriter].
func (t *tx) ClaimTask(ctx context.Context, id, worker string, lease time.Duration) (store.Task, error) {
	now, err := t.Now(ctx)
	if err != nil {
		return store.Task{}, err
	}
	var fence int64
	if err := t.get(ctx, "take a fence", t.d.NextFence, nil, &fence); err != nil {
		return store.Task{}, err
	}
	task, err := one(ctx, t.conn, "claim task", scanTask, `
		UPDATE tasks SET state = 'RUNNING', attempt = attempt + 1, fence = ?, worker = ?, lease_until = ?, row_count = 0,
			start_time = CASE WHEN start_time = 0 THEN ? ELSE start_time END
		WHERE id = ? AND (max_attempts = 0 OR attempt < max_attempts)
			AND ((state = 'READY' AND ready_time <= ?) OR (state = 'RUNNING' AND lease_until <= ?))
		RETURNING `+taskColumns,
		fence, worker, micros(now.Add(lease)), micros(now), id, micros(now), micros(now))
	if errors.Is(err, store.ErrNotFound) {
		if _, err := t.Task(ctx, id); err != nil {
			return store.Task{}, err
		}
		return store.Task{}, store.ErrNotClaimable
	}
	if err == nil {
		t.touch(task.RunID)
	}
	return task, err
}

// BeatTask implements [store.TaskWriter].
func (t *tx) BeatTask(ctx context.Context, c store.Claim, rows int64, lease time.Duration) (store.Task, error) {
	now, err := t.Now(ctx)
	if err != nil {
		return store.Task{}, err
	}
	task, err := one(ctx, t.conn, "prolong lease", scanTask, `
		UPDATE tasks SET lease_until = ?, row_count = CASE WHEN row_count < ? THEN ? ELSE row_count END
		WHERE id = ? AND attempt = ? AND fence = ? AND state = 'RUNNING'
		RETURNING `+taskColumns, micros(now.Add(lease)), rows, rows, c.TaskID, c.Attempt, c.Fence)
	if errors.Is(err, store.ErrNotFound) {
		return store.Task{}, store.ErrFenced
	}
	return task, err
}

// UpdateTask implements [store.TaskWriter].
func (t *tx) UpdateTask(ctx context.Context, task store.Task, from store.TaskState) error {
	_, manifest, failure, err := encodeTask(task)
	if err != nil {
		return err
	}
	n, err := t.exec(ctx, "update task", `
		UPDATE tasks SET state = ?, attempt = ?, max_attempts = ?, errors = ?, worker = ?, lease_until = ?, row_count = ?,
			ready_time = ?, wake_time = ?, wakes = ?, end_time = ?, manifest = ?, error = ?,
			uncertain = ?, outcome = ?
		WHERE id = ? AND state = ? AND fence = ?`,
		string(task.State), task.Attempt, task.MaxAttempts, task.Errors, task.Worker, micros(task.LeaseUntil), task.Rows,
		micros(task.ReadyTime), micros(task.WakeTime), task.Wakes, micros(task.EndTime), manifest, failure,
		flag(task.Uncertain), string(task.Outcome), task.ID, string(from), task.Fence)
	if err != nil {
		return err
	}
	if n == 0 {
		return store.ErrFenced
	}
	t.touch(task.RunID)
	return nil
}

// WaitingTasks implements [store.TaskWriter].
func (t *tx) WaitingTasks(ctx context.Context, runID string, limit int) ([]store.Task, error) {
	return all(ctx, t.conn, "find waiting tasks", scanTask, "SELECT "+taskColumns+` FROM tasks
		WHERE run_id = ? AND state <> 'DONE' AND state = 'WAITING' ORDER BY kind_order, part LIMIT ?`, runID, limit)
}

// CancelTasks implements [store.TaskWriter].
func (t *tx) CancelTasks(ctx context.Context, runID string, keep ...store.TaskKind) error {
	now, err := t.Now(ctx)
	if err != nil {
		return err
	}
	query := `UPDATE tasks SET state = 'CANCELLED', lease_until = 0, end_time = ?
		WHERE run_id = ? AND state <> 'DONE' AND state IN ('WAITING', 'READY', 'RUNNING')`
	args := []any{micros(now), runID}
	if len(keep) > 0 {
		query += " AND kind NOT IN (" + marks(len(keep)) + ")"
		args = append(args, anys(keep)...)
	}
	if _, err := t.exec(ctx, "cancel tasks", query, args...); err != nil {
		return err
	}
	t.touch(runID)
	return nil
}
