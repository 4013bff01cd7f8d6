package csvscan

import (
	"io"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
)

// readBytes is how much is read from the source at least, so that a short record costs little.
const readBytes = 1 << 20

// Scanner cuts text into chunks of records. Not safe for concurrent use.
type Scanner struct {
	// OneColumn makes a blank line a record.
	OneColumn bool
	// Grow is called before the buffer of a chunk becomes larger than twice what the limits make it, with the number of
	// bytes; nil for no call.
	Grow func(size int) error

	source io.Reader
	limits chunk.Limits
	opts   Options
	delim  []byte
	quote  []byte

	// tail is text that was read and belongs to the next chunk. It begins at offset, on line, with record count.
	tail                []byte
	offset, line, count int64
	// part is where the current part begins in the source.
	part int64
	eof  bool
}

// NewScanner returns a scanner of source, which delivers UTF-8 from behind the byte order mark.
func NewScanner(source io.Reader, opts Options, limits chunk.Limits) *Scanner {
	opts = opts.complete()
	s := &Scanner{source: source, limits: limits, opts: opts, delim: []byte(opts.Delimiter),
		offset: opts.Base, part: opts.Base, line: 1}
	if !opts.NoQuote {
		s.quote = []byte(opts.Quote)
	}
	return s
}

// Records returns how many records were cut so far, malformed ones included and the header not.
func (s *Scanner) Records() int64 { return s.count }

// Next cuts the next chunk, or returns io.EOF. Errors of the source are returned as they are.
func (s *Scanner) Next(c *chunk.Chunk) error { return s.next(c, s.limits) }

func (s *Scanner) next(c *chunk.Chunk, limits chunk.Limits) error {
	c.Reset()
	c.Data = append(c.Data, s.tail...)
	c.Base, c.Line, c.First = s.offset, s.line, s.count
	cur := newCursor(c.Data, s.eof, s.line, s.delim, s.quote, s.opts.MaxRecord)
	at := ruler{width: s.opts.Width, offset: s.offset}
	skip := false
	for !skip && len(c.Records) < limits.Records && cur.pos < limits.Bytes && at.to(cur.data, cur.pos)-s.part < limits.PartBytes {
		f, ok := cur.next()
		if ok {
			if f.end > f.start || s.OneColumn {
				s.add(c, cur, &at, f)
			}
			cur.take(f)
			skip = f.skip
			continue
		}
		if s.eof {
			break
		}
		if len(c.Records) > 0 && len(cur.data) >= limits.Bytes+readBytes {
			break // A long record begins a chunk of its own.
		}
		// A long record is read in steps that double, but hardly further than the longest one goes.
		open := len(cur.data) - cur.pos
		data, err := s.read(cur.data, max(readBytes, min(open, s.opts.MaxRecord-open)))
		if err != nil {
			return err
		}
		cur.extend(data, s.eof)
	}
	s.tail = append(s.tail[:0], cur.data[cur.pos:]...)
	s.offset, s.line, s.count = at.to(cur.data, cur.pos), cur.number, s.count+int64(len(c.Records))
	c.Data = cur.data[:cur.pos]
	if skip {
		if err := s.skipLine(); err != nil {
			return err
		}
	}
	if s.offset-s.part >= limits.PartBytes {
		c.EndOfPart, s.part = true, s.offset
	}
	if len(c.Records) == 0 && s.eof && len(s.tail) == 0 {
		return io.EOF
	}
	return nil
}

func (s *Scanner) add(c *chunk.Chunk, cur *cursor, at *ruler, f found) {
	if f.flags&chunk.Faulty != 0 {
		c.Faults = append(c.Faults, chunk.Fault{Record: len(c.Records), Message: f.fault})
	}
	if s.opts.Width != nil {
		c.Offsets = append(c.Offsets, at.to(cur.data, f.start))
	}
	c.Records = append(c.Records, chunk.Record{
		Start: uint32(f.start), End: uint32(f.end), Line: uint32(cur.number - c.Line), Flags: f.flags,
	})
}

// read appends up to n bytes of the source to data and notes its end.
func (s *Scanner) read(data []byte, n int) ([]byte, error) {
	if need := len(data) + n; need > cap(data) {
		if s.Grow != nil && need > s.limits.Bytes+2*readBytes {
			if err := s.Grow(need); err != nil {
				return nil, err
			}
		}
		data = append(make([]byte, 0, need), data...)
	}
	for want := len(data) + n; len(data) < want; {
		got, err := s.source.Read(data[len(data):want])
		data = data[:len(data)+got]
		if err == io.EOF {
			s.eof = true
			break
		}
		if err != nil {
			return nil, err
		}
	}
	return data, nil
}

// SkipLines drops n physical lines.
func (s *Scanner) SkipLines(n int) error {
	for range n {
		if err := s.skipLine(); err != nil {
			return err
		}
	}
	return nil
}

// skipLine drops the rest of a line and its end.
func (s *Scanner) skipLine() error {
	for {
		cur := newCursor(s.tail, s.eof, s.line, s.delim, nil, 0)
		lf, cr := cur.find(0, '\n'), cur.find(0, '\r')
		f, ok := cur.line(min(lf, cr), "")
		drop := f.next
		if !ok || f.skip {
			// A CR at the end stays: what comes next decides whether it is half a line end.
			drop = min(lf, cr)
		}
		at := ruler{width: s.opts.Width, offset: s.offset}
		s.offset = at.to(s.tail, drop)
		s.tail = append(s.tail[:0], s.tail[drop:]...)
		if ok && !f.skip {
			s.line += int64(f.lines)
			return nil
		}
		if s.eof {
			return nil
		}
		var err error
		if s.tail, err = s.read(s.tail, readBytes); err != nil {
			return err
		}
	}
}

// ruler measures how far a place in the text is from the beginning of the source.
type ruler struct {
	width  func([]byte) int64
	pos    int
	offset int64
}

// to moves on to pos and returns its offset. Places never go back.
func (r *ruler) to(data []byte, pos int) int64 {
	if r.width == nil {
		r.offset += int64(pos - r.pos)
	} else if pos > r.pos {
		r.offset += r.width(data[r.pos:pos])
	}
	r.pos = pos
	return r.offset
}
