package connector

import (
	"context"
	"io"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
)

// ObjectInfo describes one object.
type ObjectInfo struct {
	// Path is the full URI, as a source_path.
	Path string
	// Size in bytes.
	Size int64
	// ETag changes when the object's content does.
	ETag string
	// ModTime is when it was written.
	ModTime time.Time
}

// ObjectSource reads objects. Paths are full URIs and must lie inside the connector's bucket, container or root, and its
// prefix; others are an *Error of KindPermission with reason PATH_OUTSIDE_CONNECTOR. A missing object is KindNotFound with
// reason SOURCE_OBJECT_NOT_FOUND.
type ObjectSource interface {
	Connector
	// Stat returns what is known of an object.
	Stat(ctx context.Context, path string) (ObjectInfo, error)
	// ReadRange reads length bytes from offset; a negative length reads to the end. With an etag it reads that content
	// or fails with ErrChanged.
	ReadRange(ctx context.Context, path, etag string, offset, length int64) (io.ReadCloser, error)
}

// Placeholder is what a query writes for the batch.
const Placeholder = ":source_path"

// RowSource reads the rows of a query.
type RowSource interface {
	Connector
	// Query binds sourcePath as a parameter to every Placeholder of the query (outside of strings, comments and quoted
	// names) and streams the rows in delivered order inside one read-only snapshot. bound is false for a reference,
	// whose query has no placeholder.
	Query(ctx context.Context, query, sourcePath string, bound bool) (RowStream, error)
	// Describe returns the columns of a query without running it.
	Describe(ctx context.Context, query string, bound bool) ([]Column, error)
}

// RowStream delivers rows as Arrow batches whose columns have the Arrow types of [Type.Arrow]. Not safe for concurrent use.
type RowStream interface {
	// Columns are the query's columns in order.
	Columns() []Column
	// Next returns the next batch, which the caller releases, or io.EOF.
	Next(ctx context.Context) (arrow.RecordBatch, error)
	// Close ends the query and gives its connection back. It may be called before EOF.
	Close() error
}

// Item is something discovered: a table or view with columns, an object or a prefix.
type Item struct {
	Path string
	// Kind is table, view, object or prefix.
	Kind    string
	Columns []ItemColumn
	// Size in bytes of an object; negative if it has none.
	Size    int64
	ModTime time.Time
}

// ItemColumn is a column of a discovered table.
type ItemColumn struct {
	Name string
	// Type is the Lume type, or empty if there is none.
	Type       string
	NativeType string
	Nullable   bool
}

// Discoverer lists what a connector's system holds.
type Discoverer interface {
	Connector
	// Discover returns at most limit items whose path starts with prefix, ordered by path, after the cursor, and the
	// next cursor, empty at the end.
	Discover(ctx context.Context, prefix, cursor string, limit int) ([]Item, string, error)
}
