package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/file"
	"github.com/apache/arrow-go/v18/parquet/metadata"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

const (
	// A batch has as many rows as fit in its share of memory, within these bounds.
	minBatchRows = 16
	maxBatchRows = 16 << 10
	// batchShare is the part of a task's memory that one batch may have: a target holds several, and encodes them.
	batchShare = 16
)

// parquetFile is an open staged file.
type parquetFile struct {
	file   *os.File
	reader *file.Reader
	// columns are the indices of the columns to read; nil for all.
	columns []int
	memory  int64
}

// openParquet opens a local file to read these columns, or all.
func openParquet(path string, memoryBytes int64, columns ...string) (*parquetFile, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	props := parquet.NewReaderProperties(memory.DefaultAllocator)
	props.BufferedStreamEnabled = true // Pages as they are needed, not whole columns.
	reader, err := file.NewParquetReader(struct{ parquet.ReaderAtSeeker }{f}, file.WithReadProps(props))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open a staged file: %w", err), f.Close())
	}
	p := &parquetFile{file: f, reader: reader, memory: memoryBytes}
	for _, name := range columns {
		index := reader.MetaData().Schema.ColumnIndexByName(name)
		if index < 0 {
			return nil, errors.Join(fmt.Errorf("a staged file has no column %q", name), p.close())
		}
		p.columns = append(p.columns, index)
	}
	return p, nil
}

func (p *parquetFile) close() error { return errors.Join(p.reader.Close(), p.file.Close()) }

func (p *parquetFile) groups() int { return p.reader.NumRowGroups() }

func (p *parquetFile) group(i int) *metadata.RowGroupMetaData { return p.reader.MetaData().RowGroup(i) }

// groupReader reads one row group in batches that fit in memory.
func (p *parquetFile) groupReader(ctx context.Context, i int) (pqarrow.RecordReader, error) {
	group := p.group(i)
	perRow := max(group.TotalByteSize()/max(group.NumRows(), 1), 1)
	rows := min(max(p.memory/batchShare/perRow, minBatchRows), maxBatchRows)
	arrowFile, err := pqarrow.NewFileReader(p.reader, pqarrow.ArrowReadProperties{BatchSize: rows}, memory.DefaultAllocator)
	if err != nil {
		return nil, fmt.Errorf("read a staged file: %w", err)
	}
	reader, err := arrowFile.GetRecordReader(ctx, p.columns, []int{i})
	if err != nil {
		return nil, fmt.Errorf("read a staged file: %w", err)
	}
	return reader, nil
}

// rowBounds returns the least and greatest value of a row group's first column, if its statistics say.
func rowBounds(group *metadata.RowGroupMetaData) (low, high int64, ok bool) {
	chunk, err := group.ColumnChunk(0)
	if err != nil {
		return 0, 0, false
	}
	stats, err := chunk.Statistics()
	if err != nil || stats == nil || !stats.HasMinMax() {
		return 0, 0, false
	}
	ints, ok := stats.(*metadata.Int64Statistics)
	if !ok {
		return 0, 0, false
	}
	return ints.Min(), ints.Max(), true
}

// cursor finds rows of a file by their number, upwards.
type cursor struct {
	file  *parquetFile
	group int   // The row group that is open, or the next to open.
	start int64 // The number of that group's first row.
	rows  pqarrow.RecordReader
	batch arrow.RecordBatch
	first int64 // The number of the batch's first row.
}

// seek returns the batch that holds row n and the row's index in it. n never goes down. The batch is the cursor's.
func (c *cursor) seek(ctx context.Context, n int64) (arrow.RecordBatch, int, error) {
	for {
		if c.batch != nil {
			if n < c.first+c.batch.NumRows() {
				return c.batch, int(n - c.first), nil
			}
			c.first += c.batch.NumRows()
			c.batch = nil
		}
		if c.group >= c.file.groups() {
			return nil, 0, fmt.Errorf("a staged file has no row %d", n)
		}
		size := c.file.group(c.group).NumRows()
		if n >= c.start+size {
			c.release()
			c.start += size
			c.group++
			c.first = c.start
			continue
		}
		if c.rows == nil {
			rows, err := c.file.groupReader(ctx, c.group)
			if err != nil {
				return nil, 0, err
			}
			c.rows = rows
		}
		batch, err := c.rows.Read()
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, 0, fmt.Errorf("read a staged file: %w", err)
		}
		c.batch = batch
	}
}

func (c *cursor) release() {
	if c.rows != nil {
		c.rows.Release()
		c.rows, c.batch = nil, nil
	}
}

func (c *cursor) close() error {
	c.release()
	return c.file.close()
}
