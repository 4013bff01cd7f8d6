package sqlstore

import (
	"context"
	"strings"
	"time"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

const runColumns = `id, flow, version, version_digest, source_path, metadata, request_id, state, outcome, cancel_requested,
	ending_state, error, receipt, max_parallel_tasks, max_attempts, trace_parent, create_time, update_time,
	end_time, deadline, swept_time, rejects_swept_time, revision, sweep_time, resume_request_id`

func scanRun(row scanner) (store.Run, error) {
	var (
		r                                 store.Run
		cancel                            int64
		ending                            string
		failure, receipt                  []byte
		created, updated, ended, deadline int64
		sweep, swept, rejectsSwept        int64
	)
	err := row.Scan(&r.ID, &r.Flow, &r.Version, &r.VersionDigest, &r.SourcePath, &r.Metadata, &r.RequestID, &r.State, &r.Outcome, &cancel,
		&ending, &failure, &receipt, &r.MaxParallelTasks, &r.MaxAttempts, &r.TraceParent, &created, &updated,
		&ended, &deadline, &swept, &rejectsSwept, &r.Revision, &sweep, &r.ResumeRequestID)
	if err != nil {
		return r, err
	}
	r.CancelRequested = cancel != 0
	r.CreateTime, r.UpdateTime, r.EndTime = fromMicros(created), fromMicros(updated), fromMicros(ended)
	r.Deadline = fromMicros(deadline)
	r.SweepTime, r.SweptTime, r.RejectsSweptTime = fromMicros(sweep), fromMicros(swept), fromMicros(rejectsSwept)
	cause, err := decode[typev1.Error](failure)
	if err != nil {
		return r, err
	}
	if ending != "" {
		r.Ending = &store.Ending{State: store.RunState(ending), Error: cause}
	} else {
		r.Error = cause
	}
	r.Receipt, err = decode[typev1.Receipt](receipt)
	return r, err
}

// encodeEnding returns what stands in the columns ending_state and error.
func encodeEnding(r store.Run) (string, []byte, error) {
	if r.Ending == nil {
		b, err := encode(r.Error)
		return "", b, err
	}
	b, err := encode(r.Ending.Error)
	return string(r.Ending.State), b, err
}

// Run implements [store.RunReader].
func (r reader) Run(ctx context.Context, id string) (store.Run, error) {
	return one(ctx, r.conn, "read run", scanRun, "SELECT "+runColumns+" FROM runs WHERE id = ?", id)
}

// RunByRequest implements [store.RunReader].
func (r reader) RunByRequest(ctx context.Context, requestID string) (store.Run, error) {
	return one(ctx, r.conn, "read run by request", scanRun,
		"SELECT "+runColumns+" FROM runs WHERE request_id = ? AND request_id <> ''", requestID)
}

// BlockingRun implements [store.RunReader].
func (r reader) BlockingRun(ctx context.Context, p store.Pair) (store.Run, error) {
	return one(ctx, r.conn, "find duplicate run", scanRun, "SELECT "+runColumns+` FROM runs
		WHERE flow = ? AND version = ? AND source_digest = ? AND (open = 1 OR outcome IN ('COMMITTED', 'PARTIAL'))
		ORDER BY open DESC, id DESC LIMIT 1`, p.Flow, p.Version, sourceDigest(p.SourcePath))
}

// RivalRun implements [store.RunReader].
func (r reader) RivalRun(ctx context.Context, of store.Run) (store.Run, error) {
	return one(ctx, r.conn, "find a run in the way", scanRun, "SELECT "+runColumns+` FROM runs
		WHERE flow = ? AND version = ? AND source_digest = ? AND id <> ?
			AND (open = 1 OR (outcome IN ('COMMITTED', 'PARTIAL') AND end_time >= ?))
		ORDER BY open DESC, id DESC LIMIT 1`, of.Flow, of.Version, sourceDigest(of.SourcePath), of.ID, micros(of.CreateTime))
}

// ListRuns implements [store.RunReader].
func (r reader) ListRuns(ctx context.Context, f store.RunFilter, p store.Page) ([]store.Run, string, error) {
	var (
		where []string
		args  []any
	)
	add := func(condition string, values ...any) {
		where = append(where, condition)
		args = append(args, values...)
	}
	if f.Flow != "" {
		add("flow = ?", f.Flow)
	}
	if f.Version != 0 {
		add("version = ?", f.Version)
	}
	if f.SourcePath != "" {
		add("source_digest = ?", sourceDigest(f.SourcePath))
	}
	if len(f.States) > 0 {
		add("state IN ("+marks(len(f.States))+")", anys(f.States)...)
	}
	if !f.CreatedAfter.IsZero() {
		add("create_time >= ?", micros(ceilMicro(f.CreatedAfter)))
	}
	if !f.CreatedBefore.IsZero() {
		add("create_time < ?", micros(ceilMicro(f.CreatedBefore)))
	}
	if p.After != "" {
		add("id < ?", p.After)
	}
	query := "SELECT " + runColumns + " FROM runs"
	if len(where) > 0 {
		query += " WHERE " + strings.Join(where, " AND ")
	}
	list, err := all(ctx, r.conn, "list runs", scanRun, query+" ORDER BY id DESC LIMIT ?", append(args, limit(p))...)
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, func(r store.Run) string { return r.ID })
	return list, next, nil
}

// ceilMicro rounds up to what is stored, so that bounds with nanoseconds keep their meaning.
func ceilMicro(t time.Time) time.Time {
	floor := t.Truncate(time.Microsecond)
	if floor.Before(t) {
		return floor.Add(time.Microsecond)
	}
	return floor
}

func anys[T ~string](values []T) []any {
	out := make([]any, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	return out
}

func scanText(row scanner) (string, error) {
	var s string
	err := row.Scan(&s)
	return s, err
}

// OverdueRuns implements [store.RunReader].
func (r reader) OverdueRuns(ctx context.Context, limit int) ([]string, error) {
	now, err := r.now(ctx)
	if err != nil {
		return nil, err
	}
	return all(ctx, r.conn, "find overdue runs", scanText,
		"SELECT id FROM runs WHERE end_time = 0 AND ending_state = '' AND deadline <= ? ORDER BY deadline LIMIT ?", micros(now), limit)
}

// SweepableRuns implements [store.RunReader].
func (r reader) SweepableRuns(ctx context.Context, age time.Duration, rejects bool, limit int) ([]store.Run, error) {
	now, err := r.now(ctx)
	if err != nil {
		return nil, err
	}
	column := "swept_time"
	if rejects {
		column = "rejects_swept_time"
	}
	return all(ctx, r.conn, "find runs to sweep", scanRun, "SELECT "+runColumns+` FROM runs
		WHERE open = 0 AND `+column+` = 0 AND end_time <= ? ORDER BY end_time LIMIT ?`, micros(now.Add(-age)), limit)
}

// CreateRun implements [store.RunWriter].
func (t *tx) CreateRun(ctx context.Context, r store.Run) (store.Run, error) {
	now, err := t.Now(ctx)
	if err != nil {
		return r, err
	}
	ending, failure, err := encodeEnding(r)
	if err != nil {
		return r, err
	}
	receipt, err := encode(r.Receipt)
	if err != nil {
		return r, err
	}
	r.CreateTime, r.UpdateTime, r.Revision = now, now, 1
	n, err := t.exec(ctx, "create run", "INSERT INTO runs (source_digest, open, uncertain, "+runColumns+`)
		VALUES (?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING`,
		sourceDigest(r.SourcePath), flag(r.Open()),
		r.ID, r.Flow, r.Version, r.VersionDigest, r.SourcePath, r.Metadata, r.RequestID, string(r.State), string(r.Outcome), flag(r.CancelRequested),
		ending, failure, receipt, r.MaxParallelTasks, r.MaxAttempts, r.TraceParent, micros(r.CreateTime), micros(r.UpdateTime),
		micros(r.EndTime), micros(r.Deadline), micros(r.SweptTime), micros(r.RejectsSweptTime), r.Revision, micros(r.SweepTime), r.ResumeRequestID)
	if err != nil {
		return r, err
	}
	if n == 0 {
		return r, store.ErrExists
	}
	t.touch(r.ID)
	return roundRun(r), nil
}

// roundRun makes a run what a read of it would return.
func roundRun(r store.Run) store.Run {
	r.EndTime, r.Deadline = fromMicros(micros(r.EndTime)), fromMicros(micros(r.Deadline))
	return r
}

// LockRun implements [store.RunWriter].
func (t *tx) LockRun(ctx context.Context, id string) (store.Run, error) {
	return one(ctx, t.conn, "lock run", scanRun, "SELECT "+runColumns+" FROM runs WHERE id = ?"+t.d.ForUpdate, id)
}

// UpdateRun implements [store.RunWriter].
func (t *tx) UpdateRun(ctx context.Context, r store.Run) (store.Run, error) {
	now, err := t.Now(ctx)
	if err != nil {
		return r, err
	}
	ending, failure, err := encodeEnding(r)
	if err != nil {
		return r, err
	}
	receipt, err := encode(r.Receipt)
	if err != nil {
		return r, err
	}
	n, err := t.exec(ctx, "update run", `
		UPDATE runs SET state = ?, outcome = ?, open = ?, cancel_requested = ?, ending_state = ?, error = ?,
			receipt = ?, update_time = ?, end_time = ?, deadline = ?, resume_request_id = ?, revision = revision + 1
		WHERE id = ? AND revision = ?`,
		string(r.State), string(r.Outcome), flag(r.Open()), flag(r.CancelRequested), ending, failure,
		receipt, micros(now), micros(r.EndTime), micros(r.Deadline), r.ResumeRequestID, r.ID, r.Revision)
	if err != nil {
		return r, err
	}
	if n == 0 {
		return r, store.ErrConflict
	}
	r.UpdateTime = now
	r.Revision++
	t.touch(r.ID)
	return roundRun(r), nil
}

// BeginSweep implements [store.RunWriter].
func (t *tx) BeginSweep(ctx context.Context, id string) error {
	now, err := t.Now(ctx)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "begin to sweep run", "UPDATE runs SET sweep_time = ? WHERE id = ? AND sweep_time = 0", micros(now), id)
	return err
}

// MarkSwept implements [store.RunWriter].
func (t *tx) MarkSwept(ctx context.Context, id string, rejects bool) error {
	now, err := t.Now(ctx)
	if err != nil {
		return err
	}
	set := "swept_time = ?"
	args := []any{micros(now)}
	if rejects {
		set += ", rejects_swept_time = ?"
		args = append(args, micros(now))
	}
	_, err = t.exec(ctx, "mark run swept", "UPDATE runs SET "+set+" WHERE id = ?", append(args, id)...)
	return err
}
