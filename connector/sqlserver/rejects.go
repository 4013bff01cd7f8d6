package sqlserver

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// rejects copies the rejects of the run into their table.
func (l *loader) rejects(ctx context.Context) error {
	source, err := l.load.Rejects()
	if err != nil {
		return err
	}
	sent := int64(0)
	written, err := l.session.bulk(ctx, dialect.Table(l.plan.Rejects), sqlload.RejectColumns, func(add func([]any) error) error {
		for {
			reject, err := source.Next(ctx)
			if err == io.EOF {
				return nil
			}
			if err == nil {
				err = add(rejectRow(l.load.RunID, reject))
			}
			if err != nil {
				return err
			}
			sent++
		}
	})
	if err := errors.Join(err, source.Close()); err != nil {
		return err
	}
	return counted(sent, written, l.plan.Rejects.String())
}

// rejectRow is a row of RejectColumns. A record that is no JSON text goes to raw.
func rejectRow(runID string, r connector.Reject) []any {
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
	record, raw := r.Record, r.Raw
	if record != "" && !sqlload.PlainJSON(record) {
		record, raw = "", []byte(record)
	}
	var bytes any
	if raw != nil {
		bytes = raw
	}
	return []any{runID, ordinal(r.Row), optional(clean(r.File)), ordinal(r.Line), ordinal(r.Byte), r.Stage, clean(r.Errors), optional(record), bytes}
}
