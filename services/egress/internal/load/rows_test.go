package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/connector"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/staging"
)

// mappedFile stages mapped rows with these ordinals; each row group has so many rows.
func mappedFile(t testing.TB, store *staging.Store, columns []connector.Column, ordinals []int64, group int64, fill func(b *array.RecordBuilder, row int64)) *typev1.StagedObject {
	t.Helper()
	fields := []arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true})
	}
	schema := arrow.NewSchema(fields, nil)
	path := filepath.Join(t.TempDir(), "mapped.parquet")
	file, err := os.Create(path)
	require.NoError(t, err)
	w, err := pqarrow.NewFileWriter(schema, file, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithMaxRowGroupLength(group)), pqarrow.NewArrowWriterProperties())
	require.NoError(t, err)
	for len(ordinals) > 0 {
		b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
		n := min(int64(len(ordinals)), group)
		for _, row := range ordinals[:n] {
			b.Field(0).(*array.Int64Builder).Append(row)
			fill(b, row)
		}
		ordinals = ordinals[n:]
		batch := b.NewRecordBatch()
		require.NoError(t, w.Write(batch))
		batch.Release()
		b.Release()
	}
	require.NoError(t, w.Close())
	rows := int64(0)
	obj, err := store.Put(t.Context(), fmt.Sprintf("runs/run_1/test/1-1/%s.parquet", filepath.Base(filepath.Dir(path))), path, rows)
	require.NoError(t, err)
	return obj
}

func openStore(t testing.TB) *staging.Store {
	t.Helper()
	store, err := staging.Open(t.Context(), "file://"+t.TempDir())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, store.Close()) })
	return store
}

func TestARangeIsExactlyTheRowsInIt(t *testing.T) {
	t.Parallel()
	columns := []connector.Column{{Name: "v", Type: connector.Type{Name: connector.TypeInt64}}}
	schema := arrow.NewSchema([]arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	store := openStore(t)
	files := newCache(t.Context(), store, t.TempDir())
	defer files.close()
	var parts []mappedPart
	var all []int64
	for part := range int64(4) {
		var ordinals []int64
		for row := part * 100; row < part*100+100; row++ {
			if row%7 != 3 {
				ordinals = append(ordinals, row)
			}
		}
		all = append(all, ordinals...)
		parts = append(parts, mappedPart{object: mappedFile(t, store, columns, ordinals, 16, func(b *array.RecordBuilder, row int64) {
			b.Field(1).(*array.Int64Builder).Append(row * 10)
		}), from: part * 100, to: part*100 + 100})
	}
	rapid.Check(t, func(rt *rapid.T) {
		r := &rows{files: files, memory: 1 << 12, schema: schema, parts: parts, total: int64(len(all))}
		for range rapid.IntRange(0, 50).Draw(rt, "left out") {
			r.out.add(rapid.SampledFrom(all).Draw(rt, "row"))
		}
		from := rapid.Int64Range(0, 420).Draw(rt, "from")
		to := rapid.OneOf(rapid.Int64Range(from, 430), rapid.Just(int64(maxRow))).Draw(rt, "to")
		var want []int64
		for _, row := range all {
			if row >= from && row < to && !r.out.has(row) {
				want = append(want, row)
			}
		}
		reader, err := r.Open(t.Context(), from, to)
		require.NoError(rt, err)
		var got []int64
		for {
			batch, err := reader.Next(t.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(rt, err)
			for i, row := range batch.Column(0).(*array.Int64).Int64Values() {
				got = append(got, row)
				require.Equal(rt, row*10, batch.Column(1).(*array.Int64).Value(i))
			}
			batch.Release()
		}
		require.NoError(rt, reader.Close())
		require.Equal(rt, want, got)
		require.Equal(rt, r.total-r.out.count, r.Count())
	})
}

func TestAReaderEndsWithItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancelCause(t.Context())
	stopped := errors.New("stopped")
	cancel(stopped)
	r := &rows{parts: []mappedPart{{from: 0, to: 1}}}
	reader, err := r.Open(ctx, 0, 1)
	require.NoError(t, err)
	_, err = reader.Next(ctx)
	require.ErrorIs(t, err, stopped)
	require.NoError(t, reader.Close())
}

func TestAReaderThatIsLeftGivesEverythingBack(t *testing.T) {
	t.Parallel()
	columns := []connector.Column{{Name: "v", Type: connector.Type{Name: connector.TypeInt64}}}
	store := openStore(t)
	files := newCache(t.Context(), store, t.TempDir())
	defer files.close()
	ordinals := make([]int64, 1000)
	for i := range ordinals {
		ordinals[i] = int64(i)
	}
	object := mappedFile(t, store, columns, ordinals, 10, func(b *array.RecordBuilder, row int64) { b.Field(1).(*array.Int64Builder).Append(row) })
	schema := arrow.NewSchema([]arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}, {Name: "v", Type: arrow.PrimitiveTypes.Int64, Nullable: true}}, nil)
	r := &rows{files: files, memory: 1 << 12, schema: schema, parts: []mappedPart{{object: object, to: 1000}}, total: 1000}
	for batches := range 5 {
		reader, err := r.Open(context.WithoutCancel(t.Context()), 0, maxRow)
		require.NoError(t, err)
		for range batches {
			batch, err := reader.Next(t.Context())
			require.NoError(t, err)
			batch.Release()
		}
		require.NoError(t, reader.Close())
		require.Nil(t, reader.(*aheadReader).reader.file)
		_, err = reader.Next(t.Context())
		require.ErrorIs(t, err, context.Canceled)
	}
}

// BenchmarkRows reads 1M mapped rows of 12 columns.
func BenchmarkRows(b *testing.B) {
	typed := func(name string) connector.Type {
		t, err := connector.ParseType(name)
		require.NoError(b, err)
		return t
	}
	var columns []connector.Column
	for i, name := range []string{"int64", "string", "string", "decimal(12,2)", "decimal(12,2)", "date", "timestamp", "string", "string", "int32", "float64", "bool"} {
		columns = append(columns, connector.Column{Name: fmt.Sprintf("c%d", i), Type: typed(name)})
	}
	store := openStore(b)
	ordinals := make([]int64, 1_000_000)
	for i := range ordinals {
		ordinals[i] = int64(i)
	}
	obj := mappedFile(b, store, columns, ordinals, 122_880, func(build *array.RecordBuilder, row int64) {
		build.Field(1).(*array.Int64Builder).Append(row)
		build.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("INV-%08d", row))
		build.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("customer %d GmbH", row%5000))
		build.Field(4).(*array.Decimal128Builder).Append(decimal128.FromI64(row * 7919 % 10_000_000))
		build.Field(5).(*array.Decimal128Builder).Append(decimal128.FromI64(row * 7919 % 2_000_000))
		build.Field(6).(*array.Date32Builder).Append(arrow.Date32(18_000 + row%2000))
		build.Field(7).(*array.TimestampBuilder).Append(arrow.Timestamp(1_600_000_000_000_000 + row*1_234_567))
		build.Field(8).(*array.StringBuilder).Append([]string{"OPEN", "PAID", "VOID"}[row%3])
		build.Field(9).(*array.StringBuilder).Append([]string{"EMEA", "APAC", "AMER"}[row%3])
		build.Field(10).(*array.Int32Builder).Append(int32(row % 100))
		build.Field(11).(*array.Float64Builder).Append(float64(row%1000) / 8)
		build.Field(12).(*array.BooleanBuilder).Append(row%2 == 0)
	})
	files := newCache(b.Context(), store, b.TempDir())
	defer files.close()
	ingest := &typev1.IngestManifest{Parts: []*typev1.StagedPart{{Data: &typev1.StagedObject{Rows: int64(len(ordinals))}}}}
	obj.Rows = int64(len(ordinals))
	r, err := newRows(files, 64<<20, connector.TargetSpec{Columns: columns}, ingest, []*typev1.PartManifest{{Mapped: obj}})
	require.NoError(b, err)
	for b.Loop() {
		reader, err := r.Open(b.Context(), 0, maxRow)
		require.NoError(b, err)
		n := int64(0)
		for {
			batch, err := reader.Next(b.Context())
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(b, err)
			n += batch.NumRows()
			batch.Release()
		}
		require.NoError(b, reader.Close())
		require.EqualValues(b, len(ordinals), n)
	}
}
