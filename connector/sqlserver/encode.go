package sqlserver

import (
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// value reads one value that is not NULL as the driver's bulk copy takes it for the table's column. A problem says why the
// column cannot take it.
type value func(i int) (v any, problem string)

// bind makes the value of one batch's column.
type bind func(arr arrow.Array) value

// encoder says how values of a flow's column become values of a table's column, or false if some would be lost.
func encoder(t connector.Type, c native) (bind, bool) {
	micros := c.scale >= 6
	switch c.base {
	case "nvarchar", "nchar":
		limit := c.length
		if limit > 0 {
			limit /= 2
		}
		return bindText(limit, false), isText(t.Name)
	case "varchar", "char":
		return bindText(c.length, true), isText(t.Name)
	case "bit":
		return bindBool, t.Name == connector.TypeBool
	case "smallint", "int", "bigint":
		return bindInteger, sqlload.IntegerHolds(map[string]int{"smallint": 2, "int": 4, "bigint": 8}[c.base], t)
	case "decimal", "numeric":
		return bindDecimal, sqlload.DecimalHolds(c.precision, c.scale, t)
	case "real":
		return bindFloat(minReal), t.Name == connector.TypeFloat32
	case "float":
		return bindFloat(minFloat), t.Name == connector.TypeFloat32 || t.Name == connector.TypeFloat64
	case "date":
		return bindDate, t.Name == connector.TypeDate
	case "time":
		return bindTime, t.Name == connector.TypeTime && micros
	case "datetime2":
		return bindTimestamp, t.Name == connector.TypeTimestamp && micros
	case "datetimeoffset":
		return bindTimestamp, t.Name == connector.TypeTimestampTZ && micros
	case "varbinary":
		return bindBinary(c.length), t.Name == connector.TypeBinary
	case "uniqueidentifier":
		return bindUUID, t.Name == connector.TypeUUID
	}
	return nil, false
}

func isText(name connector.TypeName) bool {
	return name == connector.TypeString || name == connector.TypeJSON || name == connector.TypeUUID
}

func bindBool(arr arrow.Array) value {
	values := arr.(*array.Boolean)
	return func(i int) (any, string) { return values.Value(i), "" }
}

func bindInteger(arr arrow.Array) value {
	at := sqlload.Integers(arr)
	return func(i int) (any, string) { return at(i), "" }
}

// bindDecimal writes decimals as text, which the driver scales; its integers it would not scale.
func bindDecimal(arr arrow.Array) value {
	if values, ok := arr.(*array.Decimal128); ok {
		scale := arr.DataType().(*arrow.Decimal128Type).Scale
		return func(i int) (any, string) { return values.Value(i).ToString(scale), "" }
	}
	at := sqlload.Integers(arr)
	return func(i int) (any, string) { return fmt.Sprint(at(i)), "" }
}

// The smallest magnitudes of real and float. SQL Server documents nothing between them and zero.
const (
	minReal  = 0x1p-126
	minFloat = 0x1p-1022
)

// bindFloat refuses what the server's types do not have, and makes -0 a plain 0.
func bindFloat(smallest float64) bind {
	check := func(v float64) (any, string) {
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0):
			return nil, "is NaN or infinite, which the target cannot hold"
		case v == 0:
			return float64(0), ""
		case math.Abs(v) < smallest:
			return nil, "is closer to zero than the target can hold"
		}
		return v, ""
	}
	return func(arr arrow.Array) value {
		if values, ok := arr.(*array.Float32); ok {
			return func(i int) (any, string) { return check(float64(values.Value(i))) }
		}
		values := arr.(*array.Float64)
		return func(i int) (any, string) { return check(values.Value(i)) }
	}
}

const (
	daySeconds = 86_400
	dayMicros  = daySeconds * 1_000_000

	problemRange = "is out of the column's range"
)

// years reports whether a time is between the years 1 and 9999. The driver would move others there in silence.
func years(t time.Time) (any, string) {
	if t.Year() < 1 || t.Year() > 9999 {
		return nil, problemRange
	}
	return t, ""
}

func bindDate(arr arrow.Array) value {
	values := arr.(*array.Date32)
	return func(i int) (any, string) { return years(time.Unix(int64(values.Value(i))*daySeconds, 0).UTC()) }
}

func bindTime(arr arrow.Array) value {
	values := arr.(*array.Time64)
	return func(i int) (any, string) {
		v := int64(values.Value(i))
		if v < 0 || v >= dayMicros {
			return nil, problemRange
		}
		return time.UnixMicro(v).UTC(), ""
	}
}

func bindTimestamp(arr arrow.Array) value {
	values := arr.(*array.Timestamp)
	return func(i int) (any, string) { return years(time.UnixMicro(int64(values.Value(i))).UTC()) }
}

func bindBinary(limit int) bind {
	problem := fmt.Sprintf("is longer than the %d bytes of the column", limit)
	return func(arr arrow.Array) value {
		values := arr.(*array.Binary)
		return func(i int) (any, string) {
			v := values.Value(i)
			switch {
			case limit >= 0 && len(v) > limit:
				return nil, problem
			case len(v) == 0:
				// To the driver nil is NULL.
				return []byte{}, ""
			}
			return v, ""
		}
	}
}

// bindText writes text of at most limit units: UTF-16 code units, or bytes of a column that has a code page. All code
// pages agree on ASCII alone, so that other text is refused for such a column. A negative limit is none.
func bindText(limit int, ascii bool) bind {
	problem := fmt.Sprintf("is longer than the %d characters of the column", limit)
	return func(arr arrow.Array) value {
		values := arr.(*array.String)
		return func(i int) (any, string) {
			v := values.Value(i)
			switch {
			case !utf8.ValidString(v):
				return nil, "is not UTF-8"
			case ascii && !isASCII(v):
				return nil, "has characters that not every code page of a varchar column can hold: use nvarchar"
			case limit >= 0 && len(v) > limit && units(v) > limit:
				return nil, problem
			}
			return v, ""
		}
	}
}

func isASCII(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }) < 0
}

// units counts the UTF-16 code units of a text.
func units(s string) int {
	n := 0
	for _, r := range s {
		n++
		if r > math.MaxUint16 {
			n++
		}
	}
	return n
}

// bindUUID writes the 16 bytes in the server's order: the first three groups have their lowest byte first.
func bindUUID(arr arrow.Array) value {
	values := arr.(*array.String)
	return func(i int) (any, string) {
		raw, ok := sqlload.ParseUUID(values.Value(i))
		if !ok {
			return nil, sqlload.ProblemUUID
		}
		return swapUUID(raw[:]), ""
	}
}

// swapUUID turns the bytes of a UUID from their canonical order to the server's, or back, in place.
func swapUUID(raw []byte) []byte {
	binary.LittleEndian.PutUint32(raw, binary.BigEndian.Uint32(raw))
	binary.LittleEndian.PutUint16(raw[4:], binary.BigEndian.Uint16(raw[4:]))
	binary.LittleEndian.PutUint16(raw[6:], binary.BigEndian.Uint16(raw[6:]))
	return raw
}
