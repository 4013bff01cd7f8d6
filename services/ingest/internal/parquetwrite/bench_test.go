package parquetwrite_test

import (
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

const groupRows = 122_880

// group is a row group of invoices, column by column: few and many distinct values, short and long.
func group() (text []byte, columns [][]parquetwrite.Span, size int64) {
	formats := []func(i, r int) string{
		func(i, _ int) string { return fmt.Sprintf("INV-%09d", i) },
		func(_, r int) string { return fmt.Sprintf("Customer No %07d", r%300_000) },
		func(_, r int) string { return fmt.Sprintf("user%06d@mail1.example.com", r%500_000) },
		func(_, r int) string { return []string{"FR", "DE", "US", "GB", "IT"}[r%5] },
		func(_, r int) string { return []string{"OPEN", "PAID", "VOID"}[r%3] },
		func(_, r int) string { return fmt.Sprintf("%d.%02d", r%100_000, r%97) },
		func(_, r int) string { return fmt.Sprintf("%d.%02d", r%2_000, r%89) },
		func(_, r int) string { return fmt.Sprintf("2024-%02d-%02d", 1+r%12, 1+r%28) },
		func(_, r int) string { return fmt.Sprintf("2025-%02d-%02d", 1+r%12, 1+r%27) },
		func(_, r int) string { return fmt.Sprint(r % 100) },
		func(_, r int) string { return fmt.Sprintf("SKU-%05d-%c", r%20_000, 'A'+r%3) },
		func(_, r int) string { return fmt.Sprint("paid by card ", r%1_000_000) },
	}
	columns = make([][]parquetwrite.Span, len(formats))
	r := uint64(1)
	for i := range groupRows {
		for c, format := range formats {
			r = r*6364136223846793005 + 1442695040888963407
			s := format(i, int(r>>33))
			columns[c] = append(columns[c], parquetwrite.NewSpan(len(text), len(s)))
			text = append(append(text, s...), ',')
		}
	}
	return text, columns, int64(len(text))
}

// processor returns the processor time that this process has used. It is what counts where others use the machine, too.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkColumns(b *testing.B) {
	text, columns, size := group()
	declared := make([]parquetwrite.Column, len(columns))
	enc, err := parquetwrite.NewColumns(declared)
	require.NoError(b, err)
	b.SetBytes(size)
	var stored int
	before := processor(b)
	for b.Loop() {
		for at := 0; at < groupRows; at += 2048 {
			for c := range columns {
				enc.AddText(c, text, columns[c][at:min(at+2048, groupRows)])
			}
		}
		g, err := enc.Flush(groupRows)
		require.NoError(b, err)
		stored = g.Size()
	}
	b.ReportMetric(float64(processor(b)-before)/1e6/float64(b.N), "cpu-ms/op")
	b.ReportMetric(float64(stored)/1e6, "stored-MB")
}

// BenchmarkArrow is the same work by arrow-go's column writers, the fastest way that it has for this.
func BenchmarkArrow(b *testing.B) {
	for _, dictionary := range []bool{false, true} {
		b.Run(fmt.Sprintf("dictionary=%v", dictionary), func(b *testing.B) { benchmarkArrow(b, dictionary) })
	}
}

func benchmarkArrow(b *testing.B, dictionary bool) {
	text, columns, size := group()
	fields := make(schema.FieldList, len(columns))
	for c := range fields {
		node, err := schema.NewPrimitiveNodeLogical(fmt.Sprint("c", c), parquet.Repetitions.Optional, schema.StringLogicalType{}, parquet.Types.ByteArray, -1, -1)
		require.NoError(b, err)
		fields[c] = node
	}
	root, err := schema.NewGroupNode("schema", parquet.Repetitions.Required, fields, -1)
	require.NoError(b, err)
	levels := make([]int16, groupRows)
	batch := make([]parquet.ByteArray, groupRows)
	for i := range levels {
		levels[i] = 1
	}
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(1),
		parquet.WithDictionaryDefault(dictionary), parquet.WithStats(false))
	b.SetBytes(size)
	before := processor(b)
	for b.Loop() {
		w := file.NewParquetWriter(io.Discard, root, file.WithWriterProps(props))
		group, err := w.AppendRowGroupChecked()
		require.NoError(b, err)
		for c := range columns {
			column, err := group.NextColumn()
			require.NoError(b, err)
			for i, span := range columns[c] {
				batch[i] = span.Bytes(text)
			}
			_, err = column.(*file.ByteArrayColumnChunkWriter).WriteBatch(batch, levels, nil)
			require.NoError(b, err)
			require.NoError(b, column.Close())
		}
		require.NoError(b, group.Close())
		require.NoError(b, w.Close())
	}
	b.ReportMetric(float64(processor(b)-before)/1e6/float64(b.N), "cpu-ms/op")
}
