package connectortest

import (
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// step is a place where a load calls back: all that can happen between two of them is the connector's own.
type step string

// load is a load whose callbacks are watched.
type load struct {
	t       testing.TB
	spec    connector.TargetSpec
	runID   string
	attempt int32
	// fence is that of the load's claim; 0 to claim each run of it when it begins.
	fence   int64
	rows    []Row
	rejects []connector.Reject
	// batch is how many rows a batch has.
	batch int
	// at is called at every step with how often it was reached, from 1. An error is what the callback returns.
	at func(s step, n int) error

	mu      sync.Mutex
	reached map[step]int
	refused map[int64]connector.RefusedRow
	open    atomic.Int64
	counted [2]int64
}

// Steps of a load.
const (
	stepOpen    step = "Rows.Open"
	stepNext    step = "RowReader.Next"
	stepRejects step = "Rejects"
	stepReject  step = "Rejects.Next"
	stepRefuse  step = "Refuse"
	stepBalance step = "Balance"
)

// newLoad makes a load of one attempt. Its rows have the ordinals 0, 2, 4 …
func newLoad(t testing.TB, spec connector.TargetSpec, runID string, rows []Row) *load {
	return &load{t: t, spec: spec, runID: runID, attempt: 1, rows: rows, batch: 3, reached: map[step]int{}, refused: map[int64]connector.RefusedRow{}}
}

// fences makes the fences of a process grow, as those of control do.
var fences atomic.Int64

// claim returns the fence of a task that is claimed now.
func claim() int64 { return fences.Add(1) }

// run loads and checks what holds for every load, however it ends.
func (l *load) run(ctx context.Context, target connector.Target) (connector.Outcome, error) {
	l.t.Helper()
	fence := l.fence
	if fence == 0 {
		fence = claim()
	}
	out, err := target.Load(ctx, connector.Load{
		RunID: l.runID, Attempt: l.attempt, Fence: fence, FlowVersion: "flow:v1", VersionDigest: "sha256:00", Target: l.spec,
		Rows: l, Rejects: l.openRejects, Refuse: l.refuse, Restart: l.restart, Balance: l.balance, Progress: func(int64) {},
	})
	require.Zero(l.t, l.open.Load(), "the load left readers open")
	if err != nil {
		require.Equal(l.t, connector.Outcome{}, out, "a failed load has no outcome")
	} else {
		require.True(l.t, out.Committed)
		require.NotEmpty(l.t, out.Receipt)
	}
	return out, err
}

// ordinal is the _row of a row.
func ordinal(i int) int64 { return int64(2 * i) }

func (l *load) reach(s step) error {
	l.mu.Lock()
	l.reached[s]++
	n := l.reached[s]
	l.mu.Unlock()
	if l.at == nil {
		return nil
	}
	return l.at(s, n)
}

// Count implements connector.Rows.
func (l *load) Count() int64 { return int64(len(l.rows)) }

// Open implements connector.Rows.
func (l *load) Open(ctx context.Context, from, to int64) (connector.RowReader, error) {
	if err := l.reach(stepOpen); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &rowReader{load: l, to: to}
	for r.next < len(l.rows) && ordinal(r.next) < from {
		r.next++
	}
	l.open.Add(1)
	return r, nil
}

type rowReader struct {
	load   *load
	next   int
	to     int64
	closed bool
}

// Next implements connector.RowReader.
func (r *rowReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if err := r.load.reach(stepNext); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	var ordinals []int64
	var rows []Row
	for ; r.next < len(r.load.rows) && ordinal(r.next) < r.to && len(rows) < r.load.batch; r.next++ {
		ordinals, rows = append(ordinals, ordinal(r.next)), append(rows, r.load.rows[r.next])
	}
	if len(rows) == 0 {
		return nil, io.EOF
	}
	return Batch(r.load.t, r.load.spec.Columns, ordinals, rows), nil
}

// Close implements connector.RowReader.
func (r *rowReader) Close() error {
	if !r.closed {
		r.closed = true
		r.load.open.Add(-1)
	}
	return nil
}

func (l *load) openRejects() (connector.Rejects, error) {
	if err := l.reach(stepRejects); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	list := append([]connector.Reject(nil), l.rejects...)
	for i := range l.rows {
		if reason, ok := l.refused[ordinal(i)]; ok {
			list = append(list, connector.Reject{
				Row: ordinal(i), File: "batch.csv", Line: -1, Byte: -1, Stage: "egress", Record: "{}",
				Errors: fmt.Sprintf(`[{"column":%q,"type":"target","message":%q}]`, reason.Column, reason.Message),
			})
		}
	}
	l.open.Add(1)
	return &rejectReader{load: l, list: list}, nil
}

type rejectReader struct {
	load   *load
	list   []connector.Reject
	closed bool
}

// Next implements connector.Rejects.
func (r *rejectReader) Next(ctx context.Context) (connector.Reject, error) {
	if err := r.load.reach(stepReject); err != nil {
		return connector.Reject{}, err
	}
	if err := ctx.Err(); err != nil {
		return connector.Reject{}, err
	}
	if len(r.list) == 0 {
		return connector.Reject{}, io.EOF
	}
	next := r.list[0]
	r.list = r.list[1:]
	return next, nil
}

// Close implements connector.Rejects.
func (r *rejectReader) Close() error {
	if !r.closed {
		r.closed = true
		r.load.open.Add(-1)
	}
	return nil
}

func (l *load) refuse(_ context.Context, row int64, reason connector.RefusedRow) error {
	if err := l.reach(stepRefuse); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.refused[row] = reason
	return nil
}

func (l *load) restart() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.refused)
}

func (l *load) balance(written, refused int64) ([]byte, error) {
	l.mu.Lock()
	l.counted = [2]int64{written, refused}
	l.mu.Unlock()
	if err := l.reach(stepBalance); err != nil {
		return nil, err
	}
	// White space and order are the platform's business: a marker keeps the bytes.
	return fmt.Appendf(nil, `{"run": %q,  "written":%d,"refused":%d, "attempt":%d}`, l.runID, written, refused, l.attempt), nil
}

// Fill loads rows into a target as a run of their own.
func Fill(t *testing.T, target connector.Target, spec connector.TargetSpec, rows []Row) {
	t.Helper()
	FillAs(t, target, newRun(), spec, rows)
}

// FillTable makes a new table of rows by a load into a target, at a place that nothing else uses, and returns its name. It is what
// [RowSourceHarness.Fill] does where the connector is a target too.
func FillTable(t *testing.T, target connector.Target, place connector.TargetSpec, columns []connector.Column, rows []Row) string {
	t.Helper()
	place.Name, place.Mode, place.Create, place.Columns = "main", connector.Append, true, columns
	Fill(t, target, place, rows)
	return place.Table
}

// FillAs loads rows into a target as a certain run.
func FillAs(t *testing.T, target connector.Target, runID string, spec connector.TargetSpec, rows []Row) {
	t.Helper()
	l := newLoad(t, spec, runID, rows)
	l.batch = 1000
	_, err := l.run(t.Context(), target)
	require.NoError(t, err)
}

// EmptyLoad is the first attempt at a load of no rows.
func EmptyLoad(runID string, spec connector.TargetSpec) connector.Load {
	return plainLoad(runID, spec, noRows{})
}

// plainLoad is the first attempt at a load of rows of which none is refused.
func plainLoad(runID string, spec connector.TargetSpec, rows connector.Rows) connector.Load {
	return connector.Load{
		RunID: runID, Attempt: 1, Fence: claim(), FlowVersion: "flow:v1", VersionDigest: "sha256:00", Target: spec, Rows: rows,
		Rejects: func() (connector.Rejects, error) { return noRejects{}, nil },
		Refuse: func(_ context.Context, row int64, reason connector.RefusedRow) error {
			return fmt.Errorf("row %d is refused: %s", row, reason.Message)
		},
		Restart: func() {}, Balance: func(int64, int64) ([]byte, error) { return []byte("{}"), nil }, Progress: func(int64) {},
	}
}

type noRows struct{}

func (noRows) Count() int64                                                    { return 0 }
func (noRows) Open(context.Context, int64, int64) (connector.RowReader, error) { return noRows{}, nil }
func (noRows) Next(context.Context) (arrow.RecordBatch, error)                 { return nil, io.EOF }
func (noRows) Close() error                                                    { return nil }

type noRejects struct{}

func (noRejects) Next(context.Context) (connector.Reject, error) { return connector.Reject{}, io.EOF }
func (noRejects) Close() error                                   { return nil }
