package blob

import (
	"crypto/rand"
	"encoding/base64"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// So that an upload goes on while rows are encoded, and does not begin when they all are.
func TestAParquetObjectIsSentWhileItIsWritten(t *testing.T) {
	t.Parallel()
	var sent counter
	columns := []connector.Column{{Name: "text", Type: connector.Type{Name: connector.TypeString}}}
	e, err := newParquetEncoder(&sent, columns)
	require.NoError(t, err)
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema([]arrow.Field{
		{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}, {Name: "text", Type: arrow.BinaryTypes.String, Nullable: true},
	}, nil))
	defer b.Release()
	raw := make([]byte, 3<<10)
	const batches, rows = 40, 256
	for n := range batches {
		for range rows {
			_, _ = rand.Read(raw)
			b.Field(0).(*array.Int64Builder).Append(0)
			b.Field(1).(*array.StringBuilder).Append(base64.StdEncoding.EncodeToString(raw))
		}
		batch := b.NewRecordBatch()
		require.NoError(t, e.write(batch, nil))
		batch.Release()
		whole := int64(n+1) * rows * int64(len(raw))
		require.Less(t, whole-int64(sent), int64(12<<20), "bytes are held back after %d", whole)
	}
	count, err := e.close()
	require.NoError(t, err)
	require.EqualValues(t, batches*rows, count)
}
