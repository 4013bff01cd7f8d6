package postgres

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lume-data/lume/connector"
)

const (
	// The binary format counts days and microseconds from 2000-01-01.
	epochDays   = 10_957
	epochMicros = 946_684_800_000_000

	nullLength = 0xffffffff
)

// put appends one value that is not NULL, length first. A problem says why the column cannot take it.
type put func(dst []byte, i int) (out []byte, problem string)

// bind makes the put of one batch's column.
type bind func(arr arrow.Array) put

// encoder says how values of a flow's column become values of a table's column, or false if some would be lost.
func encoder(t connector.Type, c native) (bind, bool) {
	if limit, ok := c.holdsText(); ok {
		switch t.Name {
		case connector.TypeString, connector.TypeUUID, connector.TypeJSON:
			return bindText(limit), true
		}
		return nil, false
	}
	switch t.Name {
	case connector.TypeBool:
		return bindBool, c.oid == pgtype.BoolOID
	case connector.TypeInt16, connector.TypeInt32, connector.TypeInt64:
		return intEncoder(t.Name, c)
	case connector.TypeDecimal:
		return decimalEncoder(t, c)
	case connector.TypeFloat32:
		if c.oid == pgtype.Float8OID {
			return func(arr arrow.Array) put {
				values := arr.(*array.Float32).Float32Values()
				return func(dst []byte, i int) ([]byte, string) {
					return appendInt64(dst, int64(math.Float64bits(float64(values[i])))), ""
				}
			}, true
		}
		return func(arr arrow.Array) put {
			values := arr.(*array.Float32).Float32Values()
			return func(dst []byte, i int) ([]byte, string) {
				return appendInt32(dst, int32(math.Float32bits(values[i]))), ""
			}
		}, c.oid == pgtype.Float4OID
	case connector.TypeFloat64:
		return func(arr arrow.Array) put {
			values := arr.(*array.Float64).Float64Values()
			return func(dst []byte, i int) ([]byte, string) {
				return appendInt64(dst, int64(math.Float64bits(values[i]))), ""
			}
		}, c.oid == pgtype.Float8OID
	case connector.TypeDate:
		return func(arr arrow.Array) put {
			values := arr.(*array.Date32).Date32Values()
			return func(dst []byte, i int) ([]byte, string) { return appendInt32(dst, int32(values[i])-epochDays), "" }
		}, c.oid == pgtype.DateOID
	case connector.TypeTime:
		return func(arr arrow.Array) put {
			values := arr.(*array.Time64).Time64Values()
			return func(dst []byte, i int) ([]byte, string) { return appendInt64(dst, int64(values[i])), "" }
		}, c.oid == pgtype.TimeOID && wholeMicros(c.mod)
	case connector.TypeTimestamp:
		return bindTimestamp, c.oid == pgtype.TimestampOID && wholeMicros(c.mod)
	case connector.TypeTimestampTZ:
		return bindTimestamp, c.oid == pgtype.TimestamptzOID && wholeMicros(c.mod)
	case connector.TypeBinary:
		return func(arr arrow.Array) put {
			values := arr.(*array.Binary)
			return func(dst []byte, i int) ([]byte, string) {
				v := values.Value(i)
				return append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...), ""
			}
		}, c.oid == pgtype.ByteaOID
	case connector.TypeUUID:
		return bindUUID, c.oid == pgtype.UUIDOID
	case connector.TypeJSON:
		switch c.oid {
		case pgtype.JSONOID:
			return bindText(-1), true
		case pgtype.JSONBOID:
			return bindJSONB, true
		}
	}
	return nil, false
}

// wholeMicros reports whether a time keeps all six fractional digits.
func wholeMicros(mod int32) bool { return mod < 0 || mod >= 6 }

func appendInt32(dst []byte, v int32) []byte {
	return append(dst, 0, 0, 0, 4, byte(v>>24), byte(v>>16), byte(v>>8), byte(v))
}

func appendInt64(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, 0, 0, 0, 8), uint64(v))
}

func bindBool(arr arrow.Array) put {
	values := arr.(*array.Boolean)
	return func(dst []byte, i int) ([]byte, string) {
		if values.Value(i) {
			return append(dst, 0, 0, 0, 1, 1), ""
		}
		return append(dst, 0, 0, 0, 1, 0), ""
	}
}

func bindTimestamp(arr arrow.Array) put {
	values := arr.(*array.Timestamp).TimestampValues()
	return func(dst []byte, i int) ([]byte, string) { return appendInt64(dst, int64(values[i])-epochMicros), "" }
}

// intDigits is how many decimal digits the integers of a type can have.
var intDigits = map[connector.TypeName]int{connector.TypeInt16: 5, connector.TypeInt32: 10, connector.TypeInt64: 19}

func intEncoder(name connector.TypeName, c native) (bind, bool) {
	var write func(dst []byte, v int64) []byte
	fits := true
	switch c.oid {
	case pgtype.Int2OID:
		fits = name == connector.TypeInt16
		write = func(dst []byte, v int64) []byte { return append(dst, 0, 0, 0, 2, byte(v>>8), byte(v)) }
	case pgtype.Int4OID:
		fits = name != connector.TypeInt64
		write = func(dst []byte, v int64) []byte { return appendInt32(dst, int32(v)) }
	case pgtype.Int8OID:
		write = appendInt64
	case pgtype.NumericOID:
		precision, scale, bounded := numericMod(c.mod)
		fits = !bounded || scale >= 0 && precision-scale >= intDigits[name]
		write = func(dst []byte, v int64) []byte { return appendNumeric(dst, decimal128.FromI64(v), 0) }
	default:
		return nil, false
	}
	return func(arr arrow.Array) put {
		switch values := arr.(type) {
		case *array.Int16:
			return func(dst []byte, i int) ([]byte, string) { return write(dst, int64(values.Value(i))), "" }
		case *array.Int32:
			return func(dst []byte, i int) ([]byte, string) { return write(dst, int64(values.Value(i))), "" }
		default:
			values64 := arr.(*array.Int64)
			return func(dst []byte, i int) ([]byte, string) { return write(dst, values64.Value(i)), "" }
		}
	}, fits
}

func decimalEncoder(t connector.Type, c native) (bind, bool) {
	scale := int32(t.Scale)
	switch c.oid {
	case pgtype.NumericOID:
		precision, columnScale, bounded := numericMod(c.mod)
		fits := !bounded || columnScale >= t.Scale && precision-columnScale >= t.Precision-t.Scale
		return func(arr arrow.Array) put {
			values := arr.(*array.Decimal128)
			return func(dst []byte, i int) ([]byte, string) { return appendNumeric(dst, values.Value(i), scale), "" }
		}, fits
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		digits := map[uint32]int{pgtype.Int2OID: 4, pgtype.Int4OID: 9, pgtype.Int8OID: 18}[c.oid]
		return func(arr arrow.Array) put {
			values := arr.(*array.Decimal128)
			return func(dst []byte, i int) ([]byte, string) {
				v := int64(values.Value(i).LowBits())
				switch c.oid {
				case pgtype.Int2OID:
					return append(dst, 0, 0, 0, 2, byte(v>>8), byte(v)), ""
				case pgtype.Int4OID:
					return appendInt32(dst, int32(v)), ""
				}
				return appendInt64(dst, v), ""
			}
		}, t.Scale == 0 && t.Precision <= digits
	}
	return nil, false
}

// problemNUL is why text with a NUL byte cannot be stored.
const problemNUL = "has a NUL character, which the target cannot hold"

// bindText writes text of at most limit characters; negative for no limit. The server would cut blanks beyond a limit
// in silence, so the limit is checked here.
func bindText(limit int) bind {
	tooLong := fmt.Sprintf("is longer than the %d characters of the column", limit)
	return func(arr arrow.Array) put {
		values := arr.(*array.String)
		mayHoldNUL := bytes.IndexByte(values.ValueBytes(), 0) >= 0
		if !mayHoldNUL && limit < 0 {
			return func(dst []byte, i int) ([]byte, string) {
				v := values.Value(i)
				return append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...), ""
			}
		}
		return func(dst []byte, i int) ([]byte, string) {
			v := values.Value(i)
			if limit >= 0 && len(v) > limit && utf8.RuneCountInString(v) > limit {
				return dst, tooLong
			}
			for j := 0; mayHoldNUL && j < len(v); j++ {
				if v[j] == 0 {
					return dst, problemNUL
				}
			}
			return append(binary.BigEndian.AppendUint32(dst, uint32(len(v))), v...), ""
		}
	}
}

func bindJSONB(arr arrow.Array) put {
	values := arr.(*array.String)
	return func(dst []byte, i int) ([]byte, string) {
		const version = 1
		v := values.Value(i)
		return append(append(binary.BigEndian.AppendUint32(dst, uint32(len(v)+1)), version), v...), ""
	}
}

func bindUUID(arr arrow.Array) put {
	values := arr.(*array.String)
	return func(dst []byte, i int) ([]byte, string) {
		v := values.Value(i)
		if len(v) != 36 || v[8] != '-' || v[13] != '-' || v[18] != '-' || v[23] != '-' {
			return dst, "is not a UUID in its canonical form"
		}
		digits := [32]byte{}
		n := copy(digits[:], v[0:8])
		n += copy(digits[n:], v[9:13])
		n += copy(digits[n:], v[14:18])
		n += copy(digits[n:], v[19:23])
		copy(digits[n:], v[24:])
		start := len(dst)
		dst = append(dst, 0, 0, 0, 16)
		dst = append(dst, make([]byte, 16)...)
		if _, err := hex.Decode(dst[start+4:], digits[:]); err != nil {
			return dst[:start], "is not a UUID in its canonical form"
		}
		return dst, ""
	}
}
