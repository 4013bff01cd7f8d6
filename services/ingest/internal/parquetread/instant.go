package parquetread

import (
	"fmt"
	"math"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
)

// micros returns a number of units as microseconds, if that is exact.
func micros(value int64, unit arrow.TimeUnit) (int64, *Reject) {
	factor := int64(1)
	switch unit {
	case arrow.Nanosecond:
		if value%1000 != 0 {
			return 0, &Reject{Message: fmt.Sprintf("the value has %d nanoseconds beyond its last whole microsecond", ((value%1000)+1000)%1000)}
		}
		return value / 1000, nil
	case arrow.Millisecond:
		factor = 1000
	case arrow.Second:
		factor = 1_000_000
	}
	if value > math.MaxInt64/factor || value < math.MinInt64/factor {
		return 0, &Reject{Message: "the time is too far away to be told in microseconds"}
	}
	return value * factor, nil
}

func instant(to array.Builder, from arrow.Array, i int) *Reject {
	v, reject := micros(int64(from.(*array.Timestamp).Value(i)), from.DataType().(*arrow.TimestampType).Unit)
	if reject == nil {
		to.(*array.TimestampBuilder).Append(arrow.Timestamp(v))
	}
	return reject
}

// dayMicros is how many microseconds a day has.
const dayMicros = 24 * 60 * 60 * 1_000_000

func clock(to array.Builder, from arrow.Array, i int) *Reject {
	var v int64
	var reject *Reject
	switch a := from.(type) {
	case *array.Time32:
		v, reject = micros(int64(a.Value(i)), from.DataType().(*arrow.Time32Type).Unit)
	case *array.Time64:
		v, reject = micros(int64(a.Value(i)), from.DataType().(*arrow.Time64Type).Unit)
	}
	if reject == nil && (v < 0 || v >= dayMicros) {
		reject = &Reject{Message: "the value is no time of day"}
	}
	if reject == nil {
		to.(*array.Time64Builder).Append(arrow.Time64(v))
	}
	return reject
}
