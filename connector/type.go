package connector

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/apache/arrow-go/v18/arrow"
)

// TypeName is the name of a column type of a target schema.
type TypeName string

// The column types. Their Arrow types are those of mapped Parquet files.
const (
	TypeString      TypeName = "string"
	TypeBool        TypeName = "bool"
	TypeInt16       TypeName = "int16"
	TypeInt32       TypeName = "int32"
	TypeInt64       TypeName = "int64"
	TypeDecimal     TypeName = "decimal"
	TypeFloat32     TypeName = "float32"
	TypeFloat64     TypeName = "float64"
	TypeDate        TypeName = "date"
	TypeTime        TypeName = "time"
	TypeTimestamp   TypeName = "timestamp"
	TypeTimestampTZ TypeName = "timestamptz"
	TypeBinary      TypeName = "binary"
	TypeUUID        TypeName = "uuid"
	TypeJSON        TypeName = "json"
)

// MaxDecimalPrecision is the largest number of digits of a decimal.
const MaxDecimalPrecision = 38

// Type is a column type.
type Type struct {
	Name TypeName
	// Precision and Scale of a decimal.
	Precision, Scale int
}

// ParseType reads a type as flows write it, for example `decimal(12,2)`.
func ParseType(text string) (Type, error) {
	switch name := TypeName(text); name {
	case TypeString, TypeBool, TypeInt16, TypeInt32, TypeInt64, TypeFloat32, TypeFloat64, TypeDate, TypeTime,
		TypeTimestamp, TypeTimestampTZ, TypeBinary, TypeUUID, TypeJSON:
		return Type{Name: name}, nil
	}
	inner, ok := strings.CutPrefix(text, "decimal(")
	if !ok || !strings.HasSuffix(inner, ")") {
		return Type{}, fmt.Errorf("unknown type %q", text)
	}
	p, s, ok := strings.Cut(strings.TrimSuffix(inner, ")"), ",")
	precision, err1 := strconv.Atoi(strings.TrimSpace(p))
	scale, err2 := strconv.Atoi(strings.TrimSpace(s))
	if !ok || err1 != nil || err2 != nil {
		return Type{}, fmt.Errorf("type %q must be decimal(precision,scale)", text)
	}
	if precision < 1 || precision > MaxDecimalPrecision || scale < 0 || scale > precision {
		return Type{}, fmt.Errorf("type %q: precision must be 1 to %d and scale 0 to precision", text, MaxDecimalPrecision)
	}
	return Type{Name: TypeDecimal, Precision: precision, Scale: scale}, nil
}

// String returns the type as flows write it.
func (t Type) String() string {
	if t.Name == TypeDecimal {
		return fmt.Sprintf("decimal(%d,%d)", t.Precision, t.Scale)
	}
	return string(t.Name)
}

// Arrow returns the Arrow type of mapped values. UUID and JSON are text in their canonical form; time has microseconds;
// timestamptz has the zone UTC.
func (t Type) Arrow() arrow.DataType {
	switch t.Name {
	case TypeBool:
		return arrow.FixedWidthTypes.Boolean
	case TypeInt16:
		return arrow.PrimitiveTypes.Int16
	case TypeInt32:
		return arrow.PrimitiveTypes.Int32
	case TypeInt64:
		return arrow.PrimitiveTypes.Int64
	case TypeDecimal:
		return &arrow.Decimal128Type{Precision: int32(t.Precision), Scale: int32(t.Scale)}
	case TypeFloat32:
		return arrow.PrimitiveTypes.Float32
	case TypeFloat64:
		return arrow.PrimitiveTypes.Float64
	case TypeDate:
		return arrow.FixedWidthTypes.Date32
	case TypeTime:
		return arrow.FixedWidthTypes.Time64us
	case TypeTimestamp:
		return &arrow.TimestampType{Unit: arrow.Microsecond}
	case TypeTimestampTZ:
		return &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}
	case TypeBinary:
		return arrow.BinaryTypes.Binary
	default:
		return arrow.BinaryTypes.String
	}
}

// Column is a column of a target schema.
type Column struct {
	Name string
	Type Type
	// Required columns are created NOT NULL.
	Required bool
	// Key columns are the match of upsert; created tables get them as primary key.
	Key bool
}
