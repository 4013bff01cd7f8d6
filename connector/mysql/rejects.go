package mysql

import (
	"context"
	"encoding/hex"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// rejects writes the rejects of the run by LOAD DATA.
func (l *loader) rejects(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	source, err := l.load.Rejects()
	if err != nil {
		return err
	}
	sent := int64(0)
	encoding, stop := context.WithCancel(ctx)
	p := sqlload.StartPipe(encoding, func(p *sqlload.Pipe, chunk []byte) ([]byte, error) {
		for {
			reject, err := source.Next(encoding)
			if errors.Is(err, io.EOF) {
				return chunk, nil
			}
			if err != nil {
				return nil, err
			}
			chunk = appendReject(chunk, l.load.RunID, reject)
			sent++
			if len(chunk) < sqlload.ChunkSize {
				continue
			}
			if chunk, err = p.Flush(encoding, chunk); err != nil {
				return nil, err
			}
		}
	})
	kept, err := l.send(ctx, p, func(reader string) string {
		return loadStatement(l.plan.Dialect, reader, l.plan.Rejects, sqlload.RejectColumns, func(i int) bool { return sqlload.RejectColumns[i] == "raw" })
	})
	stop()
	feedErr := p.Wait()
	closeErr := source.Close()
	switch {
	case feedErr != nil && !errors.Is(feedErr, context.Canceled):
		return feedErr
	case err != nil:
		return coded(ctx, err)
	case closeErr != nil:
		return closeErr
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

// appendReject appends a line of RejectColumns. What is no JSON text goes to raw.
func appendReject(dst []byte, runID string, reject connector.Reject) []byte {
	record, raw := reject.Record, reject.Raw
	if record != "" && !sqlload.PlainJSON(record) {
		record, raw = "", []byte(record)
	}
	dst = append(appendEscaped(dst, runID), '\t')
	dst = append(appendOrdinal(dst, reject.Row), '\t')
	dst = append(appendOptional(dst, strings.ToValidUTF8(reject.File, "\uFFFD")), '\t')
	dst = append(appendOrdinal(dst, reject.Line), '\t')
	dst = append(appendOrdinal(dst, reject.Byte), '\t')
	dst = append(appendEscaped(dst, reject.Stage), '\t')
	dst = append(appendEscaped(dst, strings.ToValidUTF8(reject.Errors, "\uFFFD")), '\t')
	dst = append(appendOptional(dst, record), '\t')
	if raw == nil {
		dst = append(dst, '\\', 'N')
	} else {
		dst = hex.AppendEncode(dst, raw)
	}
	return append(dst, '\n')
}

func appendOptional(dst []byte, s string) []byte {
	if s == "" {
		return append(dst, '\\', 'N')
	}
	return appendEscaped(dst, s)
}

func appendOrdinal(dst []byte, n int64) []byte {
	if n < 0 {
		return append(dst, '\\', 'N')
	}
	return strconv.AppendInt(dst, n, 10)
}
