package sqlload

import (
	"context"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
)

// Put appends value i of a column, which is not NULL, in the format of a bulk load. A problem says why the target's column
// cannot take it.
type Put func(dst []byte, i int) (out []byte, problem string)

// Bind makes the Put of one batch's column.
type Bind func(arr arrow.Array) Put

// FeedColumn is a column as a [Feed] writes it.
type FeedColumn struct {
	Name string
	Bind Bind
	// NoNull is set if a NULL can be refused without asking the server.
	NoNull bool
}

// Format is the stream of bytes that a bulk load takes.
type Format struct {
	// Header and Trailer stand before and after all rows.
	Header, Trailer []byte
	// Begin starts a row; nil for nothing.
	Begin func(dst []byte, row int64) []byte
	// Null is a NULL. Between stands between two values, End after the last one of a row.
	Null, Between, End []byte
}

// Feed sends the rows of a range as one stream of bytes, encoded in the background. It is for one range.
type Feed struct {
	Format   Format
	Columns  []FeedColumn
	Refusals *Refusals
	// Progress hears after every batch how many rows were sent.
	Progress func(sent int64)

	sent        int64
	first, last int64
	lines       Lines
}

// Send opens the rows of a range and lets send read their bytes. sendErr is what send returned; err is what is wrong with
// the rows themselves, and goes before it. The attempt says which rows were encoded.
func (f *Feed) Send(ctx context.Context, rows connector.Rows, r Range, send func(io.Reader) error) (a Attempt, sendErr, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reader, err := rows.Open(ctx, r.From, r.To)
	if err != nil {
		return Attempt{}, nil, err
	}
	sendErr, err = carry(ctx, reader, func(ctx context.Context, p *Pipe, chunk []byte) ([]byte, error) {
		return f.encode(ctx, p, reader, chunk)
	}, send)
	return Attempt{Sent: f.sent, First: f.first, Last: f.last}, sendErr, err
}

// Row returns the row that was sent at a 1-based line, or -1. Call it after [Feed.Send].
func (f *Feed) Row(line int64) int64 { return f.lines.Row(line) }

func (f *Feed) encode(ctx context.Context, p *Pipe, rows connector.RowReader, chunk []byte) ([]byte, error) {
	chunk = append(chunk, f.Format.Header...)
	for {
		batch, err := rows.Next(ctx)
		if err == io.EOF {
			return append(chunk, f.Format.Trailer...), nil
		}
		if err != nil {
			return nil, err
		}
		chunk, err = f.batch(ctx, p, chunk, batch)
		batch.Release()
		if err != nil {
			return nil, err
		}
		f.Progress(f.sent)
	}
}

// fed is a column of one batch.
type fed struct {
	arr   arrow.Array
	put   Put
	nulls bool
	*FeedColumn
}

// batch appends the rows of a batch and hands over full chunks.
func (f *Feed) batch(ctx context.Context, p *Pipe, chunk []byte, batch arrow.RecordBatch) ([]byte, error) {
	if int(batch.NumCols()) != len(f.Columns)+1 {
		return chunk, fmt.Errorf("a batch has %d columns instead of %d", batch.NumCols(), len(f.Columns)+1)
	}
	cols := make([]fed, len(f.Columns))
	for i := range cols {
		arr := batch.Column(i + 1)
		cols[i] = fed{arr: arr, put: f.Columns[i].Bind(arr), nulls: arr.NullN() > 0, FeedColumn: &f.Columns[i]}
	}
	for i, row := range batch.Column(0).(*array.Int64).Int64Values() {
		start := len(chunk)
		var refused connector.RefusedRow
		if chunk, refused = f.row(chunk, cols, i, row); refused.Message != "" {
			chunk = chunk[:start]
			if err := f.Refusals.Scanned(ctx, row, refused); err != nil {
				return chunk, err
			}
			continue
		}
		f.count(row)
		if len(chunk) >= ChunkSize {
			var err error
			if chunk, err = p.Flush(ctx, chunk); err != nil {
				return nil, err
			}
		}
	}
	return chunk, nil
}

// row appends a row, or a part of one that is refused.
func (f *Feed) row(chunk []byte, cols []fed, i int, row int64) ([]byte, connector.RefusedRow) {
	if f.Format.Begin != nil {
		chunk = f.Format.Begin(chunk, row)
	}
	for c := range cols {
		col := &cols[c]
		if c > 0 {
			chunk = append(chunk, f.Format.Between...)
		}
		problem := ""
		switch {
		case !col.nulls || !col.arr.IsNull(i):
			chunk, problem = col.put(chunk, i)
		case col.NoNull:
			problem = "the column does not allow NULL"
		default:
			chunk = append(chunk, f.Format.Null...)
		}
		if problem != "" {
			return chunk, connector.RefusedRow{Column: col.Name, Message: problem}
		}
	}
	return append(chunk, f.Format.End...), connector.RefusedRow{}
}

func (f *Feed) count(row int64) {
	if f.sent == 0 {
		f.first = row
	}
	f.sent++
	f.last = row
	f.lines.Add(row)
}

// Progress returns what reports the rows that a load has sent; those of ranges that are tried again count once.
func Progress(load connector.Load) func(sent int64) {
	var most int64
	return func(sent int64) {
		if sent > most && load.Progress != nil {
			most = sent
			load.Progress(sent)
		}
	}
}
