package parquetwrite

import (
	"encoding/binary"
	"math/bits"
)

// Shape of DELTA_BINARY_PACKED blocks.
const (
	deltaBlock     = 128
	deltaMiniBlock = 32
)

// appendDelta appends values in DELTA_BINARY_PACKED encoding.
func appendDelta(dst []byte, values []int64) []byte {
	dst = binary.AppendUvarint(dst, deltaBlock)
	dst = binary.AppendUvarint(dst, deltaBlock/deltaMiniBlock)
	dst = binary.AppendUvarint(dst, uint64(len(values)))
	if len(values) == 0 {
		return binary.AppendVarint(dst, 0)
	}
	dst = binary.AppendVarint(dst, values[0])
	var deltas [deltaBlock]uint64
	for prev, rest := values[0], values[1:]; len(rest) > 0; {
		n := min(deltaBlock, len(rest))
		least := rest[0] - prev
		for i, v := range rest[:n] {
			d := v - prev
			prev = v
			deltas[i] = uint64(d)
			least = min(least, d)
		}
		rest = rest[n:]
		dst = appendDeltaBlock(dst, deltas[:n], least)
	}
	return dst
}

func appendDeltaBlock(dst []byte, deltas []uint64, least int64) []byte {
	dst = binary.AppendVarint(dst, least)
	var widths [deltaBlock / deltaMiniBlock]byte
	for i := range deltas {
		deltas[i] -= uint64(least)
		m := i / deltaMiniBlock
		widths[m] = max(widths[m], byte(bits.Len64(deltas[i])))
	}
	dst = append(dst, widths[:]...)
	for m, width := range widths {
		if m*deltaMiniBlock >= len(deltas) {
			break
		}
		var mini [deltaMiniBlock]uint64
		copy(mini[:], deltas[m*deltaMiniBlock:])
		dst = appendPacked64(dst, mini[:], uint(width))
	}
	return dst
}

// appendPacked64 appends values of width bits each, lowest bit first. len(values) is a multiple of 8.
func appendPacked64(dst []byte, values []uint64, width uint) []byte {
	var acc uint64
	var used uint
	for _, v := range values {
		acc |= v << used
		used += width
		if used >= 64 {
			dst = binary.LittleEndian.AppendUint64(dst, acc)
			used -= 64
			acc = 0
			if used > 0 {
				acc = v >> (width - used)
			}
		}
	}
	for ; used > 0; used -= min(used, 8) {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	return dst
}

// appendPacked32 appends the bit-packed groups of eight that hold values of width bits each, padded with zeros.
func appendPacked32(dst []byte, values []uint32, width uint) []byte {
	var acc uint64
	var used uint
	for _, v := range values {
		acc |= uint64(v) << used
		used += width
		for used >= 32 {
			dst = binary.LittleEndian.AppendUint32(dst, uint32(acc))
			acc >>= 32
			used -= 32
		}
	}
	for ; used > 0; used -= min(used, 8) {
		dst = append(dst, byte(acc))
		acc >>= 8
	}
	// The encoding counts in groups of eight values, which take width bytes each.
	bytes, want := (len(values)*int(width)+7)/8, (len(values)+7)/8*int(width)
	for ; bytes < want; bytes++ {
		dst = append(dst, 0)
	}
	return dst
}
