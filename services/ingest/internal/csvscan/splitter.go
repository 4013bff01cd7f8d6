package csvscan

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"unicode/utf8"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

// Splitter makes rows of records. Not safe for concurrent use.
type Splitter struct {
	columns int
	delim   []byte
	quote   []byte
	// pattern is the delimiter's byte, eight times; 0 if it has more than one.
	pattern uint64
	// emptyIsNull is true if the empty field is a null token; tokens holds the others, none longer than longest.
	emptyIsNull bool
	tokens      [][]byte
	longest     int
}

// NewSplitter returns a splitter of records with a number of columns.
func NewSplitter(opts Options, columns int) *Splitter {
	opts = opts.complete()
	s := &Splitter{columns: columns, delim: []byte(opts.Delimiter)}
	if !opts.NoQuote {
		s.quote = []byte(opts.Quote)
	}
	if len(s.delim) == 1 {
		s.pattern = uint64(s.delim[0]) * ones
	}
	for _, token := range opts.NullTokens {
		if token == "" {
			s.emptyIsNull = true
			continue
		}
		s.tokens = append(s.tokens, []byte(token))
		s.longest = max(s.longest, len(token))
	}
	return s
}

// Parse adds rows to the batch, beginning with a record of the chunk, until the batch is full, and returns the record to
// go on with. valid says that the chunk's data is valid UTF-8.
func (s *Splitter) Parse(c *chunk.Chunk, from int, valid bool, b *chunk.Batch) int {
	b.Reset(c)
	for i := from; i < len(c.Records); i++ {
		record := c.Records[i]
		if b.Full(c.Records[from].Start, record.End) {
			return i
		}
		if record.Flags&chunk.Faulty != 0 {
			b.Reject(i, chunk.Malformed, c.FaultOf(i))
			continue
		}
		if !valid {
			if at := invalidAt(c.Bytes(i)); at >= 0 {
				b.Reject(i, chunk.Encoding, fmt.Sprintf("byte %d of the record is not valid text in the source's encoding", at))
				continue
			}
		}
		row, stride := b.Row()
		var fields int
		switch {
		case record.Flags&chunk.Quoted != 0:
			fields = s.splitQuoted(c.Data, record, row, stride, b)
		case s.pattern != 0:
			fields = s.splitWords(c.Data, int(record.Start), int(record.End), row, stride)
		default:
			fields = s.splitPlain(c.Data, record, row, stride)
		}
		if fields != s.columns {
			b.Reject(i, chunk.Malformed, fmt.Sprintf("the record has %d fields where the header has %d", fields, s.columns))
			continue
		}
		b.Add(i)
	}
	return len(c.Records)
}

// Masks of a word of eight bytes.
const (
	ones  = 0x0101010101010101
	lows  = 0x7f7f7f7f7f7f7f7f
	words = 8
)

// splitWords splits a record without quotes at a delimiter of one byte, eight bytes at a time.
func (s *Splitter) splitWords(data []byte, start, end int, row []parquetwrite.Span, stride int) int {
	field, n, pos := start, 0, start
	for ; pos < end && pos+words <= len(data); pos += words {
		x := binary.LittleEndian.Uint64(data[pos:]) ^ s.pattern
		// A bit for each byte that is zero, exactly.
		hits := ^(((x & lows) + lows) | x | lows)
		for ; hits != 0; hits &= hits - 1 {
			at := pos + bits.TrailingZeros64(hits)>>3
			if at >= end {
				break
			}
			if n < s.columns {
				row[n*stride] = s.span(data, field, at)
			}
			n++
			field = at + 1
		}
	}
	for ; pos < end; pos++ {
		if data[pos] == s.delim[0] {
			if n < s.columns {
				row[n*stride] = s.span(data, field, pos)
			}
			n++
			field = pos + 1
		}
	}
	if n < s.columns {
		row[n*stride] = s.span(data, field, end)
	}
	return n + 1
}

// splitPlain splits a record without quotes at any delimiter.
func (s *Splitter) splitPlain(data []byte, record chunk.Record, row []parquetwrite.Span, stride int) int {
	n := 0
	for at, end := int(record.Start), int(record.End); ; n++ {
		i := bytes.Index(data[at:end], s.delim)
		stop := end
		if i >= 0 {
			stop = at + i
		}
		if n < s.columns {
			row[n*stride] = s.span(data, at, stop)
		}
		if i < 0 {
			return n + 1
		}
		at = stop + len(s.delim)
	}
}

// span returns an unquoted field.
func (s *Splitter) span(data []byte, from, to int) parquetwrite.Span {
	if from == to {
		if s.emptyIsNull {
			return parquetwrite.Null
		}
	} else if to-from <= s.longest {
		for _, token := range s.tokens {
			if bytes.Equal(data[from:to], token) {
				return parquetwrite.Null
			}
		}
	}
	return parquetwrite.NewSpan(from, to-from)
}

// splitQuoted splits a record that the scanner found to be well quoted.
func (s *Splitter) splitQuoted(data []byte, record chunk.Record, row []parquetwrite.Span, stride int, b *chunk.Batch) int {
	n := 0
	for at, end := int(record.Start), int(record.End); ; n++ {
		var span parquetwrite.Span
		if hasAt(data[:end], at, s.quote) {
			span, at = s.quoted(data[:end], at+len(s.quote), b)
		} else {
			stop := end
			if i := bytes.Index(data[at:end], s.delim); i >= 0 {
				stop = at + i
			}
			span, at = s.span(data, at, stop), stop
		}
		if n < s.columns {
			row[n*stride] = span
		}
		if at == end {
			return n + 1
		}
		at += len(s.delim)
	}
}

// quoted returns the text of a quoted field, and where the field ends. Text with doubled quotes is copied behind the
// batch's text.
func (s *Splitter) quoted(data []byte, from int, b *chunk.Batch) (parquetwrite.Span, int) {
	copied := -1
	for at := from; ; {
		at += bytes.Index(data[at:], s.quote)
		behind := at + len(s.quote)
		if !hasAt(data, behind, s.quote) {
			if copied < 0 {
				return parquetwrite.NewSpan(from, at-from), behind
			}
			b.Text = append(b.Text, data[from:at]...)
			return parquetwrite.NewSpan(copied, len(b.Text)-copied), behind
		}
		if copied < 0 {
			copied = len(b.Text)
		}
		b.Text = append(b.Text, data[from:behind]...)
		at = behind + len(s.quote)
		from = at
	}
}

// fields returns the fields of one record as text.
func (s *Splitter) fields(data []byte, record chunk.Record) []string {
	s.columns = bytes.Count(data[record.Start:record.End], s.delim) + 1
	c := chunk.Chunk{Data: data}
	b := chunk.NewBatch(s.columns)
	b.Reset(&c)
	row, stride := b.Row()
	n := s.splitQuotedOrPlain(data, record, row, stride, b)
	names := make([]string, n)
	for i := range names {
		if span := row[i*stride]; span != parquetwrite.Null {
			names[i] = string(span.Bytes(b.Text))
		}
	}
	return names
}

func (s *Splitter) splitQuotedOrPlain(data []byte, record chunk.Record, row []parquetwrite.Span, stride int, b *chunk.Batch) int {
	if record.Flags&chunk.Quoted != 0 {
		return s.splitQuoted(data, record, row, stride, b)
	}
	return s.splitPlain(data, record, row, stride)
}

// invalidAt returns where data stops being valid UTF-8, or -1.
func invalidAt(data []byte) int {
	for at := 0; at < len(data); {
		if data[at] < utf8.RuneSelf {
			at++
			continue
		}
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			return at
		}
		at += size
	}
	return -1
}
