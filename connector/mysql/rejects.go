package mysql

import (
	"context"
	"encoding/hex"
	"io"
	"strconv"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// rejects writes the rejects of the run by LOAD DATA.
func (l *loader) rejects(ctx context.Context) error {
	kept := int64(0)
	sent, loadErr, err := sqlload.SendRejects(ctx, l.load, nil, nil, appendReject, func(r io.Reader) (err error) {
		kept, err = l.send(ctx, r, func(reader string) string {
			return loadStatement(l.plan.Dialect, reader, l.plan.Rejects, sqlload.RejectColumns, func(i int) bool { return sqlload.RejectColumns[i] == "raw" })
		})
		return err
	})
	switch {
	case err != nil:
		return err
	case loadErr != nil:
		return coded(ctx, loadErr)
	}
	_, warnings, err := l.warning(ctx)
	if err != nil {
		return err
	}
	if kept != sent || warnings > 0 {
		return &connector.Error{Kind: connector.KindConflict, Reason: "REJECTS_LOST",
			Message: "the rejects table did not take every reject as it is", Next: "remove triggers and limits from the rejects table",
			Meta: map[string]string{"table": l.plan.Rejects.String()}}
	}
	return nil
}

// appendReject appends a line of RejectColumns. Bytes arrive as hex digits.
func appendReject(dst []byte, row []any) []byte {
	for i, value := range row {
		if i > 0 {
			dst = append(dst, fieldEnd...)
		}
		switch v := value.(type) {
		case string:
			dst = appendEscaped(dst, v)
		case int64:
			dst = strconv.AppendInt(dst, v, 10)
		case []byte:
			dst = hex.AppendEncode(dst, v)
		default:
			dst = append(dst, fieldNull...)
		}
	}
	return append(dst, lineEnd...)
}
