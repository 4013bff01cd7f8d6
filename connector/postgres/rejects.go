package postgres

import (
	"context"
	"encoding/binary"
	"io"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// rejects writes the rejects of the run by COPY.
func (l *loader) rejects(ctx context.Context) error {
	statement := "COPY " + dialect.Table(l.plan.Rejects) + " (" + dialect.Names(sqlload.RejectColumns) + ") FROM STDIN (FORMAT binary)"
	var tag pgconn.CommandTag
	sent, copyErr, err := sqlload.SendRejects(ctx, l.load, copyHeader, copyTrailer, appendReject, func(r io.Reader) (err error) {
		tag, err = l.conn.PgConn().CopyFrom(ctx, r, statement)
		return err
	})
	switch {
	case err != nil:
		return err
	case copyErr != nil:
		return coded(ctx, copyErr)
	case tag.RowsAffected() != sent:
		return &connector.Error{Kind: connector.KindConflict, Reason: "REJECTS_LOST",
			Message: "the rejects table did not take every reject", Next: "remove triggers and rules from the rejects table",
			Meta: map[string]string{"table": l.plan.Rejects.String()}}
	}
	return nil
}

// appendReject appends a row of RejectColumns. No text of the server has a NUL.
func appendReject(dst []byte, row []any) []byte {
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(row)))
	for _, value := range row {
		switch v := value.(type) {
		case string:
			v = strings.ReplaceAll(v, "\x00", "\uFFFD")
			dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...)
		case int64:
			dst = appendInt64(dst, v)
		case []byte:
			dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...)
		default:
			dst = append(dst, copyNull...)
		}
	}
	return dst
}
