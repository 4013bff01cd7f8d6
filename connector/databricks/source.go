package databricks

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlquery"
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
	p := &prepared{text: bind.Text, args: sqlquery.Args(bind, sourcePath)}
	list, err := s.values(ctx, "DESCRIBE QUERY ("+shape.Text+"\n)")
	if err != nil {
		return nil, queryError(err)
	}
	reads, plain := make([]string, len(list)), true
	names := sqlquery.Names{}
	for i, row := range list {
		name, native := text(row, 0), text(row, 1)
		if err := names.Add(strings.ToLower(name)); err != nil {
			return nil, err
		}
		t, read := typeOf(native)
		p.columns = append(p.columns, connector.Column{Name: name, Type: t})
		if reads[i] = quote(name); read != "" {
			reads[i], plain = read+"("+quote(name)+") AS "+quote(name), false
		}
	}
	if len(p.columns) == 0 {
		return nil, sqlquery.NoColumns()
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
	return &stream{
		Batches: sqlquery.NewBatches(p.columns, "cast the column to STRING in the query, and convert it in the flow"),
		session: s, rows: rows, ctx: running, cancel: cancel, values: make([]driver.Value, len(p.columns)),
	}, nil
}

// stream is the result of a query.
type stream struct {
	*sqlquery.Batches
	session *session
	rows    driver.Rows
	ctx     context.Context // The query's own, ended by Close.
	cancel  context.CancelFunc
	values  []driver.Value
	closed  bool
}

// Next implements connector.RowStream.
func (s *stream) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return s.Batches.Next(ctx, s.ctx, s.cancel, s.row)
}

func (s *stream) row() (size int, err error) {
	err = s.rows.Next(s.values)
	if err == io.EOF {
		return 0, io.EOF
	}
	if err != nil {
		return 0, queryError(s.session.coded(s.ctx, err))
	}
	for i, v := range s.values {
		n, ok := appendValue(s.Field(i), v)
		if !ok {
			return 0, s.Unreadable(i, "holds a value that is no "+s.Columns()[i].Type.String())
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
	s.Release()
	s.session.close()
	return nil
}
