package csvscan

import (
	"bytes"
	"fmt"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
)

// lookahead is how many bytes behind a record may decide where it ends: a delimiter or quote of up to four bytes.
const lookahead = 8

// cursor walks over the records of a buffer that can still grow.
type cursor struct {
	data []byte
	// pos is where the next record begins, and number its line in the source.
	pos    int
	number int64
	// eof is true if data ends where the source ends.
	eof bool
	// max is the longest record.
	max int
	// delim and quote; quote is empty if there is none.
	delim, quote []byte

	// Where the next LF, CR and quote at or behind pos are; len(data) if there is none so far.
	lf, cr, mark int
}

// found is a record and what the cursor knows about it.
type found struct {
	// start and end bound its bytes; next is where the next record begins.
	start, end, next int
	// lines is how many lines end before next.
	lines int
	flags chunk.Flags
	// fault is set with chunk.Faulty.
	fault string
	// skip means that the record's line goes on behind the buffer.
	skip bool
}

func newCursor(data []byte, eof bool, number int64, delim, quote []byte, longest int) *cursor {
	c := &cursor{data: data, eof: eof, number: number, max: longest, delim: delim, quote: quote, lf: -1, cr: -1, mark: -1}
	if len(quote) == 0 {
		c.mark = int(^uint(0) >> 1)
	}
	return c
}

// extend gives the cursor a longer buffer with the same beginning.
func (c *cursor) extend(data []byte, eof bool) {
	old := len(c.data)
	c.data, c.eof = data, eof
	// What was not found before can only be in the new bytes, or begin in the last of the old ones.
	if c.lf == old {
		c.lf = c.find(old, '\n')
	}
	if c.cr == old {
		c.cr = c.find(old, '\r')
	}
	if c.mark == old {
		c.mark = c.findQuote(max(c.pos, old-len(c.quote)+1))
	}
}

func (c *cursor) find(from int, b byte) int {
	if i := bytes.IndexByte(c.data[from:], b); i >= 0 {
		return from + i
	}
	return len(c.data)
}

func (c *cursor) findQuote(from int) int {
	if len(c.quote) == 1 {
		return c.find(from, c.quote[0])
	}
	if i := bytes.Index(c.data[from:], c.quote); i >= 0 {
		return from + i
	}
	return len(c.data)
}

// next finds the record at pos without taking it. It is not ok if there is none, or if more data must decide.
func (c *cursor) next() (f found, ok bool) {
	if c.lf < c.pos {
		c.lf = c.find(c.pos, '\n')
	}
	if c.cr < c.pos {
		c.cr = c.find(c.pos, '\r')
	}
	if c.mark < c.pos {
		c.mark = c.findQuote(c.pos)
	}
	end := min(c.lf, c.cr)
	if c.mark < end {
		return c.quoted()
	}
	return c.line(end, "")
}

// line returns the line that ends at end (len(data) if no line end is there) as the record; fault is what is wrong with it.
func (c *cursor) line(end int, fault string) (f found, ok bool) {
	f = found{start: c.pos, end: end, next: end, fault: fault}
	switch {
	case end < len(c.data):
		f.lines = 1
		f.next++
		if c.data[end] == '\r' {
			if f.next == len(c.data) && !c.eof {
				return f, false
			}
			if f.next < len(c.data) && c.data[f.next] == '\n' {
				f.next++
			}
		}
	case c.eof:
		if c.pos == len(c.data) {
			return f, false
		}
	case end-c.pos <= c.max:
		return f, false
	default:
		f.skip = true
	}
	if end-c.pos > c.max {
		f.end = c.pos + c.max
		if fault == "" {
			f.fault = fmt.Sprintf("the record is longer than %d bytes, the flow's max_record_bytes; its first %d bytes are kept", c.max, c.max)
		}
	}
	if f.fault != "" {
		f.flags |= chunk.Faulty
	}
	return f, true
}

// quoted finds the record at pos if its first line holds a quote.
func (c *cursor) quoted() (f found, ok bool) {
	// Nothing behind limit is looked at, so that the outcome does not depend on how much was read.
	limit := min(len(c.data), c.pos+c.max+lookahead)
	more := !c.eof && limit < c.pos+c.max+lookahead
	data := c.data[:limit]
	for at, field := c.pos, 1; ; field++ {
		if more && limit-at < lookahead {
			return found{}, false
		}
		if hasAt(data, at, c.quote) {
			closed := c.closing(data, at+len(c.quote))
			if more && (closed < 0 || limit-closed < lookahead) {
				return found{}, false
			}
			if closed < 0 || closed-c.pos > c.max {
				return c.line(min(c.lf, c.cr), c.unclosed(field, limit))
			}
			at = closed
		} else {
			at = c.unquoted(data, at)
			if more && at == limit {
				return found{}, false
			}
			if at < limit && hasAt(data, at, c.quote) {
				return c.line(min(c.lf, c.cr), fmt.Sprintf("there is a quote inside field %d, which does not begin with one%s; "+
					"quote the whole field and double the quotes in it", field, c.reach(at)))
			}
		}
		switch {
		case at == limit, data[at] == '\n', data[at] == '\r':
			return c.ends(at)
		case !hasAt(data, at, c.delim):
			return c.line(min(c.lf, c.cr), fmt.Sprintf("there is text behind the closing quote of field %d%s; "+
				"double the quotes that belong to the text", field, c.reach(at)))
		}
		at += len(c.delim)
	}
}

// closing returns where the quoted text of which at is the middle ends, behind its closing quote, or -1.
func (c *cursor) closing(data []byte, at int) int {
	for {
		var i int
		if len(c.quote) == 1 {
			i = bytes.IndexByte(data[at:], c.quote[0])
		} else {
			i = bytes.Index(data[at:], c.quote)
		}
		if i < 0 {
			return -1
		}
		at += i + len(c.quote)
		if !hasAt(data, at, c.quote) {
			return at
		}
		at += len(c.quote)
	}
}

// unquoted returns where the unquoted text from at on meets a delimiter, a line end, a quote or the end.
func (c *cursor) unquoted(data []byte, at int) int {
	delim, quote := c.delim[0], c.quote[0]
	for ; at < len(data); at++ {
		switch b := data[at]; {
		case b == '\n' || b == '\r':
			return at
		case b == delim && hasAt(data, at, c.delim), b == quote && hasAt(data, at, c.quote):
			return at
		}
	}
	return at
}

// ends returns the record that ends at at: at a line end, the end of the source or, if it is too long, before both.
func (c *cursor) ends(at int) (f found, ok bool) {
	if at-c.pos > c.max {
		lf, cr := c.find(at, '\n'), c.find(at, '\r')
		at = min(lf, cr)
	}
	f, ok = c.line(at, "")
	if ok {
		f.flags |= chunk.Quoted
		f.lines += countLines(c.data[c.pos:at])
	}
	return f, ok
}

// unclosed says how far the search for a closing quote went.
func (c *cursor) unclosed(field, limit int) string {
	if limit <= c.pos+c.max {
		return fmt.Sprintf("the quote that opens field %d is never closed: its text would go on to the end of the file, line %d; "+
			"close it, or double a quote that belongs to the text", field, c.lineAt(limit))
	}
	return fmt.Sprintf("the quote that opens field %d is not closed within %d bytes, the flow's max_record_bytes: "+
		"its text would go on beyond line %d; close it, or double a quote that belongs to the text", field, c.max, c.lineAt(limit))
}

// reach says where a record's fault was met, if that is behind its first line.
func (c *cursor) reach(at int) string {
	if line := c.lineAt(at); line > c.number {
		return fmt.Sprintf(" (met on line %d)", line)
	}
	return ""
}

// lineAt returns the line of the source on which a byte stands; the one before, if it is behind a last line end.
func (c *cursor) lineAt(at int) int64 {
	n := countLines(c.data[c.pos:at])
	if at == len(c.data) && at > c.pos && (c.data[at-1] == '\n' || c.data[at-1] == '\r') {
		n--
	}
	return c.number + int64(n)
}

// take moves behind a record.
func (c *cursor) take(f found) {
	c.pos = f.next
	c.number += int64(f.lines)
}

func hasAt(data []byte, at int, text []byte) bool {
	if len(text) == 1 {
		return at < len(data) && data[at] == text[0]
	}
	return at <= len(data) && bytes.HasPrefix(data[at:], text)
}

// countLines returns how many lines end in data.
func countLines(data []byte) int {
	n := bytes.Count(data, []byte{'\n'})
	for i, b := range data {
		if b == '\r' && (i+1 == len(data) || data[i+1] != '\n') {
			n++
		}
	}
	return n
}
