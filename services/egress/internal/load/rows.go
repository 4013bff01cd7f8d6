package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/lume-data/lume/connector"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// mappedPart is a part with mapped rows, and the range of `_row` that it can hold.
type mappedPart struct {
	object   *typev1.StagedObject
	from, to int64
}

// rows are the mapped rows of a run without those that are left out. It implements connector.Rows.
type rows struct {
	files  *cache
	memory int64
	schema *arrow.Schema
	parts  []mappedPart
	total  int64
	// left out are rows that the closing task dropped, and rows that go with a refused one.
	out bitmap
}

// newRows orders the parts of a run by `_row`.
func newRows(files *cache, memory int64, spec connector.TargetSpec, ingest *typev1.IngestManifest, parts []*typev1.PartManifest) (*rows, error) {
	fields := []arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}
	for _, c := range spec.Columns {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true})
	}
	r := &rows{files: files, memory: memory, schema: arrow.NewSchema(fields, nil)}
	for _, p := range parts {
		if p.GetMapped().GetRows() == 0 {
			continue
		}
		if int(p.GetPart()) >= len(ingest.GetParts()) {
			return nil, fmt.Errorf("part %d was mapped but not staged", p.GetPart())
		}
		staged := ingest.GetParts()[p.GetPart()]
		first := staged.GetFirstRow()
		r.parts = append(r.parts, mappedPart{object: p.GetMapped(), from: first, to: first + staged.GetData().GetRows()})
		r.total += p.GetMapped().GetRows()
	}
	slices.SortFunc(r.parts, func(a, b mappedPart) int { return int(min(max(a.from-b.from, -1), 1)) })
	return r, nil
}

// names are the columns to read: a mapped file has the row's hash too.
func (r *rows) names() []string {
	names := make([]string, r.schema.NumFields())
	for i, f := range r.schema.Fields() {
		names[i] = f.Name
	}
	return names
}

// Count implements connector.Rows.
func (r *rows) Count() int64 { return r.total - r.out.count }

// Open implements connector.Rows.
func (r *rows) Open(ctx context.Context, from, to int64) (connector.RowReader, error) {
	return readAhead(ctx, r.open(from, to)), nil
}

// open reads without a step ahead.
func (r *rows) open(from, to int64) *rowReader {
	reader := &rowReader{rows: r, from: from, to: to}
	for _, p := range r.parts {
		if p.from < to && p.to > from {
			reader.parts = append(reader.parts, p)
		}
	}
	return reader
}

// rowReader reads a range part by part. A batch of a file becomes several where rows in it are left out; they share its
// memory.
type rowReader struct {
	rows     *rows
	from, to int64
	parts    []mappedPart

	file  *parquetFile
	group int
	open  pqarrow.RecordReader
	ready []arrow.RecordBatch
	last  int64
	begun bool
}

// Next implements connector.RowReader.
func (r *rowReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	for len(r.ready) == 0 {
		if err := ctx.Err(); err != nil {
			return nil, context.Cause(ctx)
		}
		if err := r.advance(ctx); err != nil {
			return nil, err
		}
	}
	batch := r.ready[0]
	r.ready = r.ready[1:]
	return batch, nil
}

// advance makes a step: to the next part, to the next row group, or to the next batch.
func (r *rowReader) advance(ctx context.Context) error {
	switch {
	case r.open != nil:
		batch, err := r.open.Read()
		if errors.Is(err, io.EOF) {
			r.open.Release()
			r.open = nil
			return nil
		}
		if err != nil {
			return fmt.Errorf("read mapped rows: %w", err)
		}
		return r.take(batch)
	case r.file != nil:
		if r.group == r.file.groups() {
			err := r.file.close()
			r.file = nil
			return err
		}
		group := r.group
		r.group++
		if low, high, ok := rowBounds(r.file.group(group)); ok && (high < r.from || low >= r.to) {
			return nil
		}
		var err error
		r.open, err = r.file.groupReader(ctx, group)
		return err
	case len(r.parts) == 0:
		return io.EOF
	}
	path, err := r.rows.files.get(ctx, r.parts[0].object)
	if err != nil {
		return err
	}
	r.parts = r.parts[1:]
	if len(r.parts) > 0 {
		r.rows.files.prefetch(r.parts[0].object)
	}
	r.group = 0
	r.file, err = openParquet(path, r.rows.memory, r.rows.names()...)
	return err
}

// take cuts out of a batch what is asked for.
func (r *rowReader) take(batch arrow.RecordBatch) error {
	columns, err := conform(batch, r.rows.schema)
	if err != nil {
		return err
	}
	ordinals := columns[0].(*array.Int64).Int64Values()
	whole := array.NewRecordBatch(r.rows.schema, columns, batch.NumRows())
	defer whole.Release()
	start := -1
	for i, row := range ordinals {
		if r.begun && row <= r.last {
			return fmt.Errorf("mapped rows are not in order: %d after %d", row, r.last)
		}
		r.last, r.begun = row, true
		if wanted := row >= r.from && row < r.to && !r.rows.out.has(row); wanted == (start >= 0) {
			continue
		}
		if start < 0 {
			start = i
			continue
		}
		r.ready = append(r.ready, whole.NewSlice(int64(start), int64(i)))
		start = -1
	}
	if start >= 0 {
		r.ready = append(r.ready, whole.NewSlice(int64(start), int64(len(ordinals))))
	}
	return nil
}

// conform returns the columns of a batch with the types of a schema. Types that only annotate another one are taken off.
func conform(batch arrow.RecordBatch, schema *arrow.Schema) ([]arrow.Array, error) {
	if int(batch.NumCols()) != schema.NumFields() {
		return nil, fmt.Errorf("a mapped file has %d columns instead of %d", batch.NumCols(), schema.NumFields())
	}
	columns := make([]arrow.Array, schema.NumFields())
	for i, col := range batch.Columns() {
		if extension, ok := col.(array.ExtensionArray); ok {
			col = extension.Storage()
		}
		field := schema.Field(i)
		if batch.ColumnName(i) != field.Name || !arrow.TypeEqual(col.DataType(), field.Type) {
			return nil, fmt.Errorf("column %d of a mapped file is %q %s instead of %q %s", i, batch.ColumnName(i), col.DataType(), field.Name, field.Type)
		}
		columns[i] = col
	}
	return columns, nil
}

// Close implements connector.RowReader.
func (r *rowReader) Close() error {
	for _, batch := range r.ready {
		batch.Release()
	}
	r.ready, r.parts = nil, nil
	if r.open != nil {
		r.open.Release()
		r.open = nil
	}
	if r.file == nil {
		return nil
	}
	err := r.file.close()
	r.file = nil
	return err
}
