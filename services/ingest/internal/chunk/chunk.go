// Package chunk holds what the scanners of text formats hand on: a [Chunk] of whole records, which a scanner cuts from
// the source one after the other, and a [Batch] of rows, which a parser makes of the records of one chunk, so that
// chunks can be parsed in parallel.
//
// A chunk never spans two parts. Where chunks end depends on the text and the limits alone.
package chunk

import (
	"sort"

	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

// Limits say where chunks and parts end.
type Limits struct {
	// Bytes of text and Records of one chunk; it ends with the record that reaches one of them.
	Bytes, Records int
	// PartBytes is how many bytes of the source make one part; it ends with the record that reaches them.
	PartBytes int64
}

// Chunk is a run of whole records.
type Chunk struct {
	// Data holds the records and what stands between them. It is UTF-8, except where the source is not valid.
	Data []byte
	// Records lie in Data, in order.
	Records []Record
	// Base is the offset of Data's first byte in the source, and Line the line (1-based) on which it stands.
	Base, Line int64
	// First is the ordinal (0-based) of the first record among all records of the source.
	First int64
	// Offsets holds the offset of each record in the source; empty if it is Base plus the record's start.
	Offsets []int64
	// Faults says what is wrong with records that have Faulty set, in order.
	Faults []Fault
	// EndOfPart is true for the last chunk of a part.
	EndOfPart bool
}

// Record is where one record stands.
type Record struct {
	// Start and End bound its bytes in Data, without the line end.
	Start, End uint32
	// Line counts lines from Chunk.Line.
	Line uint32
	// Flags are set by the scanner.
	Flags Flags
}

// Flags of a record.
type Flags uint32

// The flags.
const (
	// Quoted is set if the record holds a quote.
	Quoted Flags = 1 << iota
	// Faulty is set if the record is malformed; Chunk.Faults says how.
	Faulty
)

// Fault is why the scanner gives a record up.
type Fault struct {
	// Record is its index in Chunk.Records.
	Record int
	// Message is for a person.
	Message string
}

// Reset empties the chunk for reuse.
func (c *Chunk) Reset() {
	c.Data, c.Records, c.Offsets, c.Faults = c.Data[:0], c.Records[:0], c.Offsets[:0], c.Faults[:0]
	c.Base, c.Line, c.First, c.EndOfPart = 0, 0, 0, false
}

// Offset returns the offset of a record in the source.
func (c *Chunk) Offset(record int) int64 {
	if len(c.Offsets) > 0 {
		return c.Offsets[record]
	}
	return c.Base + int64(c.Records[record].Start)
}

// LineOf returns the line on which a record begins.
func (c *Chunk) LineOf(record int) int64 { return c.Line + int64(c.Records[record].Line) }

// Bytes returns a record's bytes.
func (c *Chunk) Bytes(record int) []byte {
	r := c.Records[record]
	return c.Data[r.Start:r.End:r.End]
}

// FaultOf returns what is wrong with a record that has Faulty set.
func (c *Chunk) FaultOf(record int) string {
	i := sort.Search(len(c.Faults), func(i int) bool { return c.Faults[i].Record >= record })
	if i < len(c.Faults) && c.Faults[i].Record == record {
		return c.Faults[i].Message
	}
	return "the record is malformed"
}

// Types of a reject.
const (
	// Malformed is the type of a record that does not follow the format.
	Malformed = "malformed"
	// Encoding is the type of a record that is not text.
	Encoding = "encoding"
)

// Reject is a record that does not become a row.
type Reject struct {
	// Record is its index in the chunk.
	Record int
	// Type is Malformed or Encoding.
	Type string
	// Message is for a person.
	Message string
}

// batchSpans bounds the values of a batch, so that they stay in a core's cache.
const batchSpans = 32 << 10

// batchBytes is about how much text a batch should cover.
const batchBytes = 512 << 10

// Batch is rows made of some records of a chunk, column by column.
type Batch struct {
	// Text is what the spans mean: the chunk's data, and behind it what a parser had to unescape.
	Text []byte
	// Rows is how many rows there are.
	Rows int
	// Source holds the record of each row as its index in the chunk.
	Source []int32
	// Rejects of the records, in order.
	Rejects []Reject
	// Broken is set if the source as a whole cannot be trusted from some record on. It ends the batch.
	Broken error

	spans  []parquetwrite.Span
	stride int
}

// NewBatch returns a batch of a number of columns.
func NewBatch(columns int) *Batch {
	stride := 2048
	for stride > 16 && stride*columns > batchSpans {
		stride /= 2
	}
	return &Batch{spans: make([]parquetwrite.Span, stride*columns), stride: stride,
		Source: make([]int32, 0, stride)}
}

// Reset empties the batch for the next rows of a chunk.
func (b *Batch) Reset(c *Chunk) {
	b.Text, b.Rows, b.Broken = c.Data, 0, nil
	b.Source, b.Rejects = b.Source[:0], b.Rejects[:0]
}

// Full reports whether the batch should be handed on before a record is added that ends at byte end of the chunk; start
// is where the batch's first record begins.
func (b *Batch) Full(start, end uint32) bool {
	return b.Rows >= b.stride || b.Rows > 0 && end-start > batchBytes
}

// Room returns how many more rows fit.
func (b *Batch) Room() int { return b.stride - b.Rows }

// Row returns the spans of the next row, of which value i is at index i*stride, and the stride.
func (b *Batch) Row() (spans []parquetwrite.Span, stride int) { return b.spans[b.Rows:], b.stride }

// Add counts the row at Row as complete.
func (b *Batch) Add(record int) {
	b.Source = append(b.Source, int32(record))
	b.Rows++
}

// Column returns the values of one column.
func (b *Batch) Column(i int) []parquetwrite.Span { return b.spans[i*b.stride : i*b.stride+b.Rows] }

// Reject adds a reject.
func (b *Batch) Reject(record int, typ, message string) {
	b.Rejects = append(b.Rejects, Reject{Record: record, Type: typ, Message: message})
}
