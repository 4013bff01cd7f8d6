package sqlload

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/connector"
)

// SendRejects lets send read the rejects of a load, each as put appends its [RejectRow], with header and trailer around them. It returns how
// many were encoded. sendErr is what send returned; err is what is wrong with the rejects themselves, and goes before it.
func SendRejects(ctx context.Context, load connector.Load, header, trailer []byte, put func(dst []byte, row []any) []byte, send func(io.Reader) error) (sent int64, sendErr, err error) {
	source, err := load.Rejects()
	if err != nil {
		return 0, nil, err
	}
	sendErr, err = carry(ctx, source, func(ctx context.Context, p *Pipe, chunk []byte) ([]byte, error) {
		chunk = append(chunk, header...)
		for {
			reject, err := source.Next(ctx)
			if errors.Is(err, io.EOF) {
				return append(chunk, trailer...), nil
			}
			if err != nil {
				return nil, err
			}
			chunk = put(chunk, RejectRow(load.RunID, reject))
			sent++
			if len(chunk) < ChunkSize {
				continue
			}
			if chunk, err = p.Flush(ctx, chunk); err != nil {
				return nil, err
			}
		}
	}, send)
	return sent, sendErr, err
}

// RejectRow is the row of RejectColumns that a reject becomes: strings, int64s, and bytes; nil for NULL. Text is UTF-8; a record
// that is no JSON text is kept as bytes.
func RejectRow(runID string, r connector.Reject) []any {
	ordinal := func(n int64) any {
		if n < 0 {
			return nil
		}
		return n
	}
	optional := func(s string) any {
		if s == "" {
			return nil
		}
		return s
	}
	clean := func(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }
	record, raw := optional(r.Record), any(nil)
	switch {
	case r.Record != "" && !PlainJSON(r.Record):
		record, raw = nil, []byte(r.Record)
	case r.Raw != nil:
		raw = r.Raw
	}
	return []any{runID, ordinal(r.Row), optional(clean(r.File)), ordinal(r.Line), ordinal(r.Byte), r.Stage, clean(r.Errors), record, raw}
}

// maxJSONDepth is how deep the JSON of a reject may nest; servers parse it by recursion.
const maxJSONDepth = 256

// PlainJSON reports whether a record is JSON text that every server can keep in a JSON or text column. Others are kept as
// bytes.
func PlainJSON(record string) bool {
	if !utf8.ValidString(record) || !json.Valid([]byte(record)) {
		return false
	}
	depth, text := 0, false
	for i := 0; i < len(record); i++ {
		switch c := record[i]; {
		case text && c == '\\':
			i++
		case c == '"':
			text = !text
		case !text && (c == '{' || c == '['):
			if depth++; depth > maxJSONDepth {
				return false
			}
		case !text && (c == '}' || c == ']'):
			depth--
		}
	}
	return true
}
