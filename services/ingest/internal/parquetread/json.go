package parquetread

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

	"github.com/lume-data/lume/services/ingest/internal/jsonscan"
)

// nested appends a struct, list or map as JSON text.
func nested(to array.Builder, from arrow.Array, i int) *Reject {
	out, reject := appendJSON(nil, from, i)
	if reject == nil {
		to.(*array.StringBuilder).Append(string(out))
	}
	return reject
}

// appendJSON appends the value at i as JSON text.
func appendJSON(out []byte, from arrow.Array, i int) ([]byte, *Reject) {
	if from.IsNull(i) {
		return append(out, "null"...), nil
	}
	switch a := from.(type) {
	case *array.Boolean:
		return strconv.AppendBool(out, a.Value(i)), nil
	case *array.Int8:
		return strconv.AppendInt(out, int64(a.Value(i)), 10), nil
	case *array.Int16:
		return strconv.AppendInt(out, int64(a.Value(i)), 10), nil
	case *array.Int32:
		return strconv.AppendInt(out, int64(a.Value(i)), 10), nil
	case *array.Int64:
		return strconv.AppendInt(out, a.Value(i), 10), nil
	case *array.Uint8:
		return strconv.AppendUint(out, uint64(a.Value(i)), 10), nil
	case *array.Uint16:
		return strconv.AppendUint(out, uint64(a.Value(i)), 10), nil
	case *array.Uint32:
		return strconv.AppendUint(out, uint64(a.Value(i)), 10), nil
	case *array.Uint64:
		return strconv.AppendUint(out, a.Value(i), 10), nil
	case *array.Float16:
		return appendFloat(out, float64(a.Value(i).Float32()), 32), nil
	case *array.Float32:
		return appendFloat(out, float64(a.Value(i)), 32), nil
	case *array.Float64:
		return appendFloat(out, a.Value(i), 64), nil
	case *array.String:
		return appendString(out, bytesOf(from, i))
	case *array.Binary, *array.FixedSizeBinary:
		out = append(out, '"')
		out = base64.StdEncoding.AppendEncode(out, bytesOf(from, i))
		return append(out, '"'), nil
	case array.ExtensionArray:
		return appendJSON(out, a.Storage(), i)
	}
	return appendTimes(out, from, i)
}

// appendTimes appends dates, times, timestamps and decimals.
func appendTimes(out []byte, from arrow.Array, i int) ([]byte, *Reject) {
	var unit arrow.TimeUnit
	var value int64
	switch a := from.(type) {
	case *array.Date32:
		return time.Unix(int64(a.Value(i))*24*60*60, 0).UTC().AppendFormat(out, `"2006-01-02"`), nil
	case *array.Time32:
		unit, value = a.DataType().(*arrow.Time32Type).Unit, int64(a.Value(i))
	case *array.Time64:
		unit, value = a.DataType().(*arrow.Time64Type).Unit, int64(a.Value(i))
	case *array.Timestamp:
		t := a.DataType().(*arrow.TimestampType)
		format := `"2006-01-02T15:04:05.999999999"`
		if t.TimeZone != "" {
			format = `"2006-01-02T15:04:05.999999999Z07:00"`
		}
		return a.Value(i).ToTime(t.Unit).UTC().AppendFormat(out, format), nil
	case *array.Decimal128:
		return appendDecimal(out, a.Value(i).BigInt(), a.DataType()), nil
	case *array.Decimal256:
		return appendDecimal(out, a.Value(i).BigInt(), a.DataType()), nil
	default:
		return appendNested(out, from, i)
	}
	return time.Unix(0, 0).UTC().Add(time.Duration(value)*unit.Multiplier()).AppendFormat(out, `"15:04:05.999999999"`), nil
}

func appendNested(out []byte, from arrow.Array, i int) ([]byte, *Reject) {
	var reject *Reject
	switch a := from.(type) {
	case *array.Struct:
		out = append(out, '{')
		for f := range a.NumField() {
			if f > 0 {
				out = append(out, ',')
			}
			if out, reject = appendString(out, []byte(a.DataType().(*arrow.StructType).Field(f).Name)); reject != nil {
				return out, reject
			}
			out = append(out, ':')
			if out, reject = appendJSON(out, a.Field(f), i); reject != nil {
				return out, reject
			}
		}
		return append(out, '}'), nil
	case array.ListLike:
		from, to := a.ValueOffsets(i)
		out = append(out, '[')
		for at := from; at < to; at++ {
			if at > from {
				out = append(out, ',')
			}
			if out, reject = appendJSON(out, a.ListValues(), int(at)); reject != nil {
				return out, reject
			}
		}
		return append(out, ']'), nil
	}
	return out, &Reject{Message: fmt.Sprintf("a value of type %s has no JSON text", from.DataType())}
}

// appendFloat appends a float in the fewest digits that give it back; what JSON has no number for becomes text.
func appendFloat(out []byte, v float64, bits int) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return strconv.AppendQuote(out, strconv.FormatFloat(v, 'g', -1, bits))
	}
	return strconv.AppendFloat(out, v, 'g', -1, bits)
}

func appendString(out, text []byte) ([]byte, *Reject) {
	if !utf8.Valid(text) {
		return out, &Reject{Encoding: true, Message: "a text is not valid UTF-8", Raw: append([]byte(nil), text...)}
	}
	return jsonscan.AppendString(out, text), nil
}

// appendDecimal appends a decimal with all digits of its scale.
func appendDecimal(out []byte, v *big.Int, typ arrow.DataType) []byte {
	scale := int(typ.(arrow.DecimalType).GetScale())
	if v.Sign() < 0 {
		out = append(out, '-')
	}
	digits := new(big.Int).Abs(v).String()
	if scale <= 0 {
		return append(out, digits...)
	}
	for len(digits) <= scale {
		digits = "0" + digits
	}
	out = append(out, digits[:len(digits)-scale]...)
	out = append(out, '.')
	return append(out, digits[len(digits)-scale:]...)
}

// RowJSON returns a row of a batch as a JSON object. Values that did not fit are null in it.
func RowJSON(rows arrow.RecordBatch, row int) string {
	out := []byte{'{'}
	for i, c := range rows.Columns() {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(jsonscan.AppendString(out, []byte(rows.ColumnName(i))), ':')
		out, _ = appendJSON(out, c, row)
	}
	return string(append(out, '}'))
}
