package jsonscan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
)

const (
	// windowBytes is how much of a document is read at a time.
	windowBytes = 256 << 10
	// maxKey is the longest key on the way to the records, in bytes.
	maxKey = 64 << 10
)

// ArrayError is a place from which on an array is not JSON.
type ArrayError struct {
	// Offset in the source, and Line on which it lies.
	Offset, Line int64
	// Message is for a person.
	Message string
}

// Error implements error.
func (e *ArrayError) Error() string {
	return fmt.Sprintf("%s (byte %d, line %d)", e.Message, e.Offset, e.Line)
}

// PathError is a document without an array at the path of the records.
type PathError struct {
	// Message is for a person.
	Message string
}

// Error implements error.
func (e *PathError) Error() string { return e.Message }

// Array cuts the elements of an array into chunks. Not safe for concurrent use.
type Array struct {
	source io.Reader
	opts   Options
	limits chunk.Limits
	grow   func(size int) error
	// path holds the keys on the way to the records.
	path []string

	// window is what was read of the source; pos is the next byte of it.
	window []byte
	pos    int
	eof    bool
	// offset and line are where the byte of window at settled stands; cr is true if a CR stands before it.
	settled      int
	offset, line int64
	cr           bool
	// keep collects what is scanned of an element, up to the limit, while it is set.
	keep *[]byte
	// from is where in window what is not yet in keep begins; kept counts the bytes of the element, kept or not.
	from  int
	kept  int
	part  int64
	count int64
	state arrayState
}

type arrayState uint8

const (
	beforeArray arrayState = iota
	beforeFirst
	betweenRecords
	afterArray
)

// NewArray returns a scanner of source, which delivers UTF-8 from behind the byte order mark, for the array at the end
// of a path of keys.
func NewArray(source io.Reader, path []string, opts Options, limits chunk.Limits) *Array {
	if opts.MaxRecord == 0 {
		opts.MaxRecord = DefaultMaxRecord
	}
	return &Array{source: source, path: path, opts: opts, limits: limits, offset: opts.Base, part: opts.Base, line: 1}
}

// OnGrow has f called before a chunk needs more memory than its limits make likely.
func (a *Array) OnGrow(f func(size int) error) { a.grow = f }

// Next cuts the next chunk, or returns io.EOF. What is wrong with the document is an ArrayError or a PathError; errors of
// the source are returned as they are.
func (a *Array) Next(c *chunk.Chunk) error {
	c.Reset()
	c.Line, c.First = a.line, a.count
	if a.state == afterArray {
		return io.EOF
	}
	if a.state == beforeArray {
		empty, err := a.find()
		if err != nil {
			return err
		}
		if empty {
			a.state = afterArray
			return io.EOF
		}
		a.state = beforeFirst
	}
	for len(c.Records) < a.limits.Records && len(c.Data) < a.limits.Bytes && a.offset-a.part < a.limits.PartBytes {
		more, err := a.separator()
		if err != nil {
			return err
		}
		if !more {
			a.state = afterArray
			if err := a.finish(); err != nil {
				return err
			}
			if len(c.Records) == 0 {
				return io.EOF
			}
			return nil
		}
		if err := a.element(c); err != nil {
			return err
		}
	}
	if a.offset-a.part >= a.limits.PartBytes {
		c.EndOfPart, a.part = true, a.offset
	}
	return nil
}

// separator passes over what stands before a record, and reports whether there is one.
func (a *Array) separator() (bool, error) {
	b, err := a.token("a record, or the end of the array")
	if err != nil {
		return false, err
	}
	first := a.state == beforeFirst
	a.state = betweenRecords
	switch {
	case b == ']':
		a.pos++
		return false, nil
	case first:
		return true, nil
	case b != ',':
		return false, a.broken("there is %q where a comma or the end of the array should be", b)
	}
	a.pos++
	if b, err = a.token("a record"); err != nil {
		return false, err
	}
	if b == ']' {
		return false, a.broken("there is a comma behind the last record")
	}
	return true, nil
}

// element appends the record at pos.
func (a *Array) element(c *chunk.Chunk) error {
	a.settle()
	offset, line, start := a.offset, a.line, len(c.Data)
	a.keep, a.from, a.kept = &c.Data, a.pos, 0
	err := a.value()
	if err == nil {
		err = a.save()
	}
	a.keep = nil
	if err != nil {
		return err
	}
	record := chunk.Record{Start: uint32(start), End: uint32(len(c.Data)), Line: uint32(line - c.Line)}
	if a.kept > a.opts.MaxRecord {
		record.Flags |= chunk.Faulty
		c.Faults = append(c.Faults, chunk.Fault{Record: len(c.Records), Message: fmt.Sprintf(
			"the record is longer than %d bytes, the flow's max_record_bytes; its first %d bytes are kept", a.opts.MaxRecord, a.opts.MaxRecord)})
	}
	c.Records = append(c.Records, record)
	c.Offsets = append(c.Offsets, offset)
	a.count++
	a.settle()
	return nil
}

// find goes to the first record of the array. A source with nothing but blanks is empty.
func (a *Array) find() (empty bool, err error) {
	if _, err := a.blanks(); err == io.EOF {
		return true, nil
	} else if err != nil {
		return false, err
	}
	for i, key := range a.path {
		if b, err := a.token("an object"); err != nil {
			return false, err
		} else if b != '{' {
			return false, a.notThere(i, "is not an object")
		}
		a.pos++
		found, err := a.member(key)
		if err != nil {
			return false, err
		}
		if !found {
			return false, a.notThere(i, fmt.Sprintf("has no key %q", key))
		}
	}
	b, err := a.token("an array")
	if err != nil {
		return false, err
	}
	if b != '[' {
		return false, a.notThere(len(a.path), "is not an array")
	}
	a.pos++
	return false, nil
}

func (a *Array) notThere(depth int, what string) error {
	at := "$"
	for _, key := range a.path[:depth] {
		at += "." + key
	}
	return &PathError{Message: fmt.Sprintf("the document's %s %s", at, what)}
}

// member goes on in an object to the value of a key, or behind the object's end.
func (a *Array) member(key string) (bool, error) {
	for first := true; ; first = false {
		b, err := a.token("a key, or the end of the object")
		if err != nil {
			return false, err
		}
		if b == '}' && first {
			a.pos++
			return false, nil
		}
		name, err := a.key()
		if err != nil {
			return false, err
		}
		if key != "" && name == key {
			return true, nil
		}
		if err := a.value(); err != nil {
			return false, err
		}
		more, err := a.memberEnd()
		if err != nil || !more {
			return false, err
		}
	}
}

// key reads a key and its colon.
func (a *Array) key() (string, error) {
	b, err := a.token("a key")
	if err != nil {
		return "", err
	}
	if b != '"' {
		return "", a.broken("there is %q where a key should be", b)
	}
	var text []byte
	a.keep, a.from, a.kept = &text, a.pos, 0
	if err = a.text(); err == nil {
		err = a.save()
	}
	a.keep = nil
	if err != nil {
		return "", err
	}
	var name string
	if a.kept > maxKey || json.Unmarshal(text, &name) != nil {
		return "", a.broken("a key is not valid")
	}
	if b, err = a.token("a colon"); err != nil {
		return "", err
	}
	if b != ':' {
		return "", a.broken("there is %q where a colon should be", b)
	}
	a.pos++
	_, err = a.token("a value")
	return name, err
}

// memberEnd passes over the comma behind a member, or the object's end.
func (a *Array) memberEnd() (more bool, err error) {
	b, err := a.token("a comma, or the end of the object")
	if err != nil {
		return false, err
	}
	if b != ',' && b != '}' {
		return false, a.broken("there is %q where a comma or the end of the object should be", b)
	}
	a.pos++
	return b == ',', nil
}

// finish reads the rest of the document.
func (a *Array) finish() error {
	for i := len(a.path) - 1; i >= 0; i-- {
		more, err := a.memberEnd()
		if err != nil {
			return err
		}
		for more {
			name, err := a.key()
			if err != nil {
				return err
			}
			if name == a.path[i] {
				return a.broken("the key %q on the way to the records comes a second time", name)
			}
			if err := a.value(); err != nil {
				return err
			}
			if more, err = a.memberEnd(); err != nil {
				return err
			}
		}
	}
	b, err := a.blanks()
	if err == io.EOF {
		return nil
	}
	if err != nil {
		return err
	}
	return a.broken("there is %q behind the end of the document", b)
}

// value passes over a value: to the end of a string, over balanced brackets, or to what ends a number or a word.
func (a *Array) value() error {
	depth := 0
	for {
		b, err := a.peek("the end of a value")
		if err != nil {
			return err
		}
		switch b {
		case '"':
			if err := a.text(); err != nil {
				return err
			}
		case '{', '[':
			depth++
			a.pos++
		case '}', ']':
			if depth == 0 {
				return a.broken("there is %q where a value should be", b)
			}
			depth--
			a.pos++
		default:
			if depth == 0 {
				return a.word()
			}
			a.plain()
		}
		if depth == 0 {
			return nil
		}
	}
}

// plain passes over bytes inside brackets that are neither brackets nor quotes.
func (a *Array) plain() {
	for a.pos < len(a.window) && !structural[a.window[a.pos]] {
		a.pos++
	}
}

var structural = [256]bool{'"': true, '{': true, '}': true, '[': true, ']': true}

// word passes over a number or a word.
func (a *Array) word() error {
	for n := 0; ; n++ {
		b, err := a.byte()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if b == ',' || b == ']' || b == '}' || b == ':' || isSpace(b) {
			if n == 0 {
				return a.broken("there is %q where a value should be", b)
			}
			return nil
		}
		a.pos++
	}
}

// text passes over the string at pos.
func (a *Array) text() error {
	a.pos++
	for {
		if _, err := a.peek("the end of a string"); err != nil {
			return err
		}
		rest := a.window[a.pos:]
		end := bytes.IndexByte(rest, '"')
		escape := bytes.IndexByte(rest[:max(end, 0)], '\\')
		if end < 0 {
			escape = bytes.IndexByte(rest, '\\')
		}
		switch {
		case escape >= 0:
			a.pos += escape + 1
			if _, err := a.peek("the end of a string"); err != nil {
				return err
			}
			a.pos++
		case end >= 0:
			a.pos += end + 1
			return nil
		default:
			a.pos = len(a.window)
		}
	}
}
