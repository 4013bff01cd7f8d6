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

// jsonFormat is one JSON object per line with every column in it. Numbers keep all their digits.
type jsonFormat struct {
	columns []connector.Column
	// before are the members' beginnings, for example `{"id":` and `,"name":`.
	before [][]byte
}

func newJSONEncoder(w io.Writer, columns []connector.Column) (batchEncoder, error) {
	f := jsonFormat{columns: columns}
	for i, c := range columns {
		name := []byte{'{'}
		if i > 0 {
			name[0] = ','
		}
		name, ok := appendJSONString(name, c.Name)
		if !ok {
			return nil, &connector.Error{Kind: connector.KindInvalid, Reason: "INVALID_COLUMN_NAME", Message: "a column's name is not UTF-8"}
		}
		f.before = append(f.before, append(name, ':'))
	}
	return newTextEncoder(w, f, columns), nil
}

func (f jsonFormat) separators() (before [][]byte, endOfLine string) { return f.before, "}\n" }

func (f jsonFormat) cell(column int, values arrow.Array) (appendCell, error) {
	text, err := textOf(values)
	if err != nil {
		return nil, err
	}
	return orNull(values, func(dst []byte, _ int) ([]byte, string) { return append(dst, "null"...), "" },
		jsonCell(f.columns[column].Type.Name, values, text)), nil
}

func jsonCell(typ connector.TypeName, values arrow.Array, text appendText) appendCell {
	switch a := values.(type) {
	case *array.String:
		if typ == connector.TypeJSON {
			return func(dst []byte, i int) ([]byte, string) { return appendJSON(dst, a.Value(i)) }
		}
		return func(dst []byte, i int) ([]byte, string) {
			dst, ok := appendJSONString(dst, a.Value(i))
			if !ok {
				return dst, notUTF8
			}
			return dst, ""
		}
	case *array.Float32:
		return jsonNumber(func(i int) bool { return finite(float64(a.Value(i))) }, text)
	case *array.Float64:
		return jsonNumber(func(i int) bool { return finite(a.Value(i)) }, text)
	case *array.Boolean, *array.Int16, *array.Int32, *array.Int64, *array.Decimal128:
		return func(dst []byte, i int) ([]byte, string) { return text(dst, i), "" }
	}
	// Dates, times and Base64 have nothing to escape.
	return func(dst []byte, i int) ([]byte, string) { return append(text(append(dst, '"'), i), '"'), "" }
}

// jsonNumber writes what is not a number for JSON as a string.
func jsonNumber(isNumber func(i int) bool, text appendText) appendCell {
	return func(dst []byte, i int) ([]byte, string) {
		if isNumber(i) {
			return text(dst, i), ""
		}
		return append(text(append(dst, '"'), i), '"'), ""
	}
}

func finite(f float64) bool { return !math.IsNaN(f) && !math.IsInf(f, 0) }

// appendJSON appends a document without the space between its parts.
func appendJSON(dst []byte, text string) ([]byte, string) {
	doc := bytes.NewBuffer(dst)
	if err := json.Compact(doc, []byte(text)); err != nil {
		return dst, "the text is not JSON"
	}
	return doc.Bytes(), ""
}
