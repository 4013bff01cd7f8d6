package load

// bitmap is a set of rows, as one bit for each.
type bitmap struct {
	words []uint64
	count int64
}

// add adds a row that is not negative.
func (b *bitmap) add(row int64) {
	word := int(row / 64)
	if word >= len(b.words) {
		grown := make([]uint64, max(word+1, 2*len(b.words)))
		copy(grown, b.words)
		b.words = grown
	}
	if mask := uint64(1) << (row % 64); b.words[word]&mask == 0 {
		b.words[word] |= mask
		b.count++
	}
}

func (b *bitmap) has(row int64) bool {
	word := int(row / 64)
	return word < len(b.words) && b.words[word]&(1<<(row%64)) != 0
}
