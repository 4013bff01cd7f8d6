package blob

import (
	"context"
	"fmt"
	"io"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// BenchmarkFormats encodes rows of twelve columns; bytes are those of the objects.
func BenchmarkFormats(b *testing.B) {
	const rows = 100_000
	columns, batch := benchBatch(rows)
	defer batch.Release()
	for _, format := range []string{"parquet", "csv", "jsonl"} {
		b.Run(format, func(b *testing.B) {
			for b.Loop() {
				var out counter
				e, err := formats[format](&out, columns)
				require.NoError(b, err)
				require.NoError(b, e.write(batch, func(int, connector.RefusedRow) error { return nil }))
				_, err = e.close()
				require.NoError(b, err)
				b.SetBytes(int64(out))
			}
			b.ReportMetric(float64(rows*b.N)/b.Elapsed().Seconds(), "rows/s")
		})
	}
}

type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}

var _ io.Writer = (*counter)(nil)

func benchBatch(rows int) ([]connector.Column, arrow.RecordBatch) {
	types := []connector.Type{
		{Name: connector.TypeInt64}, {Name: connector.TypeString}, {Name: connector.TypeDecimal, Precision: 12, Scale: 2}, {Name: connector.TypeDate},
		{Name: connector.TypeTimestampTZ}, {Name: connector.TypeBool},
	}
	columns := make([]connector.Column, 12)
	fields := []arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}
	for i := range columns {
		columns[i] = connector.Column{Name: fmt.Sprintf("column_%d", i), Type: types[i%len(types)]}
		fields = append(fields, arrow.Field{Name: columns[i].Name, Type: columns[i].Type.Arrow(), Nullable: true})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for row := range rows {
		b.Field(0).(*array.Int64Builder).Append(int64(row))
		for i := range columns {
			switch f := b.Field(i + 1).(type) {
			case *array.Int64Builder:
				f.Append(int64(row * i))
			case *array.StringBuilder:
				f.Append(fmt.Sprintf("customer %d of region %d", row, i))
			case *array.Decimal128Builder:
				f.Append(decimal128.FromI64(int64(row*100 + i)))
			case *array.Date32Builder:
				f.Append(arrow.Date32(row % 20_000))
			case *array.TimestampBuilder:
				f.Append(arrow.Timestamp(int64(row) * 1_000_000_007))
			case *array.BooleanBuilder:
				f.Append(row%3 == 0)
			}
		}
	}
	return columns, b.NewRecordBatch()
}

// BenchmarkLoad is a whole load into a store in memory.
func BenchmarkLoad(b *testing.B) {
	columns, batch := benchBatch(10_000)
	defer batch.Release()
	for n := 0; b.Loop(); n++ {
		load := ids(fmt.Sprintf("run_%d", n), connector.Append, 1, 0)
		load.Target.Columns, load.Target.Format = columns, "parquet"
		load.Rows = repeated{batch: batch, times: 50}
		_, err := link(newFake()).Load(b.Context(), load)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(500_000*b.N)/b.Elapsed().Seconds(), "rows/s")
}

// repeated gives the same batch again and again.
type repeated struct {
	batch arrow.RecordBatch
	times int
}

func (r repeated) Count() int64 { return r.batch.NumRows() * int64(r.times) }

func (r repeated) Open(context.Context, int64, int64) (connector.RowReader, error) { return &r, nil }

func (r *repeated) Next(context.Context) (arrow.RecordBatch, error) {
	if r.times == 0 {
		return nil, io.EOF
	}
	r.times--
	r.batch.Retain()
	return r.batch, nil
}

func (*repeated) Close() error { return nil }
