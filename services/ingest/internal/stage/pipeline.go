package stage

import (
	"context"
	"errors"
	"io"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/lume-data/lume/services/ingest/internal/chunk"
	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
	"github.com/lume-data/lume/services/ingest/internal/source"
)

const (
	// groupRows and groupBytes bound a row group: DuckDB reads row groups in parallel, and a worker holds one.
	groupRows  = 61_440
	groupBytes = 8 << 20
	// chunkBuffer is how large a chunk's buffer is made, so that most chunks fit.
	chunkBuffer = groupBytes + 2<<20
	// maxRecordText is how long a malformed record may be to be kept as JSON text beside its bytes.
	maxRecordText = 1 << 20
	// chunkMemory is about what a chunk in flight takes: its text, its records and its encoded pages.
	chunkMemory = 48 << 20
)

// scanner cuts a source into chunks.
type scanner interface {
	// Next cuts the next chunk or returns io.EOF.
	Next(c *chunk.Chunk) error
}

// parser makes rows of the records of a chunk; see csvscan.Splitter. One per worker.
type parser interface {
	Parse(c *chunk.Chunk, from int, valid bool, b *chunk.Batch) int
}

// text is a source of text that is ready to be staged.
type text struct {
	scanner scanner
	// grow has the scanner call back before it needs more memory than chunkBuffer for a chunk.
	grow      func(func(size int) error)
	newParser func() parser
	// columns are those that the parser fills.
	columns  []parquetwrite.Column
	encoding source.Encoding
	// unnested adds the column `_record`.
	unnested bool
	// maxRecords ends the batch early, for a preview; 0 for all.
	maxRecords int64
}

// layout returns the columns of the staged file.
func (t *text) layout() []parquetwrite.Column {
	columns := append([]parquetwrite.Column(nil), t.columns...)
	if t.unnested {
		columns = append(columns, parquetwrite.Column{Name: recordColumn, Kind: parquetwrite.Int64})
	}
	return columns
}

// encoded is what a worker makes of a chunk.
type encoded struct {
	groups    []*parquetwrite.RowGroup
	locations []*parquetwrite.RowGroup
	rejects   []rejected
	records   int64
	endOfPart bool
	err       error
}

// rejected is a record that does not become a row.
type rejected struct {
	// line and offset are where it stands, if placed is set, in a source of text.
	placed               bool
	line, offset         int64
	typ, column, message string
	// value is the value that it is about; nil if it is about the whole record.
	value *string
	// raw holds its own bytes, which may be those of the chunk. record is the record as JSON text; if it is empty, and text
	// is set, it is the JSON string of text, which may be bytes of the chunk, too.
	raw, text []byte
	record    string
}

// job is a chunk on its way. done gets one encoded.
type job struct {
	chunk *chunk.Chunk
	// memory is what the chunk holds of the gate.
	memory int64
	done   chan encoded
}

// pipeline scans, encodes and hands on chunks in order: one goroutine scans, workers encode in parallel, and the caller
// of run gets what they made in the order of the source. Memory bounds how many chunks are in flight, and nothing else
// depends on it or on the number of workers.
type pipeline struct {
	text    *text
	workers int
	memory  int64
}

func (p *pipeline) run(ctx context.Context, take func(encoded) error) error {
	budget := max(p.memory, chunkMemory)
	inFlight := int(min(budget/chunkMemory, int64(p.workers)+2))
	workers := min(p.workers, inFlight)
	gate := semaphore.NewWeighted(budget)
	free := make(chan *chunk.Chunk, inFlight)
	order := make(chan *job, inFlight)
	work := make(chan *job, inFlight)
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer close(order)
		defer close(work)
		return p.scan(ctx, gate, budget, free, order, work)
	})
	for range workers {
		g.Go(func() error { return p.encode(ctx, work) })
	}
	g.Go(func() error {
		for j := range order {
			var e encoded
			select {
			case e = <-j.done:
			case <-ctx.Done():
				return ctx.Err()
			}
			if e.err != nil {
				return e.err
			}
			if err := take(e); err != nil {
				return err
			}
			if j.chunk != nil && cap(j.chunk.Data) <= chunkBuffer {
				select {
				case free <- j.chunk:
				default:
				}
			}
			gate.Release(j.memory)
		}
		return nil
	})
	return g.Wait()
}

// scan cuts chunks and sends them to the workers. How the source ends is sent behind the last chunk, so that what is
// wrong with an earlier chunk is reported first.
func (p *pipeline) scan(ctx context.Context, gate *semaphore.Weighted, budget int64, free <-chan *chunk.Chunk, order, work chan<- *job) error {
	var held int64
	p.text.grow(func(size int) error {
		want := min(chunkMemory+3*int64(size-chunkBuffer), budget)
		if want <= held {
			return nil
		}
		err := gate.Acquire(ctx, want-held)
		if err == nil {
			held = want
		}
		return err
	})
	for left := p.text.maxRecords; p.text.maxRecords == 0 || left > 0; {
		held = chunkMemory
		if err := gate.Acquire(ctx, held); err != nil {
			return err
		}
		var c *chunk.Chunk
		select {
		case c = <-free:
		default:
			c = &chunk.Chunk{Data: make([]byte, 0, chunkBuffer)}
		}
		err := p.text.scanner.Next(c)
		if errors.Is(err, io.EOF) {
			return nil
		}
		j := &job{chunk: c, memory: held, done: make(chan encoded, 1)}
		if err != nil {
			j.done <- encoded{err: err}
			return send(ctx, order, j)
		}
		if n := int64(len(c.Records)); p.text.maxRecords > 0 {
			c.Records = c.Records[:min(n, left)]
			left -= n
		}
		if err := send(ctx, order, j); err != nil {
			return err
		}
		if err := send(ctx, work, j); err != nil {
			return err
		}
	}
	return nil
}

func send(ctx context.Context, to chan<- *job, j *job) error {
	select {
	case to <- j:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// encode is a worker.
func (p *pipeline) encode(ctx context.Context, work <-chan *job) error {
	w, err := newWorker(p.text)
	if err != nil {
		return err
	}
	for {
		select {
		case j, ok := <-work:
			if !ok {
				return nil
			}
			j.done <- w.encode(j.chunk)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// worker encodes one chunk at a time.
type worker struct {
	text      *text
	parser    parser
	batch     *chunk.Batch
	data      *parquetwrite.Columns
	locations *parquetwrite.Columns
	// lines, offsets and ordinals of a batch's rows.
	lines, offsets, ordinals []int64
}

func newWorker(t *text) (*worker, error) {
	data, err := parquetwrite.NewColumns(t.layout())
	if err != nil {
		return nil, err
	}
	locations, err := parquetwrite.NewColumns(locationColumns)
	if err != nil {
		return nil, err
	}
	return &worker{text: t, parser: t.newParser(), batch: chunk.NewBatch(len(t.columns)), data: data, locations: locations}, nil
}

func (w *worker) encode(c *chunk.Chunk) encoded {
	e := encoded{records: int64(len(c.Records)), endOfPart: c.EndOfPart}
	valid := utf8.Valid(c.Data)
	rows := 0
	for at := 0; at < len(c.Records); {
		at = w.parser.Parse(c, at, valid, w.batch)
		if w.batch.Broken != nil {
			return encoded{err: w.batch.Broken}
		}
		w.add(c)
		for _, r := range w.batch.Rejects {
			e.rejects = append(e.rejects, w.rejected(c, r))
		}
		if rows += w.batch.Rows; rows >= groupRows {
			if e.err = w.flush(&e, rows); e.err != nil {
				return e
			}
			rows = 0
		}
	}
	if rows > 0 {
		e.err = w.flush(&e, rows)
	}
	return e
}

// add encodes the rows of the batch.
func (w *worker) add(c *chunk.Chunk) {
	b := w.batch
	if b.Rows == 0 {
		return
	}
	for i := range w.text.columns {
		w.data.AddText(i, b.Text, b.Column(i))
	}
	w.lines, w.offsets, w.ordinals = w.lines[:0], w.offsets[:0], w.ordinals[:0]
	for _, record := range b.Source {
		w.lines = append(w.lines, c.LineOf(int(record)))
		w.offsets = append(w.offsets, c.Offset(int(record)))
		w.ordinals = append(w.ordinals, c.First+int64(record))
	}
	if w.text.unnested {
		w.data.AddInts(len(w.text.columns), w.ordinals)
	}
	w.locations.AddInts(0, w.lines)
	w.locations.AddInts(1, w.offsets)
}

func (w *worker) flush(e *encoded, rows int) error {
	group, err := w.data.Flush(rows)
	if err != nil {
		return err
	}
	location, err := w.locations.Flush(rows)
	if err != nil {
		return err
	}
	e.groups, e.locations = append(e.groups, group), append(e.locations, location)
	return nil
}

func (w *worker) rejected(c *chunk.Chunk, r chunk.Reject) rejected {
	data := c.Bytes(r.Record)
	out := rejected{placed: true, line: c.LineOf(r.Record), offset: c.Offset(r.Record), typ: r.Type, message: r.Message,
		raw: w.text.encoding.Original(data)}
	if len(data) <= maxRecordText && utf8.Valid(data) {
		out.text = data
	}
	return out
}
