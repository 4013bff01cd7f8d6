package staging

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// Object is one listed object.
type Object struct {
	Key     string
	Size    int64
	ModTime time.Time
}

// Store is an open staging store. It is safe for concurrent use.
type Store struct{ backend backend }

// backend is one kind of store. Keys and prefixes are checked before they get here.
type backend interface {
	// put stores a local file and returns its digest and size.
	put(ctx context.Context, key, localPath string) ([]byte, int64, error)
	// fetch copies or links an object to a path that does not exist and returns the digest and size of what is there.
	fetch(ctx context.Context, key, localPath string) ([]byte, int64, error)
	create(ctx context.Context, key string) (sink, error)
	reader(ctx context.Context, key string) (io.ReadCloser, error)
	list(ctx context.Context, prefix string, fn func(Object) error) error
	remove(ctx context.Context, key string) error
	removePrefix(ctx context.Context, prefix string) error
	close() error
}

// sink takes the bytes of one object that exists once commit has returned.
type sink interface {
	io.Writer
	commit() error
	abort()
}

// Open opens the store at a URL; see the package's documentation. It does not prove that the store answers: see
// [Store.Check].
func Open(ctx context.Context, rawURL string) (*Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, fmt.Errorf("%w: it does not parse", ErrURL) // The parser's text would repeat the URL.
	}
	if u.User != nil {
		return nil, fmt.Errorf("%w: credentials must not stand in it; name a profile or credentials_file", ErrURL)
	}
	var b backend
	switch u.Scheme {
	case "file":
		b, err = openFiles(u)
	case "s3":
		b, err = openS3(ctx, u)
	case "azblob":
		b, err = openAzure(u)
	case "mem":
		b = openMemory()
	default:
		return nil, fmt.Errorf("%w: scheme %q is none of file, s3, azblob, mem", ErrURL, u.Scheme)
	}
	if err != nil {
		return nil, err
	}
	return &Store{backend: b}, nil
}

// Close gives back what the store holds. Writers and readers must be closed before.
func (s *Store) Close() error { return s.backend.close() }

// Check writes, reads and deletes a small object, to prove that the store answers and grants what stages need.
func (s *Store) Check(ctx context.Context) error {
	key := fmt.Sprintf("checks/%d-%d", os.Getpid(), time.Now().UnixNano())
	w, err := s.Create(ctx, key)
	if err != nil {
		return err
	}
	if _, err = io.WriteString(w, "lume"); err != nil {
		w.Abort()
		return err
	}
	if _, err = w.Commit(0); err != nil {
		return err
	}
	r, err := s.Reader(ctx, key)
	if err != nil {
		return err
	}
	got, err := io.ReadAll(r)
	if err = errors.Join(err, r.Close()); err != nil {
		return coded("read back", key, &transientError{err})
	}
	if string(got) != "lume" {
		return coded("read back", key, ErrCorrupt)
	}
	return s.Delete(ctx, key)
}

// Put stores a finished local file under key and describes it; rows is what the description says about its rows. The
// caller must not change the file afterwards: a file store shares it. The object is durable when Put returns, and it is
// there whole or not at all.
func (s *Store) Put(ctx context.Context, key, localPath string, rows int64) (*typev1.StagedObject, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	sum, size, err := s.backend.put(ctx, key, localPath)
	if err != nil {
		return nil, coded("stage", key, err)
	}
	return &typev1.StagedObject{Key: key, Size: size, Sha256: sum, Rows: rows}, nil
}

// Fetch makes an object a local file, which must not exist yet, and checks its size and digest: ErrCorrupt if they
// differ, ErrNotFound if there is no such object, and then there is no file. The file is read-only, and a file store
// shares it: read it, or remove it.
func (s *Store) Fetch(ctx context.Context, obj *typev1.StagedObject, localPath string) error {
	if err := checkKey(obj.GetKey()); err != nil {
		return err
	}
	sum, size, err := s.backend.fetch(ctx, obj.GetKey(), localPath)
	if err != nil {
		return coded("fetch", obj.GetKey(), err)
	}
	if size != obj.GetSize() || string(sum) != string(obj.GetSha256()) {
		_ = os.Remove(localPath)
		return coded("fetch", obj.GetKey(), fmt.Errorf("%w: %d bytes with digest %x, manifest says %d with %x",
			ErrCorrupt, size, sum, obj.GetSize(), obj.GetSha256()))
	}
	return nil
}

// FetchTo is [Store.Fetch] into a folder under the last name of the key, and returns the path.
func (s *Store) FetchTo(ctx context.Context, obj *typev1.StagedObject, dir string) (string, error) {
	path := filepath.Join(dir, filepath.Base(filepath.FromSlash(obj.GetKey())))
	return path, s.Fetch(ctx, obj, path)
}

// Writer takes the bytes of one object. Not safe for concurrent use. End it with Commit or Abort.
type Writer struct {
	key  string
	sink sink
	hash hash.Hash
	size int64
	done bool
}

// Create begins an object that exists once Commit has returned. A cancelled context ends it.
func (s *Store) Create(ctx context.Context, key string) (*Writer, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	sink, err := s.backend.create(ctx, key)
	if err != nil {
		return nil, coded("create", key, err)
	}
	return &Writer{key: key, sink: sink, hash: sha256.New()}, nil
}

// Write implements io.Writer.
func (w *Writer) Write(p []byte) (int, error) {
	n, err := w.sink.Write(p)
	w.hash.Write(p[:n])
	w.size += int64(n)
	if err != nil {
		return n, coded("write", w.key, err)
	}
	return n, nil
}

// Commit makes the object durable and describes it.
func (w *Writer) Commit(rows int64) (*typev1.StagedObject, error) {
	if w.done {
		return nil, fmt.Errorf("commit %q: the writer has ended", w.key)
	}
	w.done = true
	if err := w.sink.commit(); err != nil {
		return nil, coded("commit", w.key, err)
	}
	return &typev1.StagedObject{Key: w.key, Size: w.size, Sha256: w.hash.Sum(nil), Rows: rows}, nil
}

// Abort drops the object. After Commit it does nothing, so that it can be deferred.
func (w *Writer) Abort() {
	if !w.done {
		w.done = true
		w.sink.abort()
	}
}

// Reader streams an object without a check: for what a person downloads. Use Fetch for what a stage works on.
func (s *Store) Reader(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := checkKey(key); err != nil {
		return nil, err
	}
	r, err := s.backend.reader(ctx, key)
	if err != nil {
		return nil, coded("read", key, err)
	}
	return r, nil
}

// List calls fn for every object below prefix (empty, or ending in a slash) until fn fails, in no promised order.
// Objects that are being written are not listed.
func (s *Store) List(ctx context.Context, prefix string, fn func(Object) error) error {
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	if err := s.backend.list(ctx, prefix, fn); err != nil {
		return coded("list", prefix, err)
	}
	return nil
}

// Delete removes an object; one that does not exist is removed already.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := checkKey(key); err != nil {
		return err
	}
	if err := s.backend.remove(ctx, key); err != nil {
		return coded("delete", key, err)
	}
	return nil
}

// DeletePrefix removes every object below a prefix, which must not be empty and must end in a slash.
func (s *Store) DeletePrefix(ctx context.Context, prefix string) error {
	if prefix == "" {
		return fmt.Errorf("%w: an empty prefix is everything", ErrKey)
	}
	if err := checkPrefix(prefix); err != nil {
		return err
	}
	if err := s.backend.removePrefix(ctx, prefix); err != nil {
		return coded("delete below", prefix, err)
	}
	return nil
}

// digest hashes r until its end and stops early when the context ends.
func digest(ctx context.Context, r io.Reader) ([]byte, int64, error) {
	h := sha256.New()
	n, err := io.CopyBuffer(struct{ io.Writer }{h}, &contextReader{ctx: ctx, r: r}, make([]byte, 1<<18))
	return h.Sum(nil), n, err
}

// contextReader ends with the context's cause.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := context.Cause(c.ctx); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}
