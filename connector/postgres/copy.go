package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// copyHeader starts binary COPY data: signature, flags, length of the header's extension.
var copyHeader = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")

// column is a column of a load: the flow's, the table's, and how one becomes the other.
type column struct {
	connector.Column
	native native
	bind   bind
	// noNull is set if a NULL can be refused without asking the server.
	noNull bool
}

// feed encodes the rows of a range for COPY.
type feed struct {
	columns  []column
	withRow  bool
	refusals *sqlload.Refusals
	progress func(sent int64)

	sent        int64
	first, last int64
	lines       sqlload.Lines
}

func (f *feed) encode(ctx context.Context, p *sqlload.Pipe, rows connector.RowReader, chunk []byte) ([]byte, error) {
	chunk = append(chunk, copyHeader...)
	for {
		batch, err := rows.Next(ctx)
		if err == io.EOF {
			return append(chunk, 0xff, 0xff), nil
		}
		if err != nil {
			return nil, err
		}
		chunk, err = f.batch(ctx, p, chunk, batch)
		batch.Release()
		if err != nil {
			return nil, err
		}
		f.progress(f.sent)
	}
}

// bound is a column of one batch.
type bound struct {
	arr   arrow.Array
	put   put
	nulls bool
	*column
}

// batch appends the rows of a batch and hands over full chunks.
func (f *feed) batch(ctx context.Context, p *sqlload.Pipe, chunk []byte, batch arrow.RecordBatch) ([]byte, error) {
	if int(batch.NumCols()) != len(f.columns)+1 {
		return chunk, fmt.Errorf("a batch has %d columns instead of %d", batch.NumCols(), len(f.columns)+1)
	}
	ordinals := batch.Column(0).(*array.Int64).Int64Values()
	cols := make([]bound, len(f.columns))
	for i := range cols {
		arr := batch.Column(i + 1)
		cols[i] = bound{arr: arr, put: f.columns[i].bind(arr), nulls: arr.NullN() > 0, column: &f.columns[i]}
	}
	fields := uint16(len(cols))
	if f.withRow {
		fields++
	}
	for i, row := range ordinals {
		start := len(chunk)
		chunk = binary.BigEndian.AppendUint16(chunk, fields)
		if f.withRow {
			chunk = appendInt64(chunk, row)
		}
		var problem string
		for c := range cols {
			col := &cols[c]
			if col.nulls && col.arr.IsNull(i) {
				if col.noNull {
					problem = "the column does not allow NULL"
				}
				chunk = append(chunk, 0xff, 0xff, 0xff, 0xff)
			} else {
				chunk, problem = col.put(chunk, i)
			}
			if problem != "" {
				if err := f.refusals.Scanned(ctx, row, connector.RefusedRow{Column: col.Name, Message: problem}); err != nil {
					return chunk, err
				}
				break
			}
		}
		if problem != "" {
			chunk = chunk[:start]
			continue
		}
		f.count(row)
		if len(chunk) >= sqlload.ChunkSize {
			var err error
			if chunk, err = p.Flush(ctx, chunk); err != nil {
				return nil, err
			}
		}
	}
	return chunk, nil
}

func (f *feed) count(row int64) {
	if f.sent == 0 {
		f.first = row
	}
	f.sent++
	f.last = row
	f.lines.Add(row)
}

// copyRows sends one range of a load into a table and reports what came of it. The server refuses by an error in the
// middle of the COPY; the caller rolls back.
func (l *loader) copyRows(ctx context.Context, statement string, withRow bool, r sqlload.Range) (sqlload.Attempt, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := l.load.Rows.Open(ctx, r.From, r.To)
	if err != nil {
		return sqlload.Attempt{}, err
	}
	f := &feed{columns: l.columns, withRow: withRow, refusals: l.refusals, progress: l.progress}
	encoding, stop := context.WithCancel(ctx)
	p := sqlload.StartPipe(encoding, func(p *sqlload.Pipe, chunk []byte) ([]byte, error) { return f.encode(encoding, p, rows, chunk) })
	tag, copyErr := l.conn.PgConn().CopyFrom(ctx, p, statement)
	stop()
	feedErr := p.Wait()
	closeErr := rows.Close()

	a := sqlload.Attempt{Sent: f.sent, First: f.first, Last: f.last}
	var pg *pgconn.PgError
	switch {
	case feedErr != nil && !errors.Is(feedErr, context.Canceled):
		return a, feedErr
	case errors.As(copyErr, &pg):
		reason, refused := refusedRow(pg)
		if !refused {
			return a, coded(ctx, copyErr)
		}
		a.Refusal = &sqlload.Refusal{Reason: l.named(reason, pg), Suspect: f.lines.Row(suspectLine(pg)), Passing: pg.Code == "23503", Err: coded(ctx, copyErr)}
		return a, nil
	case copyErr != nil:
		return a, coded(ctx, copyErr)
	case closeErr != nil:
		return a, closeErr
	}
	a.Written = tag.RowsAffected()
	return a, nil
}

// named adds the column that the server's context names.
func (l *loader) named(reason connector.RefusedRow, pg *pgconn.PgError) connector.RefusedRow {
	if reason.Column != "" {
		return reason
	}
	name := suspectColumn(pg)
	for _, c := range l.columns {
		if c.Name == name {
			reason.Column = name
		}
	}
	return reason
}
