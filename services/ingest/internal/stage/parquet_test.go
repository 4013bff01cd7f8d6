package stage_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/internal/rejectfile"
)

func parquetSource() *flowv1.Source {
	return &flowv1.Source{Format: &flowv1.Source_Parquet{Parquet: &flowv1.Parquet{}}}
}

// parquetFile makes a file of a number, a nanosecond timestamp and a text per row.
func parquetFile(t testing.TB, texts []string, nanos []int64) string {
	s := arrow.NewSchema([]arrow.Field{
		{Name: "n", Type: arrow.PrimitiveTypes.Uint64}, {Name: "at", Type: &arrow.TimestampType{Unit: arrow.Nanosecond}, Nullable: true},
		{Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, s)
	defer b.Release()
	for i := range texts {
		b.Field(0).(*array.Uint64Builder).Append(uint64(i))
		b.Field(1).(*array.TimestampBuilder).Append(arrow.Timestamp(nanos[i%len(nanos)]))
		b.Field(2).(*array.StringBuilder).Append(texts[i])
	}
	path := filepath.Join(t.TempDir(), "f")
	f, err := os.Create(path)
	require.NoError(t, err)
	w, err := pqarrow.NewFileWriter(s, f, parquet.NewWriterProperties(parquet.WithMaxRowGroupLength(100)), pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	batch := b.NewRecordBatch()
	defer batch.Release()
	require.NoError(t, w.Write(batch))
	require.NoError(t, w.Close())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(content)
}

func TestParquetIsStagedTypedAndWhatDoesNotFitIsRejected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	content := parquetFile(t, []string{"a", "b", "\xff", "d"}, []int64{1000, 1001, 2000, 3000})
	m := b.stage(t, b.batch(t, b.put(t, "in.parquet", content), parquetSource()))
	require.Equal(t, [][]string{{"0", "1970-01-01T00:00:00.000001", "a"}, {"3", "1970-01-01T00:00:00.000003", "d"}}, b.read(t, m))
	require.Equal(t, []string{"decimal(20,0)", "timestamp", "string"}, []string{m.GetColumns()[0].GetType(), m.GetColumns()[1].GetType(), m.GetColumns()[2].GetType()})
	require.EqualValues(t, 4, m.GetRecordsRead())
	require.EqualValues(t, len(content), m.GetSourceBytes())
	require.Equal(t, sum(content), m.GetInputDigest())
	require.Nil(t, m.GetParts()[0].GetLocations())

	list := b.rejects(t, m)
	require.Len(t, list, 2)
	require.Nil(t, list[0].Line)
	require.Equal(t, "in.parquet", list[0].File)
	errs, err := rejectfile.DecodeErrors(list[0].Errors)
	require.NoError(t, err)
	require.Equal(t, []string{"type", "at"}, []string{errs[0].GetType(), errs[0].GetColumn()})
	require.Contains(t, errs[0].GetMessage(), "record 1 of the file")
	require.Contains(t, errs[0].GetValue(), "00:00:00.000001001")
	require.JSONEq(t, `{"n":1,"at":null,"text":"b"}`, list[0].Record)
	require.Equal(t, "encoding", reason(t, list[1]).GetType())
	require.Equal(t, "\xff", string(list[1].Raw))
}

func TestParquetIsCutIntoPartsAndMayBeCompressedOnceMore(t *testing.T) {
	t.Parallel()
	b := setup(t)
	content := parquetFile(t, strings.Split(strings.Repeat("some text,", 5000), ","), []int64{1000})
	for _, c := range []string{content, gzipped(content), zstandard(content)} {
		batch := b.batch(t, b.put(t, "in.parquet", c), parquetSource())
		batch.Spec.Limits = &flowv1.Limits{PartBytes: proto.Int64(50_000)}
		m := b.stage(t, batch)
		require.Len(t, m.GetParts(), 4)
		require.Len(t, b.read(t, m), 5001)
		require.Equal(t, sum(c), m.GetInputDigest())
	}
}

func TestPreviewOfParquetStops(t *testing.T) {
	t.Parallel()
	b := setup(t)
	batch := b.batch(t, b.put(t, "in.parquet", parquetFile(t, make([]string, 1000), []int64{0})), parquetSource())
	batch.MaxRecords = 150
	require.Len(t, b.read(t, b.stage(t, batch)), 150)
}

func TestParquetWithoutRowsIsOneEmptyPart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(t, b.batch(t, b.put(t, "in.parquet", parquetFile(t, nil, nil)), parquetSource()))
	require.Len(t, m.GetParts(), 1)
	require.Len(t, m.GetColumns(), 3)
}

func TestParquetThatIsNoneFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	content := parquetFile(t, make([]string, 1000), []int64{0})
	for _, c := range []string{small, "", content[:len(content)/2], "PAR1PAR1"} {
		require.Equal(t, "PARQUET_UNREADABLE", b.fails(t, b.batch(t, b.put(t, "in.parquet", c), parquetSource())).Reason)
	}
}
