package postgres

import (
	"context"
	"errors"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlquery"
)

// sourceApplication names the sessions of queries.
const sourceApplication = "lume/source"

// snapshot is the transaction of a query: it sees one state of the database and changes nothing.
var snapshot = pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly}

// syntax is what of PostgreSQL's SQL must be known to bind a placeholder.
var syntax = connector.QuerySyntax{Param: dialect.Param, EscapeStrings: true, DollarQuotes: true, NestedComments: true}

// prepared is a query that the server has parsed.
type prepared struct {
	statement string
	bound     connector.BoundQuery
	columns   []connector.Column
	decoders  []decoder
	formats   []int16
}

// prepare parses a query on the server, and says what its columns become.
func prepare(ctx context.Context, conn *pgx.Conn, query string, bound bool) (*prepared, error) {
	bind, err := syntax.Bind(query, bound)
	if err != nil {
		return nil, err
	}
	p := &prepared{statement: "lume", bound: bind}
	described, err := conn.PgConn().Prepare(ctx, p.statement, bind.Text, nil)
	if err != nil {
		return nil, queryError(ctx, err)
	}
	if len(described.Fields) == 0 {
		return nil, sqlquery.NoColumns()
	}
	enums, err := enumerations(ctx, conn, described.Fields)
	if err != nil {
		return nil, err
	}
	// So the server calls a column without a name.
	names := sqlquery.Names{"?column?": true}
	for _, field := range described.Fields {
		if err := names.Add(field.Name); err != nil {
			return nil, err
		}
		t, d := decoderOf(field.DataTypeOID, field.TypeModifier, enums[field.DataTypeOID])
		p.columns = append(p.columns, connector.Column{Name: field.Name, Type: t})
		p.decoders = append(p.decoders, d)
		p.formats = append(p.formats, d.format)
	}
	return p, nil
}

// enumerations returns which of the fields' types are enumerations or domains, and what those are based on.
func enumerations(ctx context.Context, conn *pgx.Conn, fields []pgconn.FieldDescription) (map[uint32]bool, error) {
	oids := make([]uint32, len(fields))
	for i, f := range fields {
		oids[i] = f.DataTypeOID
	}
	rows, err := conn.Query(ctx, "SELECT oid FROM pg_type WHERE oid = ANY($1::oid[]) AND typtype = 'e'", oids)
	if err != nil {
		return nil, coded(ctx, err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowTo[uint32])
	enums := make(map[uint32]bool, len(list))
	for _, oid := range list {
		enums[oid] = true
	}
	return enums, coded(ctx, err)
}

// queryError codes what is wrong with a user's query, with the place in it that the server names.
func queryError(ctx context.Context, err error) error {
	out := coded(ctx, err)
	var e *connector.Error
	if !errors.As(out, &e) || e.Kind == connector.KindUnavailable || e.Kind == connector.KindPermission {
		return out
	}
	switch e.Meta["sqlstate"] {
	case "22P02", "22003", "22007", "22008":
		e.Kind, e.Reason, e.Message = connector.KindInvalid, "QUERY_FAILED", "a value in the query, or the batch that is bound to it, is not of the type that it is compared with"
		e.Next = "cast the column or the placeholder, for example " + connector.Placeholder + "::text"
	case "42601":
		e.Reason, e.Message, e.Next = "QUERY_SYNTAX", "the query is not valid SQL", "run the query in psql with a value in place of the placeholder"
	case "25006":
		e.Kind, e.Reason, e.Message, e.Next = connector.KindInvalid, "QUERY_WRITES", "the query tries to write", "a source only reads: write a plain SELECT"
	}
	return e
}

// Describe implements connector.RowSource.
func (c *Connector) Describe(ctx context.Context, query string, bound bool) ([]connector.Column, error) {
	conn, err := c.connect(ctx, sourceApplication)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	p, err := prepare(ctx, conn, query, bound)
	if err != nil {
		return nil, err
	}
	return p.columns, nil
}

// Query implements connector.RowSource. The server sends as fast as batches are taken, so neither side holds the result.
func (c *Connector) Query(ctx context.Context, query, sourcePath string, bound bool) (connector.RowStream, error) {
	conn, err := c.connect(ctx, sourceApplication)
	if err != nil {
		return nil, err
	}
	s, err := startStream(ctx, conn, query, sourcePath, bound)
	if err != nil {
		closeConn(ctx, conn)
		return nil, err
	}
	return s, nil
}

func startStream(ctx context.Context, conn *pgx.Conn, query, sourcePath string, bound bool) (*stream, error) {
	p, err := prepare(ctx, conn, query, bound)
	if err != nil {
		return nil, err
	}
	if _, err := conn.BeginTx(ctx, snapshot); err != nil {
		return nil, coded(ctx, err)
	}
	// Types without a decoder of their own arrive as text, in this style.
	if _, err := conn.Exec(ctx, "SET LOCAL intervalstyle = 'iso_8601'"); err != nil {
		return nil, coded(ctx, err)
	}
	running, cancel := context.WithCancel(ctx)
	result := conn.PgConn().ExecPrepared(running, p.statement, sqlquery.Args(p.bound, []byte(sourcePath)), nil, p.formats)
	if ctx.Err() != nil {
		// The error of the query itself is told by the first batch.
		cancel()
		_, _ = result.Close()
		return nil, ctx.Err()
	}
	return &stream{
		Batches: sqlquery.NewBatches(p.columns, "cast the column to text in the query, and convert it in the flow"),
		conn:    conn, ctx: running, cancel: cancel, result: result, decoders: p.decoders,
	}, nil
}

// stream is a running query.
type stream struct {
	*sqlquery.Batches
	conn     *pgx.Conn
	ctx      context.Context
	cancel   context.CancelFunc
	result   *pgconn.ResultReader
	decoders []decoder
}

// Next implements connector.RowStream.
func (s *stream) Next(ctx context.Context) (arrow.RecordBatch, error) {
	return s.Batches.Next(ctx, s.ctx, s.cancel, s.row)
}

func (s *stream) row() (size int, err error) {
	if !s.result.NextRow() {
		if _, err := s.result.Close(); err != nil {
			return 0, queryError(s.ctx, err)
		}
		return 0, io.EOF
	}
	for i, value := range s.result.Values() {
		size += len(value) + 8
		if value == nil {
			s.Field(i).AppendNull()
			continue
		}
		if problem := s.decoders[i].append(s.Field(i), value); problem != "" {
			return 0, s.Unreadable(i, problem)
		}
	}
	return size, nil
}

// Close implements connector.RowStream. What was not read is not waited for.
func (s *stream) Close() error {
	s.cancel()
	_, _ = s.result.Close()
	s.Release()
	closeConn(context.Background(), s.conn)
	return nil
}
