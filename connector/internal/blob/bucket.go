package blob

import (
	"context"
	"errors"
	"io"
	"path"
	"slices"
	"strings"
	"time"

	gcblob "gocloud.dev/blob"

	"github.com/lume-data/lume/connector"
)

// Hooks are what gocloud.dev/blob leaves to each system.
type Hooks struct {
	// Request corrects a request, of which as gives the system's own form, before it is sent: it sets the key (or the
	// prefix of a listing) as it is, since gocloud.dev escapes some, and the entity tag that a read or a write depends on.
	Request func(as func(any) bool, key, etag string) error
	// ListedKey returns a listed object's key as the system has it.
	ListedKey func(o *gcblob.ListObject) string
	// Stat and Delete are those of Store: gocloud.dev lets nobody correct these requests.
	Stat   func(ctx context.Context, key string) (Attributes, error)
	Delete func(ctx context.Context, key string) error
	// Error maps an error to what a Store returns. write tells a write from a read.
	Error func(err error, key string, write bool) error
	// Sweep is that of Store.
	Sweep func(ctx context.Context, prefix string, dead func(key string) bool) error
	// Close gives back what the opener holds.
	Close func()
}

// NewBucket makes a Store of a bucket of gocloud.dev/blob, which it closes in the end.
func NewBucket(bucket *gcblob.Bucket, hooks Hooks) Store {
	return &bucketStore{bucket: bucket, hooks: hooks}
}

const (
	// uploadPart and uploadParallel bound the memory of one upload to their product, twice over.
	uploadPart     = 8 << 20
	uploadParallel = 3
	// conflicts bounds how often a conditional write is tried again that met another one in flight.
	conflicts = 8
)

// ErrBusy says that a conditional write met another one in flight: neither has been refused yet.
var ErrBusy = errors.New("blob: another conditional write is in flight")

type bucketStore struct {
	bucket *gcblob.Bucket
	hooks  Hooks
}

// Close implements Store.
func (s *bucketStore) Close() error {
	err := s.bucket.Close()
	s.hooks.Close()
	return err
}

// Stat implements Store.
func (s *bucketStore) Stat(ctx context.Context, key string) (Attributes, error) {
	return s.hooks.Stat(ctx, key)
}

// Open implements Store.
func (s *bucketStore) Open(ctx context.Context, key, etag string, offset, length int64) (io.ReadCloser, error) {
	opts := &gcblob.ReaderOptions{BeforeRead: func(as func(any) bool) error { return s.hooks.Request(as, key, etag) }}
	r, err := s.bucket.NewRangeReader(ctx, key, offset, length, opts)
	if err != nil {
		return nil, s.hooks.Error(err, key, false)
	}
	return &bucketReader{body: r, key: key, hooks: s.hooks}, nil
}

// bucketReader maps the errors of a body.
type bucketReader struct {
	body  io.ReadCloser
	key   string
	hooks Hooks
}

// Read implements io.Reader.
func (r *bucketReader) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = r.hooks.Error(err, r.key, false)
	}
	return n, err
}

// Close implements io.Closer.
func (r *bucketReader) Close() error { return r.body.Close() }

// Put implements Store.
func (s *bucketStore) Put(ctx context.Context, key string, body []byte, cond Condition) error {
	for try := 1; ; try++ {
		err := s.put(ctx, key, body, cond)
		if !errors.Is(err, ErrBusy) {
			return err
		}
		if try == conflicts {
			return busy(key, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(try) * 50 * time.Millisecond):
		}
	}
}

func (s *bucketStore) put(ctx context.Context, key string, body []byte, cond Condition) error {
	w, err := s.create(ctx, key, cond)
	if err != nil {
		return err
	}
	if _, err := w.Write(body); err != nil {
		w.Abort()
		return err
	}
	return w.Commit()
}

// Create implements Store.
func (s *bucketStore) Create(ctx context.Context, key string) (Writer, error) {
	w, err := s.create(ctx, key, Condition{})
	if err != nil {
		return nil, err
	}
	return plainWriter{w}, nil
}

// plainWriter is an upload without a condition: another writer in its way is something that passes.
type plainWriter struct{ Writer }

// Commit implements Writer.
func (w plainWriter) Commit() error {
	err := w.Writer.Commit()
	if errors.Is(err, ErrBusy) {
		return busy("an object", err)
	}
	return err
}

func busy(key string, cause error) error {
	return &connector.Error{
		Kind: connector.KindUnavailable, Reason: "STORE_BUSY", Message: "other writers kept " + key + " busy",
		Next: "the run tries again by itself", Meta: map[string]string{"key": key}, Cause: cause,
	}
}

func (s *bucketStore) create(ctx context.Context, key string, cond Condition) (Writer, error) {
	opts := &gcblob.WriterOptions{
		BufferSize: uploadPart, MaxConcurrency: uploadParallel, ContentType: ContentType(key), IfNotExist: cond.IfNotExist,
		BeforeWrite: func(as func(any) bool) error { return s.hooks.Request(as, key, cond.IfMatch) },
	}
	ctx, cancel := context.WithCancel(ctx)
	w, err := s.bucket.NewWriter(ctx, key, opts)
	if err != nil {
		cancel()
		return nil, s.hooks.Error(err, key, true)
	}
	return &bucketWriter{w: w, key: key, cancel: cancel, hooks: s.hooks}, nil
}

// bucketWriter is an upload; nothing of it is visible before Commit.
type bucketWriter struct {
	w      *gcblob.Writer
	key    string
	cancel context.CancelFunc
	hooks  Hooks
}

// Write implements io.Writer.
func (w *bucketWriter) Write(p []byte) (int, error) {
	n, err := w.w.Write(p)
	if err != nil {
		err = w.hooks.Error(err, w.key, true)
	}
	return n, err
}

// Commit implements Writer.
func (w *bucketWriter) Commit() error {
	defer w.cancel()
	if err := w.w.Close(); err != nil {
		return w.hooks.Error(err, w.key, true)
	}
	return nil
}

// Abort implements Writer.
func (w *bucketWriter) Abort() {
	w.cancel()
	_ = w.w.Close()
}

// List implements Store.
func (s *bucketStore) List(ctx context.Context, prefix, cursor string, recursive bool, limit int) ([]Entry, string, error) {
	opts := &gcblob.ListOptions{Prefix: prefix, BeforeList: func(as func(any) bool) error { return s.hooks.Request(as, prefix, "") }}
	if !recursive {
		opts.Delimiter = "/"
	}
	token := gcblob.FirstPageToken
	if cursor != "" {
		token = []byte(cursor)
	}
	listed, next, err := s.bucket.ListPage(ctx, token, limit, opts)
	if err != nil {
		return nil, "", s.hooks.Error(err, prefix, false)
	}
	entries := make([]Entry, 0, len(listed))
	for _, o := range listed {
		// The marker that some tools leave for an empty folder is not an object in it.
		if key := s.hooks.ListedKey(o); key != prefix {
			entries = append(entries, Entry{Key: key, Size: o.Size, ModTime: o.ModTime})
		}
	}
	// gocloud.dev orders a page by what it takes the keys for.
	slices.SortFunc(entries, func(a, b Entry) int { return strings.Compare(a.Key, b.Key) })
	return entries, string(next), nil
}

// Delete implements Store.
func (s *bucketStore) Delete(ctx context.Context, key string) error { return s.hooks.Delete(ctx, key) }

// Sweep implements Store.
func (s *bucketStore) Sweep(ctx context.Context, prefix string, dead func(key string) bool) error {
	return s.hooks.Sweep(ctx, prefix, dead)
}

// ContentType tells browsers and other tools what an object holds.
func ContentType(key string) string {
	switch path.Ext(key) {
	case ".parquet":
		return "application/vnd.apache.parquet"
	case ".csv":
		return "text/csv; charset=utf-8"
	case ".jsonl":
		return "application/x-ndjson"
	case ".json":
		return "application/json"
	default:
		return "application/octet-stream"
	}
}
