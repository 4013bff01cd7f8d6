package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"strconv"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/fault"
)

const (
	// blockBytes is how much is fetched at a time, and blocks how many may be fetched ahead.
	blockBytes = 1 << 20
	blocks     = 4
	// resumes is how often a broken connection is taken up again without a byte of progress in between.
	resumes = 4
	// resumeDelay is the pause before the first of them; it doubles.
	resumeDelay = 200 * time.Millisecond
)

// Object is an object that is being read. Read, Plain and Finish are for one goroutine.
type Object struct {
	info   connector.ObjectInfo
	cancel context.CancelFunc
	full   chan []byte
	free   chan []byte
	done   chan struct{}
	// err ends the stream once full is closed; nil at the end of the object.
	err error

	digest    hash.Hash
	delivered atomic.Int64

	block, rest []byte
}

// Open pins the object at path and begins to fetch it. The caller closes it.
func Open(ctx context.Context, store connector.ObjectSource, path string) (*Object, error) {
	info, err := store.Stat(ctx, path)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &Object{info: info, cancel: cancel, digest: sha256.New(),
		full: make(chan []byte, blocks), free: make(chan []byte, blocks), done: make(chan struct{})}
	for range blocks {
		o.free <- nil
	}
	go o.fetch(ctx, store, path)
	return o, nil
}

// Info describes the object as it was pinned.
func (o *Object) Info() connector.ObjectInfo { return o.info }

// Read implements io.Reader over the delivered bytes.
func (o *Object) Read(p []byte) (int, error) {
	for len(o.rest) == 0 {
		if o.block != nil {
			o.free <- o.block
			o.block = nil
		}
		block, ok := <-o.full
		if !ok {
			if o.err == nil {
				return 0, io.EOF
			}
			return 0, o.err
		}
		o.block, o.rest = block[:cap(block)], block
	}
	n := copy(p, o.rest)
	o.rest = o.rest[n:]
	return n, nil
}

// Delivered returns how many bytes have been fetched so far.
func (o *Object) Delivered() int64 { return o.delivered.Load() }

// Finish reads what is left and returns the SHA-256 of the object and how many bytes it has.
func (o *Object) Finish() (digest []byte, size int64, err error) {
	if _, err := io.Copy(io.Discard, struct{ io.Reader }{o}); err != nil {
		return nil, 0, err
	}
	return o.digest.Sum(nil), o.Delivered(), nil
}

// Stop ends the read early and returns the SHA-256 and the number of the bytes that were fetched until then.
func (o *Object) Stop() (digest []byte, size int64) {
	o.Close()
	return o.digest.Sum(nil), o.Delivered()
}

// Close ends the read and waits for the fetch to end.
func (o *Object) Close() {
	o.cancel()
	<-o.done
}

// fetch reads the object block by block.
func (o *Object) fetch(ctx context.Context, store connector.ObjectSource, path string) {
	defer close(o.done)
	defer close(o.full)
	stream := &resuming{ctx: ctx, store: store, path: path, info: o.info}
	defer stream.close()
	for {
		var block []byte
		select {
		case block = <-o.free:
		case <-ctx.Done():
			o.err = ctx.Err()
			return
		}
		if block == nil {
			block = make([]byte, blockBytes)
		}
		n, err := io.ReadFull(stream, block)
		if n > 0 {
			o.digest.Write(block[:n])
			o.delivered.Add(int64(n))
			o.full <- block[:n] // There is room: it has as many places as there are blocks.
		}
		if err != nil {
			// ReadFull says io.ErrUnexpectedEOF for a last block that is not full; resuming never does.
			if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
				o.err = err
			}
			return
		}
	}
}

// resuming reads an object to its pinned size and takes a broken connection up again.
type resuming struct {
	ctx    context.Context
	store  connector.ObjectSource
	path   string
	info   connector.ObjectInfo
	body   io.ReadCloser
	offset int64
	// broken counts the failures since the last byte.
	broken int
}

// Read implements io.Reader.
func (r *resuming) Read(p []byte) (int, error) {
	for {
		if r.offset == r.info.Size {
			return 0, io.EOF
		}
		n, err := r.try(p)
		if n > 0 {
			r.offset += int64(n)
			r.broken = 0
			if r.offset > r.info.Size {
				return 0, changed(r.info, errors.New("more bytes than the object has"))
			}
			return n, nil
		}
		if err == nil {
			continue
		}
		r.close()
		if err := r.pause(err); err != nil {
			return 0, err
		}
	}
}

// try reads from the open connection, or opens one.
func (r *resuming) try(p []byte) (int, error) {
	if r.body == nil {
		body, err := r.store.ReadRange(r.ctx, r.path, r.info.ETag, r.offset, -1)
		if err != nil {
			return 0, err
		}
		r.body = body
	}
	return r.body.Read(p)
}

// pause decides whether a failure is worth another try, and waits before it.
func (r *resuming) pause(err error) error {
	if ctxErr := r.ctx.Err(); ctxErr != nil {
		return ctxErr
	}
	if errors.Is(err, connector.ErrChanged) {
		return changed(r.info, err)
	}
	var coded *connector.Error
	if errors.As(err, &coded) && coded.Kind != connector.KindUnavailable {
		return err
	}
	if r.broken++; r.broken > resumes {
		if coded != nil {
			return err
		}
		return fault.New(codes.Unavailable, "SOURCE_READ_BROKEN", "the source broke off at byte %d of %d, %d times in a row",
			r.offset, r.info.Size, r.broken).
			WithMeta("byte", strconv.FormatInt(r.offset, 10)).WithMeta("size", strconv.FormatInt(r.info.Size, 10)).
			WithNext("check the source and its network; the run tries again by itself while attempts are left").WithCause(err)
	}
	select {
	case <-time.After(resumeDelay << (r.broken - 1)):
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

func (r *resuming) close() {
	if r.body != nil {
		_ = r.body.Close()
		r.body = nil
	}
}

func changed(info connector.ObjectInfo, cause error) error {
	return fault.New(codes.Aborted, "SOURCE_OBJECT_CHANGED", "the object was replaced while it was read").
		WithMeta("path", info.Path).WithNext("write batches under new names; the next attempt reads the new content").
		WithCause(cause).AsRetryable()
}
