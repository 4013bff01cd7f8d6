package sqlserver

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	mssql "github.com/microsoft/go-mssqldb"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlquery"
)

// sourceApplication names the sessions of queries.
const sourceApplication = "lume/source"

// syntax is what of T-SQL must be known to bind a placeholder.
var syntax = connector.QuerySyntax{Param: dialect.Param, Brackets: true, NestedComments: true, NamedParams: true, Money: true, Judge: oneSelect}

// describeQuery asks for the columns of a statement, which is analysed and not run.
const describeQuery = `SELECT column_ordinal, is_hidden, name, system_type_name, error_number FROM sys.dm_exec_describe_first_result_set(@p1, @p2, 0) ORDER BY column_ordinal`

// describe says which columns a query delivers.
func describe(ctx context.Context, s *session, query connector.BoundQuery) ([]connector.Column, error) {
	params := make([]string, query.Params)
	for i := range params {
		params[i] = dialect.Param(i+1) + " nvarchar(max)"
	}
	var columns []connector.Column
	names := sqlquery.Names{}
	err := s.each(ctx, describeQuery, []any{query.Text, sql.NullString{String: strings.Join(params, ", "), Valid: len(params) > 0}}, func(scan func(...any) error) error {
		var ordinal, number sql.NullInt64
		var hidden sql.NullBool
		var name, native sql.NullString
		if err := scan(&ordinal, &hidden, &name, &native, &number); err != nil {
			return err
		}
		switch {
		case number.Int64 != 0:
			return queryError(ctx, mssql.Error{Number: int32(number.Int64), Class: 16})
		case hidden.Bool || ordinal.Int64 == 0:
			return nil
		}
		if err := names.Add(name.String); err != nil {
			return err
		}
		t, ok := typeOf(native.String)
		if !ok {
			return &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_COLUMN_TYPE", Column: name.String,
				Message: fmt.Sprintf("column %s of the query is %s, which has no exact form in a flow", name.String, orCLR(native.String)),
				Next:    "CAST the column in the query to the type that it should have",
				Meta:    map[string]string{"column": name.String, "type": orCLR(native.String)}}
		}
		columns = append(columns, connector.Column{Name: name.String, Type: t})
		return nil
	})
	if err != nil {
		return nil, coded(ctx, err)
	}
	if len(columns) == 0 {
		return nil, sqlquery.NoColumns()
	}
	return columns, nil
}

func orCLR(native string) string {
	if native == "" {
		return "a CLR type"
	}
	return native
}

// queryError codes what is wrong with a user's query.
func queryError(ctx context.Context, err error) error {
	out := coded(ctx, err)
	var e *connector.Error
	if !errors.As(out, &e) || e.Kind == connector.KindUnavailable || e.Kind == connector.KindPermission || e.Kind == connector.KindNotFound {
		return out
	}
	e.Kind = connector.KindInvalid
	switch e.Reason {
	case "QUERY_SNAPSHOT":
	case "VALUE_REFUSED":
		e.Reason, e.Message = "QUERY_FAILED", "a value in the query, or the batch that is bound to it, is not of the type that it is compared with or cast to"
		e.Next = "CAST the column or the placeholder, for example CAST(" + connector.Placeholder + " AS int)"
	default:
		e.Reason, e.Message = "QUERY_SYNTAX", "the server does not accept the query, or cannot tell its columns beforehand"
		e.Next = "run the query in a client with a value in place of the placeholder; temporary tables and dynamic SQL have no columns that are known beforehand"
	}
	return e
}

// isolation is the level at which a query sees one state of the database: a snapshot if the database allows it; the
// versions at the start of the one statement if readers read versions; locks against every change otherwise.
func isolation(ctx context.Context, s *session) (sql.IsolationLevel, error) {
	var state int
	var versions bool
	err := s.ask(ctx, "SELECT snapshot_isolation_state, is_read_committed_snapshot_on FROM sys.databases WHERE database_id = DB_ID()", nil, &state, &versions)
	const on = 1
	switch {
	case err != nil:
		return 0, coded(ctx, err)
	case state == on:
		return sql.LevelSnapshot, nil
	case versions:
		return sql.LevelReadCommitted, nil
	}
	return sql.LevelSerializable, nil
}

// Describe implements connector.RowSource.
func (c *Connector) Describe(ctx context.Context, query string, bound bool) ([]connector.Column, error) {
	bind, err := syntax.Bind(query, bound)
	if err != nil {
		return nil, err
	}
	s, err := c.connect(ctx, sourceApplication)
	if err != nil {
		return nil, err
	}
	defer s.close()
	return describe(ctx, s, bind)
}

// Query implements connector.RowSource. The server sends as fast as batches are taken, so neither side holds the result.
// The transaction is always rolled back, so that nothing that a query might change stays.
func (c *Connector) Query(ctx context.Context, query, sourcePath string, bound bool) (connector.RowStream, error) {
	bind, err := syntax.Bind(query, bound)
	if err != nil {
		return nil, err
	}
	s, err := c.connect(ctx, sourceApplication)
	if err != nil {
		return nil, err
	}
	stream, err := startStream(ctx, s, bind, sourcePath)
	if err != nil {
		s.close()
		return nil, err
	}
	return stream, nil
}

func startStream(ctx context.Context, s *session, query connector.BoundQuery, sourcePath string) (*stream, error) {
	columns, err := describe(ctx, s, query)
	if err != nil {
		return nil, err
	}
	level, err := isolation(ctx, s)
	if err != nil {
		return nil, err
	}
	tx, err := s.begin(ctx, level)
	if err != nil {
		return nil, err
	}
	// The rows outlive ctx of this call.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	rows, err := s.QueryContext(running, query.Text, sqlquery.Args[any](query, sourcePath)...) //nolint:rowserrcheck // The stream checks after the last row.
	if err == nil && ctx.Err() != nil {
		_ = rows.Close() //nolint:sqlclosecheck // Rows that are returned are closed by the stream.
		err = ctx.Err()
	}
	if err != nil {
		cancel()
		s.rollback(tx)
		return nil, queryError(ctx, err)
	}
	st := &stream{
		Batches: sqlquery.NewBatches(columns, "CAST the column in the query, and convert it in the flow"),
		session: s, tx: tx, rows: rows, ctx: running, cancel: cancel,
		values: make([]any, len(columns)), pointers: make([]any, len(columns)),
	}
	for i := range st.values {
		st.pointers[i] = &st.values[i]
	}
	return st, nil
}

// stream is a running query.
type stream struct {
	*sqlquery.Batches
	session          *session
	tx               *transaction
	rows             *sql.Rows
	ctx              context.Context
	cancel           context.CancelFunc
	values, pointers []any
	closed           bool
}

// Next implements connector.RowStream.
func (s *stream) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if s.closed {
		return nil, io.EOF
	}
	return s.Batches.Next(ctx, s.ctx, s.cancel, s.row)
}

func (s *stream) row() (size int, err error) {
	if !s.rows.Next() {
		if err := s.rows.Err(); err != nil {
			return 0, queryError(s.ctx, err)
		}
		if s.rows.NextResultSet() {
			return 0, manySelects()
		}
		return 0, io.EOF
	}
	if err := s.rows.Scan(s.pointers...); err != nil {
		return 0, coded(s.ctx, err)
	}
	for i, v := range s.values {
		n, problem := appendValue(s.Field(i), s.Columns()[i].Type, v)
		if problem != "" {
			return 0, s.Unreadable(i, problem)
		}
		size += n
	}
	return size, nil
}

// Close implements connector.RowStream. What was not read is not waited for.
func (s *stream) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.cancel()
	_ = s.rows.Close()
	s.session.rollback(s.tx)
	s.Release()
	s.session.close()
	return nil
}
