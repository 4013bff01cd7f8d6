package sqlite

import (
	"math"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/notation"
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
		return func(i int) (any, string) { return string(notation.AppendDecimal(nil, values.Value(i), t.Scale)), "" }
	case *array.Date32:
		return func(i int) (any, string) { return string(notation.AppendDate(nil, int64(values.Value(i)))), "" }
	case *array.Time64:
		return func(i int) (any, string) { return string(notation.AppendTime(nil, int64(values.Value(i)))), "" }
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

func timestamp(micros int64) string {
	day, rest := notation.SplitMicros(micros)
	return string(notation.AppendTime(append(notation.AppendDate(make([]byte, 0, 27), day), ' '), rest))
}
