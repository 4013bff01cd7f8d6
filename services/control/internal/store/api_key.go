package store

import (
	"context"
	"time"
)

// APIKey is a client's key, of which only a hash is kept.
type APIKey struct {
	// ID is part of the key itself and not secret.
	ID string
	// Hash is a keyed hash of the secret part.
	Hash        []byte
	DisplayName string
	// Scopes among read, run, edit, admin.
	Scopes []string
	// CreateTime is set by the store.
	CreateTime time.Time
	// ExpireTime, LastUseTime and RevokeTime are zero if they never were.
	ExpireTime, LastUseTime, RevokeTime time.Time
}

// APIKeyReader reads keys.
type APIKeyReader interface {
	// APIKey returns ErrNotFound if there is none of that id. Revoked and expired keys are found.
	APIKey(ctx context.Context, id string) (APIKey, error)
	// ListAPIKeys lists newest first, revoked ones included.
	ListAPIKeys(ctx context.Context, page Page) (keys []APIKey, next string, err error)
}

// APIKeyWriter writes keys.
type APIKeyWriter interface {
	// CreateAPIKey returns the record as stored, or ErrExists.
	CreateAPIKey(ctx context.Context, k APIKey) (APIKey, error)
	// RevokeAPIKey revokes for good; a key that is revoked stays as it is. ErrNotFound if there is none.
	RevokeAPIKey(ctx context.Context, id string) (APIKey, error)
	// TouchAPIKey notes that the key was used now. Call it coarsely.
	TouchAPIKey(ctx context.Context, id string) error
}
