package sqlload

import (
	"encoding/hex"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"

	"github.com/lume-data/lume/connector"
)

// integers are the bytes of a flow's integer types, and the most decimal digits that their values have.
var integers = map[connector.TypeName]struct{ size, digits int }{
	connector.TypeInt16: {2, 5}, connector.TypeInt32: {4, 10}, connector.TypeInt64: {8, 19},
}

// IntegerHolds reports whether a signed integer column of so many bytes holds every value of a flow's integer or decimal type.
func IntegerHolds(size int, t connector.Type) bool {
	if t.Name == connector.TypeDecimal {
		// How many digits fit whatever they are.
		digits := [...]int{1: 2, 2: 4, 3: 6, 4: 9, 8: 18}
		return t.Scale == 0 && size < len(digits) && t.Precision <= digits[size]
	}
	n, ok := integers[t.Name]
	return ok && size >= n.size
}

// DecimalHolds reports whether a decimal column holds every value of a flow's integer or decimal type.
func DecimalHolds(precision, scale int, t connector.Type) bool {
	if t.Name == connector.TypeDecimal {
		return scale >= t.Scale && precision-scale >= t.Precision-t.Scale
	}
	n, ok := integers[t.Name]
	return ok && scale >= 0 && precision-scale >= n.digits
}

// Integers reads the values of an integer array of any size, or of a decimal one of scale 0 and at most 18 digits.
func Integers(arr arrow.Array) func(i int) int64 {
	switch values := arr.(type) {
	case *array.Int16:
		return func(i int) int64 { return int64(values.Value(i)) }
	case *array.Int32:
		return func(i int) int64 { return int64(values.Value(i)) }
	case *array.Decimal128:
		return func(i int) int64 { return int64(values.Value(i).LowBits()) }
	default:
		return arr.(*array.Int64).Value
	}
}

// ProblemUUID is what is wrong with a text that [ParseUUID] does not take.
const ProblemUUID = "is not a UUID in its canonical form"

// ParseUUID reads a UUID in its canonical form, in letters of either case.
func ParseUUID(text string) (raw [16]byte, ok bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return raw, false
	}
	var digits [32]byte
	n := copy(digits[:], text[0:8])
	n += copy(digits[n:], text[9:13])
	n += copy(digits[n:], text[14:18])
	n += copy(digits[n:], text[19:23])
	copy(digits[n:], text[24:])
	_, err := hex.Decode(raw[:], digits[:])
	return raw, err == nil
}
