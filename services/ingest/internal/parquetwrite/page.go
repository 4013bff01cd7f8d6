package parquetwrite

import (
	"encoding/binary"

	"github.com/klauspost/compress/zstd"
)

// Numbers of the Parquet format.
const (
	pageData       = 0
	pageDictionary = 2

	encodingPlain               = 0
	encodingRLE                 = 3
	encodingDelta               = 5
	encodingRLEDictionary       = 8
	codecUncompressed           = 0
	codecZstd                   = 6
	physicalInt64               = 2
	physicalByteArray           = 6
	repetitionOptional          = 1
	repetitionRequired          = 0
	convertedUTF8               = 0
	logicalString         int16 = 1
)

// chunkMeta is what the footer says of one column chunk. Offsets count from the row group's first byte.
type chunkMeta struct {
	offset, size, plainSize int64
	values, nulls           int64
	dictionary              bool
	dictionarySize          int64
	encodings               []int32
}

// pages frames, compresses and collects the pages of one column chunk at a time. One is shared by all columns of a
// Columns.
type pages struct {
	zstd   *zstd.Encoder
	header thrift
	packed []byte
}

func newPages() (*pages, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest),
		zstd.WithEncoderCRC(false), zstd.WithWindowSize(1<<20))
	if err != nil {
		return nil, err
	}
	return &pages{zstd: enc}, nil
}

// compress returns the page's body as it is stored. The result is valid until the next call.
func (p *pages) compress(codec int, body []byte) []byte {
	if codec == codecUncompressed {
		return body
	}
	p.packed = p.zstd.EncodeAll(body, p.packed[:0])
	return p.packed
}

// data appends a data page to dst and counts it in meta.
func (p *pages) data(dst []byte, meta *chunkMeta, codec int, encoding int32, values int, body []byte) []byte {
	stored := p.compress(codec, body)
	h := p.begin(pageData, len(body), len(stored))
	h.open(5)
	h.i32(1, int32(values))
	h.i32(2, encoding)
	h.i32(3, encodingRLE)
	h.i32(4, encodingRLE)
	h.close()
	return p.end(dst, meta, len(body), stored)
}

// dictionary appends a dictionary page to dst and counts it in meta.
func (p *pages) dictionary(dst []byte, meta *chunkMeta, codec int, values int, body []byte) []byte {
	stored := p.compress(codec, body)
	h := p.begin(pageDictionary, len(body), len(stored))
	h.open(7)
	h.i32(1, int32(values))
	h.i32(2, encodingPlain)
	h.close()
	before := len(dst)
	dst = p.end(dst, meta, len(body), stored)
	meta.dictionary, meta.dictionarySize = true, int64(len(dst)-before)
	return dst
}

func (p *pages) begin(typ, plain, stored int) *thrift {
	p.header.reset()
	p.header.i32(1, int32(typ))
	p.header.i32(2, int32(plain))
	p.header.i32(3, int32(stored))
	return &p.header
}

func (p *pages) end(dst []byte, meta *chunkMeta, plain int, stored []byte) []byte {
	p.header.close()
	meta.size += int64(len(p.header.buf) + len(stored))
	meta.plainSize += int64(len(p.header.buf) + plain)
	dst = append(dst, p.header.buf...)
	return append(dst, stored...)
}

// levels collects which values of a page are NULL.
type levels struct {
	// present has a bit per value, and is used from the first NULL on.
	present []byte
	values  int
	nulls   int
}

func (l *levels) reset() {
	l.present, l.values, l.nulls = l.present[:0], 0, 0
}

// add counts n values that are there.
func (l *levels) add(n int) {
	if l.nulls > 0 {
		for i := l.values; i < l.values+n; i++ {
			l.set(i, 1)
		}
	}
	l.values += n
}

// addNull counts a NULL.
func (l *levels) addNull() {
	if l.nulls == 0 {
		for i := range l.values {
			l.set(i, 1)
		}
	}
	l.nulls++
	l.set(l.values, 0)
	l.values++
}

func (l *levels) set(i int, bit byte) {
	if i&7 == 0 {
		l.present = append(l.present, bit)
		return
	}
	l.present[i>>3] |= bit << (i & 7)
}

// size is how many bytes encode may append.
func (l *levels) size() int { return 16 + len(l.present) }

// encode appends the definition levels of a data page: a run where no value or each is NULL, else bits.
func (l *levels) encode(dst []byte) []byte {
	at := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	switch l.nulls {
	case 0:
		dst = append(binary.AppendUvarint(dst, uint64(l.values)<<1), 1)
	case l.values:
		dst = append(binary.AppendUvarint(dst, uint64(l.values)<<1), 0)
	default:
		dst = binary.AppendUvarint(dst, uint64(len(l.present))<<1|1)
		dst = append(dst, l.present...)
	}
	binary.LittleEndian.PutUint32(dst[at:], uint32(len(dst)-at-4))
	return dst
}
