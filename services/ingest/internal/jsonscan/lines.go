package jsonscan

import (
	"io"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/csvscan"
)

// DefaultMaxRecord is the longest record unless an option says otherwise, in bytes.
const DefaultMaxRecord = csvscan.DefaultMaxRecord

// Options say how records are cut.
type Options struct {
	// MaxRecord is the longest record in bytes; default DefaultMaxRecord.
	MaxRecord int
	// Width returns how many bytes text takes in the source's encoding; nil if the source is UTF-8.
	Width func(text []byte) int64
	// Base is where the text begins in the source, behind a byte order mark.
	Base int64
}

// Lines cuts JSON lines into chunks. A line ends with LF, CRLF or CR. Not safe for concurrent use.
type Lines struct {
	// lines are cut as those of a CSV file without quotes are.
	lines *csvscan.Scanner
	count int64
}

// NewLines returns a scanner of source, which delivers UTF-8 from behind the byte order mark.
func NewLines(source io.Reader, opts Options, limits chunk.Limits) *Lines {
	return &Lines{lines: csvscan.NewScanner(source, csvscan.Options{NoQuote: true, MaxRecord: opts.MaxRecord, Width: opts.Width, Base: opts.Base}, limits)}
}

// OnGrow has f called before a chunk needs more memory than its limits make likely.
func (l *Lines) OnGrow(f func(size int) error) { l.lines.Grow = f }

// Next cuts the next chunk, or returns io.EOF. Errors of the source are returned as they are.
func (l *Lines) Next(c *chunk.Chunk) error {
	if err := l.lines.Next(c); err != nil {
		return err
	}
	c.First = l.count
	kept, fault := 0, 0
	for i := range c.Records {
		if fault < len(c.Faults) && c.Faults[fault].Record == i {
			c.Faults[fault].Record = kept
			fault++
		} else if blank(c.Bytes(i)) {
			continue
		}
		c.Records[kept] = c.Records[i]
		if len(c.Offsets) > 0 {
			c.Offsets[kept] = c.Offsets[i]
		}
		kept++
	}
	c.Records = c.Records[:kept]
	if len(c.Offsets) > 0 {
		c.Offsets = c.Offsets[:kept]
	}
	l.count += int64(kept)
	return nil
}

func blank(data []byte) bool {
	for _, b := range data {
		if !isSpace(b) {
			return false
		}
	}
	return true
}

func isSpace(b byte) bool { return b == ' ' || b == '\t' || b == '\n' || b == '\r' }
