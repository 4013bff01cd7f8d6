package grpcserver

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"regexp"
	"runtime/debug"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	middleware "github.com/grpc-ecosystem/go-grpc-middleware/v2"
	"github.com/grpc-ecosystem/go-grpc-middleware/v2/interceptors/recovery"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/loopback"
	"github.com/lume-data/lume/internal/scrub"
	"github.com/lume-data/lume/internal/throttle"
)

// RequestIDHeader carries the id of a request, both ways.
const RequestIDHeader = "x-request-id"

// requestIDForm is what a client's own request id must look like; others are replaced.
var requestIDForm = regexp.MustCompile(`^[0-9A-Za-z._-]{1,64}$`)

// scrubber takes credentials out of URLs in causes. Secrets that it cannot know were scrubbed where they are known.
var scrubber = scrub.New()

// chain holds what the interceptors share.
type chain struct {
	log       *slog.Logger
	auth      auth.Authenticator
	validator protovalidate.Validator
	access    *atomic.Pointer[accessTable]
	draining  <-chan struct{}
	// failures limits failed sign-ins by address, calls all calls by key.
	failures, calls *throttle.Limiter
}

// call is what is known of one call. The outer interceptors make it, the inner ones fill it in for the access log.
type call struct {
	id     string
	caller string
}

type callKey struct{}

// RequestID returns the id of the request that ctx belongs to, or the empty string.
func RequestID(ctx context.Context) string {
	if c, ok := ctx.Value(callKey{}).(*call); ok {
		return c.id
	}
	return ""
}

func (c *chain) unary() []grpc.UnaryServerInterceptor {
	return []grpc.UnaryServerInterceptor{
		recovery.UnaryServerInterceptor(recovery.WithRecoveryHandlerContext(c.recovered)),
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			return next(identify(ctx), req)
		},
		func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			start := time.Now()
			resp, err := next(ctx, req)
			return resp, c.finish(ctx, info.FullMethod, start, err)
		},
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			ctx, cancel := context.WithTimeout(ctx, MaxUnary)
			defer cancel()
			return next(ctx, req)
		},
		func(ctx context.Context, req any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			ctx, err := c.admit(ctx, info.FullMethod)
			if err != nil {
				return nil, err
			}
			return next(ctx, req)
		},
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := c.validate(req); err != nil {
				return nil, err
			}
			return next(ctx, req)
		},
	}
}

func (c *chain) stream() []grpc.StreamServerInterceptor {
	return []grpc.StreamServerInterceptor{
		recovery.StreamServerInterceptor(recovery.WithRecoveryHandlerContext(c.recovered)),
		func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			return next(srv, withContext(identify(ss.Context()), ss))
		},
		func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			start := time.Now()
			return c.finish(ss.Context(), info.FullMethod, start, next(srv, ss))
		},
		c.endOnDrain,
		func(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			ctx, err := c.admit(ss.Context(), info.FullMethod)
			if err != nil {
				return err
			}
			return next(srv, withContext(ctx, ss))
		},
		func(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
			return next(srv, &validating{ServerStream: ss, chain: c})
		},
	}
}

func withContext(ctx context.Context, ss grpc.ServerStream) grpc.ServerStream {
	wrapped := middleware.WrapServerStream(ss)
	wrapped.WrappedContext = ctx
	return wrapped
}

// recovered turns a panic into an INTERNAL error; its value and stack go to the log.
func (c *chain) recovered(ctx context.Context, p any) error {
	c.log.ErrorContext(ctx, "a handler panicked", slog.Any("panic", p), slog.String("stack", string(debug.Stack())))
	return fault.From(errPanic).GRPCStatus().Err()
}

// identify gives the call an id: the client's, if it has the right form, or a random one. It is sent back.
func identify(ctx context.Context) context.Context {
	own := &call{}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		if ids := md.Get(RequestIDHeader); len(ids) > 0 && requestIDForm.MatchString(ids[0]) {
			own.id = ids[0]
		}
	}
	if own.id == "" {
		own.id = rand.Text()
	}
	_ = grpc.SetHeader(ctx, metadata.Pairs(RequestIDHeader, own.id)) // Fails only outside of a call.
	return context.WithValue(ctx, callKey{}, own)
}

// finish writes the access log and makes the status that the client gets. Neither holds a request or an answer.
func (c *chain) finish(ctx context.Context, method string, start time.Time, err error) error {
	attrs := []slog.Attr{
		slog.String("method", method), slog.Duration("duration", time.Since(start)), slog.String("peer", address(ctx)),
	}
	if own, ok := ctx.Value(callKey{}).(*call); ok {
		attrs = append(attrs, slog.String("request_id", own.id), slog.String("caller", own.caller))
	}
	if err == nil {
		level := slog.LevelInfo
		if access, ok := builtIn(serviceOf(method), true); ok && access == typev1.Access_ACCESS_PUBLIC {
			level = slog.LevelDebug
		}
		c.log.LogAttrs(ctx, level, "call", append(attrs, slog.String("code", "OK"))...)
		return nil
	}
	e := fault.From(err)
	level := slog.LevelInfo
	switch e.Code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
		level = slog.LevelError
	case codes.Unavailable, codes.ResourceExhausted, codes.DeadlineExceeded:
		level = slog.LevelWarn
	}
	c.log.LogAttrs(ctx, level, "call", append(attrs, slog.String("code", fault.CodeName(e.Code)), slog.Any("error", scrubber.Error(e)))...)
	return fault.ToStatus(e).Err()
}

// endOnDrain cancels a stream when the server begins to stop, so that a stop need not wait for watchers.
func (c *chain) endOnDrain(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	ctx, cancel := context.WithCancelCause(ss.Context())
	defer cancel(nil)
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-c.draining:
			cancel(errDraining)
		case <-done:
		}
	}()
	err := next(srv, withContext(ctx, ss))
	if err != nil && context.Cause(ctx) == error(errDraining) {
		return errDraining
	}
	return err
}

// admit authenticates a call, checks its access and takes it off its key's rate.
func (c *chain) admit(ctx context.Context, method string) (context.Context, error) {
	table := c.access.Load()
	if table == nil {
		return nil, errDenied(method)
	}
	access, ok := (*table)[method]
	if !ok {
		return nil, errDenied(method)
	}
	if access == typev1.Access_ACCESS_PUBLIC {
		return ctx, nil
	}
	from := address(ctx)
	if c.failures.Spent(from) {
		return nil, errTooManyFailures
	}
	identity, err := c.auth.Authenticate(ctx, auth.FromRequest(ctx))
	if err != nil {
		// The gateway and everything else on this machine shares its addresses; the gateway has its own limit.
		if fault.From(err).Code == codes.Unauthenticated && !loopback.Is(from) {
			c.failures.Allow(from)
		}
		return nil, err
	}
	if own, ok := ctx.Value(callKey{}).(*call); ok {
		own.caller = identity.ID
	}
	if !identity.Allows(access) {
		return nil, errScope(method, access)
	}
	if identity.Kind == auth.Client && !c.calls.Allow(identity.ID) {
		return nil, errTooManyCalls
	}
	return auth.NewContext(ctx, identity), nil
}

// address is the IP of the peer, without its port.
func address(ctx context.Context) string {
	p, ok := peer.FromContext(ctx)
	if !ok || p.Addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(p.Addr.String())
	if err != nil {
		return p.Addr.String()
	}
	return host
}
