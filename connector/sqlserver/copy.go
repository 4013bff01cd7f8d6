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

// errAgain ends a load that had a row refused where that ends the transaction. It begins again in a way in which it does not.
var errAgain = errors.New("a row is refused")

// copyDirect copies all rows into the target and returns how many the server counted. If a row is refused the load begins
// again with staged rows.
func (l *loader) copyDirect(ctx context.Context) (int64, error) {
	a, err := l.copyRows(ctx, dialect.Table(l.plan.Target), false, sqlload.AllRows)
	if _, _, refused := refusedRow(err); refused {
		l.staged = true
		return 0, errAgain
	}
	if err != nil {
		return 0, err
	}
	return a.Written, counted(a.Sent, a.Written, l.plan.Target.String())
}

// copyStage copies all rows into the stage, which has no constraints and refuses only rows that are longer than a row can be.
// If there is one the load begins again and copies ranges.
func (l *loader) copyStage(ctx context.Context) error {
	if l.ranged {
		return l.carefully(ctx, func() error {
			_, err := sqlload.Bisect(ctx, sqlload.AllRows, l.copyRange, l.refusals)
			return err
		})
	}
	a, err := l.copyRows(ctx, stage, true, sqlload.AllRows)
	if _, _, refused := refusedRow(err); refused {
		l.ranged = true
		return errAgain
	}
	if err != nil {
		return err
	}
	return counted(a.Sent, a.Written, stage)
}

// copyRange copies a range into the stage.
func (l *loader) copyRange(ctx context.Context, r sqlload.Range) (a sqlload.Attempt, err error) {
	refusal, err := l.save(ctx, func() (err error) {
		a, err = l.copyRows(ctx, stage, true, r)
		return err
	})
	if a.Refusal = refusal; err != nil || refusal != nil {
		a.Written = 0
		return a, err
	}
	return a, counted(a.Sent, a.Written, stage)
}

// counted compares what was sent with what the server counted.
func counted(sent, written int64, table string) error {
	if sent == written {
		return nil
	}
	return &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_LOST",
		Message: fmt.Sprintf("the server counted %d rows where %d were sent", written, sent), Meta: map[string]string{"table": table}}
}

// copyRows sends all rows of a range that can be sent. Others are refused.
func (l *loader) copyRows(ctx context.Context, table string, withRow bool, r sqlload.Range) (a sqlload.Attempt, err error) {
	rows, err := l.load.Rows.Open(ctx, r.From, r.To)
	if err != nil {
		return a, err
	}
	names := l.plan.ColumnNames()
	if withRow {
		names = append([]string{connector.RowColumn}, names...)
	}
	a.Written, err = l.session.bulk(ctx, table, names, func(add func([]any) error) error {
		for {
			batch, err := rows.Next(ctx)
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
			err = l.batch(ctx, batch, withRow, &a, add)
			batch.Release()
			if err != nil {
				return err
			}
			l.progress(a.Sent)
		}
	})
	return a, errors.Join(err, rows.Close())
}

// batch adds the rows of a batch.
func (l *loader) batch(ctx context.Context, batch arrow.RecordBatch, withRow bool, a *sqlload.Attempt, add func([]any) error) error {
	if int(batch.NumCols()) != len(l.columns)+1 {
		return fmt.Errorf("a batch has %d columns instead of %d", batch.NumCols(), len(l.columns)+1)
	}
	ordinals := batch.Column(0).(*array.Int64).Int64Values()
	values := make([]value, len(l.columns))
	for i, c := range l.columns {
		values[i] = c.bind(batch.Column(i + 1))
	}
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
			if a.Sent == 0 {
				a.First = ordinal
			}
			a.Last = ordinal
			a.Sent++
		}
		if err != nil {
			return err
		}
	}
	return nil
}
