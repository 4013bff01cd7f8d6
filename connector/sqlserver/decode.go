package sqlserver

import (
	"encoding/hex"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/notation"
)

// sourceTypes say what a system type becomes. decimal and numeric are decimal(p,s).
var sourceTypes = map[string]connector.Type{
	"bit":     {Name: connector.TypeBool},
	"tinyint": {Name: connector.TypeInt16}, "smallint": {Name: connector.TypeInt16}, "int": {Name: connector.TypeInt32}, "bigint": {Name: connector.TypeInt64},
	"money": {Name: connector.TypeDecimal, Precision: 19, Scale: 4}, "smallmoney": {Name: connector.TypeDecimal, Precision: 10, Scale: 4},
	"real": {Name: connector.TypeFloat32}, "float": {Name: connector.TypeFloat64},
	"date": {Name: connector.TypeDate}, "time": {Name: connector.TypeTime},
	"datetime": {Name: connector.TypeTimestamp}, "smalldatetime": {Name: connector.TypeTimestamp}, "datetime2": {Name: connector.TypeTimestamp},
	"datetimeoffset": {Name: connector.TypeTimestampTZ},
	"char":           {Name: connector.TypeString}, "varchar": {Name: connector.TypeString}, "text": {Name: connector.TypeString},
	"nchar": {Name: connector.TypeString}, "nvarchar": {Name: connector.TypeString}, "ntext": {Name: connector.TypeString},
	"sysname": {Name: connector.TypeString}, "xml": {Name: connector.TypeString},
	"binary": {Name: connector.TypeBinary}, "varbinary": {Name: connector.TypeBinary}, "image": {Name: connector.TypeBinary},
	"timestamp": {Name: connector.TypeBinary}, "rowversion": {Name: connector.TypeBinary},
	"uniqueidentifier": {Name: connector.TypeUUID},
}

// typeOf says what a type becomes that is written as T-SQL writes it, for example decimal(12,2). It is false for types
// without an exact form: sql_variant, whose values have types of their own, and CLR types.
func typeOf(native string) (connector.Type, bool) {
	base, args, _ := strings.Cut(strings.ToLower(native), "(")
	if base == "decimal" || base == "numeric" {
		t, err := connector.ParseType("decimal(" + args)
		return t, err == nil
	}
	t, ok := sourceTypes[base]
	return t, ok
}

const problemType = "holds a value of another type than the query was said to have"

// appendValue appends a value as the driver delivers it, and returns its size. A problem says why the column's type cannot
// hold it.
func appendValue(b array.Builder, t connector.Type, v any) (size int, problem string) {
	const fixed = 8
	switch v := v.(type) {
	case nil:
		b.AppendNull()
		return fixed, ""
	case bool:
		if b, ok := b.(*array.BooleanBuilder); ok {
			b.Append(v)
			return fixed, ""
		}
	case int64:
		return fixed, appendInteger(b, v)
	case float64:
		switch b := b.(type) {
		case *array.Float32Builder:
			b.Append(float32(v))
			return fixed, ""
		case *array.Float64Builder:
			b.Append(v)
			return fixed, ""
		}
	case time.Time:
		return fixed, appendTime(b, v)
	case string:
		if b, ok := b.(*array.StringBuilder); ok {
			b.Append(v)
			return len(v) + fixed, ""
		}
	case []byte:
		return len(v) + fixed, appendBytes(b, t, v)
	}
	return 0, problemType
}

func appendInteger(b array.Builder, v int64) string {
	switch b := b.(type) {
	case *array.Int16Builder:
		b.Append(int16(v))
	case *array.Int32Builder:
		b.Append(int32(v))
	case *array.Int64Builder:
		b.Append(v)
	default:
		return problemType
	}
	return ""
}

// appendTime takes what has whole microseconds.
func appendTime(b array.Builder, v time.Time) string {
	if v.Nanosecond()%1000 != 0 {
		return "has seven fractional digits of a second, and a flow has six: CAST it to datetime2(6), datetimeoffset(6) or time(6), which rounds"
	}
	switch b := b.(type) {
	case *array.Date32Builder:
		b.Append(arrow.Date32(v.Unix() / daySeconds))
	case *array.Time64Builder:
		b.Append(arrow.Time64(int64(v.Hour()*3600+v.Minute()*60+v.Second())*1_000_000 + int64(v.Nanosecond()/1000)))
	case *array.TimestampBuilder:
		b.Append(arrow.Timestamp(v.UnixMicro()))
	default:
		return problemType
	}
	return ""
}

// appendBytes takes what the driver delivers as bytes: binary, decimals as text, and UUIDs.
func appendBytes(b array.Builder, t connector.Type, v []byte) string {
	switch b := b.(type) {
	case *array.BinaryBuilder:
		b.Append(v)
		return ""
	case *array.Decimal128Builder:
		n, ok := notation.ParseDecimal(v, t.Precision, t.Scale)
		if ok {
			b.Append(n)
			return ""
		}
	case *array.StringBuilder:
		if t.Name == connector.TypeUUID && len(v) == 16 {
			text := hex.EncodeToString(swapUUID(v))
			b.Append(text[:8] + "-" + text[8:12] + "-" + text[12:16] + "-" + text[16:20] + "-" + text[20:])
			return ""
		}
	}
	return problemType
}
