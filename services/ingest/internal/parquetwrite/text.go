package parquetwrite

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"math/bits"
)

// Span is a value: where its bytes begin in the text that it comes from, and how many there are.
type Span uint64

// Null is the span of a value that is NULL.
const Null = ^Span(0)

// NewSpan returns the span of length bytes at offset. Both are below 2^32 - 1.
func NewSpan(offset, length int) Span { return Span(offset)<<32 | Span(length) }

// Bytes returns the span's bytes in text. The span is not Null.
func (s Span) Bytes(text []byte) []byte { return text[s>>32 : uint64(s>>32)+uint64(uint32(s))] }

const (
	// pageBytes is how large a page of text may become before it is closed.
	pageBytes = 1 << 20
	// A column is dictionary-encoded while at most one value in dictRatio is new among its first values, and the
	// dictionary stays below these limits.
	dictRatio   = 2
	dictEntries = 32 << 10
	dictBytes   = 1 << 20
)

// state of a column within a row group.
type state uint8

const (
	// undecided: no value yet.
	undecided state = iota
	// indexed: values go through the dictionary.
	indexed
	// plain: values go to pages as they are.
	plain
)

// textColumn encodes one column of text.
type textColumn struct {
	// runs makes a dictionary entry of each run of the same span, however many there are.
	runs   bool
	state  state
	out    []byte
	meta   chunkMeta
	levels levels
	// body is the plain page at work, behind headRoom bytes for its levels.
	body    []byte
	dict    dictionary
	indexes []uint32
	prev    Span
}

func (c *textColumn) reset() {
	c.state, c.prev = undecided, Null
	c.out = c.out[:0]
	c.meta = chunkMeta{encodings: c.meta.encodings[:0]}
	c.levels.reset()
	c.body, c.indexes = append(c.body[:0], make([]byte, headRoom)...), c.indexes[:0]
	c.dict.reset()
}

// headRoom is enough for the levels of a page whose values are all there, or all NULL.
const headRoom = 16

// add appends values.
func (c *textColumn) add(p *pages, text []byte, values []Span) {
	if c.runs {
		c.state = indexed
		c.addRuns(text, values)
		return
	}
	if c.state == undecided {
		if c.sample(text, values) {
			c.state = indexed
		} else {
			c.state = plain
		}
		c.dict.reset()
	}
	if c.state == indexed {
		values = c.addIndexed(text, values)
		if len(values) > 0 {
			c.closeIndexed(p)
			c.state = plain
		}
	}
	if c.state == plain {
		c.addPlain(p, text, values)
	}
}

// sample reports whether few of the values are distinct.
func (c *textColumn) sample(text []byte, values []Span) bool {
	limit := len(values)/dictRatio + 1
	for _, v := range values {
		if v == Null {
			continue
		}
		c.dict.index(v.Bytes(text))
		if c.dict.n > limit || len(c.dict.plain) > dictBytes {
			return false
		}
	}
	return true
}

// addIndexed adds values until the dictionary is full, and returns those that are left.
func (c *textColumn) addIndexed(text []byte, values []Span) []Span {
	for i, v := range values {
		if v == Null {
			c.levels.addNull()
			continue
		}
		if c.dict.n >= dictEntries || len(c.dict.plain) >= dictBytes {
			return values[i:]
		}
		c.indexes = append(c.indexes, c.dict.index(v.Bytes(text)))
		c.levels.add(1)
	}
	return nil
}

func (c *textColumn) addRuns(text []byte, values []Span) {
	if len(values) > 0 && values[0] == c.prev && c.prev != Null &&
		!bytes.Equal(c.dict.value(uint32(c.dict.n-1)), c.prev.Bytes(text)) {
		c.prev = Null // The same span of another text is another value.
	}
	for _, v := range values {
		if v == Null {
			c.levels.addNull()
			continue
		}
		if v != c.prev {
			c.dict.append(v.Bytes(text))
			c.prev = v
		}
		c.indexes = append(c.indexes, uint32(c.dict.n-1))
		c.levels.add(1)
	}
}

func (c *textColumn) addPlain(p *pages, text []byte, values []Span) {
	size := 0
	for _, v := range values {
		if v != Null {
			size += 4 + int(uint32(v))
		}
	}
	if len(c.body)+size+slack > cap(c.body) {
		c.body = append(make([]byte, 0, max(len(c.body)+size+slack, 2*cap(c.body))), c.body...)
	}
	body, at := c.body[:cap(c.body)], len(c.body)
	run := 0
	for _, v := range values {
		if v == Null {
			c.levels.add(run)
			c.levels.addNull()
			run = 0
			continue
		}
		run++
		from, n := int(v>>32), int(uint32(v))
		binary.LittleEndian.PutUint32(body[at:], uint32(n))
		at += 4
		// Most values are short: two words are quicker than a call, where both sides have room for them.
		if n <= slack && from+slack <= len(text) {
			src, dst := text[from:from+slack], body[at:at+slack]
			binary.LittleEndian.PutUint64(dst, binary.LittleEndian.Uint64(src))
			binary.LittleEndian.PutUint64(dst[8:], binary.LittleEndian.Uint64(src[8:]))
		} else {
			copy(body[at:], text[from:from+n])
		}
		at += n
	}
	c.levels.add(run)
	c.body = body[:at]
	if at >= pageBytes {
		c.closePlain(p)
	}
}

// slack is how many bytes past a value may be read and written.
const slack = 16

func (c *textColumn) closePlain(p *pages) {
	var head [headRoom]byte
	levels := c.levels.encode(head[:0])
	page := c.body
	if n := len(levels); n <= headRoom {
		page = page[headRoom-n:]
		copy(page, levels)
	} else {
		c.body = append(c.body, levels[headRoom:]...) // Only for its length: the values move back.
		page = c.body
		copy(page[n:], page[headRoom:])
		copy(page, levels)
	}
	c.closePage(p, encodingPlain, page)
	c.body = c.body[:headRoom]
}

func (c *textColumn) closePage(p *pages, encoding int32, body []byte) {
	c.out = p.data(c.out, &c.meta, codecZstd, encoding, c.levels.values, body)
	c.meta.values += int64(c.levels.values)
	c.meta.nulls += int64(c.levels.nulls)
	c.meta.encodings = appendNew(c.meta.encodings, encoding, encodingRLE)
	c.levels.reset()
}

// closeIndexed writes the dictionary and the page of indexes into it.
func (c *textColumn) closeIndexed(p *pages) {
	if c.dict.n == 0 {
		return // Nothing but NULLs: they go to a plain page.
	}
	c.out = p.dictionary(c.out, &c.meta, codecZstd, c.dict.n, c.dict.plain)
	body := c.levels.encode(make([]byte, 0, c.levels.size()+len(c.indexes)*4+16))
	width := max(1, bits.Len(uint(c.dict.n-1)))
	body = append(body, byte(width))
	if c.dict.n == 1 {
		body = append(binary.AppendUvarint(body, uint64(len(c.indexes))<<1), 0)
	} else {
		body = binary.AppendUvarint(body, uint64(len(c.indexes)+7)/8<<1|1)
		body = appendPacked32(body, c.indexes, uint(width))
	}
	c.closePage(p, encodingRLEDictionary, body)
	c.meta.encodings = appendNew(c.meta.encodings, encodingPlain)
	c.indexes = c.indexes[:0]
}

// flush closes what is open. out and meta then hold the column chunk.
func (c *textColumn) flush(p *pages) {
	if c.state == indexed {
		c.closeIndexed(p)
	}
	if c.levels.values > 0 {
		c.closePlain(p)
	}
}

func appendNew(list []int32, values ...int32) []int32 {
	for _, v := range values {
		known := false
		for _, have := range list {
			known = known || have == v
		}
		if !known {
			list = append(list, v)
		}
	}
	return list
}

// dictionary numbers distinct values in the order in which they first come.
type dictionary struct {
	// plain holds the values in PLAIN encoding; offsets where each begins in it.
	plain   []byte
	offsets []uint32
	n       int
	// table holds index+1 of values by hash, 0 where it is empty; hashes the hash of each value.
	table  []uint32
	hashes []uint32
}

// hashSeed has no effect on what is written: the dictionary's order is that of the values.
var hashSeed = maphash.MakeSeed()

func (d *dictionary) reset() {
	d.plain, d.offsets, d.hashes, d.n = d.plain[:0], d.offsets[:0], d.hashes[:0], 0
	if len(d.table) > 8192 {
		d.table = nil // A large table costs more to clear than to make when it is needed again.
	}
	clear(d.table)
}

// index returns the number of a value, which it adds if it is new.
func (d *dictionary) index(value []byte) uint32 {
	if d.n*2 >= len(d.table) {
		d.grow()
	}
	h := uint32(maphash.Bytes(hashSeed, value))
	mask := uint32(len(d.table) - 1)
	for at := h & mask; ; at = (at + 1) & mask {
		slot := d.table[at]
		if slot == 0 {
			d.table[at] = uint32(d.n + 1)
			d.hashes = append(d.hashes, h)
			d.append(value)
			return uint32(d.n - 1)
		}
		if d.hashes[slot-1] == h && bytes.Equal(d.value(slot-1), value) {
			return slot - 1
		}
	}
}

func (d *dictionary) value(i uint32) []byte {
	from := d.offsets[i]
	n := binary.LittleEndian.Uint32(d.plain[from:])
	return d.plain[from+4 : from+4+n]
}

func (d *dictionary) append(value []byte) {
	d.offsets = append(d.offsets, uint32(len(d.plain)))
	d.plain = binary.LittleEndian.AppendUint32(d.plain, uint32(len(value)))
	d.plain = append(d.plain, value...)
	d.n++
}

func (d *dictionary) grow() {
	d.table = make([]uint32, max(1024, 2*len(d.table)))
	mask := uint32(len(d.table) - 1)
	for i, h := range d.hashes {
		at := h & mask
		for d.table[at] != 0 {
			at = (at + 1) & mask
		}
		d.table[at] = uint32(i + 1)
	}
}
