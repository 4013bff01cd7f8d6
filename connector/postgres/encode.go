package postgres

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	// The binary format counts days and microseconds from 2000-01-01.
	epochDays   = 10_957
	epochMicros = 946_684_800_000_000
)

// encoder says how values of a flow's column become values of a table's column, or false if some would be lost.
func encoder(t connector.Type, c native) (sqlload.Bind, bool) {
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
	case connector.TypeInt16, connector.TypeInt32, connector.TypeInt64, connector.TypeDecimal:
		return numberEncoder(t, c)
	case connector.TypeFloat32:
		if c.oid == pgtype.Float8OID {
			return func(arr arrow.Array) sqlload.Put {
				values := arr.(*array.Float32).Float32Values()
				return func(dst []byte, i int) ([]byte, string) {
					return appendInt64(dst, int64(math.Float64bits(float64(values[i])))), ""
				}
			}, true
		}
		return func(arr arrow.Array) sqlload.Put {
			values := arr.(*array.Float32).Float32Values()
			return func(dst []byte, i int) ([]byte, string) {
				return appendInt32(dst, int32(math.Float32bits(values[i]))), ""
			}
		}, c.oid == pgtype.Float4OID
	case connector.TypeFloat64:
		return func(arr arrow.Array) sqlload.Put {
			values := arr.(*array.Float64).Float64Values()
			return func(dst []byte, i int) ([]byte, string) {
				return appendInt64(dst, int64(math.Float64bits(values[i]))), ""
			}
		}, c.oid == pgtype.Float8OID
	case connector.TypeDate:
		return func(arr arrow.Array) sqlload.Put {
			values := arr.(*array.Date32).Date32Values()
			return func(dst []byte, i int) ([]byte, string) { return appendInt32(dst, int32(values[i])-epochDays), "" }
		}, c.oid == pgtype.DateOID
	case connector.TypeTime:
		return func(arr arrow.Array) sqlload.Put {
			values := arr.(*array.Time64).Time64Values()
			return func(dst []byte, i int) ([]byte, string) { return appendInt64(dst, int64(values[i])), "" }
		}, c.oid == pgtype.TimeOID && wholeMicros(c.mod)
	case connector.TypeTimestamp:
		return bindTimestamp, c.oid == pgtype.TimestampOID && wholeMicros(c.mod)
	case connector.TypeTimestampTZ:
		return bindTimestamp, c.oid == pgtype.TimestamptzOID && wholeMicros(c.mod)
	case connector.TypeBinary:
		return func(arr arrow.Array) sqlload.Put {
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

func bindBool(arr arrow.Array) sqlload.Put {
	values := arr.(*array.Boolean)
	return func(dst []byte, i int) ([]byte, string) {
		if values.Value(i) {
			return append(dst, 0, 0, 0, 1, 1), ""
		}
		return append(dst, 0, 0, 0, 1, 0), ""
	}
}

func bindTimestamp(arr arrow.Array) sqlload.Put {
	values := arr.(*array.Timestamp).TimestampValues()
	return func(dst []byte, i int) ([]byte, string) { return appendInt64(dst, int64(values[i])-epochMicros), "" }
}

// integerSizes are the bytes of integer types.
var integerSizes = map[uint32]int{pgtype.Int2OID: 2, pgtype.Int4OID: 4, pgtype.Int8OID: 8}

// integerPut appends integers of a type.
func integerPut(oid uint32) func(dst []byte, v int64) []byte {
	switch oid {
	case pgtype.Int2OID:
		return func(dst []byte, v int64) []byte { return append(dst, 0, 0, 0, 2, byte(v>>8), byte(v)) }
	case pgtype.Int4OID:
		return func(dst []byte, v int64) []byte { return appendInt32(dst, int32(v)) }
	}
	return appendInt64
}

// numberEncoder is that of integers and decimals.
func numberEncoder(t connector.Type, c native) (sqlload.Bind, bool) {
	if size := integerSizes[c.oid]; size > 0 {
		write := integerPut(c.oid)
		return func(arr arrow.Array) sqlload.Put {
			at := sqlload.Integers(arr)
			return func(dst []byte, i int) ([]byte, string) { return write(dst, at(i)), "" }
		}, sqlload.IntegerHolds(size, t)
	}
	precision, columnScale, bounded := numericMod(c.mod)
	fits := c.oid == pgtype.NumericOID && (!bounded || sqlload.DecimalHolds(precision, columnScale, t))
	scale := int32(t.Scale)
	return func(arr arrow.Array) sqlload.Put {
		if values, ok := arr.(*array.Decimal128); ok {
			return func(dst []byte, i int) ([]byte, string) { return appendNumeric(dst, values.Value(i), scale), "" }
		}
		at := sqlload.Integers(arr)
		return func(dst []byte, i int) ([]byte, string) { return appendNumeric(dst, decimal128.FromI64(at(i)), 0), "" }
	}, fits
}

// problemNUL is why text with a NUL byte cannot be stored.
const problemNUL = "has a NUL character, which the target cannot hold"

// bindText writes text of at most limit characters; negative for no limit. The server would cut blanks beyond a limit
// in silence, so the limit is checked here.
func bindText(limit int) sqlload.Bind {
	tooLong := fmt.Sprintf("is longer than the %d characters of the column", limit)
	return func(arr arrow.Array) sqlload.Put {
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

func bindJSONB(arr arrow.Array) sqlload.Put {
	values := arr.(*array.String)
	return func(dst []byte, i int) ([]byte, string) {
		const version = 1
		v := values.Value(i)
		return append(append(binary.BigEndian.AppendUint32(dst, uint32(len(v)+1)), version), v...), ""
	}
}

func bindUUID(arr arrow.Array) sqlload.Put {
	values := arr.(*array.String)
	return func(dst []byte, i int) ([]byte, string) {
		raw, ok := sqlload.ParseUUID(values.Value(i))
		if !ok {
			return dst, sqlload.ProblemUUID
		}
		return append(append(dst, 0, 0, 0, 16), raw[:]...), ""
	}
}
