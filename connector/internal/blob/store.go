package blob

import (
	"context"
	"errors"
	"io"
	"time"
)

// Store reaches one bucket, container or folder. Keys are slash-separated and relative to it. Its errors are the sentinels
// below, [connector.ErrChanged], a context's error, or a [connector.Error]. It is safe for concurrent use.
type Store interface {
	// Stat returns what is known of an object, or ErrNotExist.
	Stat(ctx context.Context, key string) (Attributes, error)
	// Open reads length bytes from offset, or to the end if length is negative. It is never called with length 0. With an
	// etag it reads that content or fails with connector.ErrChanged. A missing object is ErrNotExist, an offset at or
	// beyond the end ErrRange.
	Open(ctx context.Context, key, etag string, offset, length int64) (io.ReadCloser, error)
	// Put writes a small object at once, if the condition holds; otherwise it fails with ErrPrecondition. Any other error
	// leaves open whether the object was written.
	Put(ctx context.Context, key string, body []byte, cond Condition) error
	// Create starts to stream an object, which appears whole at Commit or not at all.
	Create(ctx context.Context, key string) (Writer, error)
	// List returns at most limit entries whose keys start with prefix, ordered by key, after the cursor of an earlier call.
	// Unless it is recursive, keys that go on after the next slash are folded into one entry, which ends in it.
	List(ctx context.Context, prefix, cursor string, recursive bool, limit int) (entries []Entry, next string, err error)
	// Delete removes an object. A missing one is no error.
	Delete(ctx context.Context, key string) error
	// Sweep removes what writes that never ended have left below a prefix, of those objects that are dead. It calls dead with
	// the key that the object would have got, and leaves the writes of all others alone.
	Sweep(ctx context.Context, prefix string, dead func(key string) bool) error
	// Close gives back all connections.
	Close() error
}

// Attributes describe an object.
type Attributes struct {
	Size    int64
	ETag    string
	ModTime time.Time
}

// Entry is one line of a listing.
type Entry struct {
	// Key ends in a slash if it stands for all keys that go on.
	Key     string
	Size    int64
	ModTime time.Time
}

// Condition is what must hold when an object is written. The zero value always holds.
type Condition struct {
	// IfNotExist asks that there is no object yet.
	IfNotExist bool
	// IfMatch asks that the object has this entity tag.
	IfMatch string
}

// Writer streams one object. Exactly one of Commit and Abort must be called.
type Writer interface {
	io.Writer
	// Commit makes the object visible.
	Commit() error
	// Abort leaves nothing behind, as far as the store can be reached.
	Abort()
}

// Sentinels of a Store.
var (
	// ErrNotExist says that there is no such object.
	ErrNotExist = errors.New("blob: no such object")
	// ErrPrecondition says that a write's condition did not hold.
	ErrPrecondition = errors.New("blob: the condition of the write does not hold")
	// ErrRange says that the offset lies at or beyond the object's end.
	ErrRange = errors.New("blob: the offset is beyond the object's end")
)
