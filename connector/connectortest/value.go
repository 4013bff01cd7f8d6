package connectortest

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Row holds the values of one row in the columns' order, in canonical form; nil is NULL.
type Row []*string

// Values makes a Row.
func Values(values ...string) Row {
	row := make(Row, len(values))
	for i := range values {
		row[i] = &values[i]
	}
	return row
}

// Null is NULL in a Row.
var Null *string

// Text returns a value of a Row.
func Text(s string) *string { return &s }

// String shows a row in failures, and tells it from every other.
func (r Row) String() string {
	var b strings.Builder
	for i, v := range r {
		if i > 0 {
			b.WriteString(" | ")
		}
		switch {
		case v == nil:
			b.WriteString("NULL")
		case len(*v) > 100:
			// The hash stands for all of it: rows are compared by this text.
			fmt.Fprintf(&b, "%q… (%d bytes, SHA-256 %x)", (*v)[:100], len(*v), sha256.Sum256([]byte(*v)))
		default:
			fmt.Fprintf(&b, "%q", *v)
		}
	}
	return b.String()
}

const (
	dateLayout      = "2006-01-02"
	timeLayout      = "15:04:05.999999"
	timestampLayout = "2006-01-02T15:04:05.999999"
)

// Canonical returns the canonical form of a text that holds a value of a type: decimals with all digits of their scale,
// floats as the shortest text, times without trailing zeros, binary as hex, UUIDs in lower case, JSON with sorted members.
func Canonical(t testing.TB, typ connector.Type, text string) string {
	t.Helper()
	switch typ.Name {
	case connector.TypeBool:
		switch strings.ToLower(text) {
		case "1", "t", "true":
			return "true"
		case "0", "f", "false":
			return "false"
		}
	case connector.TypeDecimal:
		whole, fraction, _ := strings.Cut(text, ".")
		require.LessOrEqual(t, len(strings.TrimRight(fraction, "0")), typ.Scale, "%s has more digits than %s", text, typ)
		fraction = (fraction + strings.Repeat("0", typ.Scale))[:typ.Scale]
		if typ.Scale == 0 {
			return whole
		}
		return whole + "." + fraction
	case connector.TypeFloat32, connector.TypeFloat64:
		bits := 64
		if typ.Name == connector.TypeFloat32 {
			bits = 32
		}
		f, err := strconv.ParseFloat(text, bits)
		require.NoError(t, err)
		return floatText(f, bits)
	case connector.TypeTime:
		return reformat(t, text, "15:04:05.999999999", timeLayout)
	case connector.TypeTimestamp:
		return reformat(t, strings.Replace(text, " ", "T", 1), timestampLayout, timestampLayout)
	case connector.TypeTimestampTZ:
		parsed, err := time.Parse(time.RFC3339Nano, strings.Replace(text, " ", "T", 1))
		require.NoError(t, err)
		return parsed.UTC().Format(timestampLayout) + "Z"
	case connector.TypeUUID:
		return strings.ToLower(text)
	case connector.TypeJSON:
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var v any
		require.NoError(t, decoder.Decode(&v))
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		require.NoError(t, encoder.Encode(v))
		return strings.TrimSuffix(b.String(), "\n")
	}
	return text
}

func reformat(t testing.TB, text, from, to string) string {
	t.Helper()
	parsed, err := time.Parse(from, text)
	require.NoError(t, err)
	return parsed.Format(to)
}

func floatText(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return strconv.FormatFloat(f, 'g', -1, bits)
}

// Value returns the value of an Arrow array in canonical form, for a column of type typ; nil is NULL. The array may be of
// another type than the column's, as that of a system that has only text for it.
func Value(t testing.TB, column arrow.Array, i int, typ connector.Type) *string {
	t.Helper()
	if column.IsNull(i) {
		return nil
	}
	var text string
	switch a := column.(type) {
	case *array.Boolean:
		text = strconv.FormatBool(a.Value(i))
	case *array.Int16:
		text = strconv.FormatInt(int64(a.Value(i)), 10)
	case *array.Int32:
		text = strconv.FormatInt(int64(a.Value(i)), 10)
	case *array.Int64:
		text = strconv.FormatInt(a.Value(i), 10)
	case *array.Float32:
		text = floatText(float64(a.Value(i)), 32)
	case *array.Float64:
		text = floatText(a.Value(i), 64)
	case *array.Decimal128:
		text = decimalText(a.Value(i).BigInt(), int(a.DataType().(*arrow.Decimal128Type).Scale))
	case *array.Date32:
		text = a.Value(i).ToTime().Format(dateLayout)
	case *array.Time64:
		text = a.Value(i).ToTime(arrow.Microsecond).Format(timeLayout)
	case *array.Timestamp:
		text = a.Value(i).ToTime(arrow.Microsecond).UTC().Format(timestampLayout)
		if a.DataType().(*arrow.TimestampType).TimeZone != "" {
			text += "Z"
		}
	case *array.Binary:
		text = hex.EncodeToString(a.Value(i))
	case *array.String:
		text = strings.Clone(a.Value(i))
	default:
		require.Fail(t, "unknown Arrow type", "%T", column)
	}
	text = Canonical(t, typ, text)
	return &text
}

// appendValue appends a value in canonical form to a builder of the type's Arrow type.
func appendValue(t testing.TB, b array.Builder, typ connector.Type, value *string) {
	t.Helper()
	if value == nil {
		b.AppendNull()
		return
	}
	text := *value
	switch b := b.(type) {
	case *array.BooleanBuilder:
		b.Append(text == "true")
	case *array.Int16Builder:
		b.Append(int16(integer(t, text, 16)))
	case *array.Int32Builder:
		b.Append(int32(integer(t, text, 32)))
	case *array.Int64Builder:
		b.Append(integer(t, text, 64))
	case *array.Float32Builder:
		f, err := strconv.ParseFloat(text, 32)
		require.NoError(t, err)
		b.Append(float32(f))
	case *array.Float64Builder:
		f, err := strconv.ParseFloat(text, 64)
		require.NoError(t, err)
		b.Append(f)
	case *array.Decimal128Builder:
		n, ok := new(big.Int).SetString(strings.Replace(Canonical(t, typ, text), ".", "", 1), 10)
		require.True(t, ok)
		b.Append(decimal128.FromBigInt(n))
	case *array.Date32Builder:
		d, err := time.Parse(dateLayout, text)
		require.NoError(t, err)
		b.Append(arrow.Date32(d.Unix() / (24 * 60 * 60)))
		if d.Unix() < 0 {
			require.Zero(t, d.Unix()%(24*60*60))
		}
	case *array.Time64Builder:
		d, err := time.Parse("15:04:05.999999999", text)
		require.NoError(t, err)
		b.Append(arrow.Time64(d.Sub(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)).Microseconds()))
	case *array.TimestampBuilder:
		d, err := time.Parse(timestampLayout, strings.TrimSuffix(text, "Z"))
		require.NoError(t, err)
		b.Append(arrow.Timestamp(d.UnixMicro()))
	case *array.BinaryBuilder:
		raw, err := hex.DecodeString(text)
		require.NoError(t, err)
		b.Append(raw)
	case *array.StringBuilder:
		b.Append(text)
	default:
		require.Fail(t, "unknown builder", "%T", b)
	}
}

// decimalText writes an unscaled decimal with its point.
func decimalText(unscaled *big.Int, scale int) string {
	if scale == 0 {
		return unscaled.String()
	}
	digits := new(big.Int).Abs(unscaled).String()
	if len(digits) <= scale {
		digits = strings.Repeat("0", scale+1-len(digits)) + digits
	}
	text := digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
	if unscaled.Sign() < 0 {
		text = "-" + text
	}
	return text
}

func integer(t testing.TB, text string, bits int) int64 {
	t.Helper()
	n, err := strconv.ParseInt(text, 10, bits)
	require.NoError(t, err)
	return n
}

// Batch makes the batch of a load: RowColumn from the given ordinals, then the columns.
func Batch(t testing.TB, columns []connector.Column, ordinals []int64, rows []Row) arrow.RecordBatch {
	t.Helper()
	fields := []arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true})
	}
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	for i, row := range rows {
		b.Field(0).(*array.Int64Builder).Append(ordinals[i])
		for c := range columns {
			appendValue(t, b.Field(c+1), columns[c].Type, row[c])
		}
	}
	return b.NewRecordBatch()
}
