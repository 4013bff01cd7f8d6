package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"io"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Binary COPY data starts with a signature, flags and the length of the header's extension. Where a row would give the number
// of its fields, -1 ends it; the length of a NULL is -1.
var (
	copyHeader  = []byte("PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00")
	copyTrailer = []byte{0xff, 0xff}
	copyNull    = []byte{0xff, 0xff, 0xff, 0xff}
)

// column is a column of a load: the flow's, the table's, and how one becomes the other.
type column struct {
	connector.Column
	native native
	bind   sqlload.Bind
	// noNull is set if a NULL can be refused without asking the server.
	noNull bool
}

// feed encodes the rows of a range for COPY.
func (l *loader) feed(withRow bool) *sqlload.Feed {
	fields := uint16(len(l.columns))
	begin := func(dst []byte, _ int64) []byte { return binary.BigEndian.AppendUint16(dst, fields) }
	if withRow {
		begin = func(dst []byte, row int64) []byte {
			return appendInt64(binary.BigEndian.AppendUint16(dst, fields+1), row)
		}
	}
	f := &sqlload.Feed{Format: sqlload.Format{Header: copyHeader, Trailer: copyTrailer, Begin: begin, Null: copyNull}, Refusals: l.refusals, Progress: l.progress}
	for _, c := range l.columns {
		f.Columns = append(f.Columns, sqlload.FeedColumn{Name: c.Name, Bind: c.bind, NoNull: c.noNull})
	}
	return f
}

// copyRows sends one range of a load into a table and reports what came of it. The server refuses by an error in the
// middle of the COPY; the caller rolls back.
func (l *loader) copyRows(ctx context.Context, statement string, withRow bool, r sqlload.Range) (sqlload.Attempt, error) {
	f := l.feed(withRow)
	var tag pgconn.CommandTag
	a, copyErr, err := f.Send(ctx, l.load.Rows, r, func(data io.Reader) (err error) {
		tag, err = l.conn.PgConn().CopyFrom(ctx, data, statement)
		return err
	})
	if err != nil {
		return a, err
	}
	var pg *pgconn.PgError
	if errors.As(copyErr, &pg) {
		if reason, refused := refusedRow(pg); refused {
			a.Refusal = &sqlload.Refusal{Reason: l.named(reason, pg), Suspect: f.Row(suspectLine(pg)), Passing: pg.Code == "23503", Err: coded(ctx, copyErr)}
			return a, nil
		}
	}
	if copyErr != nil {
		return a, coded(ctx, copyErr)
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
