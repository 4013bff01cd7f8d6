package sqlload

import (
	"context"
	"errors"
	"io"
	"sync"
)

const (
	// ChunkSize is when a chunk of encoded rows is worth sending.
	ChunkSize = 256 << 10
	// chunkLimit is the largest chunk that is kept for the next rows; one huge row should not stay.
	chunkLimit = 4 << 20
	chunks     = 3
)

// ErrPipe is what the reader of a [Pipe] sees of an error of its encoder; [Pipe.Wait] returns the error itself.
var ErrPipe = errors.New("the rows cannot be read")

// Pipe carries rows from an encoder in the background to the reader that a driver sends from, so that encoding runs beside
// sending. It holds a few chunks of [ChunkSize].
type Pipe struct {
	full, empty chan []byte
	now         []byte // chunk that is being read
	rest        []byte
	done        sync.WaitGroup
	err         error // set by the encoder, read after full is closed
}

// StartPipe runs encode in the background. It gets an empty chunk to append to, hands full ones over by [Pipe.Flush], and
// returns the last one. Cancel of ctx ends it. [Pipe.Wait] must be called.
func StartPipe(ctx context.Context, encode func(p *Pipe, chunk []byte) ([]byte, error)) *Pipe {
	p := &Pipe{full: make(chan []byte, chunks), empty: make(chan []byte, chunks)}
	for range chunks {
		p.empty <- make([]byte, 0, ChunkSize+ChunkSize/4)
	}
	p.done.Go(func() {
		defer close(p.full)
		p.err = p.run(ctx, encode)
	})
	return p
}

func (p *Pipe) run(ctx context.Context, encode func(p *Pipe, chunk []byte) ([]byte, error)) error {
	chunk, err := encode(p, <-p.empty)
	if err != nil {
		return err
	}
	return p.give(ctx, chunk)
}

// carry lets send read what encode writes in the background, and closes the source that encode reads when both have ended.
// sendErr is what send returned; err is that of encode, which goes before it, or of the close if there is no other.
func carry(ctx context.Context, source io.Closer, encode func(context.Context, *Pipe, []byte) ([]byte, error), send func(io.Reader) error) (sendErr, err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	p := StartPipe(ctx, func(p *Pipe, chunk []byte) ([]byte, error) { return encode(ctx, p, chunk) })
	sendErr = send(p)
	stop()
	err = p.Wait()
	closeErr := source.Close()
	switch {
	case err != nil && !errors.Is(err, context.Canceled):
		return sendErr, err
	case sendErr == nil:
		return nil, closeErr
	}
	return sendErr, nil
}

// Flush hands a chunk over to be sent and returns an empty one. Only the encoder may call it.
func (p *Pipe) Flush(ctx context.Context, chunk []byte) ([]byte, error) {
	if err := p.give(ctx, chunk); err != nil {
		return nil, err
	}
	select {
	case chunk = <-p.empty:
		return chunk, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (p *Pipe) give(ctx context.Context, chunk []byte) error {
	select {
	case p.full <- chunk:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Wait ends when the encoder has ended, and returns its error. The context given to StartPipe must be cancelled unless
// everything was read.
func (p *Pipe) Wait() error {
	p.done.Wait()
	return p.err
}

// Read implements io.Reader for the driver.
func (p *Pipe) Read(b []byte) (int, error) {
	for len(p.rest) == 0 {
		if p.now != nil {
			if cap(p.now) > chunkLimit {
				p.now = make([]byte, 0, ChunkSize+ChunkSize/4)
			}
			p.empty <- p.now[:0]
			p.now = nil
		}
		chunk, ok := <-p.full
		if !ok {
			if p.err != nil {
				return 0, ErrPipe
			}
			return 0, io.EOF
		}
		p.now, p.rest = chunk, chunk
	}
	n := copy(b, p.rest)
	p.rest = p.rest[n:]
	return n, nil
}
