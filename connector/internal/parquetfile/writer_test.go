package parquetfile_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/connector/internal/parquetfile"
)

var types = []arrow.DataType{
	arrow.FixedWidthTypes.Boolean, arrow.PrimitiveTypes.Int16, arrow.PrimitiveTypes.Int32, arrow.PrimitiveTypes.Int64,
	arrow.PrimitiveTypes.Float32, arrow.PrimitiveTypes.Float64, &arrow.Decimal128Type{Precision: 9, Scale: 2},
	&arrow.Decimal128Type{Precision: 18, Scale: 0}, &arrow.Decimal128Type{Precision: 38, Scale: 18}, arrow.FixedWidthTypes.Date32,
	arrow.FixedWidthTypes.Time64us, &arrow.TimestampType{Unit: arrow.Microsecond},
	&arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, arrow.BinaryTypes.Binary, arrow.BinaryTypes.String,
}

// add appends the value that a seed stands for.
func add(to array.Builder, seed int64) {
	switch b := to.(type) {
	case *array.BooleanBuilder:
		b.Append(seed%2 == 0)
	case *array.Int16Builder:
		b.Append(int16(seed))
	case *array.Int32Builder:
		b.Append(int32(seed))
	case *array.Int64Builder:
		b.Append(seed * (math.MaxInt64 / 1_000_000))
	case *array.Float32Builder:
		b.Append(float32(seed) / 3)
	case *array.Float64Builder:
		b.Append(float64(seed) / 7)
	case *array.Decimal128Builder:
		b.Append(decimal128.FromI64(seed - 500_000))
	case *array.Date32Builder:
		b.Append(arrow.Date32(seed - 500_000))
	case *array.Time64Builder:
		b.Append(arrow.Time64(seed))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(seed * 86_400_000_123))
	case *array.BinaryBuilder:
		b.Append(fmt.Append(nil, "\x00\xff", seed))
	case *array.StringBuilder:
		b.Append(fmt.Sprint("é", seed))
	default:
		panic(fmt.Sprintf("no value for %T", to))
	}
}

// Whatever the columns, the NULLs, the repeats, the batches, their offsets and the row groups are, another reader finds every value.
func TestEveryValueReadsBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		fields := make([]arrow.Field, rapid.IntRange(1, 20).Draw(t, "columns"))
		kinds := make([]int64, len(fields))
		for i := range fields {
			fields[i] = arrow.Field{Name: fmt.Sprintf("c.%d", i), Type: rapid.SampledFrom(types).Draw(t, "type"), Nullable: rapid.Bool().Draw(t, "nullable")}
			kinds[i] = rapid.SampledFrom([]int64{1, 3, 1000, 1_000_000}).Draw(t, "kinds")
		}
		schema := arrow.NewSchema(fields, nil)
		o := parquetfile.Options{
			Compression: rapid.SampledFrom([]compress.Compression{compress.Codecs.Zstd, compress.Codecs.Snappy}).Draw(t, "compression"),
			GroupBytes:  rapid.SampledFrom([]int64{1, 4 << 10, 8 << 20}).Draw(t, "group bytes"),
			GroupRows:   rapid.SampledFrom([]int64{1, 500, 1 << 20}).Draw(t, "group rows"),
			StoreSchema: rapid.Bool().Draw(t, "store schema"),
		}
		var out bytes.Buffer
		w := parquetfile.New(&out, schema, o)
		var want []arrow.RecordBatch
		rows := int64(0)
		for range rapid.IntRange(0, 6).Draw(t, "batches") {
			batch := draw(t, schema, kinds)
			defer batch.Release()
			require.NoError(t, w.Write(batch.Columns(), batch.NumRows()))
			want = append(want, batch)
			rows += batch.NumRows()
		}
		written, err := w.Close()
		require.NoError(t, err)
		require.Equal(t, rows, written)
		requireRows(t, out.Bytes(), schema, want)
	})
}

func draw(t *rapid.T, schema *arrow.Schema, kinds []int64) arrow.RecordBatch {
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	rows := rapid.IntRange(0, 2000).Draw(t, "rows")
	first := rapid.Int64Range(0, 1_000_000).Draw(t, "first")
	for i, f := range schema.Fields() {
		every := rapid.IntRange(1, 5).Draw(t, "null of")
		for row := range rows {
			if f.Nullable && row%every == 0 {
				b.Field(i).AppendNull()
				continue
			}
			add(b.Field(i), (first+int64(row))*7919%kinds[i])
		}
	}
	whole := b.NewRecordBatch()
	defer whole.Release()
	from := rapid.IntRange(0, rows).Draw(t, "from")
	return whole.NewSlice(int64(from), int64(rows))
}

func requireRows(t require.TestingT, content []byte, schema *arrow.Schema, want []arrow.RecordBatch) {
	reader, err := file.NewParquetReader(bytes.NewReader(content))
	require.NoError(t, err)
	defer reader.Close()
	arrows, err := pqarrow.NewFileReader(reader, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(t, err)
	got, err := arrows.ReadTable(context.Background())
	require.NoError(t, err)
	defer got.Release()
	expected := array.NewTableFromRecords(schema, want)
	defer expected.Release()
	require.Equal(t, expected.NumRows(), got.NumRows())
	for i := range schema.NumFields() {
		require.Equal(t, schema.Field(i).Name, got.Schema().Field(i).Name)
		require.Equal(t, schema.Field(i).Nullable, got.Schema().Field(i).Nullable)
		require.True(t, array.ChunkedEqual(expected.Column(i).Data(), got.Column(i).Data()), "column %d of %s", i, schema.Field(i).Type)
	}
}

func TestARequiredColumnTakesNoNull(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{{Name: "v", Type: arrow.PrimitiveTypes.Int64}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	b.Field(0).AppendNull()
	batch := b.NewRecordBatch()
	defer batch.Release()
	w := parquetfile.New(&bytes.Buffer{}, schema, parquetfile.Options{GroupBytes: 1, GroupRows: 1})
	require.ErrorContains(t, w.Write(batch.Columns(), 1), "required column v")
}

// Values that stand once have no dictionary, which would be filled in vain; those that repeat have one.
func TestADictionaryIsForValuesThatRepeat(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}, {Name: "country", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range int64(10_000) {
		add(b.Field(0), i)
		add(b.Field(1), i%200)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	var out bytes.Buffer
	w := parquetfile.New(&out, schema, parquetfile.Options{Compression: compress.Codecs.Zstd, GroupBytes: 8 << 20, GroupRows: 1 << 20})
	require.NoError(t, w.Write(batch.Columns(), batch.NumRows()))
	_, err := w.Close()
	require.NoError(t, err)
	reader, err := file.NewParquetReader(bytes.NewReader(out.Bytes()))
	require.NoError(t, err)
	defer reader.Close()
	for i, want := range []bool{false, true} {
		chunk, err := reader.MetaData().RowGroup(0).ColumnChunk(i)
		require.NoError(t, err)
		require.Equal(t, want, chunk.HasDictionaryPage(), schema.Field(i).Name)
		require.NotContains(t, chunk.Encodings(), parquet.Encodings.DeltaByteArray)
	}
}

// An array of NULLs need not have a buffer of values, at least where the library writes it from such a buffer.
func TestNullsWithoutValuesAreWritten(t *testing.T) {
	t.Parallel()
	types := []arrow.DataType{arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Time64us, &arrow.TimestampType{Unit: arrow.Microsecond}, arrow.BinaryTypes.String}
	fields := make([]arrow.Field, len(types))
	columns := make([]arrow.Array, len(types))
	for i, typ := range types {
		fields[i] = arrow.Field{Name: fmt.Sprint("c", i), Type: typ, Nullable: true}
		buffers := []*memory.Buffer{memory.NewBufferBytes([]byte{0}), nil}
		if arrow.IsBaseBinary(typ.ID()) {
			buffers = append(buffers[:1], memory.NewBufferBytes(make([]byte, 16)), nil)
		}
		columns[i] = array.MakeFromData(array.NewData(typ, 3, buffers, nil, 3, 0))
	}
	var out bytes.Buffer
	schema := arrow.NewSchema(fields, nil)
	w := parquetfile.New(&out, schema, parquetfile.Options{Compression: compress.Codecs.Zstd, GroupBytes: 1, GroupRows: 100})
	require.NoError(t, w.Write(columns, 3))
	rows, err := w.Close()
	require.NoError(t, err)
	require.EqualValues(t, 3, rows)
}

var errFull = errors.New("the disk is full")

type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errFull
	}
	return len(p), nil
}

// A write that fails is an error of Write or Close, wherever it happens, and never a file that looks whole.
func TestAFailedWriteIsAnError(t *testing.T) {
	t.Parallel()
	schema := arrow.NewSchema([]arrow.Field{{Name: "id", Type: arrow.BinaryTypes.String}}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for i := range int64(1000) {
		add(b.Field(0), i)
	}
	batch := b.NewRecordBatch()
	defer batch.Release()
	write := func(out *full) error {
		w := parquetfile.New(out, schema, parquetfile.Options{Compression: compress.Codecs.Zstd, GroupBytes: 1, GroupRows: 1 << 20})
		for range 3 {
			if err := w.Write(batch.Columns(), batch.NumRows()); err != nil {
				return err
			}
		}
		_, err := w.Close()
		return err
	}
	const enough = 1 << 20
	whole := &full{left: enough}
	require.NoError(t, write(whole))
	for left := range enough - whole.left {
		if left%97 == 0 || left == enough-whole.left-1 {
			require.ErrorIs(t, write(&full{left: left}), errFull, "after %d bytes", left)
		}
	}
}
