package stage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/ingest/internal/csvscan"
)

// typedRows stages rows that come with types: it cuts them into parts by size and digests them.
type typedRows struct {
	parts  *parts
	schema *arrow.Schema
	digest *rowDigest
	limit  int64
	// size is how long the rows of the open part are; see rowDigest.row.
	size int64
	open *typedPart
}

// typedPart is a part that is being written.
type typedPart struct {
	index    int
	firstRow int64
	rows     int64
	file     *counted
	writer   *pqarrow.FileWriter
}

// counted is a file that knows how much was written to it.
type counted struct {
	*os.File
	n int64
}

// Write implements io.Writer.
func (c *counted) Write(p []byte) (int, error) {
	n, err := c.File.Write(p)
	c.n += int64(n)
	return n, err
}

func newTypedRows(p *parts, columns []connector.Column, limit int64) (*typedRows, []*typev1.StagedColumn) {
	fields := make([]arrow.Field, len(columns))
	staged := make([]*typev1.StagedColumn, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true}
		staged[i] = &typev1.StagedColumn{Name: c.Name, Type: c.Type.String()}
	}
	return &typedRows{parts: p, schema: arrow.NewSchema(fields, nil), digest: newRowDigest(staged), limit: limit}, staged
}

// add appends the rows of a batch.
func (t *typedRows) add(batch arrow.RecordBatch) error {
	from := 0
	for row := range int(batch.NumRows()) {
		n, err := t.digest.row(batch, row)
		if err != nil {
			return err
		}
		if t.size += int64(n); t.size >= t.limit {
			if err := t.write(batch, from, row+1); err != nil {
				return err
			}
			if err := t.end(); err != nil {
				return err
			}
			from = row + 1
		}
	}
	return t.write(batch, from, int(batch.NumRows()))
}

// write appends rows to the open part.
func (t *typedRows) write(batch arrow.RecordBatch, from, to int) error {
	if from == to {
		return nil
	}
	if t.open == nil {
		if err := t.begin(); err != nil {
			return err
		}
	}
	slice := batch.NewSlice(int64(from), int64(to))
	defer slice.Release()
	if err := t.open.writer.WriteBuffered(slice); err != nil {
		return fmt.Errorf("write a part: %w", err)
	}
	t.open.rows += int64(to - from)
	t.parts.rows += int64(to - from)
	if t.open.writer.RowGroupTotalCompressedBytes() > groupBytes {
		t.open.writer.NewBufferedRowGroup()
	}
	return t.parts.fits(t.open.file.n)
}

func (t *typedRows) begin() error {
	index := len(t.parts.list)
	file, err := os.OpenFile(t.parts.path(t.parts.name(index)), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("create a part: %w", err)
	}
	props := parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCompressionLevel(1),
		parquet.WithMaxRowGroupLength(groupRows), parquet.WithCreatedBy("lume ingest"))
	out := &counted{File: file}
	writer, err := pqarrow.NewFileWriter(t.schema, out, props, pqarrow.DefaultWriterProps())
	if err != nil {
		_ = file.Close()
		return fmt.Errorf("create a part: %w", err)
	}
	t.open = &typedPart{index: index, firstRow: t.parts.rows, file: out, writer: writer}
	return nil
}

// end closes the open part and sends it to the store.
func (t *typedRows) end() error {
	open := t.open
	if open == nil {
		return nil
	}
	t.open, t.size = nil, 0
	if err := open.writer.Close(); err != nil {
		return fmt.Errorf("close a part: %w", err)
	}
	if err := t.parts.fits(open.file.n); err != nil {
		return err
	}
	staged := &typev1.StagedPart{FirstRow: open.firstRow}
	t.parts.list = append(t.parts.list, staged)
	t.parts.put.Go(func() (err error) {
		staged.Data, err = t.parts.send(t.parts.name(open.index), open.rows)
		return err
	})
	return nil
}

// finish sends what is left and waits until everything is in the store.
func (t *typedRows) finish(m *typev1.IngestManifest) error {
	if t.open == nil && len(t.parts.list) == 0 {
		if err := t.begin(); err != nil {
			return err
		}
	}
	if err := t.end(); err != nil {
		return err
	}
	return t.parts.finish(m)
}

func (t *typedRows) abort() {
	if t.open != nil {
		_ = t.open.writer.Close()
	}
	t.parts.abort()
}

// query stages the rows of a query and returns their digest.
func (s *Stager) query(ctx context.Context, conn connector.Connector, b Batch, m *typev1.IngestManifest) ([]byte, error) {
	src := b.Spec.GetSource()
	return s.rows(ctx, conn, rowsOf{name: src.GetConnector(), query: src.GetQuery(), path: b.SourcePath, bound: true}, b, m)
}

// rowsOf names rows to stage.
type rowsOf struct {
	name, query, path string
	bound             bool
}

func (s *Stager) rows(ctx context.Context, conn connector.Connector, of rowsOf, b Batch, m *typev1.IngestManifest) ([]byte, error) {
	src, ok := conn.(connector.RowSource)
	if !ok {
		return nil, notASource(of.name, "rows", "csv, json or parquet")
	}
	stream, err := src.Query(ctx, of.query, of.path, of.bound)
	if err != nil {
		return nil, err
	}
	defer func() { _ = stream.Close() }()
	if err := checkColumns(stream.Columns()); err != nil {
		return nil, err
	}
	p := newParts(ctx, s.cfg.Store, b, "", nil)
	t, columns := newTypedRows(p, stream.Columns(), b.partBytes())
	m.Columns = columns
	for b.MaxRecords == 0 || m.GetRecordsRead() < b.MaxRecords {
		if err = t.next(ctx, stream, b, m); err != nil {
			break
		}
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = t.finish(m)
	}
	if err != nil {
		t.abort()
		return nil, err
	}
	return t.digest.sum(), nil
}

// next stages the next batch of a stream, or returns io.EOF.
func (t *typedRows) next(ctx context.Context, stream connector.RowStream, b Batch, m *typev1.IngestManifest) error {
	batch, err := stream.Next(ctx)
	if err != nil {
		return err
	}
	defer batch.Release()
	if b.MaxRecords > 0 && m.GetRecordsRead()+batch.NumRows() > b.MaxRecords {
		batch = batch.NewSlice(0, b.MaxRecords-m.GetRecordsRead())
		defer batch.Release()
	}
	if err := t.add(batch); err != nil {
		return err
	}
	m.RecordsRead += batch.NumRows()
	b.Progress(t.parts.rows, 0)
	return nil
}

// checkColumns refuses names that SQL could not tell apart.
func checkColumns(columns []connector.Column) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	if err := csvscan.CheckNames(names, 0); err != nil {
		return fault.New(codes.InvalidArgument, "INVALID_SOURCE_COLUMNS", "the source's columns cannot be used: %s", err).
			WithNext("give every column a name of its own")
	}
	return nil
}
