// Package storefault codes the errors of the store for clients.
package storefault

import (
	"errors"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/services/control/internal/store"
)

// Code returns a coded error for an error of the store about the thing of that kind (`connector`) and name. Errors that
// are coded already stay as they are; Code(nil) is nil.
func Code(err error, kind, name string) error {
	if err == nil {
		return nil
	}
	var coded *fault.Error
	if errors.As(err, &coded) {
		return err
	}
	var missing *store.MissingError
	if errors.As(err, &missing) {
		kind, name = missing.Kind, missing.Name
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return NotFound(kind, name)
	case errors.Is(err, store.ErrExists):
		return fault.New(codes.AlreadyExists, upper(kind)+"_EXISTS", "there is a %s %s already", kind, name).
			WithMeta(kind, name).WithNext("choose another name, or update the one that exists")
	case errors.Is(err, store.ErrConflict):
		return Conflict(kind, name)
	case errors.Is(err, store.ErrInvalidText):
		return fault.New(codes.InvalidArgument, "INVALID_TEXT", "a text of the request holds a NUL character or is not UTF-8").
			WithNext("send text without them")
	case errors.Is(err, store.ErrInvalidCursor):
		return fault.New(codes.InvalidArgument, "INVALID_PAGE_TOKEN", "the page token is not one that this listing gave out").
			WithNext("start again without page_token")
	case errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrLocked):
		return fault.New(codes.Unavailable, "DATABASE_UNAVAILABLE", "control's database cannot be reached or is too busy").
			WithNext("retry; if it persists see control's log").WithCause(err)
	}
	return err
}

// NotFound is the error of a thing that does not exist.
func NotFound(kind, name string) *fault.Error {
	return fault.New(codes.NotFound, upper(kind)+"_NOT_FOUND", "there is no %s %s", kind, name).
		WithMeta(kind, name).WithNext("check the name; list what exists with `lume %ss list`", plural(kind))
}

// Conflict is the error of an update of something that has changed since it was read.
func Conflict(kind, name string) *fault.Error {
	return fault.New(codes.Aborted, "ETAG_MISMATCH", "%s %s has changed since it was read", kind, name).
		WithMeta(kind, name).WithNext("read it again, apply the change to what is there now, and send its etag")
}

// plural is the stem of the CLI's command for a kind.
func plural(kind string) string {
	if kind == "alias" {
		return "version"
	}
	return kind
}

func upper(kind string) string {
	out := []byte(kind)
	for i, c := range out {
		switch {
		case c >= 'a' && c <= 'z':
			out[i] = c - 'a' + 'A'
		case c == ' ':
			out[i] = '_'
		}
	}
	return string(out)
}
