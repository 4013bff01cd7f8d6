package connector

import (
	"context"
	"errors"
	"fmt"
)

// Kind classes an [Error] by what the caller can do about it.
type Kind int

// Kinds of error.
const (
	// KindInternal is a fault of the connector itself.
	KindInternal Kind = iota
	// KindInvalid is a setting, query or definition that can never work.
	KindInvalid
	// KindUnauthenticated is a wrong or missing credential.
	KindUnauthenticated
	// KindPermission is a credential without a right that is needed.
	KindPermission
	// KindNotFound is a missing object, table or column.
	KindNotFound
	// KindConflict is a state that another party must change first, for example a table of another shape.
	KindConflict
	// KindUnavailable is passing: the same call can succeed later.
	KindUnavailable
)

// Error is the only kind of error whose text a client may see. It holds no secret and no driver's text; those are in
// its cause, which goes to the log through a scrubber.
type Error struct {
	Kind Kind
	// Reason is stable and upper-snake, for example TABLE_NOT_FOUND.
	Reason string
	// Message says what happened in one sentence.
	Message string
	// Next says what to do about it; empty if there is nothing to do.
	Next string
	// Column names the column that it is about; empty if none.
	Column string
	// Meta holds every dynamic value of the message.
	Meta map[string]string
	// Cause is the driver's error. It may hold anything.
	Cause error
}

// Error implements error without the cause.
func (e *Error) Error() string { return fmt.Sprintf("%s: %s", e.Reason, e.Message) }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Sentinels that the platform acts on.
var (
	// ErrAborted is returned by Load when an `aborted` marker stands under the run's key whose fence is not lower than the
	// load's: the load must not commit.
	ErrAborted = errors.New("connector: the run was aborted in this target")
	// ErrChanged is returned by a read of a pinned object that has another entity tag by now.
	ErrChanged = errors.New("connector: the object changed while it was read")
)

// AsError returns the *Error in err's chain, or wraps err as an internal one whose text shows nothing.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Kind: KindInternal, Reason: "CONNECTOR_FAULT", Message: "the connector failed; the service's log has the cause", Cause: err}
}

// Fault describes the error for a status: code is the number of the canonical gRPC code.
func (e *Error) Fault() (code uint32, reason, message, next, column string, meta map[string]string) {
	return codeByKind[e.Kind], e.Reason, e.Message, e.Next, e.Column, e.Meta
}

// codeByKind holds canonical gRPC codes; see google.rpc.Code.
var codeByKind = map[Kind]uint32{
	KindInternal:        13,
	KindInvalid:         3,
	KindUnauthenticated: 9, // FAILED_PRECONDITION: the connector's credential is wrong, not the caller's.
	KindPermission:      9,
	KindNotFound:        5,
	KindConflict:        9,
	KindUnavailable:     14,
}

// Passes returns the error of an operation if there is nothing to code in it, whatever a driver's error is: none, one that is coded,
// or that of the operation's context, if it has ended. ok is false for all others.
func Passes(ctx context.Context, err error) (ok bool, _ error) {
	var coded *Error
	switch {
	case err == nil:
		return true, nil
	case errors.As(err, &coded):
		return true, err
	case ctx.Err() != nil:
		return true, ctx.Err()
	}
	return false, nil
}
