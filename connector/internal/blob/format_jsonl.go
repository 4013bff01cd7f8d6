package blob

import (
	"bytes"
	"encoding/json"
	"io"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
)

// jsonEncoder writes one JSON object per line with every column in it. Numbers keep all their digits.
type jsonEncoder struct {
	textBuffer
	columns []connector.Column
	// names are the members' beginnings, for example `{"id":` and `,"name":`.
	names [][]byte
	value []byte
	doc   bytes.Buffer
}

func newJSONEncoder(w io.Writer, columns []connector.Column) (batchEncoder, error) {
	e := &jsonEncoder{textBuffer: textBuffer{w: w}, columns: columns}
	for i, c := range columns {
		name := []byte{'{'}
		if i > 0 {
			name[0] = ','
		}
		name, ok := appendJSONString(name, []byte(c.Name))
		if !ok {
			return nil, &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_COLUMN_NAME", Message: "a column's name is not UTF-8"}
		}
		e.names = append(e.names, append(name, ':'))
	}
	return e, nil
}

func (e *jsonEncoder) write(batch arrow.RecordBatch, refuse refuse) error {
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

// row appends a row, or says why JSON cannot hold it.
func (e *jsonEncoder) row(batch arrow.RecordBatch, columns []appendText, i int) *connector.RefusedRow {
	for c, text := range columns {
		e.text = append(e.text, e.names[c]...)
		values := batch.Column(c + 1)
		if values.IsNull(i) {
			e.text = append(e.text, "null"...)
			continue
		}
		switch e.columns[c].Type.Name {
		case connector.TypeBool, connector.TypeInt16, connector.TypeInt32, connector.TypeInt64, connector.TypeDecimal:
			e.text = text(e.text, i)
		case connector.TypeFloat32, connector.TypeFloat64:
			e.text = appendJSONFloat(e.text, values, text, i)
		case connector.TypeJSON:
			e.doc.Reset()
			if err := json.Compact(&e.doc, []byte(values.(*array.String).Value(i))); err != nil {
				return &connector.RefusedRow{Column: e.columns[c].Name, Message: "the text is not JSON"}
			}
			e.text = append(e.text, e.doc.Bytes()...)
		default:
			e.value = text(e.value[:0], i)
			var ok bool
			if e.text, ok = appendJSONString(e.text, e.value); !ok {
				return notUTF8(e.columns[c])
			}
		}
	}
	e.text = append(e.text, "}\n"...)
	return nil
}

// appendJSONFloat writes what is not a number for JSON as a string.
func appendJSONFloat(dst []byte, values arrow.Array, text appendText, i int) []byte {
	var f float64
	switch a := values.(type) {
	case *array.Float32:
		f = float64(a.Value(i))
	case *array.Float64:
		f = a.Value(i)
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(text(append(dst, '"'), i), '"')
	}
	return text(dst, i)
}
