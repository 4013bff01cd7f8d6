package store

import "errors"

// Sentinels of the contract. Test for them with errors.Is.
var (
	// ErrNotFound says that there is no such record.
	ErrNotFound = errors.New("store: not found")
	// ErrExists says that a record with that key exists.
	ErrExists = errors.New("store: exists already")
	// ErrConflict says that the record changed since it was read: its etag or revision is another by now.
	ErrConflict = errors.New("store: changed in between")
	// ErrInUse says that another record needs this one.
	ErrInUse = errors.New("store: in use")
	// ErrFenced says that the claim is stale: the task is not running with that attempt and fence any more.
	ErrFenced = errors.New("store: fenced")
	// ErrNotClaimable says that the task is not ready, is leased, or has no attempt left.
	ErrNotClaimable = errors.New("store: not claimable")
	// ErrInvalidText says that a text holds NUL or is not UTF-8.
	ErrInvalidText = errors.New("store: text holds NUL or is not UTF-8")
	// ErrInvalidCursor says that a page's cursor is not one that this listing gave out.
	ErrInvalidCursor = errors.New("store: invalid cursor")
	// ErrUnavailable says that the database could not be reached or is too busy; the same call can succeed later.
	ErrUnavailable = errors.New("store: unavailable")
	// ErrLocked says that another process has the database open (sqlite).
	ErrLocked = errors.New("store: the database is open in another process")
)
