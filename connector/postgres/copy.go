package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	// chunkSize is when a chunk of encoded rows is handed over to be sent.
	chunkSize = 256 << 10
	// chunkLimit is the largest chunk that is kept for the next rows; one huge row should not stay.
	chunkLimit = 4 << 20
	chunks     = 3
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

// feed encodes the rows of a range in the background, and is the reader that COPY sends from.
type feed struct {
	columns  []column
	withRow  bool
	refusals *sqlload.Refusals
	progress func(sent int64)

	full  chan []byte
	empty chan []byte
	now   []byte // chunk that is being read
	rest  []byte
	done  sync.WaitGroup

	// Set by the encoder, read after wait.
	err         error
	sent        int64
	first, last int64
	lines       lines
}

// start begins to encode rows. cancel of ctx ends it; wait must be called.
func (f *feed) start(ctx context.Context, rows connector.RowReader) {
	f.full, f.empty = make(chan []byte, chunks), make(chan []byte, chunks)
	for range chunks {
		f.empty <- make([]byte, 0, chunkSize+chunkSize/4)
	}
	f.done.Go(func() {
		defer close(f.full)
		f.err = f.encode(ctx, rows)
	})
}

// wait ends when the encoder has ended. The context given to start must be cancelled unless everything was read.
func (f *feed) wait() { f.done.Wait() }

// errFeed is what the driver sees of an error of the encoder.
var errFeed = errors.New("the rows cannot be read")

// Read implements io.Reader for the driver.
func (f *feed) Read(p []byte) (int, error) {
	if len(f.rest) == 0 {
		if f.now != nil {
			if cap(f.now) > chunkLimit {
				f.now = make([]byte, 0, chunkSize+chunkSize/4)
			}
			f.empty <- f.now[:0]
			f.now = nil
		}
		chunk, ok := <-f.full
		if !ok {
			if f.err != nil {
				return 0, errFeed
			}
			return 0, io.EOF
		}
		f.now, f.rest = chunk, chunk
	}
	n := copy(p, f.rest)
	f.rest = f.rest[n:]
	return n, nil
}

func (f *feed) take(ctx context.Context) ([]byte, error) {
	select {
	case chunk := <-f.empty:
		return chunk, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (f *feed) give(ctx context.Context, chunk []byte) error {
	select {
	case f.full <- chunk:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f *feed) encode(ctx context.Context, rows connector.RowReader) error {
	chunk, err := f.take(ctx)
	if err != nil {
		return err
	}
	chunk = append(chunk, copyHeader...)
	for {
		batch, err := rows.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		chunk, err = f.batch(ctx, chunk, batch)
		batch.Release()
		if err != nil {
			return err
		}
		f.progress(f.sent)
	}
	return f.give(ctx, append(chunk, 0xff, 0xff))
}

// bound is a column of one batch.
type bound struct {
	arr   arrow.Array
	put   put
	nulls bool
	*column
}

// batch appends the rows of a batch and hands over full chunks.
func (f *feed) batch(ctx context.Context, chunk []byte, batch arrow.RecordBatch) ([]byte, error) {
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
		if len(chunk) >= chunkSize {
			if err := f.give(ctx, chunk); err != nil {
				return nil, err
			}
			var err error
			if chunk, err = f.take(ctx); err != nil {
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
	f.lines.add(row)
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
	f.start(encoding, rows)
	tag, copyErr := l.conn.PgConn().CopyFrom(ctx, f, statement)
	stop()
	f.wait()
	closeErr := rows.Close()

	a := sqlload.Attempt{Sent: f.sent, First: f.first, Last: f.last}
	var pg *pgconn.PgError
	switch {
	case f.err != nil && !errors.Is(f.err, context.Canceled):
		return a, f.err
	case errors.As(copyErr, &pg):
		reason, refused := refusedRow(pg)
		if !refused {
			return a, coded(ctx, copyErr)
		}
		a.Refusal = &sqlload.Refusal{Reason: l.named(reason, pg), Suspect: f.lines.row(suspectLine(pg)), Passing: pg.Code == "23503", Err: coded(ctx, copyErr)}
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

// maxRuns bounds the memory of lines.
const maxRuns = 1 << 18

// lines remembers which row was sent at which line of a COPY, as runs of adjacent rows. Beyond maxRuns it forgets: then
// the bisection goes without hints.
type lines struct {
	runs []run
	sent int64
	full bool
}

type run struct{ line, row int64 }

func (l *lines) add(row int64) {
	l.sent++
	if n := len(l.runs); n > 0 && row-l.runs[n-1].row == l.sent-l.runs[n-1].line {
		return
	}
	if len(l.runs) == maxRuns {
		l.full = true
	}
	if !l.full {
		l.runs = append(l.runs, run{line: l.sent, row: row})
	}
}

// row returns the row at a 1-based line, or -1.
func (l *lines) row(line int64) int64 {
	if line < 1 || line > l.sent {
		return -1
	}
	lo, hi := 0, len(l.runs)
	for lo < hi {
		if mid := (lo + hi) / 2; l.runs[mid].line <= line {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == len(l.runs) && l.full || lo == 0 {
		return -1
	}
	return l.runs[lo-1].row + line - l.runs[lo-1].line
}
