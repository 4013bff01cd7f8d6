package jsonscan

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

// Shape says what a Parser makes of a record.
type Shape struct {
	// Paths are the values to take, each a column in this order. The record's own text is one more column behind them.
	Paths []string
	// Unnest is the path of an array whose elements become rows; empty for one row per record. As is the name by which
	// paths mean the element: paths equal to it, or beginning with it and a dot. An element is never addressed otherwise.
	Unnest, As string
	// Array says that the records are elements of an array, in which a place that is not JSON ends the source.
	Array bool
	// Width returns how many bytes text takes in the source's encoding; nil if the source is UTF-8.
	Width func(text []byte) int64
}

// Columns declares the columns of the rows; raw names the last one.
func (s Shape) Columns(raw string) []parquetwrite.Column {
	kind := parquetwrite.Text
	if s.Unnest != "" {
		kind = parquetwrite.RepeatedText // The rows of one record repeat its values.
	}
	columns := make([]parquetwrite.Column, 0, len(s.Paths)+1)
	for _, path := range s.Paths {
		column := parquetwrite.Column{Name: path, Kind: kind}
		if s.ofElement(path) {
			column.Kind = parquetwrite.Text
		}
		columns = append(columns, column)
	}
	return append(columns, parquetwrite.Column{Name: raw, Kind: kind})
}

func (s Shape) ofElement(path string) bool {
	return s.Unnest != "" && (path == s.As || strings.HasPrefix(path, s.As+"."))
}

// Parser makes rows of records. Not safe for concurrent use.
type Parser struct {
	shape Shape
	// record and element are the trees of paths of both. elementColumns are those of the element.
	record, element *node
	elementColumns  []int
	raw             int
	values          values
	rest            elements
}

// elements are those of a record that did not fit into a batch.
type elements struct {
	// record is the record's index, or -1.
	record int
	// pos is where the next element begins, and end where the array's text ends.
	pos, end int
	// spans are the record's own values, and text what of them was unescaped.
	spans []parquetwrite.Span
	text  [][]byte
}

// NewParser returns a parser.
func NewParser(shape Shape) *Parser {
	p := &Parser{shape: shape, record: newNode(), element: newNode(), raw: len(shape.Paths), rest: elements{record: -1}}
	for i, path := range shape.Paths {
		root := p.record
		if shape.ofElement(path) {
			root, path = p.element, strings.TrimPrefix(strings.TrimPrefix(path, shape.As), ".")
			p.elementColumns = append(p.elementColumns, i)
		}
		root.at(path).column = i
	}
	if shape.Unnest != "" {
		p.record.at(shape.Unnest).unnest = true
	}
	return p
}

// at returns the node of a dotted path.
func (n *node) at(path string) *node {
	if path == "" {
		return n
	}
	for _, key := range strings.Split(path, ".") {
		n = n.child(key)
	}
	return n
}

// Parse adds rows to the batch, beginning with a record of the chunk, until the batch is full, and returns the record to
// go on with. valid says that the chunk's data is valid UTF-8.
func (p *Parser) Parse(c *chunk.Chunk, from int, valid bool, b *chunk.Batch) int {
	b.Reset(c)
	v := &p.values
	v.batch, v.data = b, c.Data
	if p.rest.record == from {
		p.restore(b)
		if !p.unnest(from) {
			return from
		}
		from++
	}
	first := from
	for i := from; i < len(c.Records); i++ {
		record := c.Records[i]
		if b.Full(c.Records[first].Start, record.End) {
			return i
		}
		if record.Flags&chunk.Faulty != 0 {
			b.Reject(i, chunk.Malformed, c.FaultOf(i))
			continue
		}
		if !valid && !utf8.Valid(c.Bytes(i)) {
			b.Reject(i, chunk.Encoding, fmt.Sprintf("byte %d of the record is not valid text in the source's encoding", validPrefix(c.Bytes(i))))
			continue
		}
		if !p.parse(record) {
			if b.Broken = p.broken(c, i); b.Broken != nil {
				return i
			}
			b.Reject(i, v.fault.typ, p.message(record))
			continue
		}
		if p.shape.Unnest == "" {
			b.Add(i)
			continue
		}
		if p.begin(i); !p.unnest(i) {
			return i
		}
	}
	return len(c.Records)
}

// parse validates a record and puts its values into the batch's next row.
func (p *Parser) parse(record chunk.Record) bool {
	v := &p.values
	v.pos, v.end, v.keys = int(record.Start), int(record.End), v.keys[:0]
	v.fault, v.array, v.wrong = fault{}, parquetwrite.Null, false
	p.clear()
	v.blanks()
	object := v.pos < v.end && v.data[v.pos] == '{'
	if !v.value(p.record, 0) {
		return false
	}
	if v.blanks(); v.pos < v.end {
		return v.syntaxf("there is %q behind the end of the record", v.data[v.pos])
	}
	if !object {
		v.fault = fault{typ: chunk.Malformed, message: "the record is no JSON object", at: int(record.Start)}
		return false
	}
	if v.wrong {
		v.fault = fault{typ: chunk.Malformed, at: int(record.Start), message: fmt.Sprintf("the value at %s is no array", p.shape.Unnest)}
		return false
	}
	v.row[p.raw*v.stride] = parquetwrite.NewSpan(int(record.Start), int(record.End-record.Start))
	return true
}

// clear begins a row with NULLs.
func (p *Parser) clear() {
	v := &p.values
	v.row, v.stride = v.batch.Row()
	for i := range p.raw + 1 {
		v.row[i*v.stride] = parquetwrite.Null
	}
}

// message says what is wrong with a record.
func (p *Parser) message(record chunk.Record) string {
	f := p.values.fault
	if !f.syntax {
		return f.message
	}
	return fmt.Sprintf("the record is no valid JSON: %s, at byte %d of it", f.message, p.width(int(record.Start), f.at))
}

// broken returns the ArrayError of a record that is not JSON, if it is an element of an array.
func (p *Parser) broken(c *chunk.Chunk, record int) error {
	f := p.values.fault
	if !p.shape.Array || !f.syntax {
		return nil
	}
	start := int(c.Records[record].Start)
	line := c.LineOf(record)
	for at := start; at < f.at; at++ {
		if b := c.Data[at]; b == '\n' && (at == start || c.Data[at-1] != '\r') || b == '\r' {
			line++
		}
	}
	return &ArrayError{Offset: c.Offset(record) + p.width(start, f.at), Line: line, Message: f.message}
}

func (p *Parser) width(from, to int) int64 {
	if p.shape.Width != nil {
		return p.shape.Width(p.values.data[from:to])
	}
	return int64(to - from)
}

// begin notes the record whose elements are to become rows. Its values are in the batch's next row.
func (p *Parser) begin(record int) {
	v := &p.values
	p.rest.record, p.rest.pos, p.rest.end = record, 0, 0
	if v.array != parquetwrite.Null {
		p.rest.pos = int(v.array>>32) + 1
		p.rest.end = int(v.array>>32) + int(uint32(v.array)) - 1
	}
	p.rest.spans = p.rest.spans[:0]
	for i := range p.raw + 1 {
		p.rest.spans = append(p.rest.spans, v.row[i*v.stride])
	}
}

// unnest makes rows of the elements that are left. It is false if the batch is full before the last one.
func (p *Parser) unnest(record int) bool {
	v, b := &p.values, p.values.batch
	v.pos, v.end = p.rest.pos, p.rest.end
	v.blanks()
	if v.pos == v.end {
		p.elementRow(record, false) // Missing, null or empty: the record is one row.
	}
	for unescaped := len(b.Text); v.pos < v.end; {
		if b.Room() == 0 || len(b.Text)-unescaped > maxUnescaped {
			p.suspend()
			return false
		}
		p.elementRow(record, true)
		v.blanks()
		v.pos++ // The comma, or the end of the array.
	}
	p.rest.record = -1
	return true
}

// maxUnescaped is how much unescaped text a batch may hold before it is handed on.
const maxUnescaped = 1 << 20

func (p *Parser) elementRow(record int, element bool) {
	v := &p.values
	v.row, v.stride = v.batch.Row()
	for i, span := range p.rest.spans {
		v.row[i*v.stride] = span
	}
	for _, column := range p.elementColumns {
		v.row[column*v.stride] = parquetwrite.Null
	}
	if element {
		v.value(p.element, 0) // It was validated with the record.
	}
	v.batch.Add(record)
}

// suspend keeps what the rest of the elements needs of this batch.
func (p *Parser) suspend() {
	v := &p.values
	p.rest.pos = v.pos
	p.rest.text = p.rest.text[:0]
	for _, span := range p.rest.spans {
		var text []byte
		if span != parquetwrite.Null && int(span>>32) >= len(v.data) {
			text = append(text, span.Bytes(v.batch.Text)...)
		}
		p.rest.text = append(p.rest.text, text)
	}
}

// restore puts it behind the text of the next batch.
func (p *Parser) restore(b *chunk.Batch) {
	for i, span := range p.rest.spans {
		if span != parquetwrite.Null && int(span>>32) >= len(p.values.data) {
			p.rest.spans[i] = parquetwrite.NewSpan(len(b.Text), len(p.rest.text[i]))
			b.Text = append(b.Text, p.rest.text[i]...)
		}
	}
}

// validPrefix returns how many bytes of data are valid UTF-8.
func validPrefix(data []byte) int {
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}
