package fault

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// From returns the coded error in err's chain. A gRPC status, a context's end and anything with a Fault method (such
// as connector errors) are translated; every other error becomes INTERNAL with a text that shows nothing, and stays
// the cause. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var described interface {
		error
		Fault() (code uint32, reason, message, next, column string, meta map[string]string)
	}
	if errors.As(err, &described) {
		code, reason, message, next, column, meta := described.Fault()
		c := codes.Code(code)
		return &Error{
			Code: c, Reason: reason, Message: message, Next: next, Column: column, Meta: meta,
			Retryable: passing(c), Cause: errors.Unwrap(described),
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return generic(codes.DeadlineExceeded, err)
	case errors.Is(err, context.Canceled):
		return generic(codes.Canceled, err)
	}
	var rpc interface{ GRPCStatus() *status.Status }
	if errors.As(err, &rpc) {
		return fromStatus(rpc.GRPCStatus(), err)
	}
	return generic(codes.Internal, err)
}

// passing reports whether a code alone says that a retry can help.
func passing(code codes.Code) bool {
	return code == codes.Unavailable || code == codes.Aborted || code == codes.DeadlineExceeded
}

// generic returns what may be said of an error of which only the code may be shown.
func generic(code codes.Code, cause error) *Error {
	e := &Error{Code: code, Reason: CodeName(code), Retryable: passing(code), Cause: cause}
	switch code {
	case codes.Canceled:
		e.Message = "the caller cancelled the request"
	case codes.DeadlineExceeded:
		e.Message, e.Next = "the request did not finish in time", "retry, with a longer deadline if it persists"
	case codes.Unavailable:
		e.Message, e.Next = "a service that is needed cannot be reached", "retry; if it persists check that all Lume services are up"
	case codes.Unimplemented:
		e.Message, e.Next = "the server does not have this method", "check that client and server have the same version"
	case codes.Unauthenticated:
		e.Message, e.Next = "the request has no valid credential", "send an API key as header lume-api-key"
	case codes.PermissionDenied:
		e.Message = "the credential does not permit this call"
	case codes.InvalidArgument:
		e.Message = "the request is not valid"
	case codes.NotFound:
		e.Message = "it does not exist"
	case codes.AlreadyExists:
		e.Message = "it exists already"
	case codes.FailedPrecondition:
		e.Message = "the state of the system does not permit this call"
	case codes.Aborted:
		e.Message, e.Next = "another request changed the same thing at the same time", "read it again and retry"
	case codes.OutOfRange:
		e.Message = "a value is out of range"
	case codes.ResourceExhausted:
		e.Message, e.Next = "a limit was reached: the message is too large, or there are too many requests", "send less, or retry later"
	case codes.DataLoss:
		e.Message = "data was lost or is damaged"
	default:
		e.Code, e.Reason = codes.Internal, ReasonInternal
		e.Message, e.Next = "the service failed", "the service's log has the cause under this request's trace id"
	}
	return e
}
