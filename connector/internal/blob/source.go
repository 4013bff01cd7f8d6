package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/lume-data/lume/connector"
)

// resumes bounds how often one read carries on after a cut without a byte in between.
const resumes = 5

// Stat implements connector.ObjectSource.
func (c *Connector) Stat(ctx context.Context, path string) (connector.ObjectInfo, error) {
	key, err := c.loc.key(path)
	if err != nil {
		return connector.ObjectInfo{}, err
	}
	a, err := c.store.Stat(ctx, key)
	if err != nil {
		return connector.ObjectInfo{}, sourceError(path, err)
	}
	c.pinned.Store(&pin{key: key, etag: a.ETag, size: a.Size})
	return connector.ObjectInfo{Path: c.loc.Format(key), Size: a.Size, ETag: a.ETag, ModTime: a.ModTime}, nil
}

// pin is one content of an object.
type pin struct {
	key, etag string
	size      int64
}

// ReadRange implements connector.ObjectSource. A read of a pinned object carries on where it was cut; beyond the end there
// is nothing to read.
func (c *Connector) ReadRange(ctx context.Context, path, etag string, offset, length int64) (io.ReadCloser, error) {
	key, err := c.loc.key(path)
	if err != nil {
		return nil, err
	}
	if offset < 0 {
		return nil, fmt.Errorf("blob: negative offset %d", offset)
	}
	p := c.pinned.Load()
	if etag == "" || p == nil || p.key != key || p.etag != etag {
		a, err := c.store.Stat(ctx, key)
		switch {
		case err != nil:
			return nil, sourceError(path, err)
		case etag != "" && a.ETag != etag:
			return nil, connector.ErrChanged
		}
		p = &pin{key: key, etag: a.ETag, size: a.Size}
		c.pinned.Store(p)
	}
	end := p.size
	if length >= 0 && length < p.size-offset {
		end = offset + length
	}
	r := &pinnedReader{ctx: ctx, store: c.store, path: path, key: key, etag: p.etag, offset: offset, end: end}
	if offset < end {
		if err := r.open(); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// pinnedReader delivers bytes offset to end of one content of an object.
type pinnedReader struct {
	ctx         context.Context
	store       Store
	path        string
	key, etag   string
	offset, end int64
	body        io.ReadCloser
	failures    int
}

func (r *pinnedReader) open() error {
	body, err := r.store.Open(r.ctx, r.key, r.etag, r.offset, r.end-r.offset)
	switch {
	case errors.Is(err, ErrRange), errors.Is(err, ErrNotExist) && r.failures > 0:
		return connector.ErrChanged
	case err != nil:
		return sourceError(r.path, err)
	}
	r.body = body
	return nil
}

// Read implements io.Reader.
func (r *pinnedReader) Read(p []byte) (int, error) {
	for {
		if r.offset >= r.end {
			return 0, r.finish()
		}
		if err := r.ctx.Err(); err != nil {
			return 0, err
		}
		if r.body == nil {
			if err := r.retry(r.open()); err != nil {
				return 0, err
			}
			continue
		}
		n, err := r.body.Read(p[:min(int64(len(p)), r.end-r.offset)])
		if n > 0 {
			r.offset += int64(n)
			r.failures = 0
			return n, nil
		}
		if err == nil {
			continue
		}
		if errors.Is(err, connector.ErrChanged) {
			return 0, err
		}
		// An early end is a cut too: the size of the pinned content is known.
		r.body.Close()
		r.body = nil
		if err := r.retry(cutError(r.path, err)); err != nil {
			return 0, err
		}
	}
}

// finish reads the end of the body, since stores check the checksum of an object there.
func (r *pinnedReader) finish() error {
	if r.body == nil {
		return io.EOF
	}
	n, err := r.body.Read(make([]byte, 1))
	switch {
	case n > 0:
		return connector.ErrChanged
	case err == nil || errors.Is(err, io.EOF):
		return io.EOF
	}
	return cutError(r.path, err)
}

// retry waits before the next try, or returns why there is none.
func (r *pinnedReader) retry(err error) error {
	if err == nil {
		return nil
	}
	var e *connector.Error
	if !errors.As(err, &e) || e.Kind != connector.KindUnavailable || r.failures >= resumes {
		return err
	}
	r.failures++
	wait := time.Duration(100+rand.IntN(100)) * time.Millisecond << r.failures
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
}

// Close implements io.Closer.
func (r *pinnedReader) Close() error {
	r.end = r.offset
	if r.body == nil {
		return nil
	}
	body := r.body
	r.body = nil
	return body.Close()
}

// sourceError is what a caller sees of an error of the store.
func sourceError(path string, err error) error {
	if !errors.Is(err, ErrNotExist) {
		return err
	}
	return &connector.Error{
		Kind: connector.KindNotFound, Reason: "SOURCE_OBJECT_NOT_FOUND",
		Message: "there is no object " + quote(path), Next: "check the path's spelling and case, and that the upload has ended",
		Meta: map[string]string{"path": path}, Cause: err,
	}
}

func cutError(path string, err error) error {
	var e *connector.Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &connector.Error{
		Kind: connector.KindUnavailable, Reason: "SOURCE_READ_CUT",
		Message: "the connection broke while " + quote(path) + " was read", Next: "the run tries again by itself",
		Meta: map[string]string{"path": path}, Cause: err,
	}
}
