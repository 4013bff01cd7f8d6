package mysql

import (
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/notation"
)

// decoder appends a value that is not NULL, as the driver writes it, to an Arrow builder. A problem says why it cannot be held.
type decoder func(b array.Builder, value []byte) (problem string)

const (
	problemForm   = "has a value of another form than its type"
	problemDigits = "has more digits than its type tells, or another form"
	problemZero   = "is a zero date, or has a zero in it, which no date can hold"
	problemSpan   = "is not a time of day: it is negative, or 24 hours and more"
	problemBits   = "has 64 bits, and the highest is set, which no int64 can hold"
)

// driverName is the driver's name of a type as information_schema writes it.
func driverName(typ, format string) string {
	name := strings.ToUpper(typ)
	if integerSizes[strings.ToLower(typ)] > 0 && strings.Contains(strings.ToLower(format), "unsigned") {
		name = "UNSIGNED " + name
	}
	return name
}

func isTemporal(name string) bool { return name == "DATETIME" || name == "TIMESTAMP" || name == "TIME" }

// typeOf says which type a column of the server becomes, by the driver's name of its type. See TYPES.md.
func typeOf(name string, precision, scale int) connector.Type {
	plain := func(name connector.TypeName) connector.Type { return connector.Type{Name: name} }
	switch name {
	case "TINYINT", "UNSIGNED TINYINT", "SMALLINT", "YEAR":
		return plain(connector.TypeInt16)
	case "UNSIGNED SMALLINT", "MEDIUMINT", "UNSIGNED MEDIUMINT", "INT":
		return plain(connector.TypeInt32)
	case "UNSIGNED INT", "BIGINT", "BIT":
		return plain(connector.TypeInt64)
	case "UNSIGNED BIGINT":
		return connector.Type{Name: connector.TypeDecimal, Precision: 20}
	case "DECIMAL":
		if precision < 1 || precision > connector.MaxDecimalPrecision || scale < 0 || scale > precision {
			return plain(connector.TypeString)
		}
		return connector.Type{Name: connector.TypeDecimal, Precision: precision, Scale: scale}
	case "FLOAT":
		return plain(connector.TypeFloat32)
	case "DOUBLE":
		return plain(connector.TypeFloat64)
	case "DATE":
		return plain(connector.TypeDate)
	case "TIME":
		return plain(connector.TypeTime)
	case "DATETIME":
		return plain(connector.TypeTimestamp)
	case "TIMESTAMP":
		return plain(connector.TypeTimestampTZ)
	case "BINARY", "VARBINARY", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB", "GEOMETRY", "VECTOR",
		"POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION", "GEOMCOLLECTION":
		return plain(connector.TypeBinary)
	case "JSON":
		return plain(connector.TypeJSON)
	default:
		return plain(connector.TypeString)
	}
}

// decoderOf returns the decoder of a column whose type is t.
func decoderOf(name string, t connector.Type) decoder {
	switch t.Name {
	case connector.TypeInt16:
		return decodeInt(16, func(b array.Builder, v int64) { b.(*array.Int16Builder).Append(int16(v)) })
	case connector.TypeInt32:
		return decodeInt(32, func(b array.Builder, v int64) { b.(*array.Int32Builder).Append(int32(v)) })
	case connector.TypeInt64:
		if name == "BIT" {
			return decodeBits
		}
		return decodeInt(64, func(b array.Builder, v int64) { b.(*array.Int64Builder).Append(v) })
	case connector.TypeDecimal:
		return func(b array.Builder, v []byte) string {
			n, ok := notation.ParseDecimal(v, t.Precision, t.Scale)
			if !ok {
				return problemDigits
			}
			b.(*array.Decimal128Builder).Append(n)
			return ""
		}
	case connector.TypeFloat32:
		return func(b array.Builder, v []byte) string {
			f, err := strconv.ParseFloat(string(v), 32)
			if err != nil {
				return problemForm
			}
			b.(*array.Float32Builder).Append(float32(f))
			return ""
		}
	case connector.TypeFloat64:
		return func(b array.Builder, v []byte) string {
			f, err := strconv.ParseFloat(string(v), 64)
			if err != nil {
				return problemForm
			}
			b.(*array.Float64Builder).Append(f)
			return ""
		}
	case connector.TypeDate:
		return func(b array.Builder, v []byte) string {
			day, problem := parseDate(v)
			if problem == "" {
				b.(*array.Date32Builder).Append(arrow.Date32(day))
			}
			return problem
		}
	case connector.TypeTime:
		return func(b array.Builder, v []byte) string {
			micros, ok := parseTime(v)
			if !ok {
				return problemSpan
			}
			b.(*array.Time64Builder).Append(arrow.Time64(micros))
			return ""
		}
	case connector.TypeTimestamp, connector.TypeTimestampTZ:
		return decodeTimestamp
	case connector.TypeBinary:
		return func(b array.Builder, v []byte) string {
			b.(*array.BinaryBuilder).Append(v)
			return ""
		}
	default:
		return func(b array.Builder, v []byte) string {
			b.(*array.StringBuilder).BinaryBuilder.Append(v)
			return ""
		}
	}
}

func decodeInt(bits int, put func(b array.Builder, v int64)) decoder {
	return func(b array.Builder, v []byte) string {
		n, err := strconv.ParseInt(string(v), 10, bits)
		if err != nil {
			return problemForm
		}
		put(b, n)
		return ""
	}
}

// decodeBits reads the bytes of a BIT as an unsigned number.
func decodeBits(b array.Builder, v []byte) string {
	n := uint64(0)
	for _, c := range v {
		n = n<<8 | uint64(c)
	}
	if len(v) > 8 || n>>63 != 0 {
		return problemBits
	}
	b.(*array.Int64Builder).Append(int64(n))
	return ""
}

// two reads two digits.
func two(v []byte) (int64, bool) {
	if v[0] < '0' || v[0] > '9' || v[1] < '0' || v[1] > '9' {
		return 0, false
	}
	return int64(v[0]-'0')*10 + int64(v[1]-'0'), true
}

// parseDate reads 2024-02-29 as days since 1970-01-01.
func parseDate(v []byte) (int64, string) {
	if len(v) != 10 || v[4] != '-' || v[7] != '-' {
		return 0, problemForm
	}
	century, ok1 := two(v)
	rest, ok2 := two(v[2:])
	month, ok3 := two(v[5:])
	day, ok4 := two(v[8:])
	year := century*100 + rest
	switch {
	case !ok1 || !ok2 || !ok3 || !ok4:
		return 0, problemForm
	case year == 0 || month == 0 || day == 0:
		return 0, problemZero
	case month > 12 || day > 31:
		return 0, problemForm
	}
	// The inverse of [notation.AppendDate].
	if month <= 2 {
		year--
		month += 12
	}
	era := year / 400
	yearOfEra := year - era*400
	dayOfYear := (153*(month-3)+2)/5 + day - 1
	dayOfEra := yearOfEra*365 + yearOfEra/4 - yearOfEra/100 + dayOfYear
	return era*146_097 + dayOfEra - 719_468, ""
}

// parseTime reads 23:59:59 with up to six fractional digits as microseconds of a day.
func parseTime(v []byte) (int64, bool) {
	if len(v) < 8 || v[2] != ':' || v[5] != ':' || len(v) == 9 || len(v) > 15 || len(v) > 8 && v[8] != '.' {
		return 0, false
	}
	hours, ok1 := two(v)
	minutes, ok2 := two(v[3:])
	seconds, ok3 := two(v[6:])
	if !ok1 || !ok2 || !ok3 || hours > 23 || minutes > 59 || seconds > 59 {
		return 0, false
	}
	micros := int64(0)
	for i := 9; i < 15; i++ {
		micros *= 10
		if i < len(v) {
			if v[i] < '0' || v[i] > '9' {
				return 0, false
			}
			micros += int64(v[i] - '0')
		}
	}
	return ((hours*60+minutes)*60+seconds)*1_000_000 + micros, true
}

func decodeTimestamp(b array.Builder, v []byte) string {
	if len(v) < 19 || v[10] != ' ' {
		return problemForm
	}
	day, problem := parseDate(v[:10])
	if problem != "" {
		return problem
	}
	micros, ok := parseTime(v[11:])
	if !ok {
		return problemForm
	}
	b.(*array.TimestampBuilder).Append(arrow.Timestamp(day*notation.DayMicros + micros))
	return ""
}
