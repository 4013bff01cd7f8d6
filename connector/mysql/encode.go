package mysql

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/notation"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	problemUTF8     = "is not valid UTF-8"
	problemNotANum  = "is NaN or infinite, which the target cannot hold"
	problemNegative = "is negative, which an unsigned column cannot hold"
	problemBlank    = "ends with a blank, which a char column does not keep"
	problemMember   = "is not a member of the column's enum"
)

// integerSizes are the bytes of integer types.
var integerSizes = map[string]int{"tinyint": 1, "smallint": 2, "mediumint": 3, "int": 4, "bigint": 8}

// encoder says how values of a flow's column become fields of a table's column, or false if some would be lost. Values that pass
// through a function of the server may have at most maxPacket bytes.
func encoder(t connector.Type, c native, maxPacket int64) (sqlload.Bind, bool) {
	switch t.Name {
	case connector.TypeString, connector.TypeJSON, connector.TypeUUID:
		return textEncoder(t.Name, c)
	case connector.TypeBool:
		return bindBool, integerSizes[c.typ] > 0
	case connector.TypeInt16, connector.TypeInt32, connector.TypeInt64:
		return intEncoder(t, c)
	case connector.TypeDecimal:
		return decimalEncoder(t, c)
	case connector.TypeFloat32:
		// float(7,4) would round.
		return bindFloat32, (c.typ == "float" || c.typ == "double") && c.scale < 0
	case connector.TypeFloat64:
		return bindFloat64, c.typ == "double" && c.scale < 0
	case connector.TypeDate:
		return bindDate, c.typ == "date"
	case connector.TypeTime:
		return bindTime, c.typ == "time" && c.micros == 6
	case connector.TypeTimestamp:
		return bindTimestamp, c.typ == "datetime" && c.micros == 6
	case connector.TypeTimestampTZ:
		return bindTimestamp, (c.typ == "datetime" || c.typ == "timestamp") && c.micros == 6
	case connector.TypeBinary:
		switch c.typ {
		case "binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob":
			return bindBinary(min(c.length, maxPacket), c.typ == "binary"), true
		}
	}
	return nil, false
}

func textEncoder(name connector.TypeName, c native) (sqlload.Bind, bool) {
	check := checkNothing
	switch c.typ {
	case "char":
		if name != connector.TypeUUID {
			check = checkBlank
		}
	case "varchar", "tinytext", "text", "mediumtext", "longtext":
	case "enum":
		if name != connector.TypeString {
			return nil, false
		}
		// The server would take text with digits for the number of a member.
		members := c.members
		check = func(v string) string {
			if !slices.Contains(members, v) {
				return problemMember
			}
			return ""
		}
	case "uuid":
		return bindText(c.length, checkUUID), name == connector.TypeUUID
	default:
		return nil, false
	}
	if name == connector.TypeUUID {
		check = checkUUID
		if c.length > 0 && c.length < 36 {
			return nil, false
		}
	}
	limit := c.length
	if c.typ == "enum" {
		limit = 0
	}
	return bindText(limit, check), true
}

func checkNothing(string) string { return "" }

func checkBlank(v string) string {
	if v != "" && v[len(v)-1] == ' ' {
		return problemBlank
	}
	return ""
}

func checkUUID(v string) string {
	if _, ok := sqlload.ParseUUID(v); !ok {
		return sqlload.ProblemUUID
	}
	return ""
}

// special are the bytes that a field has to escape: what ends a field or a line, the escape itself, and NUL.
const special = "\t\n\\\x00"

// bindText writes text of at most limit characters; 0 for no limit. Beyond a limit the server would cut blanks.
func bindText(limit int64, check func(string) string) sqlload.Bind {
	tooLong := fmt.Sprintf("is longer than the %d characters of the column", limit)
	return func(arr arrow.Array) sqlload.Put {
		values := arr.(*array.String)
		all := values.ValueBytes()
		valid, plain := utf8.Valid(all), true
		for i := range len(special) {
			plain = plain && bytes.IndexByte(all, special[i]) < 0
		}
		return func(dst []byte, i int) ([]byte, string) {
			v := values.Value(i)
			if !valid && !utf8.ValidString(v) {
				return dst, problemUTF8
			}
			if limit > 0 && int64(len(v)) > limit && int64(utf8.RuneCountInString(v)) > limit {
				return dst, tooLong
			}
			if problem := check(v); problem != "" {
				return dst, problem
			}
			if plain {
				return append(dst, v...), ""
			}
			return appendEscaped(dst, v), ""
		}
	}
}

// appendEscaped appends text as a field.
func appendEscaped(dst []byte, v string) []byte {
	start := 0
	for i := range len(v) {
		var letter byte
		switch v[i] {
		case '\t':
			letter = 't'
		case '\n':
			letter = 'n'
		case '\\':
			letter = '\\'
		case 0:
			letter = '0'
		default:
			continue
		}
		dst = append(dst, v[start:i]...)
		dst = append(dst, '\\', letter)
		start = i + 1
	}
	return append(dst, v[start:]...)
}

// bindBinary writes bytes as hex digits, which the statement turns back: what the server reads is text.
func bindBinary(limit int64, exact bool) sqlload.Bind {
	problem := fmt.Sprintf("is longer than the %d bytes that the column or max_allowed_packet of the server allow", limit)
	if exact {
		problem = fmt.Sprintf("does not have the %d bytes of the column", limit)
	}
	return func(arr arrow.Array) sqlload.Put {
		values := arr.(*array.Binary)
		return func(dst []byte, i int) ([]byte, string) {
			v := values.Value(i)
			if int64(len(v)) > limit || exact && int64(len(v)) != limit {
				return dst, problem
			}
			return hex.AppendEncode(dst, v), ""
		}
	}
}

func bindBool(arr arrow.Array) sqlload.Put {
	values := arr.(*array.Boolean)
	return func(dst []byte, i int) ([]byte, string) {
		if values.Value(i) {
			return append(dst, '1'), ""
		}
		return append(dst, '0'), ""
	}
}

func intEncoder(t connector.Type, c native) (sqlload.Bind, bool) {
	fits := sqlload.IntegerHolds(integerSizes[c.typ], t) || c.typ == "decimal" && sqlload.DecimalHolds(c.precision, c.scale, t)
	unsigned := c.unsigned
	return func(arr arrow.Array) sqlload.Put {
		at := sqlload.Integers(arr)
		return func(dst []byte, i int) ([]byte, string) {
			v := at(i)
			if unsigned && v < 0 {
				return dst, problemNegative
			}
			return strconv.AppendInt(dst, v, 10), ""
		}
	}, fits
}

func decimalEncoder(t connector.Type, c native) (sqlload.Bind, bool) {
	fits := sqlload.IntegerHolds(integerSizes[c.typ], t)
	switch {
	case c.typ == "decimal":
		fits = sqlload.DecimalHolds(c.precision, c.scale, t)
	case c.typ == "bigint" && c.unsigned:
		// What a source reads of such a column, decimal(20,0), goes back into it; more than it holds is refused by the server.
		fits = t.Scale == 0 && t.Precision <= 20
	}
	unsigned, scale := c.unsigned, t.Scale
	return func(arr arrow.Array) sqlload.Put {
		values := arr.(*array.Decimal128)
		return func(dst []byte, i int) ([]byte, string) {
			v := values.Value(i)
			if unsigned && v.Sign() < 0 {
				return dst, problemNegative
			}
			return notation.AppendDecimal(dst, v, scale), ""
		}
	}, fits
}

func bindFloat32(arr arrow.Array) sqlload.Put {
	values := arr.(*array.Float32)
	// The digits are those of the same number in 64 bits, which the server reads before it narrows it: nothing is rounded twice.
	return func(dst []byte, i int) ([]byte, string) { return appendFloat(dst, float64(values.Value(i))) }
}

func bindFloat64(arr arrow.Array) sqlload.Put {
	values := arr.(*array.Float64)
	return func(dst []byte, i int) ([]byte, string) { return appendFloat(dst, values.Value(i)) }
}

func appendFloat(dst []byte, v float64) ([]byte, string) {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return dst, problemNotANum
	}
	return strconv.AppendFloat(dst, v, 'g', -1, 64), ""
}

// The years of the server have four digits.
const minDay, maxDay = -719_162, 2_932_896 // 0001-01-01, 9999-12-31

// problemDay is a date outside of the years 1 to 9999.
const problemDay = "is outside of the years 1 to 9999"

func bindDate(arr arrow.Array) sqlload.Put {
	values := arr.(*array.Date32)
	return func(dst []byte, i int) ([]byte, string) {
		day := int64(values.Value(i))
		if day < minDay || day > maxDay {
			return dst, problemDay
		}
		return notation.AppendDate(dst, day), ""
	}
}

func bindTime(arr arrow.Array) sqlload.Put {
	values := arr.(*array.Time64)
	return func(dst []byte, i int) ([]byte, string) { return notation.AppendTime(dst, int64(values.Value(i))), "" }
}

func bindTimestamp(arr arrow.Array) sqlload.Put {
	values := arr.(*array.Timestamp)
	return func(dst []byte, i int) ([]byte, string) {
		day, micros := notation.SplitMicros(int64(values.Value(i)))
		if day < minDay || day > maxDay {
			return dst, problemDay
		}
		return notation.AppendTime(append(notation.AppendDate(dst, day), ' '), micros), ""
	}
}
