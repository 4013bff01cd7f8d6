package parquetwrite

import "fmt"

// Kind is what a column holds.
type Kind uint8

// Kinds of column.
const (
	// Text is nullable UTF-8.
	Text Kind = iota
	// RepeatedText is nullable UTF-8 of which the same span comes many times in a row.
	RepeatedText
	// Int64 is a number that is never NULL.
	Int64
)

// Column declares a column.
type Column struct {
	Name string
	Kind Kind
}

// Columns encodes row groups of a file with these columns. It keeps its buffers from one row group to the next. Not
// safe for concurrent use.
type Columns struct {
	columns []Column
	text    []textColumn
	ints    [][]int64
	pages   *pages
	// body is the page of integers at work.
	body []byte
}

// NewColumns returns an encoder of row groups.
func NewColumns(columns []Column) (*Columns, error) {
	p, err := newPages()
	if err != nil {
		return nil, fmt.Errorf("make a compressor: %w", err)
	}
	c := &Columns{columns: columns, text: make([]textColumn, len(columns)), ints: make([][]int64, len(columns)), pages: p}
	for i := range columns {
		c.text[i].runs = columns[i].Kind == RepeatedText
	}
	c.reset()
	return c, nil
}

func (c *Columns) reset() {
	for i, column := range c.columns {
		if column.Kind == Int64 {
			c.ints[i] = c.ints[i][:0]
		} else {
			c.text[i].reset()
		}
	}
}

// AddText appends values to a column of text. text holds the bytes that the spans mean; it is read during the call only.
func (c *Columns) AddText(column int, text []byte, values []Span) {
	c.text[column].add(c.pages, text, values)
}

// AddInts appends values to a column of integers.
func (c *Columns) AddInts(column int, values []int64) {
	c.ints[column] = append(c.ints[column], values...)
}

// Flush returns the row group of everything added since the last one. Each column must have got rows values.
func (c *Columns) Flush(rows int) (*RowGroup, error) {
	group := &RowGroup{rows: int64(rows), chunks: make([]chunkMeta, len(c.columns))}
	size := 0
	for i, column := range c.columns {
		if column.Kind == Int64 {
			c.flushInts(i)
		} else {
			c.text[i].flush(c.pages)
		}
		if got := c.text[i].meta.values; got != int64(rows) {
			return nil, fmt.Errorf("column %d got %d values for %d rows", i, got, rows)
		}
		size += len(c.text[i].out)
	}
	group.data = make([]byte, 0, size)
	for i := range c.columns {
		chunk := c.text[i].meta
		chunk.encodings = append([]int32(nil), chunk.encodings...)
		chunk.offset = int64(len(group.data))
		group.chunks[i] = chunk
		group.data = append(group.data, c.text[i].out...)
	}
	c.reset()
	return group, nil
}

// flushInts writes a column of integers through the text column's output, which it does not use otherwise.
func (c *Columns) flushInts(i int) {
	t := &c.text[i]
	t.out, t.meta = t.out[:0], chunkMeta{values: int64(len(c.ints[i])), encodings: []int32{encodingDelta, encodingRLE}}
	c.body = appendDelta(c.body[:0], c.ints[i])
	t.out = c.pages.data(t.out, &t.meta, codecUncompressed, encodingDelta, len(c.ints[i]), c.body)
}

// RowGroup is an encoded row group.
type RowGroup struct {
	data   []byte
	rows   int64
	chunks []chunkMeta
}

// Rows returns how many rows it has.
func (g *RowGroup) Rows() int64 { return g.rows }

// Size returns how many bytes it takes.
func (g *RowGroup) Size() int { return len(g.data) }
