package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	driver "github.com/go-sql-driver/mysql"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// column is a column of a load: the flow's, the table's, and how one becomes the other.
type column struct {
	connector.Column
	native native
	bind   bind
	// noNull is set if a NULL can be refused without asking the server.
	noNull bool
}

// feed encodes the rows of a range as lines of LOAD DATA.
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
	for {
		batch, err := rows.Next(ctx)
		if err == io.EOF {
			return chunk, nil
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
	for i, row := range ordinals {
		start := len(chunk)
		if f.withRow {
			chunk = append(strconv.AppendInt(chunk, row, 10), '\t')
		}
		var problem string
		for c := range cols {
			col := &cols[c]
			if col.nulls && col.arr.IsNull(i) {
				if col.noNull {
					problem = "the column does not allow NULL"
				}
				chunk = append(chunk, '\\', 'N')
			} else {
				chunk, problem = col.put(chunk, i)
			}
			if problem != "" {
				if err := f.refusals.Scanned(ctx, row, connector.RefusedRow{Column: col.Name, Message: problem}); err != nil {
					return chunk, err
				}
				break
			}
			chunk = append(chunk, '\t')
		}
		if problem != "" {
			chunk = chunk[:start]
			continue
		}
		// The last tab is where the line ends.
		chunk[len(chunk)-1] = '\n'
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

// loadStatement writes the LOAD DATA of a reader into a table. Binary columns arrive as hex digits.
func loadStatement(d sqlload.Dialect, reader string, into sqlload.Table, names []string, binary func(i int) bool) string {
	fields, set := make([]string, len(names)), []string(nil)
	for i, name := range names {
		fields[i] = d.Quote(name)
		if binary(i) {
			fields[i] = fmt.Sprintf("@lume%d", i)
			set = append(set, fmt.Sprintf("%s = UNHEX(@lume%d)", d.Quote(name), i))
		}
	}
	text := fmt.Sprintf(`LOAD DATA LOCAL INFILE 'Reader::%s' INTO TABLE %s CHARACTER SET utf8mb4 FIELDS TERMINATED BY '\t' ESCAPED BY '\\' LINES TERMINATED BY '\n' (%s)`,
		reader, d.Table(into), strings.Join(fields, ", "))
	if len(set) > 0 {
		text += " SET " + strings.Join(set, ", ")
	}
	return text
}

// send runs a LOAD DATA that reads from r, and returns how many rows the server kept. The driver gives the server nothing but
// this reader, under a name that nobody can guess, and only once.
func (s *session) send(ctx context.Context, r io.Reader, statement func(reader string) string) (int64, error) {
	name := strings.ReplaceAll(anonymous(), "/", "-")
	driver.RegisterReaderHandler(name, func() io.Reader {
		given := r
		r = nil
		return given
	})
	defer driver.DeregisterReaderHandler(name)
	return s.exec(ctx, statement(name))
}

// warning is the first one of a statement, and how many there are.
func (s *session) warning(ctx context.Context) (first *driver.MySQLError, count int64, err error) {
	if err := s.QueryRowContext(ctx, "SELECT @@warning_count").Scan(&count); err != nil || count == 0 {
		return nil, count, coded(ctx, err)
	}
	var level string
	first = &driver.MySQLError{}
	err = s.QueryRowContext(ctx, "SHOW WARNINGS LIMIT 1").Scan(&level, &first.Number, &first.Message)
	if err == sql.ErrNoRows {
		return nil, count, nil
	}
	return first, count, coded(ctx, err)
}

// loadRows sends one range of a load into a table and reports what came of it. LOCAL makes the server skip or change a row
// that it does not like, with a warning: then the caller rolls back.
func (l *loader) loadRows(ctx context.Context, into sqlload.Table, withRow bool, r sqlload.Range) (sqlload.Attempt, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	rows, err := l.load.Rows.Open(ctx, r.From, r.To)
	if err != nil {
		return sqlload.Attempt{}, err
	}
	names := l.plan.ColumnNames()
	binary := func(i int) bool { return l.columns[i].Type.Name == connector.TypeBinary }
	if withRow {
		names = append([]string{connector.RowColumn}, names...)
		binary = func(i int) bool { return i > 0 && l.columns[i-1].Type.Name == connector.TypeBinary }
	}
	f := &feed{columns: l.columns, withRow: withRow, refusals: l.refusals, progress: l.progress}
	encoding, stop := context.WithCancel(ctx)
	p := sqlload.StartPipe(encoding, func(p *sqlload.Pipe, chunk []byte) ([]byte, error) { return f.encode(encoding, p, rows, chunk) })
	kept, loadErr := l.send(ctx, p, func(reader string) string {
		return loadStatement(l.plan.Dialect, reader, into, names, binary)
	})
	stop()
	feedErr := p.Wait()
	closeErr := rows.Close()

	a := sqlload.Attempt{Sent: f.sent, First: f.first, Last: f.last}
	var refused *driver.MySQLError
	switch {
	case feedErr != nil && !errors.Is(feedErr, context.Canceled):
		return a, feedErr
	case errors.As(loadErr, &refused):
		reason, is := refusedRow(refused)
		if !is {
			return a, coded(ctx, loadErr)
		}
		a.Refusal = &sqlload.Refusal{Reason: l.named(reason), Suspect: -1, Err: coded(ctx, loadErr)}
		return a, nil
	case loadErr != nil:
		return a, coded(ctx, loadErr)
	case closeErr != nil:
		return a, closeErr
	}
	first, count, err := l.warning(ctx)
	if err != nil {
		return a, err
	}
	if count == 0 && kept == f.sent {
		a.Written = kept
		return a, nil
	}
	a.Refusal = &sqlload.Refusal{Suspect: -1, Reason: connector.RefusedRow{Message: "the server did not take the row as it is"},
		Err: &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_CHANGED",
			Message: fmt.Sprintf("the server kept %d of %d rows, with %d warnings", kept, f.sent, count),
			Next:    "see the limits in the connector's TYPES.md", Meta: map[string]string{"table": into.String()}}}
	if first != nil {
		if reason, is := refusedRow(first); is {
			a.Refusal.Reason = l.named(reason)
		}
		a.Refusal.Suspect = f.lines.Row(l.suspect(ctx, first))
	}
	return a, nil
}

// named gives a reason the flow's name of the column, if it is one of the flow's.
func (l *loader) named(reason connector.RefusedRow) connector.RefusedRow {
	name := reason.Column
	reason.Column = ""
	for _, c := range l.columns {
		if name != "" && strings.EqualFold(c.Name, name) {
			reason.Column = c.Name
		}
	}
	return reason
}
