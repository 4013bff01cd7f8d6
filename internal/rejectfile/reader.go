package rejectfile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// ErrFormat is returned for a file that is not a reject file.
var ErrFormat = errors.New("not a reject file")

// batchRows is how many records a reader holds: few, since each may hold a whole source record twice.
const batchRows = 256

// Reader iterates over a reject file in order. Not safe for concurrent use.
type Reader struct {
	closer  io.Closer
	parquet *file.Reader
	arrow   *pqarrow.FileReader

	group int // The next row group to open.
	rows  pqarrow.RecordReader
	batch arrow.RecordBatch
	next  int // Within batch.
	left  int64
}

// Open opens the file at path.
func Open(path string) (*Reader, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	r, err := OpenReaderAt(f)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	r.closer = f
	return r, nil
}

// OpenReaderAt opens a file that the caller closes, after the reader.
func OpenReaderAt(src parquet.ReaderAtSeeker) (*Reader, error) {
	props := parquet.NewReaderProperties(memory.DefaultAllocator)
	props.BufferedStreamEnabled = true // Pages as they are needed, not whole columns.
	pf, err := file.NewParquetReader(struct{ parquet.ReaderAtSeeker }{src}, file.WithReadProps(props))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	af, err := pqarrow.NewFileReader(pf, pqarrow.ArrowReadProperties{BatchSize: batchRows}, memory.DefaultAllocator)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	schema, err := af.Schema()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if schema.NumFields() != Schema.NumFields() {
		return nil, fmt.Errorf("%w: it has %d columns", ErrFormat, schema.NumFields())
	}
	for i, want := range Schema.Fields() {
		if got := schema.Field(i); got.Name != want.Name || !arrow.TypeEqual(got.Type, want.Type) {
			return nil, fmt.Errorf("%w: column %d is %s %s", ErrFormat, i, got.Name, got.Type)
		}
	}
	return &Reader{parquet: pf, arrow: af, left: pf.NumRows()}, nil
}

// Rows is how many records the file has.
func (r *Reader) Rows() int64 { return r.parquet.NumRows() }

// Skip passes over n records, or over all that are left. Whole row groups are not read.
func (r *Reader) Skip(n int64) error {
	if n = min(n, r.left); n <= 0 {
		return nil
	}
	r.left -= n
	for n > 0 {
		if r.batch != nil && r.next < int(r.batch.NumRows()) {
			step := min(n, r.batch.NumRows()-int64(r.next))
			r.next += int(step)
			n -= step
			continue
		}
		if r.rows == nil {
			if group := r.parquet.MetaData().RowGroup(r.group).NumRows(); group <= n {
				r.group++
				n -= group
				continue
			}
		}
		if err := r.load(); err != nil {
			return err
		}
	}
	return nil
}

// Next returns the next record, or io.EOF. Raw is the caller's.
func (r *Reader) Next() (Record, error) {
	if r.left == 0 {
		return Record{}, io.EOF
	}
	for r.batch == nil || r.next >= int(r.batch.NumRows()) {
		if err := r.load(); err != nil {
			return Record{}, err
		}
	}
	rec, err := r.record(r.next)
	r.next++
	r.left--
	return rec, err
}

// load reads the next batch; there is one.
func (r *Reader) load() error {
	r.batch = nil
	for {
		if r.rows == nil {
			if r.group >= r.parquet.NumRowGroups() {
				return fmt.Errorf("%w: it ends %d records early", ErrFormat, r.left)
			}
			rows, err := r.arrow.GetRecordReader(context.Background(), nil, []int{r.group})
			if err != nil {
				return fmt.Errorf("read rejects: %w", err)
			}
			r.group++
			r.rows = rows
		}
		batch, err := r.rows.Read()
		if err == nil && batch.NumRows() > 0 {
			r.batch, r.next = batch, 0
			return nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("read rejects: %w", err)
		}
		r.rows.Release()
		r.rows = nil
	}
}

func (r *Reader) record(i int) (Record, error) {
	rec := Record{
		Row: intAt(r.batch.Column(0), i), File: textAt(r.batch.Column(1), i),
		Line: intAt(r.batch.Column(2), i), Byte: intAt(r.batch.Column(3), i),
		Errors: textAt(r.batch.Column(5), i), Record: textAt(r.batch.Column(6), i),
	}
	if raw := r.batch.Column(7).(*array.Binary); raw.IsValid(i) {
		rec.Raw = append([]byte{}, raw.Value(i)...)
	}
	stage, err := ParseStage(textAt(r.batch.Column(4), i))
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	rec.Stage = stage
	return rec, nil
}

func intAt(col arrow.Array, i int) *int64 {
	if col.IsNull(i) {
		return nil
	}
	v := col.(*array.Int64).Value(i)
	return &v
}

// textAt copies, since a record outlives its batch.
func textAt(col arrow.Array, i int) string {
	if col.IsNull(i) {
		return ""
	}
	return string([]byte(col.(*array.String).Value(i)))
}

// Close gives everything back.
func (r *Reader) Close() error {
	if r.rows != nil {
		r.rows.Release()
		r.rows, r.batch = nil, nil
	}
	r.left = 0
	err := r.parquet.Close()
	if r.closer != nil {
		err = errors.Join(err, r.closer.Close())
		r.closer = nil
	}
	return err
}
