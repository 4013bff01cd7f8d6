package sqlite

import (
	"context"
	"errors"
	"io"

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
			_, err = insert.ExecContext(ctx, sqlload.RejectRow(l.load.RunID, reject)...)
			err = coded(ctx, err)
		}
		if err != nil {
			return errors.Join(err, source.Close())
		}
	}
}
