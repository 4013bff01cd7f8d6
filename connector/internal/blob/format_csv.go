package blob

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
)

// csvFormat is RFC 4180 with a header. NULL is an empty field, the empty string a quoted one.
type csvFormat struct{ before [][]byte }

func newCSVEncoder(w io.Writer, columns []connector.Column) (batchEncoder, error) {
	f := csvFormat{before: make([][]byte, len(columns))}
	var header []byte
	for i, c := range columns {
		if i > 0 {
			f.before[i] = []byte{','}
		}
		header = appendField(append(header, f.before[i]...), c.Name, needsOf(c.Name))
	}
	if _, err := w.Write(append(header, "\r\n"...)); err != nil {
		return nil, fmt.Errorf("begin a CSV object: %w", err)
	}
	return newTextEncoder(w, f, columns), nil
}

func (f csvFormat) separators() (before [][]byte, endOfLine string) { return f.before, "\r\n" }

func (f csvFormat) cell(_ int, values arrow.Array) (appendCell, error) {
	cell, err := csvCell(values)
	if err != nil {
		return nil, err
	}
	return orNull(values, func(dst []byte, _ int) ([]byte, string) {
		if len(f.before) == 1 {
			// It would be an empty line, which readers take for no row at all.
			return dst, "CSV of a single column cannot hold NULL"
		}
		return dst, ""
	}, cell), nil
}

func csvCell(values arrow.Array) (appendCell, error) {
	if a, ok := values.(*array.String); ok {
		return func(dst []byte, i int) ([]byte, string) {
			value := a.Value(i)
			asks := needsOf(value)
			if asks&needsUTF8 != 0 && !utf8.ValidString(value) {
				return dst, notUTF8
			}
			return appendField(dst, value, asks), ""
		}, nil
	}
	text, err := textOf(values)
	if err != nil {
		return nil, err
	}
	return func(dst []byte, i int) ([]byte, string) {
		start := len(dst)
		if dst = text(dst, i); len(dst) == start { // Base64 of no bytes.
			dst = append(dst, `""`...)
		}
		return dst, ""
	}, nil
}

// appendField appends a text in quotes if it would not read back as it is otherwise.
func appendField(dst []byte, value string, asks byte) []byte {
	if len(value) > 0 && asks&needsQuotes == 0 && value[0] != ' ' && value[len(value)-1] != ' ' {
		return append(dst, value...)
	}
	dst = append(dst, '"')
	for {
		i := strings.IndexByte(value, '"')
		if i < 0 {
			return append(append(dst, value...), '"')
		}
		dst = append(append(dst, value[:i]...), `""`...)
		value = value[i+1:]
	}
}
