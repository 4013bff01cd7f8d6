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

// flushBytes is how much text is collected before it is given on.
const flushBytes = 256 << 10

// textBuffer collects the lines of a text format.
type textBuffer struct {
	w     io.Writer
	text  []byte
	lines int64
}

// line ends a line that has been appended to text.
func (b *textBuffer) line() error {
	b.lines++
	if len(b.text) < flushBytes {
		return nil
	}
	return b.flush()
}

func (b *textBuffer) flush() error {
	_, err := b.w.Write(b.text)
	b.text = b.text[:0]
	return err
}

func (b *textBuffer) rows() int64           { return b.lines }
func (b *textBuffer) buffered() int64       { return int64(len(b.text)) }
func (b *textBuffer) close() (int64, error) { return b.lines, b.flush() }

// texts returns how the values of each column are written.
func texts(batch arrow.RecordBatch) ([]appendText, error) {
	list := make([]appendText, batch.NumCols()-1)
	for i := range list {
		text, err := textOf(batch.Column(i + 1))
		if err != nil {
			return nil, err
		}
		list[i] = text
	}
	return list, nil
}
