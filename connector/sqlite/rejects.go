package sqlite

import (
	"context"
	"errors"
	"io"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// rejects writes the rejects of the run.
func (l *loader) rejects(ctx context.Context) error {
	source, err := l.load.Rejects()
	if err != nil {
		return err
	}
	insert, err := l.session.PrepareContext(ctx, l.plan.InsertReject())
	if err != nil {
		return errors.Join(coded(ctx, err), source.Close())
	}
	defer insert.Close()
	for {
		reject, err := source.Next(ctx)
		if err == io.EOF {
			return source.Close()
		}
		if err == nil {
			_, err = insert.ExecContext(ctx, rejectArgs(l.load.RunID, reject)...)
			err = coded(ctx, err)
		}
		if err != nil {
			return errors.Join(err, source.Close())
		}
	}
}

// rejectArgs are the parameters of an insert of a reject. What is not JSON text goes to raw.
func rejectArgs(runID string, r connector.Reject) []any {
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
	record, raw := r.Record, r.Raw
	if record != "" && !sqlload.PlainJSON(record) {
		record, raw = "", []byte(record)
	}
	var bytes any
	if raw != nil {
		bytes = raw
	}
	return []any{runID, ordinal(r.Row), optional(r.File), ordinal(r.Line), ordinal(r.Byte), r.Stage, r.Errors, optional(record), bytes}
}
