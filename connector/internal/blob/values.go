package blob

import (
	"encoding/base64"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/lume-data/lume/connector"
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
		return func(dst []byte, i int) []byte { return appendDecimal(dst, a.Value(i), scale) }, nil
	case *array.Date32:
		return func(dst []byte, i int) []byte {
			return appendDate(dst, time.Unix(int64(a.Value(i))*secondsPerDay, 0).UTC())
		}, nil
	case *array.Time64:
		return func(dst []byte, i int) []byte { return appendTime(dst, time.UnixMicro(int64(a.Value(i))).UTC()) }, nil
	case *array.Timestamp:
		zone := a.DataType().(*arrow.TimestampType).TimeZone
		return func(dst []byte, i int) []byte {
			t := time.UnixMicro(int64(a.Value(i))).UTC()
			dst = appendTime(append(appendDate(dst, t), 'T'), t)
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

const secondsPerDay = 24 * 60 * 60

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

// appendDecimal appends all digits of a decimal, those after the point included.
func appendDecimal(dst []byte, v decimal128.Num, scale int) []byte {
	start := len(dst)
	if hi, lo := v.HighBits(), v.LowBits(); hi == int64(lo)>>63 {
		dst = strconv.AppendInt(dst, int64(lo), 10)
	} else {
		dst = new(big.Int).Set(v.BigInt()).Append(dst, 10)
	}
	if scale == 0 {
		return dst
	}
	digits := start
	if dst[digits] == '-' {
		digits++
	}
	// At least one digit stands before the point.
	for len(dst)-digits <= scale {
		dst = append(dst, 0)
		copy(dst[digits+1:], dst[digits:])
		dst[digits] = '0'
	}
	point := len(dst) - scale
	dst = append(dst, 0)
	copy(dst[point+1:], dst[point:])
	dst[point] = '.'
	return dst
}

// appendDate appends a date as in ISO 8601; years that have not four digits have a sign and six.
func appendDate(dst []byte, t time.Time) []byte {
	year, month, day := t.Date()
	switch {
	case year < 0:
		dst = append(dst, '-')
		year = -year
		dst = append2(dst, year/10_000)
	case year > 9999:
		dst = append(dst, '+')
		dst = append2(dst, year/10_000)
	}
	dst = append2(append2(dst, year/100%100), year%100)
	dst = append2(append(dst, '-'), int(month))
	return append2(append(dst, '-'), day)
}

// appendTime appends a time of day, with microseconds if there are any.
func appendTime(dst []byte, t time.Time) []byte {
	hour, minute, second := t.Clock()
	dst = append2(dst, hour)
	dst = append2(append(dst, ':'), minute)
	dst = append2(append(dst, ':'), second)
	if micros := t.Nanosecond() / 1000; micros != 0 {
		dst = append2(append2(append2(append(dst, '.'), micros/10_000), micros/100%100), micros%100)
	}
	return dst
}

// append2 appends two digits.
func append2(dst []byte, n int) []byte { return append(dst, byte('0'+n/10), byte('0'+n%10)) }

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
