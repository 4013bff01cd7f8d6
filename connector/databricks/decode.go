package databricks

import (
	"database/sql/driver"
	"math/big"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

// appendAs appends a value if it is a T.
func appendAs[T any](to func(T), v driver.Value) bool {
	n, ok := v.(T)
	if ok {
		to(n)
	}
	return ok
}

// appendValue appends a value as the driver delivers it, and returns its size. It is false if the column's type cannot hold it.
func appendValue(b array.Builder, v driver.Value) (int, bool) {
	if v == nil {
		b.AppendNull()
		return 8, true
	}
	ok := false
	switch b := b.(type) {
	case *array.BooleanBuilder:
		ok = appendAs(b.Append, v)
	case *array.Int16Builder:
		ok = appendAs(b.Append, v)
	case *array.Int32Builder:
		ok = appendAs(b.Append, v)
	case *array.Int64Builder:
		ok = appendAs(b.Append, v)
	case *array.Float32Builder:
		ok = appendAs(b.Append, v)
	case *array.Float64Builder:
		ok = appendAs(b.Append, v)
	case *array.Decimal128Builder:
		ok = appendDecimal(b, v)
		return 16, ok
	case *array.Date32Builder:
		var n time.Time
		if n, ok = v.(time.Time); ok {
			b.Append(arrow.Date32FromTime(n))
		}
	case *array.TimestampBuilder:
		var n time.Time
		if n, ok = v.(time.Time); ok {
			b.Append(arrow.Timestamp(n.UnixMicro()))
		}
	case *array.BinaryBuilder:
		n, isBytes := v.([]byte)
		if isBytes {
			b.Append(n)
		}
		return len(n) + 8, isBytes
	case *array.StringBuilder:
		n, isText := v.(string)
		if isText {
			b.Append(n)
		}
		return len(n) + 8, isText
	}
	return 8, ok
}

// appendDecimal appends a decimal from its text.
func appendDecimal(b *array.Decimal128Builder, v driver.Value) bool {
	var digits string
	switch v := v.(type) {
	case string:
		digits = v
	case []byte:
		digits = string(v)
	default:
		return false
	}
	unscaled, ok := parseDecimal(digits, int(b.Type().(*arrow.Decimal128Type).Scale))
	if ok {
		b.Append(decimal128.FromBigInt(unscaled))
	}
	return ok
}

// parseDecimal returns the unscaled value of a number's text, such as -12.30 or 1E-18. It is false if the text is no number,
// or has more digits behind the point than scale.
func parseDecimal(text string, scale int) (*big.Int, bool) {
	mantissa, exponent := text, 0
	if i := strings.IndexAny(text, "eE"); i >= 0 {
		n, err := strconv.Atoi(text[i+1:])
		if err != nil || n < -80 || n > 80 {
			return nil, false
		}
		mantissa, exponent = text[:i], n
	}
	whole, fraction, _ := strings.Cut(mantissa, ".")
	// The value is whole+fraction × 10^(exponent-len(fraction)).
	zeros := scale + exponent - len(fraction)
	digits := whole + fraction
	if zeros < 0 {
		cut := max(len(digits)+zeros, 0)
		if strings.Trim(digits[cut:], "0") != "" {
			return nil, false
		}
		digits = digits[:cut]
		if digits == "" || digits == "-" || digits == "+" {
			digits = "0"
		}
	} else {
		digits += strings.Repeat("0", zeros)
	}
	return new(big.Int).SetString(digits, 10)
}
