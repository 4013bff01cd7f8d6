// Package sqlquery holds what sources in SQL databases share: the parameters of a query, the batches that its rows become, and
// the errors of columns and values that a flow cannot take. It knows no driver.
package sqlquery

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/lume-data/lume/connector"
)

const (
	// A batch ends after so many rows or bytes, whichever comes first.
	batchRows  = 8192
	batchBytes = 4 << 20
)

// Batches makes batches of the rows of a query as they arrive. Not safe for concurrent use.
type Batches struct {
	columns []connector.Column
	next    string
	build   *array.RecordBuilder
	rows    int64
	end     error // Set once there is nothing more to deliver, and why.
}

// NewBatches makes batches of these columns. next is what people do about a value that its column's type cannot hold. Release it.
func NewBatches(columns []connector.Column, next string) *Batches {
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true}
	}
	return &Batches{columns: columns, next: next, build: array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))}
}

// Columns are the columns of the query.
func (b *Batches) Columns() []connector.Column { return b.columns }

// Field is where the next value of a column goes.
func (b *Batches) Field(i int) array.Builder { return b.build.Field(i) }

// Next returns the next batch, or io.EOF. row reads one row: it appends a value, or a NULL, to every field and returns how many bytes
// they have, or io.EOF after the last one. query is the context that the query runs in: it, or that of the call, ends everything,
// the latter by stop, which may be called twice. After an error every call returns it.
func (b *Batches) Next(ctx, query context.Context, stop func(), row func() (bytes int, err error)) (arrow.RecordBatch, error) {
	if b.end == nil {
		b.end = errors.Join(ctx.Err(), query.Err())
	}
	if b.end != nil {
		return nil, b.end
	}
	unwatch := context.AfterFunc(ctx, stop)
	defer func() {
		if !unwatch() {
			stop()
		}
	}()
	rows, size := 0, 0
	for ; rows < batchRows && size < batchBytes; rows++ {
		n, err := row()
		if err != nil {
			// A query that is stopped can look like one that has ended.
			if ended := errors.Join(ctx.Err(), query.Err()); ended != nil {
				err = ended
			}
			b.end = err
			break
		}
		b.rows++
		size += n
	}
	// A lost connection may have io.EOF as its cause: only the bare one is an end.
	if b.end != nil && b.end != io.EOF || rows == 0 {
		return nil, b.end
	}
	return b.build.NewRecordBatch(), nil
}

// Unreadable is the error of a value in the row being read that its column's type cannot hold.
func (b *Batches) Unreadable(i int, problem string) error {
	return ValueError(b.columns[i], b.rows+1, problem, b.next)
}

// Ended reports whether every row was read, or reading failed.
func (b *Batches) Ended() bool { return b.end != nil }

// Release gives back what was built and not delivered.
func (b *Batches) Release() { b.build.Release() }
