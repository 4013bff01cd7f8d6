package blob

import (
	"io"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lume-data/lume/connector"
)

// encoder writes one data object.
type encoder interface {
	// rows returns how many rows it holds.
	rows() int64
	// buffered estimates how many bytes it has not yet given on.
	buffered() int64
	// close writes what is left and returns how many rows the object holds, counted from what was written.
	close() (int64, error)
}

// batchEncoder encodes rows.
type batchEncoder interface {
	encoder
	// write adds the rows of a checked batch. Rows that the format cannot hold are left out and given to refuse.
	write(batch arrow.RecordBatch, refuse refuse) error
}

// refuse takes the row of a batch that a format cannot hold.
type refuse func(i int, reason connector.RefusedRow) error

// formats make the encoders of data objects by name, which is also their ending.
var formats = map[string]func(w io.Writer, columns []connector.Column) (batchEncoder, error){
	"parquet": newParquetEncoder,
	"csv":     newCSVEncoder,
	"jsonl":   newJSONEncoder,
}
