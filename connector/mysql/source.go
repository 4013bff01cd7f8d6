package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlquery"
)

// syntax is what of MySQL's SQL must be known to bind a placeholder, in the sql_mode of [sessionSettings].
var syntax = connector.QuerySyntax{
	Param: func(int) string { return "?" }, Backslashes: `'"`, Backticks: true, LineComments: []string{"#"}, BlankAfterDashes: true,
	// A variable of the session is refused with the parameters: nothing has set it.
	NamedParams: true,
}

// snapshot starts the transaction of a query: it sees one state of the database and changes nothing.
func (s *session) snapshot(ctx context.Context) error {
	for _, statement := range []string{"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ", "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY"} {
		if _, err := s.exec(ctx, statement); err != nil {
			return coded(ctx, err)
		}
	}
	return nil
}

// A query is described as the derived table of one that wants no row: so nothing but a query passes, and it is not run. The
// derived table must have no row to give either, since servers fill in one of a single row while they plan. MariaDB does not
// take WITH there; then the outer limit has to do.
const (
	describeQuery = "SELECT * FROM ((\n%s\n) LIMIT 0) AS lume LIMIT 0"
	describeWith  = "SELECT * FROM (\n%s\n) AS lume LIMIT 0"
)

// describe says what the columns of a query become.
func (s *session) describe(ctx context.Context, query connector.BoundQuery) ([]connector.Column, []decoder, error) {
	statement, err := s.PrepareContext(ctx, fmt.Sprintf(describeQuery, query.Text))
	if errorNumber(err) == errSyntax {
		statement, err = s.PrepareContext(ctx, fmt.Sprintf(describeWith, query.Text))
	}
	if err != nil {
		return nil, nil, queryError(ctx, err)
	}
	defer statement.Close()
	rows, err := statement.QueryContext(ctx, sqlquery.Args[any](query, "")...)
	if err != nil {
		return nil, nil, queryError(ctx, err)
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, nil, coded(ctx, err)
	}
	columns, decoders := make([]connector.Column, len(types)), make([]decoder, len(types))
	for i, t := range types {
		if t.Name() == "" || t.Name() == "?" {
			return nil, nil, sqlquery.NameError(t.Name(), nil)
		}
		precision, scale, _ := t.DecimalSize()
		columns[i] = connector.Column{Name: t.Name(), Type: typeOf(t.DatabaseTypeName(), int(precision), int(scale))}
		decoders[i] = decoderOf(t.DatabaseTypeName(), columns[i].Type)
	}
	return columns, decoders, queryError(ctx, rows.Err())
}

// queryError codes what is wrong with a user's query.
func queryError(ctx context.Context, err error) error {
	out := coded(ctx, err)
	var e *connector.Error
	if !errors.As(out, &e) {
		return out
	}
	switch errorNumber(err) {
	case errDuplicateColumn:
		return sqlquery.NameError(e.Column, err)
	case errSyntax, 1065, 1149, 1221, 1327, 1744:
		e.Kind, e.Reason, e.Message = connector.KindInvalid, "QUERY_SYNTAX", "the query is not one SELECT that the server understands"
		e.Next = "run the query in a client, inside of SELECT * FROM ( … ) AS q, with a value in place of the placeholder"
	case 1290, 1792:
		e.Kind, e.Reason, e.Message, e.Next = connector.KindInvalid, "QUERY_WRITES", "the query tries to write", "a source only reads: write a plain SELECT"
	case 1242, 1264, 1292, 1365, 1366, 1411, 1690, 3140, 3141:
		e.Kind, e.Reason, e.Message = connector.KindInvalid, "QUERY_FAILED", "a value in the query is not one that an expression of it takes"
		e.Next = "cast or filter the column in the query"
	}
	return e
}

// Describe implements connector.RowSource.
func (c *Connector) Describe(ctx context.Context, query string, bound bool) ([]connector.Column, error) {
	bind, err := syntax.Bind(query, bound)
	if err != nil {
		return nil, err
	}
	s, err := c.connect(ctx, anonymous())
	if err != nil {
		return nil, err
	}
	defer s.close(ctx)
	if err := s.snapshot(ctx); err != nil {
		return nil, err
	}
	columns, _, err := s.describe(ctx, bind)
	return columns, err
}

// Query implements connector.RowSource. The server sends as fast as batches are taken, so neither side holds the result.
func (c *Connector) Query(ctx context.Context, query, sourcePath string, bound bool) (connector.RowStream, error) {
	bind, err := syntax.Bind(query, bound)
	if err != nil {
		return nil, err
	}
	s, err := c.connect(ctx, anonymous())
	if err != nil {
		return nil, err
	}
	stream, err := s.start(ctx, bind, sourcePath)
	if err != nil {
		s.close(ctx)
		return nil, err
	}
	return stream, nil
}

func (s *session) start(ctx context.Context, query connector.BoundQuery, sourcePath string) (*stream, error) {
	if err := s.snapshot(ctx); err != nil {
		return nil, err
	}
	columns, decoders, err := s.describe(ctx, query)
	if err != nil {
		return nil, err
	}
	// A prepared statement sends values in binary: text would round the numbers of a FLOAT.
	statement, err := s.PrepareContext(ctx, query.Text)
	if err != nil {
		return nil, queryError(ctx, err)
	}
	running, cancel := context.WithCancel(ctx)
	rows, err := statement.QueryContext(running, sqlquery.Args[any](query, sourcePath)...) //nolint:rowserrcheck // The stream checks it after the last row.
	if err != nil {
		cancel()
		return nil, queryError(ctx, err)
	}
	out := &stream{session: s, Batches: sqlquery.NewBatches(columns, "cast the column to CHAR in the query, and convert it in the flow"),
		decoders: decoders, ctx: running, cancel: cancel, statement: statement, rows: rows}
	out.cut = sync.OnceFunc(func() {
		cancel()
		// Rows that nobody wants are read to their end by database/sql, unless the server stops.
		s.kill(ctx)
	})
	if err := out.bind(); err != nil {
		out.cut()
		_ = rows.Close() //nolint:sqlclosecheck // Rows that are returned are closed by the stream.
		return nil, err
	}
	out.release = context.AfterFunc(ctx, out.cut)
	return out, nil
}

// stream is a running query.
type stream struct {
	*sqlquery.Batches
	session  *session
	decoders []decoder
	ctx      context.Context
	cancel   context.CancelFunc
	// cut ends the query in its middle. Whoever calls it waits until it has been done. release gives back the watch over the
	// context of Query.
	cut       func()
	release   func() bool
	statement *sql.Stmt
	rows      *sql.Rows
	values    []sql.RawBytes
	dest      []any
	drained   bool
	closed    bool
}

// bind prepares to take rows.
func (s *stream) bind() error {
	types, err := s.rows.ColumnTypes()
	if err != nil {
		return coded(s.ctx, err)
	}
	columns := s.Columns()
	if len(types) != len(columns) {
		return &connector.Error{Kind: connector.KindConflict, Reason: "QUERY_CHANGED", Message: "the query returns other columns than a moment before",
			Next: "do not change its tables while it is read"}
	}
	s.values, s.dest = make([]sql.RawBytes, len(columns)), make([]any, len(columns))
	for i, col := range columns {
		s.dest[i] = &s.values[i]
		if digits, _, ok := types[i].DecimalSize(); ok && digits > 6 && isTemporal(types[i].DatabaseTypeName()) {
			return &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_PRECISION", Column: col.Name,
				Message: fmt.Sprintf("column %s is a time of unknown precision, whose fractions would be lost", col.Name),
				Next:    "CAST the column to DATETIME(6) or TIME(6) in the query", Meta: map[string]string{"column": col.Name}}
		}
	}
	return nil
}

// Next implements connector.RowStream.
func (s *stream) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return s.Batches.Next(ctx, s.ctx, s.cut, s.row)
}

func (s *stream) row() (size int, err error) {
	if !s.rows.Next() {
		s.drained = true
		if err := s.rows.Err(); err != nil {
			return 0, queryError(s.ctx, err)
		}
		return 0, io.EOF
	}
	if err := s.rows.Scan(s.dest...); err != nil {
		return 0, coded(s.ctx, err)
	}
	for i, value := range s.values {
		size += len(value) + 8
		if value == nil {
			s.Field(i).AppendNull()
			continue
		}
		if problem := s.decoders[i](s.Field(i), value); problem != "" {
			return 0, s.Unreadable(i, problem)
		}
	}
	return size, nil
}

// Close implements connector.RowStream. What was not read is not waited for: the connection is cut, and the server told.
func (s *stream) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	if !s.release() || !s.drained {
		s.cut()
	}
	_ = s.rows.Close()
	_ = s.statement.Close()
	s.cancel()
	s.Release()
	s.session.close(context.Background())
	return nil
}
