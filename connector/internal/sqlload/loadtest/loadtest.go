// Package loadtest is what the tests of SQL connectors share beside the suite of all connectors: loads of rows in memory, with an
// account of refused rows and a receipt, and the tests that are the same whatever the system, such as those of [Suite].
package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Null is a NULL in [Rows].
const Null = "(null)"

// Columns parses "name type" pairs; a name that ends with `!` is a key column, with `*` a required one.
func Columns(t testing.TB, pairs ...string) []connector.Column {
	t.Helper()
	columns := make([]connector.Column, 0, len(pairs)/2)
	for i := 0; i < len(pairs); i += 2 {
		typ, err := connector.ParseType(pairs[i+1])
		require.NoError(t, err)
		c := connector.Column{Name: pairs[i], Type: typ}
		switch c.Name[len(c.Name)-1] {
		case '!':
			c.Name, c.Key, c.Required = c.Name[:len(c.Name)-1], true, true
		case '*':
			c.Name, c.Required = c.Name[:len(c.Name)-1], true
		}
		columns = append(columns, c)
	}
	return columns
}

// Batch makes a record batch: each row is the ordinal, then the columns' values as text.
func Batch(t testing.TB, columns []connector.Column, rows ...[]any) arrow.RecordBatch {
	t.Helper()
	fields := []arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for _, row := range rows {
		require.Len(t, row, len(fields))
		for i, v := range row {
			switch v := v.(type) {
			case []byte:
				b.Field(i).(*array.BinaryBuilder).Append(v)
			case nil:
				b.Field(i).AppendNull()
			case string:
				if s, ok := b.Field(i).(*array.StringBuilder); ok {
					s.Append(v)
					continue
				}
				require.NoError(t, b.Field(i).AppendValueFromString(v))
			default:
				require.NoError(t, b.Field(i).AppendValueFromString(fmt.Sprint(v)))
			}
		}
	}
	return b.NewRecordBatch()
}

// Rows are rows in memory.
type Rows struct {
	Batch arrow.RecordBatch
	// Size of the batches that are delivered.
	Size int64
	// Before is called before each batch, if it is set.
	Before func(ctx context.Context, delivered int64) error
}

// Count implements connector.Rows.
func (r *Rows) Count() int64 { return r.Batch.NumRows() }

// Open implements connector.Rows.
func (r *Rows) Open(_ context.Context, from, to int64) (connector.RowReader, error) {
	ordinals := r.Batch.Column(0).(*array.Int64).Int64Values()
	lo := sort.Search(len(ordinals), func(i int) bool { return ordinals[i] >= from })
	hi := sort.Search(len(ordinals), func(i int) bool { return ordinals[i] >= to })
	return &reader{rows: r, next: int64(lo), end: int64(hi)}, nil
}

type reader struct {
	rows      *Rows
	next, end int64
	delivered int64
}

func (r *reader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if r.rows.Before != nil {
		if err := r.rows.Before(ctx, r.delivered); err != nil {
			return nil, err
		}
	}
	if r.next >= r.end {
		return nil, io.EOF
	}
	size := r.rows.Size
	if size == 0 {
		size = 4096
	}
	end := min(r.next+size, r.end)
	batch := r.rows.Batch.NewSlice(r.next, end)
	r.delivered += end - r.next
	r.next = end
	return batch, nil
}

func (*reader) Close() error { return nil }

// Load is a load and what it called.
type Load struct {
	connector.Load
	// Refused holds the refused rows.
	Refused map[int64]connector.RefusedRow
	// Written and RefusedCount are what Balance was called with.
	Written, RefusedCount int64
	Balanced              bool

	mu sync.Mutex
}

// New makes a load of rows, with rejects of earlier stages before those of the load itself.
func New(run string, spec connector.TargetSpec, rows connector.Rows, rejects ...connector.Reject) *Load {
	l := &Load{Refused: make(map[int64]connector.RefusedRow)}
	if spec.Name == "" {
		spec.Name = "main"
	}
	l.Load = connector.Load{
		RunID: run, Attempt: 1, Fence: 1, FlowVersion: "x:v1", VersionDigest: "sha256:00", Target: spec, Rows: rows,
		Rejects: func() (connector.Rejects, error) {
			l.mu.Lock()
			defer l.mu.Unlock()
			all := append([]connector.Reject(nil), rejects...)
			order := make([]int64, 0, len(l.Refused))
			for row := range l.Refused {
				order = append(order, row)
			}
			sort.Slice(order, func(i, j int) bool { return order[i] < order[j] })
			for _, row := range order {
				all = append(all, connector.Reject{Row: row, Line: -1, Byte: -1, Stage: "egress",
					Errors: fmt.Sprintf(`[{"column":%q,"type":"target","message":%q}]`, l.Refused[row].Column, l.Refused[row].Message),
					Record: fmt.Sprintf(`{"row":%d}`, row)})
			}
			return &rejectList{list: all}, nil
		},
		Refuse: func(_ context.Context, row int64, reason connector.RefusedRow) error {
			l.mu.Lock()
			defer l.mu.Unlock()
			if _, twice := l.Refused[row]; twice {
				return fmt.Errorf("row %d was refused twice", row)
			}
			l.Refused[row] = reason
			return nil
		},
		Restart: func() {
			l.mu.Lock()
			defer l.mu.Unlock()
			clear(l.Refused)
		},
		Balance: func(written, refused int64) ([]byte, error) {
			l.Written, l.RefusedCount, l.Balanced = written, refused, true
			if written+refused != rows.Count() {
				return nil, fmt.Errorf("written %d + refused %d, but there are %d rows", written, refused, rows.Count())
			}
			return fmt.Appendf(nil, `{"written":%d,"refused":%d}`, written, refused), nil
		},
		Progress: func(int64) {},
	}
	return l
}

// Settlement makes a settlement of a run by a task with a fence.
func Settlement(run string, spec connector.TargetSpec, fence int64) connector.Settlement {
	if spec.Name == "" {
		spec.Name = "main"
	}
	return connector.Settlement{RunID: run, FlowVersion: "x:v1", Fence: fence, Target: spec}
}

// RefusedRows returns the refused rows in order.
func (l *Load) RefusedRows() []int64 {
	rows := make([]int64, 0, len(l.Refused))
	for row := range l.Refused {
		rows = append(rows, row)
	}
	sort.Slice(rows, func(i, j int) bool { return rows[i] < rows[j] })
	return rows
}

// Run loads into a target, and requires that it commits.
func (l *Load) Run(t testing.TB, target connector.Target) connector.Outcome {
	t.Helper()
	out, err := target.Load(t.Context(), l.Load)
	require.NoError(t, err, "%v", errors.Unwrap(err))
	return out
}

// Coded requires an error that a connector has coded.
func Coded(t testing.TB, err error, reason string) *connector.Error {
	t.Helper()
	var e *connector.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, reason, e.Reason, "%v: %v", e, e.Cause)
	return e
}

// Failed returns the check that has failed. It requires one.
func Failed(t testing.TB, checks []connector.Check) connector.Check {
	t.Helper()
	i := slices.IndexFunc(checks, func(c connector.Check) bool { return c.Status == connector.CheckFailed })
	require.GreaterOrEqual(t, i, 0, "every check passed")
	return checks[i]
}

type rejectList struct{ list []connector.Reject }

func (r *rejectList) Next(context.Context) (connector.Reject, error) {
	if len(r.list) == 0 {
		return connector.Reject{}, io.EOF
	}
	next := r.list[0]
	r.list = r.list[1:]
	return next, nil
}

func (*rejectList) Close() error { return nil }
