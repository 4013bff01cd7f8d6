package parquetfile

import (
	"hash/maphash"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/bitutil"
)

// levels are the definition levels of a column that is not nested: 1 for a value, 0 for NULL.
type levels struct {
	buffer []int16
	// ones is how many entries from the start are known to be 1.
	ones int
}

// of returns the levels of an array. They hold until the next call.
func (l *levels) of(values arrow.Array) []int16 {
	n := values.Len()
	if cap(l.buffer) < n {
		l.buffer, l.ones = make([]int16, n), 0
	}
	defined := l.buffer[:n]
	for i := l.ones; i < n; i++ {
		defined[i] = 1
	}
	l.ones = max(l.ones, n)
	if values.NullN() > 0 {
		l.ones = 0
		bits, offset := values.NullBitmapBytes(), values.Data().Offset()
		for i := range defined {
			if !bitutil.BitIsSet(bits, offset+i) {
				defined[i] = 0
			}
		}
	}
	return defined
}

// sample is how many values are looked at before a column gets a dictionary.
const sample = 16 << 10

// repeats reports whether a dictionary pays: whether values mostly stand more than once. Otherwise they would be looked up one
// by one until the dictionary is full, and then be written as they are. NULL alone tells nothing, and such an array may have no
// values to look at.
func repeats(values arrow.Array) bool {
	if values.NullN() == values.Len() {
		return true
	}
	n := min(values.Len(), sample)
	bytes := bytesOf(values)
	if bytes == nil {
		return false
	}
	seed := maphash.MakeSeed()
	distinct, valid := make(map[uint64]struct{}, n/4), 0
	for i := range n {
		if values.IsValid(i) {
			distinct[maphash.Bytes(seed, bytes(i))] = struct{}{}
			valid++
		}
	}
	return len(distinct) <= valid/2
}

// bytesOf returns what gives the bytes of a value, or nil for types of which a dictionary has no use.
func bytesOf(values arrow.Array) func(i int) []byte {
	switch a := values.(type) {
	case *array.String:
		text, offsets := a.ValueBytes(), a.ValueOffsets()
		return func(i int) []byte { return text[offsets[i]-offsets[0] : offsets[i+1]-offsets[0]] }
	case *array.Binary:
		return a.Value
	case *array.Boolean:
		return nil
	}
	fixed, ok := values.DataType().(arrow.FixedWidthDataType)
	if !ok {
		return nil
	}
	width, data := fixed.Bytes(), values.Data()
	raw := data.Buffers()[1].Bytes()[data.Offset()*width:]
	return func(i int) []byte { return raw[i*width : (i+1)*width] }
}
