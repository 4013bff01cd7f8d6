package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/loopback"
	"github.com/lume-data/lume/internal/throttle"
)

// front hardens what reaches the API: it bounds time and size, takes off headers that clients may not set, and limits
// failed sign-ins by address.
type front struct {
	next       http.Handler
	log        *slog.Logger
	propagator propagation.TextMapPropagator
	failures   *throttle.Limiter
	// draining ends when the gateway begins to stop.
	draining context.Context
}

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	from, _, _ := net.SplitHostPort(r.RemoteAddr)
	if !loopback.Is(from) && f.failures.Spent(from) {
		writeError(w, errTooManyFailures)
		return
	}
	for name := range r.Header {
		if name == "Grpc-Timeout" || name == "Forwarded" || strings.HasPrefix(name, "X-Forwarded-") || strings.HasPrefix(name, "Grpc-Metadata-") {
			r.Header.Del(name)
		}
	}
	control := http.NewResponseController(w)
	if err := buffer(w, r, control); err != nil {
		writeError(w, err)
		return
	}
	ctx := f.propagator.Extract(r.Context(), propagation.HeaderCarrier(r.Header))
	if isStream(r) {
		// A stream has no end of its own, so that the gateway ends it when it stops.
		var end context.CancelCauseFunc
		ctx, end = context.WithCancelCause(ctx)
		defer end(nil)
		defer context.AfterFunc(f.draining, func() { end(errStopping) })()
	} else {
		_ = control.SetWriteDeadline(time.Now().Add(answerTimeout)) // Not supported by recorders in tests.
	}
	answer := &recorder{ResponseWriter: w}
	f.next.ServeHTTP(answer, r.WithContext(ctx))
	if answer.status == http.StatusUnauthorized && !loopback.Is(from) {
		f.failures.Allow(from)
	}
	_ = control.SetWriteDeadline(time.Time{})
}

// isStream reports whether an answer has no end of its own.
func isStream(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, ":watch") }

// buffer reads the whole body within its limits, so that a slow sender holds no call open.
func buffer(w http.ResponseWriter, r *http.Request, control *http.ResponseController) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout))
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBodyBytes))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return httpError{fault.New(codes.ResourceExhausted, "BODY_TOO_LARGE", "the body of the request is larger than 4 MiB").
			WithNext("send less in one request"), http.StatusRequestEntityTooLarge}
	case err != nil:
		return fault.New(codes.InvalidArgument, "BODY_INCOMPLETE", "the body of the request did not arrive whole within 30 seconds").WithCause(err)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// recorder remembers the status of an answer.
type recorder struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

// Unwrap lets streams flush.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

// Flush implements http.Flusher.
func (r *recorder) Flush() { _ = http.NewResponseController(r.ResponseWriter).Flush() }
