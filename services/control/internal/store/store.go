package store

import (
	"context"
	"time"
)

// Store is control's database. It is safe for concurrent use.
type Store interface {
	Reader
	Leases
	// Update runs fn in one read-write transaction and commits it if fn returns nil. Whatever fn returns comes back as it
	// is. fn can run more than once (a serialization failure, a deadlock), so that it must have no other effect and must
	// keep results only once Update has returned nil. fn must not use the Store itself.
	Update(ctx context.Context, fn func(tx Tx) error) error
	// Observe calls fn soon after every commit, by this process or another, that touched a run or put messages into the
	// outbox. fn must return at once. Notices can repeat, and can be lost while the database is away: poll as well.
	// The returned function ends it.
	Observe(fn func(Notice)) (stop func())
	// Ping tells whether the database answers.
	Ping(ctx context.Context) error
	// Close waits for what is running and closes the database.
	Close() error
}

// Reader reads. Within a [Tx] it sees the transaction's own writes.
type Reader interface {
	SettingReader
	ConnectorReader
	FlowReader
	VersionReader
	AliasReader
	APIKeyReader
	RunReader
	TaskReader
	OutboxReader
}

// Tx is one read-write transaction. It is not safe for concurrent use and is void once its function has returned.
type Tx interface {
	Reader
	SettingWriter
	ConnectorWriter
	FlowWriter
	VersionWriter
	AliasWriter
	APIKeyWriter
	RunWriter
	TaskWriter
	OutboxWriter
	// Now is the database's clock, read once per transaction.
	Now(ctx context.Context) (time.Time, error)
	// Lock makes transactions with the same key wait for each other until they end.
	Lock(ctx context.Context, key string) error
}

// Notice says what a commit touched.
type Notice struct {
	// Runs are the ids of runs that changed.
	Runs []string
	// Outbox is true if messages wait to be published.
	Outbox bool
}

// Page asks for a part of a listing.
type Page struct {
	// Size is the most items to return, at least 1.
	Size int
	// After is the cursor that the previous page returned; empty for the first.
	After string
}

// Leases elects leaders among control's replicas.
type Leases interface {
	// AcquireLease takes or prolongs the named lease for holder until ttl from now by the database's clock, and tells
	// whether holder has it.
	AcquireLease(ctx context.Context, name, holder string, ttl time.Duration) (bool, error)
	// ReleaseLease gives the lease up if holder has it.
	ReleaseLease(ctx context.Context, name, holder string) error
}

// SettingReader reads values of the installation.
type SettingReader interface {
	// Setting returns the value, or ErrNotFound.
	Setting(ctx context.Context, name string) ([]byte, error)
}

// SettingWriter writes values of the installation, for example the pepper of API keys (sealed by the caller).
type SettingWriter interface {
	// CreateSetting stores a value, or returns ErrExists: the first of several replicas wins.
	CreateSetting(ctx context.Context, name string, value []byte) error
	// ReplaceSetting stores a value in place of old, or returns ErrConflict if old is not what stands there.
	ReplaceSetting(ctx context.Context, name string, old, value []byte) error
}
