package postgres

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// rejects writes the rejects of the run by COPY.
func (l *loader) rejects(ctx context.Context) error {
	source, err := l.load.Rejects()
	if err != nil {
		return err
	}
	r := &rejectReader{ctx: ctx, source: source, runID: l.load.RunID, buf: append([]byte(nil), copyHeader...)}
	statement := "COPY " + dialect.Table(l.plan.Rejects) + " (" + dialect.Names(sqlload.RejectColumns) + ") FROM STDIN (FORMAT binary)"
	tag, err := l.conn.PgConn().CopyFrom(ctx, r, statement)
	closeErr := source.Close()
	switch {
	case r.err != nil:
		return r.err
	case err != nil:
		return coded(ctx, err)
	case closeErr != nil:
		return closeErr
	case tag.RowsAffected() != r.sent:
		return &connector.Error{Kind: connector.KindConflict, Reason: "REJECTS_LOST",
			Message: "the rejects table did not take every reject", Next: "remove triggers and rules from the rejects table",
			Meta: map[string]string{"table": l.plan.Rejects.String()}}
	}
	return nil
}

// rejectReader encodes rejects as they are read.
type rejectReader struct {
	ctx    context.Context
	source connector.Rejects
	runID  string
	buf    []byte
	rest   []byte
	ended  bool
	sent   int64
	err    error
}

// Read implements io.Reader for the driver.
func (r *rejectReader) Read(p []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.fill(); err != nil {
			r.err = err
			return 0, sqlload.ErrPipe
		}
		r.rest = r.buf
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	if len(r.rest) == 0 {
		r.buf = r.buf[:0]
	}
	return n, nil
}

// fill appends rejects to the empty buffer until it is worth sending.
func (r *rejectReader) fill() error {
	for len(r.buf) < sqlload.ChunkSize {
		reject, err := r.source.Next(r.ctx)
		if errors.Is(err, io.EOF) {
			r.ended = true
			r.buf = append(r.buf, 0xff, 0xff)
			return nil
		}
		if err != nil {
			return err
		}
		r.buf = appendReject(r.buf, r.runID, reject)
		r.sent++
	}
	return nil
}

// appendReject appends a row of RejectColumns. What no text column can hold goes to raw.
func appendReject(dst []byte, runID string, reject connector.Reject) []byte {
	record, raw := reject.Record, reject.Raw
	if record != "" && !sqlload.PlainJSON(record) {
		record, raw = "", []byte(record)
	}
	dst = binary.BigEndian.AppendUint16(dst, uint16(len(sqlload.RejectColumns)))
	dst = appendText(dst, runID)
	dst = appendOrdinal(dst, reject.Row)
	dst = appendOptional(dst, clean(reject.File))
	dst = appendOrdinal(dst, reject.Line)
	dst = appendOrdinal(dst, reject.Byte)
	dst = appendText(dst, reject.Stage)
	dst = appendText(dst, clean(reject.Errors))
	dst = appendOptional(dst, record)
	if raw == nil {
		return binary.BigEndian.AppendUint32(dst, nullLength)
	}
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(raw))), raw...)
}

// clean replaces what a text column cannot hold.
func clean(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

func appendText(dst []byte, s string) []byte {
	return append(binary.BigEndian.AppendUint32(dst, uint32(len(s))), s...)
}

func appendOptional(dst []byte, s string) []byte {
	if s == "" {
		return binary.BigEndian.AppendUint32(dst, nullLength)
	}
	return appendText(dst, s)
}

func appendOrdinal(dst []byte, n int64) []byte {
	if n < 0 {
		return binary.BigEndian.AppendUint32(dst, nullLength)
	}
	return appendInt64(dst, n)
}
