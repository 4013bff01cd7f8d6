package sqlserver

import (
	"context"
	"errors"
	"io"

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
				err = add(sqlload.RejectRow(l.load.RunID, reject))
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
