package blob

import (
	"encoding/base64"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/notation"
)

// checkBatch makes sure that a batch is what the target's columns say.
func checkBatch(batch arrow.RecordBatch, columns []connector.Column) error {
	if int(batch.NumCols()) != len(columns)+1 || batch.ColumnName(0) != connector.RowColumn || batch.Column(0).DataType().ID() != arrow.INT64 {
		return fmt.Errorf("blob: the batch has not %s and the %d columns of the target", connector.RowColumn, len(columns))
	}
	for i, col := range columns {
		if got := batch.Column(i + 1).DataType(); batch.ColumnName(i+1) != col.Name || !arrow.TypeEqual(got, col.Type.Arrow()) {
			return fmt.Errorf("blob: column %d is %s %s, want %s %s", i+1, batch.ColumnName(i+1), got, col.Name, col.Type.Arrow())
		}
	}
	return nil
}

// rowOf returns the ordinal of the source row of a batch's row.
func rowOf(batch arrow.RecordBatch, i int) int64 { return batch.Column(0).(*array.Int64).Value(i) }

// appendText appends the text of the value in row i, which is not NULL.
type appendText func(dst []byte, i int) []byte

// textOf returns how the values of an array of a checked batch are written.
func textOf(column arrow.Array) (appendText, error) {
	switch a := column.(type) {
	case *array.Boolean:
		return func(dst []byte, i int) []byte { return strconv.AppendBool(dst, a.Value(i)) }, nil
	case *array.Int16:
		return func(dst []byte, i int) []byte { return strconv.AppendInt(dst, int64(a.Value(i)), 10) }, nil
	case *array.Int32:
		return func(dst []byte, i int) []byte { return strconv.AppendInt(dst, int64(a.Value(i)), 10) }, nil
	case *array.Int64:
		return func(dst []byte, i int) []byte { return strconv.AppendInt(dst, a.Value(i), 10) }, nil
	case *array.Float32:
		return func(dst []byte, i int) []byte { return appendFloat(dst, float64(a.Value(i)), 32) }, nil
	case *array.Float64:
		return func(dst []byte, i int) []byte { return appendFloat(dst, a.Value(i), 64) }, nil
	case *array.Decimal128:
		scale := int(a.DataType().(*arrow.Decimal128Type).Scale)
		return func(dst []byte, i int) []byte { return notation.AppendDecimal(dst, a.Value(i), scale) }, nil
	case *array.Date32:
		return func(dst []byte, i int) []byte { return notation.AppendDate(dst, int64(a.Value(i))) }, nil
	case *array.Time64:
		return func(dst []byte, i int) []byte { return appendTime(dst, int64(a.Value(i))) }, nil
	case *array.Timestamp:
		zone := a.DataType().(*arrow.TimestampType).TimeZone
		return func(dst []byte, i int) []byte {
			day, micros := notation.SplitMicros(int64(a.Value(i)))
			dst = appendTime(append(notation.AppendDate(dst, day), 'T'), micros)
			if zone != "" {
				dst = append(dst, 'Z')
			}
			return dst
		}, nil
	case *array.Binary:
		return func(dst []byte, i int) []byte { return base64.StdEncoding.AppendEncode(dst, a.Value(i)) }, nil
	case *array.String:
		return func(dst []byte, i int) []byte { return append(dst, a.Value(i)...) }, nil
	}
	return nil, fmt.Errorf("blob: no text for values of %s", column.DataType())
}

// appendTime appends a time of day, with microseconds if there are any.
func appendTime(dst []byte, micros int64) []byte {
	dst = notation.AppendTime(dst, micros)
	if micros%1_000_000 == 0 {
		dst = dst[:len(dst)-len(".000000")]
	}
	return dst
}

// appendFloat appends the shortest text that reads back as the same float; NaN, Infinity and -Infinity as these words.
func appendFloat(dst []byte, f float64, bits int) []byte {
	switch {
	case math.IsNaN(f):
		return append(dst, "NaN"...)
	case math.IsInf(f, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(f, -1):
		return append(dst, "-Infinity"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

// appendJSONString appends a string as JSON; ok is false if it is not UTF-8, which JSON cannot hold.
func appendJSONString(dst []byte, text string) (_ []byte, ok bool) {
	asks := needsOf(text)
	if asks&needsUTF8 != 0 && !utf8.ValidString(text) {
		return dst, false
	}
	dst = append(dst, '"')
	start := 0
	for i := 0; asks&needsEscape != 0 && i < len(text); i++ {
		b := text[i]
		if needs[b]&needsEscape == 0 {
			continue
		}
		dst = append(dst, text[start:i]...)
		start = i + 1
		const hex = "0123456789abcdef"
		switch b {
		case '"', '\\':
			dst = append(dst, '\\', b)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		}
	}
	return append(append(dst, text[start:]...), '"'), true
}
