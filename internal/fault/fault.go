// Package fault holds the one error object of Lume and turns it into a gRPC status, the only place where one is built.
//
// The package that owns a failure codes it once, with a stable reason, a message for a person and the next thing to
// do. What must not be shown (a driver's text, SQL, paths) goes into the cause, which is for the log alone.
package fault

import (
	"fmt"
	"log/slog"
	"maps"
	"slices"

	"google.golang.org/grpc/codes"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
)

// Reasons that are not tied to one domain.
const (
	ReasonInternal         = "INTERNAL"
	ReasonCancelled        = "CANCELLED"
	ReasonDeadlineExceeded = "DEADLINE_EXCEEDED"
	ReasonUnavailable      = "UNAVAILABLE"
	ReasonInvalidArgument  = "INVALID_ARGUMENT"
	ReasonUnauthenticated  = "UNAUTHENTICATED"
	ReasonPermissionDenied = "PERMISSION_DENIED"
	ReasonRateLimited      = "RATE_LIMITED"
)

// Error is a coded error. Treat it as immutable: the With methods return copies.
type Error struct {
	Code codes.Code
	// Reason is stable and upper-snake.
	Reason string
	// Message says what happened in one sentence.
	Message string
	// Next says what to do; empty if there is nothing to do.
	Next string
	// Stage that failed; unspecified outside of a run.
	Stage typev1.Stage
	// Column that the error is about; empty if none.
	Column string
	// Coordinate of the record that the error is about; nil if none.
	Coordinate *typev1.Coordinate
	// Meta holds the dynamic values of the message by name.
	Meta map[string]string
	// Violations lists the wrong fields of a request.
	Violations []Violation
	// Retryable is true if the same request can succeed later without a change.
	Retryable bool
	// Cause is for the log only.
	Cause error
}

// Violation is one wrong field of a request.
type Violation struct {
	Field, Reason, Message string
}

// New returns an error. It is retryable if the code is Unavailable.
func New(code codes.Code, reason, format string, args ...any) *Error {
	return &Error{Code: code, Reason: reason, Message: fmt.Sprintf(format, args...), Retryable: code == codes.Unavailable}
}

// Invalid returns an INVALID_ARGUMENT error with its violations. It must have at least one.
func Invalid(violations ...Violation) *Error {
	e := New(codes.InvalidArgument, ReasonInvalidArgument, "%s", summary(violations))
	e.Violations = violations
	return e
}

func summary(violations []Violation) string {
	switch len(violations) {
	case 0:
		return "the request is not valid"
	case 1:
		return violations[0].Field + ": " + violations[0].Message
	}
	return fmt.Sprintf("%d fields are wrong; the first is %s: %s", len(violations), violations[0].Field, violations[0].Message)
}

// Error implements error without the cause.
func (e *Error) Error() string { return e.Reason + ": " + e.Message }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// LogValue implements slog.LogValuer: everything but values, the cause included.
func (e *Error) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.String("code", CodeName(e.Code)), slog.String("reason", e.Reason), slog.String("message", e.Message),
	}
	if e.Cause != nil {
		attrs = append(attrs, slog.String("cause", e.Cause.Error()))
	}
	return slog.GroupValue(attrs...)
}

func (e *Error) clone() *Error {
	c := *e
	c.Meta = maps.Clone(e.Meta)
	c.Violations = slices.Clone(e.Violations)
	return &c
}

// WithNext sets what to do next.
func (e *Error) WithNext(format string, args ...any) *Error {
	c := e.clone()
	c.Next = fmt.Sprintf(format, args...)
	return c
}

// WithMeta sets one dynamic value.
func (e *Error) WithMeta(key, value string) *Error {
	c := e.clone()
	if c.Meta == nil {
		c.Meta = make(map[string]string, 1)
	}
	c.Meta[key] = value
	return c
}

// WithCause sets the cause, which only the log gets.
func (e *Error) WithCause(err error) *Error {
	c := e.clone()
	c.Cause = err
	return c
}

// WithColumn sets the column that it is about.
func (e *Error) WithColumn(column string) *Error {
	c := e.clone()
	c.Column = column
	return c
}

// WithStage sets the stage that failed.
func (e *Error) WithStage(stage typev1.Stage) *Error {
	c := e.clone()
	c.Stage = stage
	return c
}

// WithCoordinate sets the record that it is about.
func (e *Error) WithCoordinate(at *typev1.Coordinate) *Error {
	c := e.clone()
	c.Coordinate = at
	return c
}

// WithViolation adds one wrong field.
func (e *Error) WithViolation(field, reason, message string) *Error {
	c := e.clone()
	c.Violations = append(c.Violations, Violation{Field: field, Reason: reason, Message: message})
	return c
}

// AsRetryable marks that the same request can succeed later.
func (e *Error) AsRetryable() *Error {
	c := e.clone()
	c.Retryable = true
	return c
}
