package sqlserver

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// errStage ends a direct copy that had a row refused: the load begins again with staged rows.
var errStage = errors.New("a row is refused")

// copyDirect copies all rows into the target and returns how many the server counted.
func (l *loader) copyDirect(ctx context.Context) (int64, error) {
	sent, written, err := l.copyRows(ctx, dialect.Table(l.plan.Target), false)
	if _, _, refused := refusedRow(err); refused {
		return 0, errStage
	}
	if err != nil {
		return 0, err
	}
	return written, counted(sent, written, l.plan.Target.String())
}

// copyStage copies all rows into the stage.
func (l *loader) copyStage(ctx context.Context) error {
	sent, written, err := l.copyRows(ctx, stage, true)
	if err != nil {
		return err
	}
	return counted(sent, written, stage)
}

// counted compares what was sent with what the server counted.
func counted(sent, written int64, table string) error {
	if sent == written {
		return nil
	}
	return &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_LOST",
		Message: fmt.Sprintf("the server counted %d rows where %d were sent", written, sent), Meta: map[string]string{"table": table}}
}

// copyRows sends all rows of the load that can be sent. Others are refused.
func (l *loader) copyRows(ctx context.Context, table string, withRow bool) (sent, written int64, err error) {
	rows, err := l.load.Rows.Open(ctx, sqlload.AllRows.From, sqlload.AllRows.To)
	if err != nil {
		return 0, 0, err
	}
	names := l.plan.ColumnNames()
	if withRow {
		names = append([]string{connector.RowColumn}, names...)
	}
	written, err = l.session.bulk(ctx, table, names, func(add func([]any) error) error {
		for {
			batch, err := rows.Next(ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			n, err := l.batch(ctx, batch, withRow, add)
			batch.Release()
			if err != nil {
				return err
			}
			sent += n
			l.progress(sent)
		}
	})
	return sent, written, errors.Join(err, rows.Close())
}

// batch adds the rows of a batch and returns how many were added.
func (l *loader) batch(ctx context.Context, batch arrow.RecordBatch, withRow bool, add func([]any) error) (int64, error) {
	if int(batch.NumCols()) != len(l.columns)+1 {
		return 0, fmt.Errorf("a batch has %d columns instead of %d", batch.NumCols(), len(l.columns)+1)
	}
	ordinals := batch.Column(0).(*array.Int64).Int64Values()
	values := make([]value, len(l.columns))
	for i, c := range l.columns {
		values[i] = c.bind(batch.Column(i + 1))
	}
	added := int64(0)
	row := make([]any, 0, len(l.columns)+1)
	for i, ordinal := range ordinals {
		row = row[:0]
		if withRow {
			row = append(row, ordinal)
		}
		refused := connector.RefusedRow{}
		for c, col := range l.columns {
			var v any
			if batch.Column(c + 1).IsValid(i) {
				v, refused.Message = values[c](i)
			} else if col.noNull {
				refused.Message = "the column does not allow NULL"
			}
			if refused.Message != "" {
				refused.Column = col.Name
				break
			}
			row = append(row, v)
		}
		var err error
		if refused.Message != "" {
			err = l.refusals.Scanned(ctx, ordinal, refused)
		} else if err = add(row); err == nil {
			added++
		}
		if err != nil {
			return added, err
		}
	}
	return added, nil
}
