package load

import (
	"context"
	"fmt"
	"runtime/debug"

	"github.com/apache/arrow-go/v18/arrow"

	"github.com/lume-data/lume/connector"
)

// aheadReader decodes the next batch in the background while a target encodes and sends the last one.
type aheadReader struct {
	reader  *rowReader
	stop    context.CancelFunc
	batches chan arrow.RecordBatch
	// err is why there are no more batches, set before batches is closed.
	err error
}

// readAhead starts to read. The context bounds the reader's life.
func readAhead(ctx context.Context, reader *rowReader) connector.RowReader {
	ctx, stop := context.WithCancel(ctx)
	a := &aheadReader{reader: reader, stop: stop, batches: make(chan arrow.RecordBatch)}
	go a.run(ctx)
	return a
}

func (a *aheadReader) run(ctx context.Context) {
	defer close(a.batches)
	defer func() {
		if p := recover(); p != nil { // Nobody above this goroutine could.
			a.err = fmt.Errorf("read mapped rows: panic: %v\n\n%s", p, debug.Stack())
		}
	}()
	for {
		batch, err := a.reader.Next(ctx)
		if err != nil {
			a.err = err
			return
		}
		select {
		case a.batches <- batch:
		case <-ctx.Done():
			batch.Release()
			a.err = context.Cause(ctx)
			return
		}
	}
}

// Next implements connector.RowReader.
func (a *aheadReader) Next(ctx context.Context) (arrow.RecordBatch, error) {
	select {
	case batch, ok := <-a.batches:
		if !ok {
			return nil, a.err
		}
		return batch, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Close implements connector.RowReader.
func (a *aheadReader) Close() error {
	a.stop()
	for batch := range a.batches {
		batch.Release()
	}
	return a.reader.Close()
}
