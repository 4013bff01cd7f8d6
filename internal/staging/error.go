package staging

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/fault"
)

// Sentinels of the store, in the chain of coded errors.
var (
	// ErrNotFound is returned for an object that does not exist (reason STAGED_OBJECT_NOT_FOUND).
	ErrNotFound = errors.New("staging: no such object")
	// ErrCorrupt is returned by Fetch for an object whose size or SHA-256 is not what its manifest says (reason
	// STAGED_OBJECT_CORRUPT).
	ErrCorrupt = errors.New("staging: the object differs from its manifest")
	// ErrDenied is returned if the store refuses the credentials or lacks a permission (reason STAGING_DENIED).
	ErrDenied = errors.New("staging: access denied")
	// ErrKey is returned for a key or prefix that is not well formed: a fault of the caller's code.
	ErrKey = errors.New("staging: malformed key")
	// ErrURL is returned for a URL that names no store.
	ErrURL = errors.New("staging: no such store")
)

// transientError marks faults of the store itself: a network that broke, a server that is busy, a disk that is full.
type transientError struct{ err error }

func (e *transientError) Error() string { return e.err.Error() }
func (e *transientError) Unwrap() error { return e.err }

// coded gives an error its reason for clients. Errors of contexts and of the caller's own files stay as they are.
func coded(doing, key string, err error) error {
	if err == nil {
		return nil
	}
	cause := fmt.Errorf("%s %q: %w", doing, key, err)
	var transient *transientError
	var e *fault.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return cause
	case errors.Is(err, ErrNotFound):
		e = fault.New(codes.NotFound, "STAGED_OBJECT_NOT_FOUND", "staged object %s does not exist", key).
			WithNext("start the run again; if it was kept for long, the sweeper has removed it")
	case errors.Is(err, ErrCorrupt):
		e = fault.New(codes.DataLoss, "STAGED_OBJECT_CORRUPT", "staged object %s is not what was written", key).
			WithNext("start the run again, and check the staging store's disk or network")
	case errors.Is(err, ErrDenied):
		e = fault.New(codes.PermissionDenied, "STAGING_DENIED", "the staging store refuses access").
			WithNext("give Lume's services credentials that may read, write, list and delete in the staging store")
	case errors.Is(err, ErrURL):
		e = fault.New(codes.FailedPrecondition, "STAGING_NOT_FOUND", "the staging store does not exist").
			WithNext("create the bucket that Lume's services are configured with")
	case errors.As(err, &transient):
		e = fault.New(codes.Unavailable, "STAGING_UNAVAILABLE", "the staging store did not answer, or is full").
			WithNext("check the staging store's health and free space; the task is tried again")
	default:
		return cause
	}
	return e.WithMeta("key", key).WithCause(cause)
}
