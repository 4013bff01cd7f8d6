package auth

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"

	controlv1 "github.com/lume-data/lume/gen/lume/control/v1"
	"github.com/lume-data/lume/internal/fault"
)

const (
	// cacheTTL is the longest time for which an answer of control is kept.
	cacheTTL = 30 * time.Second
	// cacheSize bounds the cache; wrong keys are never kept.
	cacheSize = 4096
	// checkTimeout bounds a question to control.
	checkTimeout = 10 * time.Second
)

// keyChecker is what Remote needs of control's TaskService.
type keyChecker interface {
	CheckApiKey(ctx context.Context, in *controlv1.CheckApiKeyRequest, opts ...grpc.CallOption) (*controlv1.CheckApiKeyResponse, error)
}

// remote asks control about API keys and keeps its answers for their ttl.
type remote struct {
	control keyChecker
	now     func() time.Time

	mu    sync.Mutex
	known map[[sha256.Size]byte]answer
}

type answer struct {
	identity Identity
	until    time.Time
}

// Remote authenticates clients of a stage service by asking control. Keys that control accepts are cached for at most
// 30 seconds, so a revoked one works that much longer; keys in the wrong form are refused without asking.
func Remote(control keyChecker) Authenticator {
	return &remote{control: control, now: time.Now, known: make(map[[sha256.Size]byte]answer)}
}

// Authenticate implements [Authenticator].
func (r *remote) Authenticate(ctx context.Context, credentials Credentials) (Identity, error) {
	if _, err := ParseKey(credentials.APIKey); err != nil {
		return Identity{}, ErrUnauthenticated
	}
	key := sha256.Sum256([]byte(credentials.APIKey))
	if identity, ok := r.lookup(key); ok {
		return identity, nil
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	response, err := r.control.CheckApiKey(ctx, &controlv1.CheckApiKeyRequest{Key: credentials.APIKey})
	if err != nil {
		if e := fault.From(err); e.Code == codes.Unauthenticated && e.Reason == ReasonAPIKeyInvalid {
			return Identity{}, ErrUnauthenticated
		}
		return Identity{}, fault.New(codes.Unavailable, "AUTHENTICATION_UNAVAILABLE", "control cannot be asked about the API key").
			WithNext("retry; if it persists check that control is up and the worker token is right").WithCause(err)
	}
	identity := Identity{Kind: Client, ID: response.GetKeyId()}
	for _, scope := range response.GetScopes() {
		identity.Scopes = append(identity.Scopes, Scope(scope))
	}
	r.keep(key, identity, min(response.GetTtl().AsDuration(), cacheTTL))
	return identity, nil
}

func (r *remote) lookup(key [sha256.Size]byte) (Identity, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a, ok := r.known[key]
	if !ok || r.now().After(a.until) {
		return Identity{}, false
	}
	return a.identity, true
}

func (r *remote) keep(key [sha256.Size]byte, identity Identity, ttl time.Duration) {
	if ttl <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.known) >= cacheSize {
		clear(r.known)
	}
	r.known[key] = answer{identity: identity, until: r.now().Add(ttl)}
}
