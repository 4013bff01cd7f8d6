package sqlite

import (
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"

	"github.com/lume-data/lume/connector"
)

// value reads one value that is not NULL in the form in which SQLite keeps it. A problem says why it cannot be kept.
type value func(i int) (v any, problem string)

const (
	problemNUL = "has a NUL character, which SQLite's functions do not see past"
	problemNaN = "is NaN, which SQLite would keep as NULL"
)

// bind makes the value of one batch's column. See TYPES.md for the forms.
func bind(t connector.Type, arr arrow.Array) value {
	switch values := arr.(type) {
	case *array.Boolean:
		return func(i int) (any, string) {
			if values.Value(i) {
				return int64(1), ""
			}
			return int64(0), ""
		}
	case *array.Int16:
		return func(i int) (any, string) { return int64(values.Value(i)), "" }
	case *array.Int32:
		return func(i int) (any, string) { return int64(values.Value(i)), "" }
	case *array.Int64:
		return func(i int) (any, string) { return values.Value(i), "" }
	case *array.Float32:
		return func(i int) (any, string) { return float(float64(values.Value(i))) }
	case *array.Float64:
		return func(i int) (any, string) { return float(values.Value(i)) }
	case *array.Decimal128:
		return func(i int) (any, string) { return decimal(values.Value(i), t.Scale), "" }
	case *array.Date32:
		return func(i int) (any, string) { return string(appendDate(nil, int64(values.Value(i)))), "" }
	case *array.Time64:
		return func(i int) (any, string) { return string(appendTime(nil, int64(values.Value(i)))), "" }
	case *array.Timestamp:
		zone := ""
		if t.Name == connector.TypeTimestampTZ {
			zone = "Z"
		}
		return func(i int) (any, string) { return timestamp(int64(values.Value(i))) + zone, "" }
	case *array.Binary:
		return func(i int) (any, string) { return values.Value(i), "" }
	default:
		texts := arr.(*array.String)
		return func(i int) (any, string) {
			v := texts.Value(i)
			if strings.IndexByte(v, 0) >= 0 {
				return nil, problemNUL
			}
			return v, ""
		}
	}
}

func float(v float64) (any, string) {
	if math.IsNaN(v) {
		return nil, problemNaN
	}
	return v, ""
}

// decimal writes v / 10^scale with all its fractional digits.
func decimal(v decimal128.Num, scale int) string {
	var digits string
	if low := int64(v.LowBits()); v.HighBits() == low>>63 {
		digits = strconv.FormatInt(low, 10)
	} else {
		digits = v.BigInt().String()
	}
	if scale == 0 {
		return digits
	}
	sign := ""
	if digits[0] == '-' {
		sign, digits = "-", digits[1:]
	}
	if missing := scale + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

const (
	microsOfDay = 86_400_000_000
	secondsDay  = 86_400
)

func appendDate(dst []byte, days int64) []byte {
	return time.Unix(days*secondsDay, 0).UTC().AppendFormat(dst, time.DateOnly)
}

func appendTime(dst []byte, micros int64) []byte {
	return time.UnixMicro(micros).UTC().AppendFormat(dst, "15:04:05.000000")
}

func timestamp(micros int64) string {
	days, rest := micros/microsOfDay, micros%microsOfDay
	if rest < 0 {
		days, rest = days-1, rest+microsOfDay
	}
	return string(appendTime(append(appendDate(make([]byte, 0, 27), days), ' '), rest))
}
