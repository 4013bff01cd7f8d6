package parquetread

import (
	"encoding/hex"
	"fmt"
	"sort"
	"unicode/utf8"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet/schema"
	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/fault"
)

// column is how a column of the file becomes one of the batch.
type column struct {
	name string
	typ  connector.Type
	// value appends the value at i, which is not NULL, or rejects the row; nil if arrays are taken as they are.
	value func(to array.Builder, from arrow.Array, i int) *Reject
}

func newColumn(field arrow.Field, logical schema.LogicalType) (column, error) {
	c := column{name: field.Name}
	var ok bool
	if c.typ, c.value, ok = mapping(field.Type, logical); !ok {
		native := field.Type.String()
		if logical != nil && !logical.IsNone() {
			native = logical.String()
		}
		return c, fault.New(codes.InvalidArgument, "UNSUPPORTED_COLUMN_TYPE", "column %s has the Parquet type %s, which cannot be read", field.Name, native).
			WithColumn(field.Name).WithMeta("type", native).WithNext("write the column with another type, for example as text")
	}
	return c, nil
}

type convert = func(to array.Builder, from arrow.Array, i int) *Reject

// mapping returns the type of a column, and how its values are converted.
func mapping(typ arrow.DataType, logical schema.LogicalType) (connector.Type, convert, bool) {
	of := func(name connector.TypeName) connector.Type { return connector.Type{Name: name} }
	switch logical.(type) {
	case schema.IntervalLogicalType:
		return connector.Type{}, nil, false
	case schema.EnumLogicalType, *schema.EnumLogicalType:
		return of(connector.TypeString), text, true
	case schema.JSONLogicalType, *schema.JSONLogicalType:
		return of(connector.TypeJSON), text, true
	case schema.UUIDLogicalType, *schema.UUIDLogicalType:
		return of(connector.TypeUUID), uuid, true
	}
	switch t := typ.(type) {
	case *arrow.NullType:
		return of(connector.TypeString), text, true
	case *arrow.BooleanType:
		return of(connector.TypeBool), nil, true
	case *arrow.Int16Type:
		return of(connector.TypeInt16), nil, true
	case *arrow.Int32Type:
		return of(connector.TypeInt32), nil, true
	case *arrow.Int64Type:
		return of(connector.TypeInt64), nil, true
	case *arrow.Float32Type:
		return of(connector.TypeFloat32), nil, true
	case *arrow.Float64Type:
		return of(connector.TypeFloat64), nil, true
	case *arrow.Date32Type:
		return of(connector.TypeDate), nil, true
	case *arrow.Int8Type, *arrow.Uint8Type:
		return of(connector.TypeInt16), integer, true
	case *arrow.Uint16Type:
		return of(connector.TypeInt32), integer, true
	case *arrow.Uint32Type:
		return of(connector.TypeInt64), integer, true
	case *arrow.Uint64Type:
		return connector.Type{Name: connector.TypeDecimal, Precision: 20}, integer, true
	case *arrow.Float16Type:
		return of(connector.TypeFloat32), half, true
	case *arrow.StringType:
		return of(connector.TypeString), text, true
	case *arrow.BinaryType, *arrow.FixedSizeBinaryType:
		return of(connector.TypeBinary), binary, true
	case *arrow.Time32Type, *arrow.Time64Type:
		return of(connector.TypeTime), clock, true
	case *arrow.TimestampType:
		if t.TimeZone != "" {
			return of(connector.TypeTimestampTZ), instant, true
		}
		return of(connector.TypeTimestamp), instant, true
	case arrow.DecimalType:
		p, s := int(t.GetPrecision()), int(t.GetScale())
		if p < 1 || p > connector.MaxDecimalPrecision || s < 0 || s > p {
			return connector.Type{}, nil, false
		}
		return connector.Type{Name: connector.TypeDecimal, Precision: p, Scale: s}, decimal, true
	case arrow.NestedType:
		return of(connector.TypeJSON), nested, supported(typ)
	case arrow.ExtensionType:
		typ, value, ok := mapping(t.StorageType(), logical)
		return typ, throughExtension(value), ok && value != nil
	}
	return connector.Type{}, nil, false
}

// supported reports whether every leaf of a nested type has a JSON text.
func supported(typ arrow.DataType) bool {
	switch t := typ.(type) {
	case *arrow.DurationType, *arrow.MonthIntervalType, *arrow.DayTimeIntervalType, *arrow.MonthDayNanoIntervalType, arrow.UnionType:
		return false
	case arrow.NestedType:
		for _, f := range t.Fields() {
			if !supported(f.Type) {
				return false
			}
		}
	}
	return true
}

// convert returns an array of the column's type. The caller releases it.
func (c column) convert(from arrow.Array, rejects *rejects) (arrow.Array, error) {
	if c.value == nil {
		from.Retain()
		return from, nil
	}
	b := array.NewBuilder(memory.DefaultAllocator, c.typ.Arrow())
	defer b.Release()
	b.Reserve(from.Len())
	for i := range from.Len() {
		if from.IsNull(i) {
			b.AppendNull()
			continue
		}
		before := b.Len()
		if r := c.value(b, from, i); r != nil {
			r.Row, r.Column = i, c.name
			if !r.Encoding {
				r.Value = from.ValueStr(i)
			}
			rejects.add(*r)
			b.AppendNull()
		}
		if b.Len() != before+1 {
			return nil, fmt.Errorf("row %d of type %s did not become one value", i, from.DataType())
		}
	}
	return b.NewArray(), nil
}

func integer(to array.Builder, from arrow.Array, i int) *Reject {
	switch a := from.(type) {
	case *array.Int8:
		to.(*array.Int16Builder).Append(int16(a.Value(i)))
	case *array.Uint8:
		to.(*array.Int16Builder).Append(int16(a.Value(i)))
	case *array.Uint16:
		to.(*array.Int32Builder).Append(int32(a.Value(i)))
	case *array.Uint32:
		to.(*array.Int64Builder).Append(int64(a.Value(i)))
	case *array.Uint64:
		to.(*array.Decimal128Builder).Append(decimal128.New(0, a.Value(i)))
	}
	return nil
}

func half(to array.Builder, from arrow.Array, i int) *Reject {
	to.(*array.Float32Builder).Append(from.(*array.Float16).Value(i).Float32())
	return nil
}

// bytesOf returns the bytes of any text or binary.
func bytesOf(from arrow.Array, i int) []byte {
	switch a := from.(type) {
	case *array.String:
		return []byte(a.Value(i))
	case *array.Binary:
		return a.Value(i)
	case *array.FixedSizeBinary:
		return a.Value(i)
	}
	return nil
}

func text(to array.Builder, from arrow.Array, i int) *Reject {
	value := bytesOf(from, i)
	if !utf8.Valid(value) {
		return &Reject{Encoding: true, Message: "the text is not valid UTF-8", Raw: append([]byte(nil), value...)}
	}
	to.(*array.StringBuilder).Append(string(value))
	return nil
}

func binary(to array.Builder, from arrow.Array, i int) *Reject {
	to.(*array.BinaryBuilder).Append(bytesOf(from, i))
	return nil
}

func uuid(to array.Builder, from arrow.Array, i int) *Reject {
	if e, ok := from.(array.ExtensionArray); ok {
		from = e.Storage()
	}
	value := bytesOf(from, i)
	if len(value) != 16 {
		return &Reject{Message: "the value is no UUID of 16 bytes", Raw: value}
	}
	h := hex.EncodeToString(value)
	to.(*array.StringBuilder).Append(h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:])
	return nil
}

func decimal(to array.Builder, from arrow.Array, i int) *Reject {
	b := to.(*array.Decimal128Builder)
	switch a := from.(type) {
	case *array.Decimal128:
		b.Append(a.Value(i))
	case *array.Decimal256:
		v := a.Value(i).Array()
		low := decimal128.New(int64(v[1]), v[0])
		sign := uint64(int64(v[1]) >> 63)
		if v[2] != sign || v[3] != sign {
			return &Reject{Message: "the decimal has more digits than its column declares"}
		}
		b.Append(low)
	case *array.Decimal32:
		b.Append(decimal128.FromI64(int64(a.Value(i))))
	case *array.Decimal64:
		b.Append(decimal128.FromI64(int64(a.Value(i))))
	}
	return nil
}

func throughExtension(value convert) convert {
	return func(to array.Builder, from arrow.Array, i int) *Reject {
		return value(to, from.(array.ExtensionArray).Storage(), i)
	}
}

// rejects collects the rows that do not fit, the first reason of each.
type rejects struct{ byRow map[int]Reject }

func (r *rejects) add(reject Reject) {
	if _, ok := r.byRow[reject.Row]; ok {
		return
	}
	if r.byRow == nil {
		r.byRow = map[int]Reject{}
	}
	r.byRow[reject.Row] = reject
}

func (r *rejects) sorted() []Reject {
	out := make([]Reject, 0, len(r.byRow))
	for _, reject := range r.byRow {
		out = append(out, reject)
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Row < out[j].Row })
	return out
}
