package gateway

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/textproto"
	"regexp"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/lume-data/lume/internal/fault"
)

// forwarded are the headers that become metadata, under these keys.
var forwarded = map[string]string{
	"X-Request-Id":    "x-request-id",
	"Idempotency-Key": "idempotency-key",
	"Traceparent":     "traceparent",
	"Lume-Api-Key":    "lume-api-key",
}

// answers says how messages are written. Fields without a value are written too, except messages and optional fields,
// so that programs find every number and list.
var answers = protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}

// errorJSON writes errors: without fields that say nothing.
var errorJSON = protojson.MarshalOptions{UseProtoNames: true}

func newMux() *runtime.ServeMux {
	useStrictQuery()
	return runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, &marshaler{runtime.JSONPb{
			MarshalOptions: answers, UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: false},
		}}),
		runtime.WithIncomingHeaderMatcher(func(name string) (string, bool) {
			key, ok := forwarded[textproto.CanonicalMIMEHeaderKey(name)]
			return key, ok
		}),
		runtime.WithOutgoingHeaderMatcher(func(key string) (string, bool) {
			return "X-Request-Id", key == "x-request-id"
		}),
		runtime.WithErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, _ *http.Request, err error) {
			writeError(w, readable(err))
		}),
		runtime.WithStreamErrorHandler(func(ctx context.Context, err error) *status.Status {
			if errors.Is(context.Cause(ctx), errStopping) {
				err = errStopping
			}
			return fault.ToStatus(readable(err))
		}),
		runtime.WithRoutingErrorHandler(func(_ context.Context, _ *runtime.ServeMux, _ runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
			writeError(w, errRoute(r, code))
		}),
		runtime.WithDisablePathLengthFallback(),
		runtime.WithDisableHTTPMethodOverride(),
	)
}

// marshaler writes the errors of streams in the shape of all others.
type marshaler struct{ runtime.JSONPb }

// Marshal implements runtime.Marshaler.
func (m *marshaler) Marshal(v any) ([]byte, error) { return m.JSONPb.Marshal(inShape(v)) }

// NewEncoder implements runtime.Marshaler.
func (m *marshaler) NewEncoder(w io.Writer) runtime.Encoder {
	encoder := m.JSONPb.NewEncoder(w)
	return runtime.EncoderFunc(func(v any) error { return encoder.Encode(inShape(v)) })
}

func inShape(v any) any {
	chunk, ok := v.(map[string]proto.Message)
	if !ok {
		return v
	}
	s, ok := chunk["error"].(*spb.Status)
	if !ok {
		return v
	}
	return map[string]proto.Message{"error": fault.From(status.FromProto(s).Err()).Proto()}
}

var (
	// The texts that grpc-gateway and protojson make of a request that cannot be read. They can repeat a value of the
	// request, which may be a secret; only names and places are taken from them.
	unknownField  = regexp.MustCompile(`\(line (\d+):(\d+)\): unknown field "([^"]*)"`)
	placeInBody   = regexp.MustCompile(`\(line (\d+):(\d+)\)`)
	wrongValueFor = regexp.MustCompile(`invalid value for \S+ field ([A-Za-z0-9_]+)`)
	wrongParam    = regexp.MustCompile(`(?:type mismatch, parameter: |parsing (?:field|list|map key|map value) "|(?:too many values for|duplicate) field ")([A-Za-z0-9_.]+)`)
	unknownParam  = regexp.MustCompile(`^unknown parameter "([^"]{1,100})"$`)
)

// readable gives errors of the gateway itself, which hold a library's text, a text of their own.
func readable(err error) error {
	s, ok := status.FromError(err)
	if !ok || s.Code() != codes.InvalidArgument || len(s.Details()) > 0 {
		return err
	}
	const reason = "MALFORMED_REQUEST"
	malformed := fault.New(codes.InvalidArgument, reason, "the request cannot be read").
		WithNext("compare the request with /openapi.json").WithCause(err)
	text := s.Message()
	if m := unknownField.FindStringSubmatch(text); m != nil {
		malformed.Message = "the body has the unknown field " + m[3] + " at line " + m[1] + ", column " + m[2]
		return malformed.WithViolation(m[3], "UNKNOWN_FIELD", "there is no such field")
	}
	if m := wrongValueFor.FindStringSubmatch(text); m != nil {
		malformed.Message = "the value of field " + m[1] + " has the wrong type"
		return malformed.WithViolation(m[1], "WRONG_TYPE", "the value has the wrong type")
	}
	if m := wrongParam.FindStringSubmatch(text); m != nil {
		malformed.Message = "the value of parameter " + m[1] + " has the wrong type"
		return malformed.WithViolation(m[1], "WRONG_TYPE", "the value has the wrong type")
	}
	if m := unknownParam.FindStringSubmatch(text); m != nil {
		malformed.Message = "there is no parameter " + m[1]
		return malformed.WithViolation(m[1], "UNKNOWN_FIELD", "there is no such parameter")
	}
	if m := placeInBody.FindStringSubmatch(text); m != nil {
		malformed.Message = "the body is not valid JSON of this request: line " + m[1] + ", column " + m[2]
	}
	return malformed
}

func errRoute(r *http.Request, code int) error {
	where := r.Method + " " + r.URL.Path
	switch code {
	case http.StatusMethodNotAllowed:
		return httpError{fault.New(codes.Unimplemented, "METHOD_NOT_ALLOWED", "%s is not a call of this API", where).
			WithNext("see /openapi.json for the methods of this path"), code}
	case http.StatusBadRequest:
		return fault.New(codes.InvalidArgument, "MALFORMED_REQUEST", "the path cannot be read").WithNext("see /openapi.json")
	}
	return fault.New(codes.NotFound, "NO_SUCH_ROUTE", "%s is not a call of this API", where).
		WithNext("see /openapi.json for all paths")
}

// httpError has a status of its own.
type httpError struct {
	fault  *fault.Error
	status int
}

func (h httpError) Error() string { return h.fault.Error() }
func (h httpError) Unwrap() error { return h.fault }

// errStopping ends streams when the gateway stops.
var errStopping = fault.New(codes.Unavailable, "SERVER_STOPPING", "the server is stopping").WithNext("connect again")

var errTooManyFailures = fault.New(codes.ResourceExhausted, fault.ReasonRateLimited, "too many calls with a wrong credential came from this address").
	WithNext("check the API key, then retry in a minute").AsRetryable()

func errNotReady(err error) error {
	e := fault.From(err)
	if e.Code == codes.Unavailable {
		return e
	}
	return fault.New(codes.Unavailable, "NOT_READY", "the service cannot do its work now").WithNext("see the service's log").WithCause(err)
}

// writeError writes the one error object with the HTTP status of its code.
func writeError(w http.ResponseWriter, err error) {
	e := fault.From(err)
	code := runtime.HTTPStatusFromCode(e.Code)
	if h, ok := err.(httpError); ok { //nolint:errorlint // It is never wrapped.
		code = h.status
	}
	body, marshalErr := errorJSON.Marshal(e.Proto())
	if marshalErr != nil {
		body = []byte(`{"code":"INTERNAL","reason":"INTERNAL","message":"the error cannot be shown"}`)
	}
	if e.Code == codes.Unauthenticated {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	if e.Reason == fault.ReasonRateLimited {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, code, body)
}

func writeJSON(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write(body) // The client is gone if it fails.
	if !strings.HasSuffix(string(body), "\n") {
		_, _ = w.Write([]byte("\n"))
	}
}
