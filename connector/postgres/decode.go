package postgres

import (
	"encoding/binary"
	"encoding/hex"
	"math"
	"math/big"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/lume-data/lume/connector"
)

const (
	textFormat   = int16(0)
	binaryFormat = int16(1)
)

// decoder appends values of one column, as the server sends them, to an Arrow builder.
type decoder struct {
	format int16
	// append takes a value that is not NULL. A problem says why it cannot be held.
	append func(b array.Builder, value []byte) (problem string)
}

// asText is the decoder of every type that is read in the server's own text form.
var asText = decoder{textFormat, appendString}

func appendString(b array.Builder, value []byte) string {
	b.(*array.StringBuilder).BinaryBuilder.Append(value)
	return ""
}

const (
	problemInfinity = "is infinite, which no date or time can hold"
	problemSize     = "has a value of another size than its type"
)

// fixed makes a decoder of values of one size.
func fixed(size int, put func(b array.Builder, value []byte) string) decoder {
	return decoder{binaryFormat, func(b array.Builder, value []byte) string {
		if len(value) != size {
			return problemSize
		}
		return put(b, value)
	}}
}

// decoderOf says which type a column of the server becomes. See TYPES.md.
func decoderOf(oid uint32, mod int32, enum bool) (connector.Type, decoder) {
	plain := func(name connector.TypeName, d decoder) (connector.Type, decoder) {
		return connector.Type{Name: name}, d
	}
	if enum {
		return plain(connector.TypeString, asText)
	}
	switch oid {
	case pgtype.BoolOID:
		return plain(connector.TypeBool, fixed(1, func(b array.Builder, v []byte) string {
			b.(*array.BooleanBuilder).Append(v[0] != 0)
			return ""
		}))
	case pgtype.Int2OID:
		return plain(connector.TypeInt16, fixed(2, func(b array.Builder, v []byte) string {
			b.(*array.Int16Builder).Append(int16(binary.BigEndian.Uint16(v)))
			return ""
		}))
	case pgtype.Int4OID:
		return plain(connector.TypeInt32, fixed(4, func(b array.Builder, v []byte) string {
			b.(*array.Int32Builder).Append(int32(binary.BigEndian.Uint32(v)))
			return ""
		}))
	case pgtype.Int8OID:
		return plain(connector.TypeInt64, fixed(8, func(b array.Builder, v []byte) string {
			b.(*array.Int64Builder).Append(int64(binary.BigEndian.Uint64(v)))
			return ""
		}))
	case pgtype.OIDOID:
		return plain(connector.TypeInt64, fixed(4, func(b array.Builder, v []byte) string {
			b.(*array.Int64Builder).Append(int64(binary.BigEndian.Uint32(v)))
			return ""
		}))
	case pgtype.Float4OID:
		return plain(connector.TypeFloat32, fixed(4, func(b array.Builder, v []byte) string {
			b.(*array.Float32Builder).Append(math.Float32frombits(binary.BigEndian.Uint32(v)))
			return ""
		}))
	case pgtype.Float8OID:
		return plain(connector.TypeFloat64, fixed(8, func(b array.Builder, v []byte) string {
			b.(*array.Float64Builder).Append(math.Float64frombits(binary.BigEndian.Uint64(v)))
			return ""
		}))
	case pgtype.NumericOID:
		precision, scale, bounded := numericMod(mod)
		if !bounded || precision > connector.MaxDecimalPrecision || scale < 0 || scale > precision {
			return plain(connector.TypeString, asText)
		}
		return connector.Type{Name: connector.TypeDecimal, Precision: precision, Scale: scale},
			decoder{binaryFormat, func(b array.Builder, v []byte) string { return appendDecimal(b, v, scale) }}
	case pgtype.DateOID:
		return plain(connector.TypeDate, fixed(4, func(b array.Builder, v []byte) string {
			days := int32(binary.BigEndian.Uint32(v))
			if days == math.MaxInt32 || days == math.MinInt32 {
				return problemInfinity
			}
			b.(*array.Date32Builder).Append(arrow.Date32(days + epochDays))
			return ""
		}))
	case pgtype.TimeOID:
		return plain(connector.TypeTime, fixed(8, func(b array.Builder, v []byte) string {
			micros := binary.BigEndian.Uint64(v)
			if micros >= 86_400_000_000 {
				return "is 24:00:00, which no time of day can hold"
			}
			b.(*array.Time64Builder).Append(arrow.Time64(micros))
			return ""
		}))
	case pgtype.TimestampOID:
		return plain(connector.TypeTimestamp, fixed(8, appendTimestamp))
	case pgtype.TimestamptzOID:
		return plain(connector.TypeTimestampTZ, fixed(8, appendTimestamp))
	case pgtype.ByteaOID:
		return plain(connector.TypeBinary, decoder{binaryFormat, func(b array.Builder, v []byte) string {
			b.(*array.BinaryBuilder).Append(v)
			return ""
		}})
	case pgtype.UUIDOID:
		return plain(connector.TypeUUID, fixed(16, func(b array.Builder, v []byte) string {
			var text [36]byte
			hex.Encode(text[0:], v[0:4])
			hex.Encode(text[9:], v[4:6])
			hex.Encode(text[14:], v[6:8])
			hex.Encode(text[19:], v[8:10])
			hex.Encode(text[24:], v[10:])
			text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
			b.(*array.StringBuilder).BinaryBuilder.Append(text[:])
			return ""
		}))
	case pgtype.JSONOID, pgtype.JSONBOID:
		return plain(connector.TypeJSON, asText)
	default:
		return plain(connector.TypeString, asText)
	}
}

func appendTimestamp(b array.Builder, v []byte) string {
	micros := int64(binary.BigEndian.Uint64(v))
	if micros == math.MaxInt64 || micros == math.MinInt64 {
		return problemInfinity
	}
	b.(*array.TimestampBuilder).Append(arrow.Timestamp(micros + epochMicros))
	return ""
}

// appendDecimal reads a numeric in binary format as a decimal of a scale, exactly.
func appendDecimal(b array.Builder, v []byte, scale int) string {
	if len(v) < 8 || len(v) != 8+2*int(binary.BigEndian.Uint16(v)) {
		return problemSize
	}
	groups := int(binary.BigEndian.Uint16(v))
	weight := int(int16(binary.BigEndian.Uint16(v[2:])))
	sign := binary.BigEndian.Uint16(v[4:])
	if sign != 0 && sign != numericNegative {
		return "is NaN or infinite, which no decimal can hold"
	}
	shift := 4*(weight-groups+1) + scale
	if groups <= 4 && shift >= -16 && shift <= 18 {
		if n, ok := smallDecimal(v[8:], shift); ok {
			if sign == numericNegative {
				n = -n
			}
			b.(*array.Decimal128Builder).Append(decimal128.FromI64(n))
			return ""
		}
	}
	// The value is the groups as one integer times 10000^(weight-groups+1).
	sum := new(big.Int)
	group := new(big.Int)
	for i := range groups {
		sum.Mul(sum, tenThousand)
		sum.Add(sum, group.SetUint64(uint64(binary.BigEndian.Uint16(v[8+2*i:]))))
	}
	if shift >= 0 {
		sum.Mul(sum, new(big.Int).Exp(ten, big.NewInt(int64(shift)), nil))
	} else if _, rest := sum.QuoRem(sum, new(big.Int).Exp(ten, big.NewInt(int64(-shift)), nil), new(big.Int)); rest.Sign() != 0 {
		return "has more fractional digits than its type"
	}
	if sign == numericNegative {
		sum.Neg(sum)
	}
	if sum.BitLen() > 127 {
		return "has more digits than a decimal can hold"
	}
	b.(*array.Decimal128Builder).Append(decimal128.FromBigInt(sum))
	return ""
}

// smallDecimal is the integer of at most four groups times 10^shift, if that is one of 64 bits.
func smallDecimal(groups []byte, shift int) (int64, bool) {
	n := int64(0) // Less than 10^16.
	for i := 0; i < len(groups); i += 2 {
		n = n*10_000 + int64(binary.BigEndian.Uint16(groups[i:]))
	}
	for ; shift > 0; shift-- {
		if n > math.MaxInt64/10 {
			return 0, false
		}
		n *= 10
	}
	for ; shift < 0; shift++ {
		if n%10 != 0 {
			return 0, false
		}
		n /= 10
	}
	return n, true
}

var (
	ten         = big.NewInt(10)
	tenThousand = big.NewInt(10_000)
)
