package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlquery"
)

// syntax is what of SQLite's SQL must be known to bind a placeholder.
var syntax = connector.QuerySyntax{Param: dialect.Param, Backticks: true, Brackets: true, NamedParams: true}

// Describe implements connector.RowSource.
func (c *Connector) Describe(ctx context.Context, query string, bound bool) ([]connector.Column, error) {
	s, err := c.Query(ctx, query, "", bound)
	if err != nil {
		return nil, err
	}
	return s.Columns(), s.Close()
}

// Query implements connector.RowSource. The rows are read in one transaction of a connection that cannot write.
func (c *Connector) Query(ctx context.Context, query, sourcePath string, bound bool) (connector.RowStream, error) {
	bind, err := syntax.Bind(query, bound)
	if err != nil {
		return nil, err
	}
	s, err := c.connect(ctx, readOnly)
	if err != nil {
		return nil, err
	}
	stream, err := s.start(ctx, bind, sourcePath)
	if err != nil {
		s.close()
		return nil, err
	}
	return stream, nil
}

func (s *session) start(ctx context.Context, query connector.BoundQuery, sourcePath string) (*stream, error) {
	if _, err := s.ExecContext(ctx, "BEGIN"); err != nil {
		return nil, coded(ctx, err)
	}
	if err := s.selectOnly(); err != nil {
		return nil, coded(ctx, err)
	}
	// The rows outlive ctx of this call.
	running, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	defer stop()
	rows, columns, err := s.open(running, query.Text, sqlquery.Args[any](query, sourcePath)) //nolint:rowserrcheck // The stream checks it after the last row.
	if err != nil {
		cancel()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, queryError(err)
	}
	st := &stream{
		Batches: sqlquery.NewBatches(columns, "CAST the column to TEXT in the query, and convert it in the flow"),
		session: s, rows: rows, ctx: running, cancel: cancel,
		values: make([]any, len(columns)), pointers: make([]any, len(columns)),
	}
	for i := range st.values {
		st.pointers[i] = &st.values[i]
	}
	return st, nil
}

// open runs a query and describes its columns.
func (s *session) open(ctx context.Context, query string, args []any) (*sql.Rows, []connector.Column, error) {
	rows, columns, native, err := s.query(ctx, query, args)
	if err != nil || !slices.ContainsFunc(native, isTime) {
		return rows, columns, err
	}
	// The driver rewrites text in columns of these types. An expression has no declared type, and the text stays.
	if err := errors.Join(rows.Err(), rows.Close()); err != nil { //nolint:sqlclosecheck // Rows that are returned are closed by the stream.
		return nil, nil, err
	}
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = dialect.Quote(c.Name)
		if isTime(native[i]) {
			list[i] = list[i] + " || '' AS " + dialect.Quote(c.Name)
		}
	}
	rows, _, _, err = s.query(ctx, fmt.Sprintf("SELECT %s FROM (%s\n)", strings.Join(list, ", "), query), args)
	return rows, columns, err
}

func isTime(native string) bool {
	native = strings.ToUpper(native)
	return native == "DATE" || native == "DATETIME" || native == "TIMESTAMP"
}

func (s *session) query(ctx context.Context, query string, args []any) (*sql.Rows, []connector.Column, []string, error) {
	rows, err := s.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, nil, nil, err
	}
	columns, native, err := describe(rows)
	if err != nil {
		return nil, nil, nil, errors.Join(err, rows.Close()) //nolint:sqlclosecheck // Rows that are returned are closed by the stream.
	}
	return rows, columns, native, nil
}

func describe(rows *sql.Rows) ([]connector.Column, []string, error) {
	types, err := rows.ColumnTypes()
	if err != nil {
		return nil, nil, err
	}
	if len(types) == 0 {
		return nil, nil, sqlquery.NoColumns()
	}
	columns, native, names := make([]connector.Column, len(types)), make([]string, len(types)), sqlquery.Names{}
	for i, t := range types {
		if err := names.Add(t.Name()); err != nil {
			return nil, nil, err
		}
		native[i] = t.DatabaseTypeName()
		columns[i] = connector.Column{Name: t.Name(), Type: connector.Type{Name: typeOf(native[i])}}
	}
	return columns, native, nil
}

// typeOf says which type a column of a declared type becomes. See TYPES.md.
func typeOf(declared string) connector.TypeName {
	if declared == "" {
		return connector.TypeString
	}
	switch affinityOf(declared, false) {
	case affinityInteger:
		return connector.TypeInt64
	case affinityReal:
		return connector.TypeFloat64
	case affinityBlob:
		return connector.TypeBinary
	}
	return connector.TypeString
}

func queryError(err error) error {
	var known *connector.Error
	if errors.As(err, &known) {
		return err
	}
	out := coded(context.Background(), err)
	var e *connector.Error
	if errors.As(out, &e) && (e.Reason == "STATEMENT_REFUSED" || e.Kind == connector.KindPermission) {
		e.Kind, e.Reason, e.Message = connector.KindInvalid, "QUERY_SYNTAX", "SQLite does not accept the query"
		e.Next = "run it in the sqlite3 shell with a value in place of the placeholder; it may only SELECT"
	}
	return out
}

// stream is a running query.
type stream struct {
	*sqlquery.Batches
	*session
	rows             *sql.Rows
	ctx              context.Context
	cancel           context.CancelFunc
	values, pointers []any
}

// Next implements connector.RowStream.
func (s *stream) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return s.Batches.Next(ctx, s.ctx, s.cancel, s.row)
}

func (s *stream) row() (size int, err error) {
	if !s.rows.Next() {
		if err := s.rows.Err(); err != nil {
			return 0, queryError(err)
		}
		return 0, io.EOF
	}
	if err := s.rows.Scan(s.pointers...); err != nil {
		return 0, coded(s.ctx, err)
	}
	for i, v := range s.values {
		n, ok := appendValue(s.Field(i), v)
		if !ok {
			return 0, s.unreadable(i, v)
		}
		size += n
	}
	return size, nil
}

// appendValue appends a value as SQLite delivers it, and returns its size. It is false if the column's type cannot hold it.
func appendValue(b array.Builder, v any) (int, bool) {
	if v == nil {
		b.AppendNull()
		return 8, true
	}
	switch b := b.(type) {
	case *array.Int64Builder:
		n, ok := v.(int64)
		if ok {
			b.Append(n)
		}
		return 8, ok
	case *array.Float64Builder:
		switch n := v.(type) {
		case float64:
			b.Append(n)
		case int64:
			// A whole number beyond 2^53 may not be one that a float64 can be.
			if int64(float64(n)) != n {
				return 8, false
			}
			b.Append(float64(n))
		default:
			return 8, false
		}
		return 8, true
	case *array.BinaryBuilder:
		switch n := v.(type) {
		case []byte:
			b.Append(n)
			return len(n) + 8, true
		case string:
			b.AppendString(n)
			return len(n) + 8, true
		}
		return 8, false
	case *array.StringBuilder:
		switch n := v.(type) {
		case string:
			b.Append(n)
			return len(n) + 8, true
		case int64:
			b.Append(strconv.FormatInt(n, 10))
		case float64:
			b.Append(strconv.FormatFloat(n, 'g', -1, 64))
		default:
			return 8, false
		}
		return 24, true
	}
	return 0, false
}

// unreadable is a value of another type than its column declares, which SQLite allows.
func (s *stream) unreadable(i int, v any) error {
	stored := "text or a number"
	if _, ok := v.([]byte); ok {
		stored = "bytes"
	}
	return s.Unreadable(i, fmt.Sprintf("holds %s, which is no %s", stored, s.Columns()[i].Type))
}

// Close implements connector.RowStream.
func (s *stream) Close() error {
	s.cancel()
	_ = s.rows.Close()
	s.Release()
	s.close()
	return nil
}
