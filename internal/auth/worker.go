package auth

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"slices"
	"strings"
)

// MinWorkerToken is the least length of a worker token in bytes.
const MinWorkerToken = 24

// workerURI is how certificates of workers name them: spiffe://lume/<role>.
const workerURI = "spiffe://lume/"

// workers knows worker tokens by hash, so that comparing them takes the same time for all lengths.
type workers struct {
	hashes [][sha256.Size]byte
	roles  []string
	scopes []Scope
}

// WorkerTokens authenticates workers by one of tokens (several while they are rotated) or by a verified client
// certificate with the name spiffe://lume/worker or spiffe://lume/control. Workers also get scopes: none in control;
// [Edit] in stage services, which control asks on its clients' behalf. An empty or short token is an error.
func WorkerTokens(tokens []string, scopes ...Scope) (Authenticator, error) {
	w := &workers{roles: []string{"worker", "control"}, scopes: scopes}
	for i, token := range tokens {
		if len(token) < MinWorkerToken {
			return nil, fmt.Errorf("worker token %d is shorter than %d characters: use random text", i+1, MinWorkerToken)
		}
		w.hashes = append(w.hashes, sha256.Sum256([]byte(token)))
	}
	return w, nil
}

// Authenticate implements [Authenticator].
func (w *workers) Authenticate(_ context.Context, credentials Credentials) (Identity, error) {
	if credentials.WorkerToken != "" {
		hash := sha256.Sum256([]byte(credentials.WorkerToken))
		found := 0
		for i := range w.hashes {
			found |= subtle.ConstantTimeCompare(hash[:], w.hashes[i][:])
		}
		if found == 1 {
			return Identity{Kind: Worker, ID: "worker", Scopes: w.scopes}, nil
		}
		return Identity{}, ErrUnauthenticated
	}
	for _, uri := range credentials.CertificateURIs {
		if role, ok := strings.CutPrefix(uri, workerURI); ok && slices.Contains(w.roles, role) {
			return Identity{Kind: Worker, ID: role, Scopes: w.scopes}, nil
		}
	}
	return Identity{}, ErrUnauthenticated
}
