package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// What stands in the lines of LOAD DATA.
var (
	fieldEnd  = []byte{'\t'}
	lineEnd   = []byte{'\n'}
	fieldNull = []byte{'\\', 'N'}
)

// column is a column of a load: the flow's, the table's, and how one becomes the other.
type column struct {
	connector.Column
	native native
	bind   sqlload.Bind
	// noNull is set if a NULL can be refused without asking the server.
	noNull bool
}

// feed encodes the rows of a range as lines of LOAD DATA.
func (l *loader) feed(withRow bool) *sqlload.Feed {
	f := &sqlload.Feed{Format: sqlload.Format{Null: fieldNull, Between: fieldEnd, End: lineEnd}, Refusals: l.refusals, Progress: l.progress}
	if withRow {
		f.Format.Begin = func(dst []byte, row int64) []byte { return append(strconv.AppendInt(dst, row, 10), fieldEnd...) }
	}
	for _, c := range l.columns {
		f.Columns = append(f.Columns, sqlload.FeedColumn{Name: c.Name, Bind: c.bind, NoNull: c.noNull})
	}
	return f
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
	names := l.plan.ColumnNames()
	binary := func(i int) bool { return l.columns[i].Type.Name == connector.TypeBinary }
	if withRow {
		names = append([]string{connector.RowColumn}, names...)
		binary = func(i int) bool { return i > 0 && l.columns[i-1].Type.Name == connector.TypeBinary }
	}
	f := l.feed(withRow)
	kept := int64(0)
	a, loadErr, err := f.Send(ctx, l.load.Rows, r, func(data io.Reader) (err error) {
		kept, err = l.send(ctx, data, func(reader string) string {
			return loadStatement(l.plan.Dialect, reader, into, names, binary)
		})
		return err
	})
	if err != nil {
		return a, err
	}
	var refused *driver.MySQLError
	if errors.As(loadErr, &refused) {
		if reason, is := refusedRow(refused); is {
			a.Refusal = &sqlload.Refusal{Reason: l.named(reason), Suspect: -1, Err: coded(ctx, loadErr)}
			return a, nil
		}
	}
	if loadErr != nil {
		return a, coded(ctx, loadErr)
	}
	first, count, err := l.warning(ctx)
	if err != nil {
		return a, err
	}
	if count == 0 && kept == a.Sent {
		a.Written = kept
		return a, nil
	}
	a.Refusal = &sqlload.Refusal{Suspect: -1, Reason: connector.RefusedRow{Message: "the server did not take the row as it is"},
		Err: &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_CHANGED",
			Message: fmt.Sprintf("the server kept %d of %d rows, with %d warnings", kept, a.Sent, count),
			Next:    "see the limits in the connector's TYPES.md", Meta: map[string]string{"table": into.String()}}}
	if first != nil {
		if reason, is := refusedRow(first); is {
			a.Refusal.Reason = l.named(reason)
		}
		a.Refusal.Suspect = f.Row(l.suspect(ctx, first))
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
