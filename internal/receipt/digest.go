package receipt

import (
	"encoding/binary"
	"encoding/hex"
	"math/bits"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// digestPrefix starts the text of an output digest.
const digestPrefix = "rows:"

// Sum adds the digests of the parts and takes off the rows that the closing task dropped. The order of the parts and
// where they were cut make no difference.
func Sum(parts []*typev1.PartManifest, closing *typev1.ClosingManifest) *typev1.RowsDigest {
	sum := &typev1.RowsDigest{}
	for _, p := range parts {
		d := p.GetDigest()
		var carry uint64
		sum.Low, carry = bits.Add64(sum.Low, d.GetLow(), 0)
		sum.High, _ = bits.Add64(sum.High, d.GetHigh(), carry)
		sum.Rows += d.GetRows()
	}
	d := closing.GetDigest()
	var borrow uint64
	sum.Low, borrow = bits.Sub64(sum.Low, d.GetLow(), 0)
	sum.High, _ = bits.Sub64(sum.High, d.GetHigh(), borrow)
	sum.Rows -= d.GetRows()
	return sum
}

// Digest is the text of a digest: `rows:`, then as 48 hexadecimal digits the 128-bit sum of the row hashes and the
// 64-bit number of rows, both big endian.
func Digest(d *typev1.RowsDigest) string {
	var b [24]byte
	binary.BigEndian.PutUint64(b[0:], d.GetHigh())
	binary.BigEndian.PutUint64(b[8:], d.GetLow())
	binary.BigEndian.PutUint64(b[16:], uint64(d.GetRows()))
	return digestPrefix + hex.EncodeToString(b[:])
}
