package parquetwrite_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

// values is a table: columns of nullable texts.
type values [][]*string

// spans lays the column's values out in one text.
func (v values) spans(column, from, to int) ([]byte, []parquetwrite.Span) {
	text := []byte("head")
	var spans []parquetwrite.Span
	for _, s := range v[column][from:to] {
		if s == nil {
			spans = append(spans, parquetwrite.Null)
			continue
		}
		spans = append(spans, parquetwrite.NewSpan(len(text), len(*s)))
		text = append(text, *s...)
	}
	return text, spans
}

// write writes the table in row groups of groupRows, given in batches of batchRows.
func write(t require.TestingT, path string, v values, kinds []parquetwrite.Kind, groupRows, batchRows int) {
	columns := make([]parquetwrite.Column, 0, len(v)+1)
	for i := range v {
		columns = append(columns, parquetwrite.Column{Name: fmt.Sprintf("c%d", i), Kind: kinds[i]})
	}
	columns = append(columns, parquetwrite.Column{Name: "n", Kind: parquetwrite.Int64})
	enc, err := parquetwrite.NewColumns(columns)
	require.NoError(t, err)
	f, err := parquetwrite.Create(path, columns)
	require.NoError(t, err)
	rows := len(v[0])
	for from := 0; from < rows; from += groupRows {
		to := min(from+groupRows, rows)
		for at := from; at < to; at += batchRows {
			end := min(at+batchRows, to)
			for c := range v {
				text, spans := v.spans(c, at, end)
				enc.AddText(c, text, spans)
			}
			var ints []int64
			for n := at; n < end; n++ {
				ints = append(ints, number(n))
			}
			enc.AddInts(len(v), ints)
		}
		group, err := enc.Flush(to - from)
		require.NoError(t, err)
		require.NoError(t, f.Append(group))
	}
	require.NoError(t, f.Close())
	require.EqualValues(t, rows, f.Rows())
}

// number is a sequence with small, large and negative steps.
func number(n int) int64 {
	if n%7 == 3 {
		return -1 << 62
	}
	return int64(n)*141 + int64(n%13)
}

// read returns the table as arrow-go sees it, and the integers.
func read(t require.TestingT, path string) (values, []int64) {
	r, err := file.OpenParquetFile(path, false)
	require.NoError(t, err)
	defer func() { _ = r.Close() }()
	fr, err := pqarrow.NewFileReader(r, pqarrow.ArrowReadProperties{}, memory.DefaultAllocator)
	require.NoError(t, err)
	table, err := fr.ReadTable(context.Background())
	require.NoError(t, err)
	defer table.Release()
	last := int(table.NumCols()) - 1
	v := make(values, last)
	var ints []int64
	for c := range last {
		require.Equal(t, arrow.STRING, table.Column(c).DataType().ID())
		for _, chunk := range table.Column(c).Data().Chunks() {
			a := chunk.(*array.String)
			for i := range a.Len() {
				if a.IsNull(i) {
					v[c] = append(v[c], nil)
					continue
				}
				s := string([]byte(a.Value(i)))
				v[c] = append(v[c], &s)
			}
		}
	}
	for _, chunk := range table.Column(last).Data().Chunks() {
		ints = append(ints, chunk.(*array.Int64).Int64Values()...)
	}
	return v, ints
}

func TestArrowReadsBackWhatWasWritten(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.IntRange(1, 1000).Draw(t, "rows")
		columns := rapid.IntRange(1, 3).Draw(t, "columns")
		v := make(values, columns)
		kinds := make([]parquetwrite.Kind, columns)
		for c := range v {
			kinds[c] = rapid.SampledFrom([]parquetwrite.Kind{parquetwrite.Text, parquetwrite.RepeatedText}).Draw(t, "kind")
			distinct := rapid.SampledFrom([]int{0, 1, 2, 9, 300, 100_000}).Draw(t, "distinct")
			nulls := rapid.SampledFrom([]int{0, 1, 50, 100}).Draw(t, "nulls")
			width := rapid.SampledFrom([]int{0, 3, 16, 17, 300}).Draw(t, "width")
			seed := rapid.Uint64().Draw(t, "seed")
			for range rows {
				seed = seed*6364136223846793005 + 1442695040888963407
				if int(seed>>40%100) < nulls || distinct == 0 {
					v[c] = append(v[c], nil)
					continue
				}
				s := fmt.Sprintf("%0*d", width, int(seed>>33)%distinct)
				v[c] = append(v[c], &s)
			}
		}
		n++
		path := filepath.Join(dir, fmt.Sprint(n))
		write(t, path, v, kinds, rapid.IntRange(100, 1000).Draw(t, "group"), rapid.IntRange(20, 1000).Draw(t, "batch"))
		got, ints := read(t, path)
		require.Equal(t, v, got)
		for i, x := range ints {
			require.Equal(t, number(i), x)
		}
		require.Len(t, ints, rows)
	})
}

func TestColumnLeavesItsDictionaryWhenValuesStopRepeating(t *testing.T) {
	t.Parallel()
	v := values{nil}
	for i := range 120_000 {
		s := "same"
		if i > 4000 {
			s = fmt.Sprint("value ", i)
		}
		v[0] = append(v[0], &s)
	}
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, v, []parquetwrite.Kind{parquetwrite.Text}, len(v[0]), 2048)
	got, _ := read(t, path)
	require.Equal(t, v, got)
}

func TestFileWithoutRowsKeepsItsColumns(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "f")
	f, err := parquetwrite.Create(path, []parquetwrite.Column{{Name: "a b"}, {Name: "ü"}})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	r, err := file.OpenParquetFile(path, false)
	require.NoError(t, err)
	defer func() { _ = r.Close() }()
	require.EqualValues(t, 0, r.NumRows())
	require.Equal(t, "a b", r.MetaData().Schema.Column(0).Name())
	require.Equal(t, "ü", r.MetaData().Schema.Column(1).Name())
}

func TestRowGroupWithUnevenColumnsIsRefused(t *testing.T) {
	t.Parallel()
	enc, err := parquetwrite.NewColumns([]parquetwrite.Column{{Name: "a"}, {Name: "b"}})
	require.NoError(t, err)
	enc.AddText(0, []byte("x"), []parquetwrite.Span{parquetwrite.NewSpan(0, 1)})
	_, err = enc.Flush(1)
	require.ErrorContains(t, err, "column 1 got 0 values for 1 rows")
}
