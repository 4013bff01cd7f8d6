package databricks

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"

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

// prepared is a query that the warehouse has parsed.
type prepared struct {
	text    string
	args    []string
	columns []connector.Column
}

// prepare lets the warehouse describe a query, which also refuses everything that is not a SELECT.
func (s *session) prepare(ctx context.Context, query, sourcePath string, bound bool) (*prepared, error) {
	bind, err := syntax.Bind(query, bound)
	if err != nil {
		return nil, err
	}
	// No parameter can stand in a description; each of the query's is a text.
	shape, err := shapeSyntax.Bind(query, bound)
	if err != nil {
		return nil, err
	}
	p := &prepared{text: bind.Text, args: make([]string, bind.Params)}
	for i := range p.args {
		p.args[i] = sourcePath
	}
	list, err := s.values(ctx, "DESCRIBE QUERY ("+shape.Text+"\n)")
	if err != nil {
		return nil, queryError(err)
	}
	reads, plain := make([]string, len(list)), true
	seen := make(map[string]bool, len(list))
	for i, row := range list {
		name, native := text(row, 0), text(row, 1)
		folded := strings.ToLower(name)
		if name == "" || seen[folded] {
			return nil, &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_COLUMN_NAMES", Column: name,
				Message: fmt.Sprintf("the query has two columns named %q, or one without a name", name), Next: "name the columns with AS",
				Meta: map[string]string{"column": name}}
		}
		seen[folded] = true
		t, read := typeOf(native)
		p.columns = append(p.columns, connector.Column{Name: name, Type: t})
		if reads[i] = quote(name); read != "" {
			reads[i], plain = read+"("+quote(name)+") AS "+quote(name), false
		}
	}
	if len(p.columns) == 0 {
		return nil, &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_WITHOUT_ROWS", Message: "the query returns no columns", Next: "write a SELECT"}
	}
	if !plain {
		p.text = "SELECT " + strings.Join(reads, ", ") + " FROM (" + p.text + "\n)"
	}
	return p, nil
}

// text returns a value of a small result as text.
func text(row []driver.Value, i int) string {
	if i < len(row) {
		if s, ok := row[i].(string); ok {
			return s
		}
	}
	return ""
}

// queryError codes what is wrong with a user's query.
func queryError(err error) error {
	var e *connector.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Reason == "STATEMENT_SYNTAX" || e.Reason == "STATEMENT_REFUSED" {
		e.Kind, e.Reason, e.Message = connector.KindInvalid, "QUERY_SYNTAX", "Databricks does not accept the query"
		e.Next = "run it in the SQL editor with a value in place of the placeholder; it must be one SELECT"
	}
	return err
}

// Describe implements connector.RowSource.
func (c *Connector) Describe(ctx context.Context, query string, bound bool) ([]connector.Column, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	defer s.close()
	p, err := s.prepare(ctx, query, "", bound)
	if err != nil {
		return nil, err
	}
	return p.columns, nil
}

// Query implements connector.RowSource. A statement of Databricks reads one version of each table. The warehouse keeps the
// result and sends it by pages of Arrow batches, which the driver decodes; its own Arrow iterator takes a page that cannot be
// fetched for the end of the result (v1.13.0), and is not used.
func (c *Connector) Query(ctx context.Context, query, sourcePath string, bound bool) (connector.RowStream, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return nil, err
	}
	p, err := s.prepare(ctx, query, sourcePath, bound)
	if err != nil {
		s.close()
		return nil, err
	}
	rows, err := s.query(ctx, p.text, p.args...)
	if err != nil {
		s.close()
		return nil, queryError(err)
	}
	running, cancel := context.WithCancel(ctx)
	s.wire.until(running)
	fields := make([]arrow.Field, len(p.columns))
	for i, col := range p.columns {
		fields[i] = arrow.Field{Name: col.Name, Type: col.Type.Arrow(), Nullable: true}
	}
	return &stream{
		session: s, rows: rows, ctx: running, cancel: cancel, columns: p.columns, values: make([]driver.Value, len(p.columns)),
		build: array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil)),
	}, nil
}

// stream is the result of a query.
type stream struct {
	session *session
	rows    driver.Rows
	ctx     context.Context // The query's own, ended by Close.
	cancel  context.CancelFunc
	columns []connector.Column
	values  []driver.Value
	build   *array.RecordBuilder
	read    int64
	ended   bool
	closed  bool
}

// Columns implements connector.RowStream.
func (s *stream) Columns() []connector.Column { return s.columns }

// Next implements connector.RowStream.
func (s *stream) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if s.ended {
		return nil, io.EOF
	}
	stop := context.AfterFunc(ctx, s.cancel)
	defer stop()
	rows, size := 0, 0
	for rows < batchRows && size < batchBytes {
		if err := errors.Join(ctx.Err(), s.ctx.Err()); err != nil {
			return nil, err
		}
		err := s.rows.Next(s.values)
		if errors.Is(err, io.EOF) {
			s.ended = true
			break
		}
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			return nil, queryError(s.session.coded(s.ctx, err))
		}
		s.read++
		rows++
		for i, v := range s.values {
			n, ok := appendValue(s.build.Field(i), v)
			if !ok {
				return nil, s.unreadable(i)
			}
			size += n
		}
	}
	if rows == 0 {
		return nil, io.EOF
	}
	return s.build.NewRecordBatch(), nil
}

// unreadable is a value that the column's type cannot hold.
func (s *stream) unreadable(i int) error {
	c := s.columns[i]
	return &connector.Error{Kind: connector.KindInvalid, Reason: "SOURCE_VALUE", Column: c.Name,
		Message: fmt.Sprintf("row %d of the query: column %s holds a value that is no %s", s.read, c.Name, c.Type),
		Next:    "cast the column to STRING in the query, and convert it in the flow",
		Meta:    map[string]string{"column": c.Name, "row": fmt.Sprint(s.read)}}
}

// Close implements connector.RowStream. What was not read is not waited for.
func (s *stream) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.cancel()
	_ = s.rows.Close()
	s.build.Release()
	s.session.close()
	return nil
}
