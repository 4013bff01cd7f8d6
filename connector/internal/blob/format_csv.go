package blob

import (
	"bytes"
	"io"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lume-data/lume/connector"
)

// csvEncoder writes RFC 4180 with a header. NULL is an empty field, the empty string a quoted one.
type csvEncoder struct {
	textBuffer
	columns []connector.Column
	value   []byte
}

func newCSVEncoder(w io.Writer, columns []connector.Column) (batchEncoder, error) {
	e := &csvEncoder{textBuffer: textBuffer{w: w}, columns: columns}
	for i, c := range columns {
		if i > 0 {
			e.text = append(e.text, ',')
		}
		e.text = appendField(e.text, []byte(c.Name))
	}
	e.text = append(e.text, "\r\n"...)
	return e, nil
}

func (e *csvEncoder) write(batch arrow.RecordBatch, refuse refuse) error {
	columns, err := texts(batch)
	if err != nil {
		return err
	}
	for i := range int(batch.NumRows()) {
		start := len(e.text)
		if reason := e.row(batch, columns, i); reason != nil {
			e.text = e.text[:start]
			if err := refuse(i, *reason); err != nil {
				return err
			}
			continue
		}
		if err := e.line(); err != nil {
			return err
		}
	}
	return nil
}

// row appends a row, or says why CSV cannot hold it.
func (e *csvEncoder) row(batch arrow.RecordBatch, columns []appendText, i int) *connector.RefusedRow {
	for c, text := range columns {
		if c > 0 {
			e.text = append(e.text, ',')
		}
		if batch.Column(c + 1).IsNull(i) {
			if len(columns) == 1 {
				// It would be an empty line, which readers take for no row at all.
				return &connector.RefusedRow{Column: e.columns[c].Name, Message: "CSV of a single column cannot hold NULL"}
			}
			continue
		}
		if e.value = text(e.value[:0], i); !utf8.Valid(e.value) {
			return notUTF8(e.columns[c])
		}
		e.text = appendField(e.text, e.value)
	}
	e.text = append(e.text, "\r\n"...)
	return nil
}

func notUTF8(c connector.Column) *connector.RefusedRow {
	return &connector.RefusedRow{Column: c.Name, Message: "the text is not UTF-8"}
}

// appendField quotes what would otherwise not read back as it is.
func appendField(dst, value []byte) []byte {
	if len(value) > 0 && !bytes.ContainsAny(value, ",\"\r\n") && value[0] != ' ' && value[len(value)-1] != ' ' {
		return append(dst, value...)
	}
	dst = append(dst, '"')
	for {
		i := bytes.IndexByte(value, '"')
		if i < 0 {
			return append(append(dst, value...), '"')
		}
		dst = append(append(dst, value[:i]...), `""`...)
		value = value[i+1:]
	}
}
