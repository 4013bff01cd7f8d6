package parquetread

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/fault"
)

// Rows of a batch: it begins small, since a footer does not say how large values become, and grows while batches stay
// below batchBytes.
const (
	firstRows  = 64
	maxRows    = 16 << 10
	batchBytes = 4 << 20
)

// Reader reads the rows of a file in order. Not safe for concurrent use.
type Reader struct {
	file    *file.Reader
	columns []column
	readers []*pqarrow.ColumnReader
	// group is the row group at work, and left how many of its rows are not read yet.
	group int
	left  int64
	rows  int64
	next  int64
	// size is how many rows the next batch may have.
	size  int64
	arrow *pqarrow.FileReader
}

// Batch is some rows of a file.
type Batch struct {
	// Rows holds a column for each of Columns. Rows that are rejected hold something or other.
	Rows arrow.RecordBatch
	// First is the 0-based ordinal of the first row in the file.
	First int64
	// Rejects are the rows that do not fit, in order.
	Rejects []Reject
}

// Reject is a row that does not fit its types.
type Reject struct {
	// Row is its index in the batch.
	Row int
	// Encoding is true if text is not valid UTF-8.
	Encoding bool
	// Column and Message say what is wrong with which value; Raw holds the bytes of a text that is none.
	Column, Message, Value string
	Raw                    []byte
}

// Open opens the file at path. Errors are coded.
func Open(path string) (r *Reader, err error) {
	defer recovered(&err)
	props := parquet.NewReaderProperties(bounded{memory.DefaultAllocator})
	props.BufferedStreamEnabled = true
	if err := readable(path); err != nil {
		return nil, err
	}
	f, err := file.OpenParquetFile(path, false, file.WithReadProps(props))
	if err != nil {
		return nil, unreadable("its footer cannot be read", err)
	}
	defer func() {
		if r == nil {
			_ = f.Close()
		}
	}()
	if err := checkChunks(f); err != nil {
		return nil, err
	}
	// The schema that Arrow writers add beside Parquet's own is not needed, and is one more thing that can lie.
	f.MetaData().FileMetaData.KeyValueMetadata = nil
	a, err := pqarrow.NewFileReader(f, pqarrow.ArrowReadProperties{}, bounded{memory.DefaultAllocator})
	if err != nil {
		return nil, unreadable("its schema is not valid", err)
	}
	r = &Reader{file: f, arrow: a, rows: f.NumRows()}
	for i := range a.Manifest.Fields {
		c, err := newColumn(*a.Manifest.Fields[i].Field, logicalType(f, &a.Manifest.Fields[i]))
		if err != nil {
			r = nil
			return nil, err
		}
		r.columns = append(r.columns, c)
	}
	return r, nil
}

// readable refuses files that are recognised, but not supported.
func readable(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	var head [4]byte
	if _, err := io.ReadFull(f, head[:]); err != nil {
		return unreadable("it is too short", nil)
	}
	switch string(head[:]) {
	case "PAR1":
		return nil
	case "PARE":
		return fault.New(codes.InvalidArgument, "PARQUET_ENCRYPTED", "the file is encrypted Parquet, which cannot be read").
			WithNext("deliver it without Parquet's own encryption")
	}
	return unreadable("it does not begin as Parquet does", nil)
}

// codecs are the compressions that can be read.
var codecs = map[compress.Compression]bool{
	compress.Codecs.Uncompressed: true, compress.Codecs.Snappy: true, compress.Codecs.Gzip: true,
	compress.Codecs.Zstd: true, compress.Codecs.Lz4Raw: true,
}

// checkChunks refuses codecs, and footers that cannot be true.
func checkChunks(f *file.Reader) error {
	var rows int64
	for g := range f.NumRowGroups() {
		meta := f.MetaData().RowGroup(g)
		rows += meta.NumRows()
		for c := range meta.NumColumns() {
			chunk, err := meta.ColumnChunk(c)
			if err != nil {
				return unreadable("its footer is not valid", err)
			}
			name := f.MetaData().Schema.Column(c).Path()
			if codec := chunk.Compression(); !codecs[codec] {
				return fault.New(codes.InvalidArgument, "UNSUPPORTED_COMPRESSION", "column %s is compressed by %s, which cannot be read", name, codec).
					WithColumn(name).WithMeta("codec", codec.String()).WithNext("write the file with zstd, snappy, gzip or without compression")
			}
		}
	}
	if rows != f.NumRows() || rows < 0 {
		return unreadable(fmt.Sprintf("its footer promises %d rows, and its row groups %d", f.NumRows(), rows), nil)
	}
	return nil
}

// logicalType returns the logical type of a leaf, or nil.
func logicalType(f *file.Reader, field *pqarrow.SchemaField) schema.LogicalType {
	if !field.IsLeaf() {
		return nil
	}
	return f.MetaData().Schema.Column(field.ColIndex).LogicalType()
}

// Columns returns the file's columns.
func (r *Reader) Columns() []connector.Column {
	out := make([]connector.Column, len(r.columns))
	for i, c := range r.columns {
		out[i] = connector.Column{Name: c.name, Type: c.typ}
	}
	return out
}

// NumRows returns how many rows the footer promises.
func (r *Reader) NumRows() int64 { return r.rows }

// Read returns the next rows, at most limit, or io.EOF. Errors are coded.
func (r *Reader) Read(ctx context.Context, limit int64) (b Batch, err error) {
	defer recovered(&err)
	for r.left == 0 {
		if r.group == r.file.NumRowGroups() {
			return Batch{}, io.EOF
		}
		if err := r.openGroup(ctx); err != nil {
			return Batch{}, err
		}
	}
	if r.size == 0 {
		r.size = firstRows
	}
	return r.read(min(r.left, limit, r.size))
}

// Close closes the file.
func (r *Reader) Close() (err error) {
	defer recovered(&err)
	for _, c := range r.readers {
		c.Release()
	}
	return r.file.Close()
}

func (r *Reader) openGroup(ctx context.Context) error {
	for _, c := range r.readers {
		c.Release()
	}
	r.readers = nil
	leaves := make([]int, r.file.MetaData().Schema.NumColumns())
	for i := range leaves {
		leaves[i] = i
	}
	readers, _, err := r.arrow.GetFieldReaders(ctx, leaves, []int{r.group})
	if err != nil {
		return unreadable("row group "+strconv.Itoa(r.group)+" cannot be opened", err)
	}
	r.readers = readers
	r.left = r.file.MetaData().RowGroup(r.group).NumRows()
	r.group++
	return nil
}

func (r *Reader) read(n int64) (Batch, error) {
	b := Batch{First: r.next}
	arrays := make([]arrow.Array, len(r.columns))
	defer func() {
		for _, a := range arrays {
			if a != nil {
				a.Release()
			}
		}
	}()
	var bytes int64
	rejects := &rejects{}
	for i, c := range r.columns {
		raw, err := r.column(i, n)
		if err != nil {
			return Batch{}, err
		}
		for _, buffer := range raw.Data().Buffers() {
			if buffer != nil {
				bytes += int64(buffer.Len())
			}
		}
		arrays[i], err = c.convert(raw, rejects)
		raw.Release()
		if err != nil {
			return Batch{}, unreadable("column "+c.name+" cannot be converted", err)
		}
	}
	fields := make([]arrow.Field, len(r.columns))
	for i, c := range r.columns {
		fields[i] = arrow.Field{Name: c.name, Type: c.typ.Arrow(), Nullable: true}
	}
	b.Rows = array.NewRecordBatch(arrow.NewSchema(fields, nil), arrays, n)
	b.Rejects = rejects.sorted()
	r.left -= n
	r.next += n
	if bytes < batchBytes/2 {
		r.size = min(2*r.size, maxRows)
	} else if bytes > batchBytes {
		r.size = max(r.size/2, 1)
	}
	return b, nil
}

// column reads n values of one column.
func (r *Reader) column(i int, n int64) (arrow.Array, error) {
	name := r.columns[i].name
	chunked, err := r.readers[i].NextBatch(n)
	if err != nil {
		return nil, unreadable("column "+name+" is damaged", err).WithColumn(name)
	}
	defer chunked.Release()
	if int64(chunked.Len()) != n {
		return nil, unreadable(fmt.Sprintf("column %s ends before the rows that its row group promises", name), nil).WithColumn(name)
	}
	if len(chunked.Chunks()) == 1 {
		a := chunked.Chunk(0)
		a.Retain()
		return a, nil
	}
	a, err := array.Concatenate(chunked.Chunks(), memory.DefaultAllocator)
	if err != nil {
		return nil, unreadable("column "+name+" is damaged", err).WithColumn(name)
	}
	return a, nil
}

// maxAllocation is the most memory that a decoder gets at a time. A page is never larger than 256 MiB.
const maxAllocation = 512 << 20

// bounded refuses allocations that only a damaged file can ask for.
type bounded struct{ memory.Allocator }

// Allocate implements memory.Allocator.
func (b bounded) Allocate(size int) []byte {
	checkAllocation(size)
	return b.Allocator.Allocate(size)
}

// Reallocate implements memory.Allocator.
func (b bounded) Reallocate(size int, data []byte) []byte {
	checkAllocation(size)
	return b.Allocator.Reallocate(size, data)
}

func checkAllocation(size int) {
	if size > maxAllocation {
		panic(fmt.Errorf("a decoder asks for %d bytes", size)) // Decoders have no other way out; see recovered.
	}
}

func unreadable(what string, cause error) *fault.Error {
	return fault.New(codes.InvalidArgument, "PARQUET_UNREADABLE", "the object is no Parquet file that can be read: %s", what).
		WithNext("write the file again, and check it with another reader").WithCause(cause)
}

// recovered makes an error of a panic of the decoder.
func recovered(err *error) {
	if p := recover(); p != nil {
		cause, ok := p.(error)
		if !ok {
			cause = errors.New(fmt.Sprint(p))
		}
		*err = unreadable("its content is damaged", cause)
	}
}
