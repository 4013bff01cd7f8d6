package rejectfile

import (
	"errors"
	"fmt"
	"os"

	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// A row group ends at the first of these, so that a writer and a reader hold little whatever the records hold.
const (
	groupRows  = 16 << 10
	groupBytes = 8 << 20
)

// Writer writes a reject file. Not safe for concurrent use.
type Writer struct {
	file    *os.File
	parquet *pqarrow.FileWriter
	batch   *array.RecordBuilder
	rows    int64
	pending int
	bytes   int
	closed  bool
}

// Create makes a new file at path, which must not exist.
func Create(path string) (*Writer, error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	props := parquet.NewWriterProperties(
		parquet.WithCompression(compress.Codecs.Zstd),
		parquet.WithCompressionLevel(1),
		parquet.WithDictionaryDefault(false),
		parquet.WithDictionaryFor(ColumnFile, true),
		parquet.WithDictionaryFor(ColumnStage, true),
		parquet.WithStats(false),
		parquet.WithMaxRowGroupLength(groupRows),
	)
	// The Parquet writer closes what it writes to unless it cannot see that it could.
	w, err := pqarrow.NewFileWriter(Schema, struct{ *onlyWriter }{&onlyWriter{file}}, props, pqarrow.NewArrowWriterProperties())
	if err != nil {
		return nil, errors.Join(err, file.Close(), os.Remove(path))
	}
	return &Writer{file: file, parquet: w, batch: array.NewRecordBuilder(memory.DefaultAllocator, Schema)}, nil
}

// onlyWriter hides that a file can be closed.
type onlyWriter struct{ f *os.File }

func (w *onlyWriter) Write(p []byte) (int, error) { return w.f.Write(p) }

// Append adds a record. It keeps nothing of it.
func (w *Writer) Append(r Record) error {
	appendInt(w.batch.Field(0), r.Row)
	appendText(w.batch.Field(1), r.File)
	appendInt(w.batch.Field(2), r.Line)
	appendInt(w.batch.Field(3), r.Byte)
	appendText(w.batch.Field(4), StageName(r.Stage))
	appendText(w.batch.Field(5), r.Errors)
	appendText(w.batch.Field(6), r.Record)
	raw := w.batch.Field(7).(*array.BinaryBuilder)
	if len(r.Raw) == 0 {
		raw.AppendNull()
	} else {
		raw.Append(r.Raw)
	}
	w.rows++
	w.pending++
	w.bytes += len(r.File) + len(r.Errors) + len(r.Record) + len(r.Raw) + 64
	if w.pending >= groupRows || w.bytes >= groupBytes {
		return w.flush()
	}
	return nil
}

func appendInt(b array.Builder, v *int64) {
	if v == nil {
		b.AppendNull()
		return
	}
	b.(*array.Int64Builder).Append(*v)
}

func appendText(b array.Builder, v string) {
	if v == "" {
		b.AppendNull()
		return
	}
	b.(*array.StringBuilder).Append(v)
}

// Rows is how many records were appended.
func (w *Writer) Rows() int64 { return w.rows }

// flush writes what is pending as one row group.
func (w *Writer) flush() error {
	if w.pending == 0 {
		return nil
	}
	batch := w.batch.NewRecordBatch()
	defer batch.Release()
	w.pending, w.bytes = 0, 0
	if err := w.parquet.Write(batch); err != nil {
		return fmt.Errorf("write rejects: %w", err)
	}
	return nil
}

// Close finishes the file and returns how many records it has. A second call does nothing.
func (w *Writer) Close() (int64, error) {
	if w.closed {
		return w.rows, nil
	}
	w.closed = true
	defer w.batch.Release()
	err := errors.Join(w.flush(), w.parquet.Close(), w.file.Close())
	return w.rows, err
}
