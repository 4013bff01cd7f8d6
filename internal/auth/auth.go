package auth

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
)

// Metadata keys that hold credentials.
const (
	APIKeyHeader      = "lume-api-key"
	WorkerTokenHeader = "lume-worker-token"
	bearerHeader      = "authorization"
)

// Kind of a caller.
type Kind int

// Kinds of callers.
const (
	// Client is an application or a person with an API key.
	Client Kind = iota + 1
	// Worker is a stage service or control.
	Worker
)

// Scope is a right of an API key. Each includes those before it.
type Scope string

// Scopes in rising order.
const (
	Read  Scope = "read"
	Run   Scope = "run"
	Edit  Scope = "edit"
	Admin Scope = "admin"
)

var ranks = map[Scope]int{Read: 1, Run: 2, Edit: 3, Admin: 4}

// accessScopes says which scope an access of the protos needs.
var accessScopes = map[typev1.Access]Scope{
	typev1.Access_ACCESS_READ: Read, typev1.Access_ACCESS_RUN: Run,
	typev1.Access_ACCESS_EDIT: Edit, typev1.Access_ACCESS_ADMIN: Admin,
}

// Identity is an authenticated caller.
type Identity struct {
	Kind Kind
	// ID is not secret: the id of the API key, or the worker's name.
	ID     string
	Scopes []Scope
}

// Allows reports whether the caller has an access. Unknown accesses are denied to everybody.
func (i Identity) Allows(access typev1.Access) bool {
	switch access {
	case typev1.Access_ACCESS_PUBLIC:
		return true
	case typev1.Access_ACCESS_WORKER:
		return i.Kind == Worker
	}
	scope, ok := accessScopes[access]
	if !ok {
		return false
	}
	return slices.ContainsFunc(i.Scopes, func(has Scope) bool { return ranks[has] >= ranks[scope] })
}

// ScopeFor returns the scope that an access needs, or the empty scope if no scope gives it.
func ScopeFor(access typev1.Access) Scope { return accessScopes[access] }

// Credentials are what a request brought. They are secret.
type Credentials struct {
	APIKey, WorkerToken string
	// CertificateURIs are the URI names of a client certificate that the TLS layer has verified.
	CertificateURIs []string
}

// String implements fmt.Stringer without the values.
func (Credentials) String() string { return "[redacted]" }

// GoString implements fmt.GoStringer without the values.
func (Credentials) GoString() string { return "[redacted]" }

// IsZero reports whether a request brought none.
func (c Credentials) IsZero() bool {
	return c.APIKey == "" && c.WorkerToken == "" && len(c.CertificateURIs) == 0
}

// FromRequest returns the credentials of an incoming call.
func FromRequest(ctx context.Context) Credentials {
	var c Credentials
	md, _ := metadata.FromIncomingContext(ctx)
	first := func(key string) string {
		if values := md.Get(key); len(values) > 0 {
			return strings.TrimSpace(values[0])
		}
		return ""
	}
	c.APIKey = first(APIKeyHeader)
	c.WorkerToken = first(WorkerTokenHeader)
	if c.APIKey == "" {
		if scheme, key, ok := strings.Cut(first(bearerHeader), " "); ok && strings.EqualFold(scheme, "bearer") {
			c.APIKey = strings.TrimSpace(key)
		}
	}
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok && len(info.State.VerifiedChains) > 0 {
			for _, uri := range info.State.VerifiedChains[0][0].URIs {
				c.CertificateURIs = append(c.CertificateURIs, uri.String())
			}
		}
	}
	return c
}

// Authenticator resolves credentials. It is safe for concurrent use. Errors are coded: UNAUTHENTICATED if they are
// wrong, UNAVAILABLE if it cannot be told.
type Authenticator interface {
	Authenticate(ctx context.Context, credentials Credentials) (Identity, error)
}

// ErrUnauthenticated is the answer to missing or wrong credentials; it does not say which.
var ErrUnauthenticated = fault.New(codes.Unauthenticated, fault.ReasonUnauthenticated, "the request has no valid credential").
	WithNext("send a valid API key as header lume-api-key, or as a bearer token")

// ReasonAPIKeyInvalid is how control answers a stage service about a key that is wrong, expired or revoked. It differs
// from what the stage service gets if its own worker token is wrong.
const ReasonAPIKeyInvalid = "API_KEY_INVALID"

// Combine authenticates workers by workers and everybody else by clients. A request that brings a worker's credential
// is a worker or nobody. Either may be nil: then nobody is of that kind.
func Combine(clients, workers Authenticator) Authenticator { return combined{clients, workers} }

type combined struct{ clients, workers Authenticator }

func (c combined) Authenticate(ctx context.Context, credentials Credentials) (Identity, error) {
	by := c.clients
	if credentials.WorkerToken != "" || (credentials.APIKey == "" && len(credentials.CertificateURIs) > 0) {
		by = c.workers
	}
	if by == nil {
		return Identity{}, ErrUnauthenticated
	}
	return by.Authenticate(ctx, credentials)
}

type identityKey struct{}

// NewContext returns a context of a call by that identity.
func NewContext(ctx context.Context, identity Identity) context.Context {
	return context.WithValue(ctx, identityKey{}, identity)
}

// FromContext returns who calls. It is never read from metadata.
func FromContext(ctx context.Context) (Identity, bool) {
	identity, ok := ctx.Value(identityKey{}).(Identity)
	return identity, ok
}
