package blob

import (
	"io"
	"runtime"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/parallel"
)

const (
	// rangeRows of a batch are encoded by one core at a time at most, and no more than rangeBytes of text, by one row or less.
	rangeRows  = 4 << 10
	rangeBytes = 1 << 20
)

// textFormat is a format of one line for each row. Its cells are used by several goroutines at once.
type textFormat interface {
	// cell returns what appends the values of a column, NULL included.
	cell(column int, values arrow.Array) (appendCell, error)
	// separators are what stands before each cell, and endOfLine what ends the last one.
	separators() (before [][]byte, endOfLine string)
}

// appendCell appends the value in row i, or says why the format cannot hold it.
type appendCell func(dst []byte, i int) (_ []byte, problem string)

// textEncoder writes the lines of a text format. Ranges of rows are encoded side by side on all cores, and given on in their
// order.
type textEncoder struct {
	w       io.Writer
	format  textFormat
	columns []connector.Column
	lines   int64
	ranges  []textRange
	// size is how many rows the next ranges have, maxRows at most; with maxBytes of text they end.
	size, maxRows, maxBytes int
}

// textRange is the text of consecutive rows.
type textRange struct {
	// The range begins at row from and is to end before row to; it has ended before row end.
	from, to, end int
	text          []byte
	lines         int64
	refused       []refusedRow
}

type refusedRow struct {
	row    int
	reason connector.RefusedRow
}

func newTextEncoder(w io.Writer, format textFormat, columns []connector.Column) *textEncoder {
	return &textEncoder{
		w: w, format: format, columns: columns,
		ranges: make([]textRange, runtime.GOMAXPROCS(0)), size: rangeRows, maxRows: rangeRows, maxBytes: rangeBytes,
	}
}

func (e *textEncoder) write(batch arrow.RecordBatch, refuse refuse) error {
	cells := make([]appendCell, len(e.columns))
	for c := range cells {
		cell, err := e.format.cell(c, batch.Column(c+1))
		if err != nil {
			return err
		}
		cells[c] = cell
	}
	for at, rows := 0, int(batch.NumRows()); at < rows; {
		ranges := e.share(at, rows)
		err := parallel.Each(len(ranges), func(i int) error {
			e.encode(&ranges[i], cells)
			return nil
		})
		if err != nil {
			return err
		}
		if at, err = e.give(ranges, refuse); err != nil {
			return err
		}
	}
	return nil
}

// share makes ranges of the rows from one on, as many as there are cores.
func (e *textEncoder) share(at, rows int) []textRange {
	n := 0
	for ; n < len(e.ranges) && at < rows; n++ {
		r := &e.ranges[n]
		r.from, r.to = at, min(at+e.size, rows)
		at = r.to
	}
	return e.ranges[:n]
}

// encode fills a range.
func (e *textEncoder) encode(r *textRange, cells []appendCell) {
	before, endOfLine := e.format.separators()
	r.text, r.refused, r.lines = r.text[:0], r.refused[:0], 0
rows:
	for r.end = r.from; r.end < r.to && len(r.text) < e.maxBytes; r.end++ {
		start := len(r.text)
		for c, cell := range cells {
			var problem string
			if r.text, problem = cell(append(r.text, before[c]...), r.end); problem != "" {
				r.text = r.text[:start]
				r.refused = append(r.refused, refusedRow{r.end, connector.RefusedRow{Column: e.columns[c].Name, Message: problem}})
				continue rows
			}
		}
		r.text = append(r.text, endOfLine...)
		r.lines++
	}
}

// give passes on the text of ranges up to the first one that was full before its end, and returns the row that comes next.
// Ranges of long rows become short, so that few are encoded in vain.
func (e *textEncoder) give(ranges []textRange, refuse refuse) (next int, err error) {
	for i := range ranges {
		r := &ranges[i]
		if _, err := e.w.Write(r.text); err != nil {
			return 0, err
		}
		e.lines += r.lines
		for _, refused := range r.refused {
			if err := refuse(refused.row, refused.reason); err != nil {
				return 0, err
			}
		}
		if next = r.end; r.end < r.to {
			e.size = r.end - r.from
			return next, nil
		}
	}
	e.size = min(2*e.size, e.maxRows)
	return next, nil
}

func (e *textEncoder) rows() int64           { return e.lines }
func (e *textEncoder) buffered() int64       { return 0 }
func (e *textEncoder) close() (int64, error) { return e.lines, nil }

// orNull returns a cell that has another text for NULL.
func orNull(values arrow.Array, null, cell appendCell) appendCell {
	if values.NullN() == 0 {
		return cell
	}
	return func(dst []byte, i int) ([]byte, string) {
		if values.IsNull(i) {
			return null(dst, i)
		}
		return cell(dst, i)
	}
}

const notUTF8 = "the text is not UTF-8"

// What the bytes of a text ask for.
const (
	// needsQuotes and needsEscape mark the bytes that a field of CSV and a string of JSON do not hold as they are.
	needsQuotes = 1 << iota
	needsEscape
	// needsUTF8 marks bytes that are not ASCII.
	needsUTF8
)

var needs = func() (table [256]byte) {
	for b := range table {
		if b >= 0x80 {
			table[b] |= needsUTF8
		}
		if b < 0x20 || b == '"' || b == '\\' {
			table[b] |= needsEscape
		}
	}
	for _, b := range ",\"\r\n" {
		table[b] |= needsQuotes
	}
	return table
}()

// needsOf returns what any of the bytes asks for.
func needsOf(text string) (all byte) {
	for i := range len(text) {
		all |= needs[text[i]]
	}
	return all
}
