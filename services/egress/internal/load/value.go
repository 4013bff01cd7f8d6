package load

import (
	"context"
	"errors"
	"io"
	"sort"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
)

const (
	// maxValue is the longest value in bytes that a reject repeats; its record has all of it.
	maxValue = 4096
	// nearRows is how far ahead a row may be to be read up to instead of opened anew.
	nearRows = 4 * maxBatchRows
)

// valueFinder finds mapped values of refused rows, upwards.
type valueFinder struct {
	rows     *rows
	reader   connector.RowReader
	batch    arrow.RecordBatch
	ordinals []int64 // Of the batch.
}

// find returns the value of a row's column as text; nil if the column is not known or the value is NULL.
func (v *valueFinder) find(ctx context.Context, row int64, column string) (*string, error) {
	indices := v.rows.schema.FieldIndices(column)
	if column == "" || len(indices) == 0 {
		return nil, nil
	}
	if err := v.seek(ctx, row); err != nil || v.batch == nil {
		return nil, err
	}
	i := sort.Search(len(v.ordinals), func(i int) bool { return v.ordinals[i] >= row })
	if i == len(v.ordinals) || v.ordinals[i] != row || v.batch.Column(indices[0]).IsNull(i) {
		return nil, nil
	}
	text := valueText(v.batch.Column(indices[0]), i)
	if len(text) > maxValue {
		text = strings.ToValidUTF8(text[:maxValue], "")
	}
	return &text, nil
}

// seek reads up to the batch that would hold a row; there is none beyond the end.
func (v *valueFinder) seek(ctx context.Context, row int64) error {
	for {
		if n := len(v.ordinals); n > 0 && v.ordinals[n-1] >= row {
			return nil
		}
		if v.reader == nil || len(v.ordinals) > 0 && row > v.ordinals[len(v.ordinals)-1]+nearRows {
			if err := v.close(); err != nil {
				return err
			}
			v.reader = v.rows.open(row, maxRow)
		}
		batch, err := v.reader.Next(ctx)
		v.release()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		v.batch, v.ordinals = batch, batch.Column(0).(*array.Int64).Int64Values()
	}
}

func (v *valueFinder) release() {
	if v.batch != nil {
		v.batch.Release()
		v.batch, v.ordinals = nil, nil
	}
}

func (v *valueFinder) close() error {
	v.release()
	if v.reader == nil {
		return nil
	}
	err := v.reader.Close()
	v.reader = nil
	return err
}
