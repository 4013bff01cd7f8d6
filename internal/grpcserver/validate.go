package grpcserver

import (
	"errors"
	"strings"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/fault"
)

var (
	errPanic    = errors.New("a handler panicked")
	errDraining = fault.New(codes.Unavailable, "SERVER_STOPPING", "the server is stopping").
			WithNext("connect again")
	errTooManyFailures = fault.New(codes.ResourceExhausted, fault.ReasonRateLimited, "too many calls with a wrong credential came from this address").
				WithNext("check the API key, then retry in a minute").AsRetryable()
	errTooManyCalls = fault.New(codes.ResourceExhausted, fault.ReasonRateLimited, "this API key calls too often").
			WithNext("retry with a delay that grows").AsRetryable()
)

func errDenied(method string) *fault.Error {
	return fault.New(codes.PermissionDenied, fault.ReasonPermissionDenied, "nobody may call %s", method)
}

func errScope(method string, access typev1.Access) *fault.Error {
	e := fault.New(codes.PermissionDenied, fault.ReasonPermissionDenied, "the credential does not permit %s", method[strings.LastIndexByte(method, '/')+1:])
	if scope := auth.ScopeFor(access); scope != "" {
		return e.WithMeta("scope", string(scope)).WithNext("use an API key with scope %s", scope)
	}
	return e.WithNext("only workers may call it")
}

func serviceOf(method string) string {
	service, _, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	return service
}

// validate checks a request against the rules of its proto.
func (c *chain) validate(req any) error {
	message, ok := req.(proto.Message)
	if !ok {
		return nil
	}
	return Violations("", c.validator.Validate(message))
}

// Violations turns an error of protovalidate into a coded error that lists every wrong field, with prefix before its
// path. Violations(nil) is nil.
func Violations(prefix string, err error) error {
	if err == nil {
		return nil
	}
	var failed *protovalidate.ValidationError
	if !errors.As(err, &failed) {
		return fault.New(codes.Internal, fault.ReasonInternal, "the request could not be validated").WithCause(err)
	}
	violations := make([]fault.Violation, 0, len(failed.Violations))
	for _, v := range failed.Violations {
		field := prefix + protovalidate.FieldPathString(v.Proto.GetField())
		violations = append(violations, fault.Violation{
			Field: strings.TrimSuffix(field, "."), Reason: ruleReason(v.Proto.GetRuleId()), Message: v.Proto.GetMessage(),
		})
	}
	return fault.Invalid(violations...)
}

// ruleReason makes a stable reason of a rule's id: `string.min_len` becomes STRING_MIN_LEN.
func ruleReason(id string) string {
	if id == "" {
		return "INVALID"
	}
	return strings.ToUpper(strings.NewReplacer(".", "_", "-", "_").Replace(id))
}

// validating checks every message that a stream receives.
type validating struct {
	grpc.ServerStream
	chain *chain
}

// RecvMsg implements grpc.ServerStream.
func (v *validating) RecvMsg(m any) error {
	if err := v.ServerStream.RecvMsg(m); err != nil {
		return err
	}
	return v.chain.validate(m)
}
