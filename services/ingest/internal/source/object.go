package source

import (
	"context"
	"crypto/sha256"
	"errors"
	"hash"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/fault"
)

const (
	// blockBytes is how much is handed on at a time, and blocks how many may wait to be read.
	blockBytes = 1 << 20
	blocks     = 4
	// segmentBytes is how much one request asks for where several are made at once, and maxStreams how many that are at most:
	// one connection to an object store brings far less than ingest can take.
	segmentBytes = 8 << 20
	maxStreams   = 4
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

// Open pins the object at path and begins to fetch it; the caller closes it. ahead bounds the bytes that are fetched before
// they are read: segments of the object come over as many connections as it has room for. The least is one connection
// and a few MiB.
func Open(ctx context.Context, store connector.ObjectSource, path string, ahead int64) (*Object, error) {
	info, err := store.Stat(ctx, path)
	if err != nil {
		return nil, err
	}
	streams := int(max(1, min(ahead/segmentBytes, maxStreams)))
	ctx, cancel := context.WithCancel(ctx)
	o := &Object{info: info, cancel: cancel, digest: sha256.New(), full: make(chan []byte, blocks),
		free: make(chan []byte, streams*segmentBytes/blockBytes+blocks), done: make(chan struct{})}
	go o.fetch(ctx, store, path, streams)
	return o, nil
}

// Info describes the object as it was pinned.
func (o *Object) Info() connector.ObjectInfo { return o.info }

// Read implements io.Reader over the delivered bytes.
func (o *Object) Read(p []byte) (int, error) {
	for len(o.rest) == 0 {
		if o.block != nil {
			select {
			case o.free <- o.block:
			default:
			}
			o.block = nil
		}
		block, ok := <-o.full
		if !ok {
			if o.err == nil {
				return 0, io.EOF
			}
			return 0, o.err
		}
		o.block, o.rest = block[:blockBytes], block
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

// fetch reads the object, several segments at once, and hands their blocks on in order.
func (o *Object) fetch(ctx context.Context, store connector.ObjectSource, path string, streams int) {
	defer close(o.done)
	defer close(o.full)
	var readers sync.WaitGroup
	defer readers.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	length, capacity := o.info.Size, blocks
	if streams > 1 {
		length, capacity = segmentBytes, segmentBytes/blockBytes
	}
	var open []*segment
	for next := int64(0); next < o.info.Size || len(open) > 0; {
		for len(open) < streams && next < o.info.Size {
			end := min(next+length, o.info.Size)
			s := &segment{blocks: make(chan []byte, capacity)}
			stream := &resuming{ctx: ctx, store: store, path: path, info: o.info, offset: next, end: end}
			readers.Go(func() { s.read(ctx, stream, o.free) })
			open, next = append(open, s), end
		}
		for block := range open[0].blocks {
			o.digest.Write(block)
			o.delivered.Add(int64(len(block)))
			select {
			case o.full <- block:
			case <-ctx.Done():
				o.err = ctx.Err()
				return
			}
		}
		if o.err = open[0].err; o.err != nil {
			return
		}
		open = open[1:]
	}
}

// segment is a part of an object that is read over a connection of its own.
type segment struct {
	blocks chan []byte
	// err ends it once blocks is closed; nil at its end.
	err error
}

func (s *segment) read(ctx context.Context, stream *resuming, free chan []byte) {
	defer close(s.blocks)
	defer stream.close()
	for {
		var block []byte
		select {
		case block = <-free:
		default:
			block = make([]byte, blockBytes)
		}
		n, err := io.ReadFull(stream, block)
		if n > 0 {
			select {
			case s.blocks <- block[:n]:
			case <-ctx.Done():
				s.err = ctx.Err()
				return
			}
		}
		if err != nil {
			// ReadFull says io.ErrUnexpectedEOF for a last block that is not full; resuming never does.
			if err != io.EOF && !errors.Is(err, io.ErrUnexpectedEOF) {
				s.err = err
			}
			return
		}
	}
}

// resuming reads a part of an object of pinned size and takes a broken connection up again.
type resuming struct {
	ctx   context.Context
	store connector.ObjectSource
	path  string
	info  connector.ObjectInfo
	body  io.ReadCloser
	// offset is the next byte, end the one after the last.
	offset, end int64
	// broken counts the failures since the last byte.
	broken int
}

// Read implements io.Reader.
func (r *resuming) Read(p []byte) (int, error) {
	for {
		if r.offset == r.end {
			return 0, io.EOF
		}
		n, err := r.try(p)
		if n > 0 {
			r.offset += int64(n)
			r.broken = 0
			if r.offset > r.end {
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
		length := r.end - r.offset
		if r.end == r.info.Size {
			length = -1 // So that bytes beyond the pinned size are noticed.
		}
		body, err := r.store.ReadRange(r.ctx, r.path, r.info.ETag, r.offset, length)
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
