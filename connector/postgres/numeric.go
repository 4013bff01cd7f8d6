package postgres

import (
	"encoding/binary"
	"math/bits"

	"github.com/apache/arrow-go/v18/arrow/decimal128"
)

const (
	numericNegative = 0x4000
	// maxGroups is the most base-10000 digits of 38 decimal digits on both sides of a point.
	maxGroups = 11
	tenTo19   = 10_000_000_000_000_000_000
)

var pow10 = [...]uint64{1, 10, 100, 1000, 10_000}

// appendNumeric appends the value of a numeric in binary format, length first: v / 10^scale.
func appendNumeric(dst []byte, v decimal128.Num, scale int32) []byte {
	sign := uint16(0)
	hi, lo := uint64(v.HighBits()), v.LowBits()
	if v.Sign() < 0 {
		sign = numericNegative
		var borrow uint64
		lo, borrow = bits.Sub64(0, lo, 0)
		hi, _ = bits.Sub64(0, hi, borrow)
	}
	// groups holds base-10000 digits, least significant first; the point lies after `fraction` of them.
	var groups [maxGroups]uint16
	n := 0
	fraction := int(scale+3) / 4
	pad := pow10[fraction*4-int(scale)]
	if over, aligned := bits.Mul64(lo, pad); hi == 0 && over == 0 {
		for ; aligned > 0; aligned /= 10_000 {
			groups[n] = uint16(aligned % 10_000)
			n++
		}
	} else {
		n = wideGroups(&groups, hi, lo, fraction*4-int(scale))
	}
	low := 0
	for low < n && groups[low] == 0 {
		low++
	}
	weight := n - 1 - fraction
	if n == low {
		n, low, weight, sign = 0, 0, 0, 0
	}
	count := n - low
	dst = binary.BigEndian.AppendUint32(dst, uint32(8+2*count))
	dst = binary.BigEndian.AppendUint16(dst, uint16(count))
	dst = binary.BigEndian.AppendUint16(dst, uint16(int16(weight)))
	dst = binary.BigEndian.AppendUint16(dst, sign)
	dst = binary.BigEndian.AppendUint16(dst, uint16(scale))
	for i := n - 1; i >= low; i-- {
		dst = binary.BigEndian.AppendUint16(dst, groups[i])
	}
	return dst
}

// wideGroups splits a number of up to 39 digits, with pad zeros after it, into groups of four digits.
func wideGroups(groups *[maxGroups]uint16, hi, lo uint64, pad int) int {
	var digits [44]byte // Least significant first.
	n := pad
	middle, low := bits.Div64(hi, lo, tenTo19) // hi < 2^63 < 10^19
	for range 19 {
		digits[n] = byte(low % 10)
		low /= 10
		n++
	}
	for ; middle > 0; middle /= 10 {
		digits[n] = byte(middle % 10)
		n++
	}
	count := 0
	for i := 0; i < n; i += 4 {
		groups[count] = uint16(digits[i]) + 10*uint16(digits[i+1]) + 100*uint16(digits[i+2]) + 1000*uint16(digits[i+3])
		count++
	}
	for count > 0 && groups[count-1] == 0 {
		count--
	}
	return count
}
