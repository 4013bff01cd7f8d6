package snowflake

import (
	"math/big"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"

	"github.com/lume-data/lume/connector"
)

// column is a column of a query's result.
type column struct {
	connector.Column
	// native is the logical type, and scale the digits behind the point, or of a second, that go with it.
	native string
	scale  int
}

// Problems of a value that the flow's type cannot hold.
const (
	problemForm   = "arrives in a form that is not known"
	problemRange  = "holds a number that is out of the range of its type"
	problemDigits = "holds a time with more than six digits of a second"
)

// decode turns an array in Snowflake's form into one of the column's type. A problem says why the value of a row cannot be
// read.
//
// Numbers are integers of any width, or Decimal128, that the scale divides. A time is an integer of fractions of a second, a
// timestamp one since the epoch, or a struct of seconds and nanoseconds; one with a zone has its offset as the last field.
func (c column) decode(raw arrow.Array) (decoded arrow.Array, row int, problem string) {
	switch raw := raw.(type) {
	case *array.Boolean:
		return keep(raw, c.Type.Name == connector.TypeBool)
	case *array.Float64:
		return keep(raw, c.Type.Name == connector.TypeFloat64)
	case *array.Date32:
		return keep(raw, c.Type.Name == connector.TypeDate)
	case *array.Binary:
		return keep(raw, c.Type.Name == connector.TypeBinary)
	case *array.String:
		return keep(raw, c.Type.Name == connector.TypeString || c.Type.Name == connector.TypeJSON)
	}
	builder := array.NewBuilder(memory.DefaultAllocator, c.Type.Arrow())
	defer builder.Release()
	builder.Reserve(raw.Len())
	read := c.reader(raw, builder)
	if read == nil {
		return nil, 0, problemForm
	}
	for i := range raw.Len() {
		if raw.IsNull(i) {
			builder.AppendNull()
			continue
		}
		if problem := read(i); problem != "" {
			return nil, i, problem
		}
	}
	return builder.NewArray(), 0, ""
}

// keep returns an array that has the column's form already.
func keep(a arrow.Array, ok bool) (arrow.Array, int, string) {
	if !ok {
		return nil, 0, problemForm
	}
	a.Retain()
	return a, 0, ""
}

// reader returns what reads the value of a row into the builder, or nil if the array has no known form.
func (c column) reader(raw arrow.Array, builder array.Builder) func(i int) string {
	switch b := builder.(type) {
	case *array.Decimal128Builder:
		number := decimals(raw, c.scale)
		if number == nil {
			return nil
		}
		return func(i int) string {
			n := number(i)
			if !n.FitsInPrecision(int32(c.Type.Precision)) {
				return problemRange
			}
			b.Append(n)
			return ""
		}
	case *array.Int16Builder:
		return integer(raw, 1<<15, func(n int64) { b.Append(int16(n)) })
	case *array.Int32Builder:
		return integer(raw, 1<<31, func(n int64) { b.Append(int32(n)) })
	case *array.Int64Builder:
		return integer(raw, 0, b.Append)
	case *array.Time64Builder:
		if number := integers(raw); number != nil {
			return func(i int) string {
				n, ok := micros(number(i), c.scale)
				b.Append(arrow.Time64(n))
				return unless(ok, problemDigits)
			}
		}
	case *array.TimestampBuilder:
		if instant := c.instants(raw); instant != nil {
			return func(i int) string {
				n, ok := instant(i)
				b.Append(arrow.Timestamp(n))
				return unless(ok, problemDigits)
			}
		}
	}
	return nil
}

func unless(ok bool, problem string) string {
	if ok {
		return ""
	}
	return problem
}

// integer reads whole numbers n with -limit <= n < limit; a limit of 0 is that of int64.
func integer(raw arrow.Array, limit int64, add func(int64)) func(i int) string {
	number := decimals(raw, 0)
	if number == nil {
		return nil
	}
	return func(i int) string {
		n := number(i)
		v := int64(n.LowBits())
		if decimal128.FromI64(v) != n || limit > 0 && (v < -limit || v >= limit) {
			return problemRange
		}
		add(v)
		return ""
	}
}

// integers reads integers of any width, or returns nil.
func integers(raw arrow.Array) func(i int) int64 {
	switch a := raw.(type) {
	case *array.Int8:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int16:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int32:
		return func(i int) int64 { return int64(a.Value(i)) }
	case *array.Int64:
		return a.Value
	}
	return nil
}

// decimals reads numbers without their point, or returns nil if they have not scale digits behind it.
func decimals(raw arrow.Array, scale int) func(i int) decimal128.Num {
	if number := integers(raw); number != nil {
		return func(i int) decimal128.Num { return decimal128.FromI64(number(i)) }
	}
	if a, ok := raw.(*array.Decimal128); ok && int(a.DataType().(*arrow.Decimal128Type).Scale) == scale {
		return a.Value
	}
	return nil
}

// instants reads microseconds since the epoch, or returns nil. ok is false if digits would be lost.
func (c column) instants(raw arrow.Array) func(i int) (n int64, ok bool) {
	if number := integers(raw); number != nil {
		return func(i int) (int64, bool) { return micros(number(i), c.scale) }
	}
	fields, ok := raw.(*array.Struct)
	if !ok || fields.NumField() < 2 {
		return nil
	}
	number, second := integers(fields.Field(0)), integers(fields.Field(1))
	if number == nil || second == nil {
		return nil
	}
	if c.native == "timestamp_tz" && fields.NumField() == 2 {
		// The second field is the offset, which an instant does not have.
		return func(i int) (int64, bool) { return micros(number(i), c.scale) }
	}
	return func(i int) (int64, bool) {
		fraction, ok := micros(second(i), 9)
		return number(i)*1_000_000 + fraction, ok
	}
}

// micros turns fractions of a second with scale digits into microseconds. ok is false if digits would be lost, or the
// result is beyond any time.
func micros(n int64, scale int) (v int64, ok bool) {
	if scale >= 6 {
		unit := power(scale - 6)
		return n / unit, n%unit == 0
	}
	unit := power(6 - scale)
	v = n * unit
	return v, v/unit == n
}

func power(n int) int64 {
	return new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(n)), nil).Int64()
}
