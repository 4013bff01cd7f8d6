package blob

import (
	"io"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/parquet/compress"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/parquetfile"
)

const (
	// groupBytes of compressed pages end a row group, which is held until it is whole: an upload waits for the first one, and
	// then goes on while the next ones are encoded.
	groupBytes = 8 << 20
	groupRows  = 1 << 20
)

// parquetEncoder writes Parquet with the types of the columns, compressed with zstd.
type parquetEncoder struct {
	writer *parquetfile.Writer
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
	// Readers through Arrow see the columns' Lume types.
	return &parquetEncoder{writer: parquetfile.New(w, arrow.NewSchema(fields, nil), parquetfile.Options{
		Compression: compress.Codecs.Zstd, GroupBytes: groupBytes, GroupRows: groupRows, StoreSchema: true,
	})}, nil
}

func (e *parquetEncoder) write(batch arrow.RecordBatch, _ refuse) error {
	e.count += batch.NumRows()
	return e.writer.Write(batch.Columns()[1:], batch.NumRows())
}

func (e *parquetEncoder) rows() int64 { return e.count }

func (e *parquetEncoder) buffered() int64 { return e.writer.Held() }

func (e *parquetEncoder) close() (int64, error) { return e.writer.Close() }
