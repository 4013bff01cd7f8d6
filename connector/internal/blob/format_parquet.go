package blob

import (
	"fmt"
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"

	"github.com/lume-data/lume/connector"
)

const (
	// groupBytes of compressed pages end a row group, which is held until it is whole: an upload waits for the first one, and
	// then goes on while the next ones are encoded.
	groupBytes = 8 << 20
	groupRows  = 1 << 20
	// pageBytes bounds the page and the dictionary that each column of an open group holds uncompressed; columnsBytes all of
	// them together.
	pageBytes    = 1 << 20
	columnsBytes = 64 << 20
)

// parquetEncoder writes Parquet with the types of the columns, compressed with zstd.
type parquetEncoder struct {
	schema *arrow.Schema
	writer *pqarrow.FileWriter
	count  int64
}

func newParquetEncoder(w io.Writer, columns []connector.Column) (batchEncoder, error) {
	fields := make([]arrow.Field, 0, len(columns))
	for _, c := range columns {
		fields = append(fields, arrow.Field{
			Name: c.Name, Type: c.Type.Arrow(), Nullable: !c.Required,
			Metadata: arrow.MetadataFrom(map[string]string{"lume.type": c.Type.String()}),
		})
	}
	schema := arrow.NewSchema(fields, nil)
	page := min(pageBytes, columnsBytes/int64(max(1, len(columns))))
	props := parquet.NewWriterProperties(
		parquet.WithCompression(compress.Codecs.Zstd), parquet.WithCreatedBy("lume"), parquet.WithMaxRowGroupLength(groupRows),
		parquet.WithDataPageSize(page), parquet.WithDictionaryPageSizeLimit(page), parquet.WithStoreDecimalAsInteger(true))
	// The schema is stored as Arrow's too, so that readers through Arrow see the columns' Lume types.
	writer, err := pqarrow.NewFileWriter(schema, struct{ io.Writer }{w}, props, pqarrow.NewArrowWriterProperties(pqarrow.WithStoreSchema()))
	if err != nil {
		return nil, fmt.Errorf("begin a Parquet object: %w", err)
	}
	return &parquetEncoder{schema: schema, writer: writer}, nil
}

func (e *parquetEncoder) write(batch arrow.RecordBatch, _ refuse) error {
	if batch.NumRows() == 0 {
		return nil
	}
	columns := batch.Columns()[1:]
	for i, c := range columns {
		if !e.schema.Field(i).Nullable && c.NullN() > 0 {
			return fmt.Errorf("blob: NULL in required column %s", e.schema.Field(i).Name)
		}
	}
	rows := array.NewRecordBatch(e.schema, columns, batch.NumRows())
	defer rows.Release()
	if e.writer.RowGroupTotalCompressedBytes() >= groupBytes {
		if err := e.writer.NewBufferedRowGroupChecked(); err != nil {
			return fmt.Errorf("write Parquet: %w", err)
		}
	}
	if err := e.writer.WriteBuffered(rows); err != nil {
		return fmt.Errorf("write Parquet: %w", err)
	}
	e.count += batch.NumRows()
	return nil
}

func (e *parquetEncoder) rows() int64 { return e.count }

func (e *parquetEncoder) buffered() int64 { return e.writer.RowGroupTotalCompressedBytes() }

func (e *parquetEncoder) close() (int64, error) {
	if err := e.writer.Close(); err != nil {
		return 0, fmt.Errorf("end a Parquet object: %w", err)
	}
	written, err := e.writer.FileMetadata()
	if err != nil {
		return 0, fmt.Errorf("end a Parquet object: %w", err)
	}
	return written.NumRows, nil
}
