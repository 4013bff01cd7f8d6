package snowflake

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/ipc"
	"github.com/apache/arrow-go/v18/arrow/memory"
	sf "github.com/snowflakedb/gosnowflake"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlquery"
)

const (
	sourceTag = "lume/source"
	// fetches is how often a batch is fetched before its failure is that of the query.
	fetches = 3
)

// syntax is what of Snowflake's SQL must be known to bind a placeholder. A colon before a name is a path into a VARIANT
// as well (v:name, v[0]:name), so that other parameters than the placeholder are left for the server to refuse.
var syntax = connector.QuerySyntax{Param: dialect.Param, Backslashes: "'", DollarQuotes: true, LineComments: []string{"//"}}

// prepare has the server compile a query and returns its text. Snowflake has no read-only sessions: what compiles as the
// FROM of a SELECT cannot write.
func (s *session) prepare(ctx context.Context, query, sourcePath string, bound bool) (string, []string, error) {
	bind, err := syntax.Bind(query, bound)
	if err != nil {
		return "", nil, err
	}
	args := sqlquery.Args(bind, sourcePath)
	if _, err := s.arrow(sf.WithDescribeOnly(ctx), "SELECT * FROM (\n"+bind.Text+"\n) AS q", args); err != nil {
		return "", nil, queryError(ctx, err)
	}
	return bind.Text, args, nil
}

// queryError codes what is wrong with a user's query.
func queryError(ctx context.Context, err error) error {
	out := coded(ctx, err)
	var e *connector.Error
	if !errors.As(out, &e) {
		return out
	}
	switch e.Reason {
	case "STATEMENT_REFUSED":
		e.Reason, e.Message, e.Next = "QUERY_SYNTAX", "the query is not a valid SELECT", "run the query in a worksheet with a value in place of the placeholder; a source only reads"
	case "VALUE_REFUSED":
		e.Reason, e.Message = "QUERY_FAILED", "a value in the query, or the batch that is bound to it, is not of the type that it is compared with"
		e.Next = "cast the column or the placeholder, for example " + connector.Placeholder + "::VARCHAR"
	}
	return e
}

// columnsOf says what the columns of a result become.
func columnsOf(result sf.ArrowStreamLoader) ([]column, error) {
	var columns []column
	names := sqlquery.Names{}
	for _, r := range result.RowTypes() {
		if err := names.Add(r.Name); err != nil {
			return nil, err
		}
		logical := strings.ToLower(r.Type)
		t, ok := typeOf(logical, int(r.Precision), int(r.Scale))
		if !ok {
			return nil, &connector.Error{Kind: connector.KindInvalid, Reason: "SOURCE_TYPE", Column: r.Name,
				Message: fmt.Sprintf("column %s has a type that cannot be read", r.Name), Next: "cast the column to VARCHAR in the query",
				Meta: map[string]string{"column": r.Name, "native_type": r.Type}}
		}
		columns = append(columns, column{Column: connector.Column{Name: r.Name, Type: t}, native: logical, scale: int(r.Scale)})
	}
	if len(columns) == 0 {
		return nil, sqlquery.NoColumns()
	}
	return columns, nil
}

// typeOf returns the type of a column of a result, by its logical type there in lower case.
func typeOf(logical string, precision, scale int) (connector.Type, bool) {
	named := func(name connector.TypeName) (connector.Type, bool) { return connector.Type{Name: name}, true }
	switch logical {
	case "fixed":
		switch {
		case scale > 0:
			return connector.Type{Name: connector.TypeDecimal, Precision: precision, Scale: scale}, true
		case precision < 5:
			return named(connector.TypeInt16)
		case precision < 10:
			return named(connector.TypeInt32)
		case precision < 20:
			return named(connector.TypeInt64)
		}
		return connector.Type{Name: connector.TypeDecimal, Precision: precision}, true
	case "real":
		return named(connector.TypeFloat64)
	case "text", "geography", "geometry":
		return named(connector.TypeString)
	case "boolean":
		return named(connector.TypeBool)
	case "date":
		return named(connector.TypeDate)
	case "time":
		return named(connector.TypeTime)
	case "timestamp_ntz":
		return named(connector.TypeTimestamp)
	case "timestamp_ltz", "timestamp_tz":
		return named(connector.TypeTimestampTZ)
	case "binary":
		return named(connector.TypeBinary)
	case "variant", "object", "array", "map":
		return named(connector.TypeJSON)
	}
	return connector.Type{}, false
}

// Describe implements connector.RowSource. The server compiles the query and does not run it.
func (c *Connector) Describe(ctx context.Context, query string, bound bool) ([]connector.Column, error) {
	s, err := c.connect(ctx, sourceTag)
	if err != nil {
		return nil, err
	}
	defer s.close()
	text, args, err := s.prepare(ctx, query, "", bound)
	if err != nil {
		return nil, err
	}
	result, err := s.arrow(sf.WithDescribeOnly(ctx), text, args)
	if err != nil {
		return nil, queryError(ctx, err)
	}
	columns, err := columnsOf(result)
	return flowColumns(columns), err
}

func flowColumns(columns []column) []connector.Column {
	var list []connector.Column
	for _, c := range columns {
		list = append(list, c.Column)
	}
	return list
}

// Query implements connector.RowSource. One statement sees one state of the database. The server keeps the result, whose
// batches are fetched one after another as they are asked for.
func (c *Connector) Query(ctx context.Context, query, sourcePath string, bound bool) (connector.RowStream, error) {
	s, err := c.connect(ctx, sourceTag)
	if err != nil {
		return nil, err
	}
	st, err := s.start(ctx, query, sourcePath, bound)
	if err != nil {
		s.close()
		return nil, err
	}
	return st, nil
}

func (s *session) start(ctx context.Context, query, sourcePath string, bound bool) (*stream, error) {
	text, args, err := s.prepare(ctx, query, sourcePath, bound)
	if err != nil {
		return nil, err
	}
	result, err := s.arrow(ctx, text, args)
	if err != nil {
		return nil, queryError(ctx, err)
	}
	columns, err := columnsOf(result)
	if err != nil {
		return nil, err
	}
	if len(result.JSONData()) > 0 {
		return nil, &connector.Error{Kind: connector.KindInvalid, Reason: "QUERY_WITHOUT_ROWS", Message: "the server gives the result of this statement in no exact form",
			Next: "write a plain SELECT"}
	}
	batches, err := result.GetBatches()
	if err != nil {
		return nil, coded(ctx, err)
	}
	fields := make([]arrow.Field, len(columns))
	for i, col := range columns {
		fields[i] = arrow.Field{Name: col.Name, Type: col.Type.Arrow(), Nullable: true}
	}
	return &stream{session: s, ctx: ctx, result: result, columns: columns, schema: arrow.NewSchema(fields, nil), batches: len(batches)}, nil
}

// stream is the result of a query.
type stream struct {
	session *session
	ctx     context.Context
	result  sf.ArrowStreamLoader
	columns []column
	schema  *arrow.Schema
	// batches is how many there are, next the one to fetch, fetched what is left of the last one.
	batches, next int
	fetched       []arrow.RecordBatch
	rows          int64
	failed        error
	closed        bool
}

// Columns implements connector.RowStream.
func (s *stream) Columns() []connector.Column { return flowColumns(s.columns) }

// Next implements connector.RowStream.
func (s *stream) Next(ctx context.Context) (arrow.RecordBatch, error) {
	if s.failed != nil {
		return nil, s.failed
	}
	if err := errors.Join(ctx.Err(), s.ctx.Err()); err != nil {
		return nil, err
	}
	for len(s.fetched) == 0 {
		if s.next == s.batches {
			return nil, s.end()
		}
		if err := s.fetch(ctx); err != nil {
			s.failed = err
			return nil, err
		}
	}
	raw := s.fetched[0]
	s.fetched = s.fetched[1:]
	defer raw.Release()
	batch, err := s.decode(raw)
	if err != nil {
		s.failed = err
		return nil, err
	}
	s.rows += batch.NumRows()
	return batch, nil
}

// end says whether all rows were delivered that the server has announced.
func (s *stream) end() error {
	s.failed = io.EOF
	if total := s.result.TotalRows(); s.rows != total {
		s.failed = &connector.Error{Kind: connector.KindUnavailable, Reason: "RESULT_INCOMPLETE",
			Message: fmt.Sprintf("the server has announced %d rows of the query, and delivered %d", total, s.rows), Next: "try again",
			Meta: map[string]string{"announced": strconv.FormatInt(total, 10), "delivered": strconv.FormatInt(s.rows, 10)}}
	}
	return s.failed
}

// fetch gets the next batch whole, so that one whose connection is cut can be fetched again.
func (s *stream) fetch(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(s.ctx, cancel)
	defer stop()
	var err error
	for range fetches {
		if s.fetched, err = s.fetchOnce(ctx); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return coded(ctx, err)
	}
	s.next++
	return nil
}

func (s *stream) fetchOnce(ctx context.Context) (list []arrow.RecordBatch, err error) {
	// A batch can be read once; the list of them is made anew.
	batches, err := s.result.GetBatches()
	if err != nil {
		return nil, err
	}
	body, err := batches[s.next].GetStream(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		err = errors.Join(err, body.Close())
		if err != nil {
			release(list)
			list = nil
		}
	}()
	reader, err := ipc.NewReader(body, ipc.WithAllocator(memory.DefaultAllocator))
	if err != nil {
		return nil, err
	}
	defer reader.Release()
	rows := int64(0)
	for reader.Next() {
		batch := reader.RecordBatch()
		batch.Retain()
		list, rows = append(list, batch), rows+batch.NumRows()
	}
	if err := reader.Err(); err != nil {
		return list, err
	}
	if want := batches[s.next].NumRows(); rows != want {
		return list, fmt.Errorf("batch %d has %d rows instead of %d", s.next, rows, want)
	}
	return list, nil
}

func release(batches []arrow.RecordBatch) {
	for _, batch := range batches {
		batch.Release()
	}
}

// decode turns a batch in Snowflake's form into one of the columns' types.
func (s *stream) decode(raw arrow.RecordBatch) (arrow.RecordBatch, error) {
	if int(raw.NumCols()) != len(s.columns) {
		return nil, unexpected("a batch of the result does not have the query's columns")
	}
	list := make([]arrow.Array, 0, len(s.columns))
	defer func() {
		for _, a := range list {
			a.Release()
		}
	}()
	for i, c := range s.columns {
		decoded, row, problem := c.decode(raw.Column(i))
		if problem != "" {
			return nil, sqlquery.ValueError(c.Column, s.rows+int64(row)+1, problem, "cast the column to VARCHAR in the query, and convert it in the flow")
		}
		list = append(list, decoded)
	}
	return array.NewRecordBatch(s.schema, list, raw.NumRows()), nil
}

// Close implements connector.RowStream. What was not fetched is not.
func (s *stream) Close() error {
	if s.closed {
		return nil
	}
	s.closed, s.failed = true, io.ErrClosedPipe
	release(s.fetched)
	s.fetched = nil
	s.session.close()
	return nil
}
