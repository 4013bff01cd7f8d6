// Package apikey keeps API keys, of which only a keyed hash is stored, and authenticates clients by them.
package apikey

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/lume-data/lume/internal/auth"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/page"
	"github.com/lume-data/lume/services/control/internal/store"
	"github.com/lume-data/lume/services/control/internal/storefault"
)

const (
	kind = "API key"
	// touchEvery is how coarsely the last use of a key is noted.
	touchEvery = 5 * time.Minute
	// CheckTTL is how long a stage service may keep an answer.
	CheckTTL = 30 * time.Second
)

// Service keeps API keys. It is safe for concurrent use.
type Service struct {
	store  store.Store
	pepper []byte
	pages  []byte
	log    *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	touched map[string]time.Time
}

// New returns the service. pepper keys the hashes, pageKey the page tokens.
func New(s store.Store, pepper, pageKey []byte, log *slog.Logger) *Service {
	return &Service{store: s, pepper: pepper, pages: pageKey, log: log, now: time.Now, touched: make(map[string]time.Time)}
}

// Create makes a key. It is the only time that the key itself can be had.
func (s *Service) Create(ctx context.Context, displayName string, scopes []string, expire time.Time) (store.APIKey, auth.Key, error) {
	if !expire.IsZero() && !expire.After(s.now()) {
		return store.APIKey{}, auth.Key{}, fault.Invalid(fault.Violation{Field: "expire_time", Reason: "PAST", Message: "must be in the future"})
	}
	key := auth.NewKey()
	var stored store.APIKey
	err := s.store.Update(ctx, func(tx store.Tx) (err error) {
		stored, err = tx.CreateAPIKey(ctx, s.record(key, displayName, scopes, expire))
		return err
	})
	return stored, key, storefault.Code(err, kind, key.ID())
}

func (s *Service) record(key auth.Key, displayName string, scopes []string, expire time.Time) store.APIKey {
	return store.APIKey{ID: key.ID(), Hash: key.Hash(s.pepper), DisplayName: displayName, Scopes: scopes, ExpireTime: expire}
}

// List lists keys, newest first, revoked ones included.
func (s *Service) List(ctx context.Context, size int32, token string) ([]store.APIKey, string, error) {
	var after string
	if err := page.Decode(s.pages, token, &after, "apiKeys"); err != nil {
		return nil, "", err
	}
	keys, next, err := s.store.ListAPIKeys(ctx, store.Page{Size: page.Size(size), After: after})
	if err != nil {
		return nil, "", storefault.Code(err, kind, "")
	}
	return keys, page.Encode(s.pages, next, "apiKeys"), nil
}

// Revoke revokes a key for good. The last key that can make others is refused, since nobody could come back from that.
func (s *Service) Revoke(ctx context.Context, id string) (store.APIKey, error) {
	var revoked store.APIKey
	err := s.store.Update(ctx, func(tx store.Tx) error {
		if err := tx.Lock(ctx, "api-keys"); err != nil {
			return err
		}
		last, err := s.lastAdmin(ctx, tx, id)
		if err != nil {
			return err
		}
		if last {
			return fault.New(codes.FailedPrecondition, "LAST_ADMIN_KEY", "API key %s is the last one with scope admin", id).
				WithMeta("api_key", id).WithNext("create another admin key first")
		}
		revoked, err = tx.RevokeAPIKey(ctx, id)
		return err
	})
	if errors.Is(err, store.ErrNotFound) {
		return store.APIKey{}, fault.New(codes.NotFound, "API_KEY_NOT_FOUND", "there is no API key %s", id).
			WithMeta("api_key", id).WithNext("check the id")
	}
	return revoked, storefault.Code(err, kind, id)
}

// lastAdmin reports whether id is a valid admin key and there is no other.
func (s *Service) lastAdmin(ctx context.Context, r store.APIKeyReader, id string) (bool, error) {
	is := false
	p := store.Page{Size: page.MaxSize}
	for {
		keys, next, err := r.ListAPIKeys(ctx, p)
		if err != nil {
			return false, err
		}
		for _, k := range keys {
			if !slices.Contains(k.Scopes, string(auth.Admin)) || !s.valid(k) {
				continue
			}
			if k.ID != id {
				return false, nil
			}
			is = true
		}
		if next == "" {
			return is, nil
		}
		p.After = next
	}
}

// valid reports whether a key is neither revoked nor expired.
func (s *Service) valid(k store.APIKey) bool {
	return k.RevokeTime.IsZero() && (k.ExpireTime.IsZero() || k.ExpireTime.After(s.now()))
}

// Authenticate implements [auth.Authenticator] for clients.
func (s *Service) Authenticate(ctx context.Context, credentials auth.Credentials) (auth.Identity, error) {
	key, err := auth.ParseKey(credentials.APIKey)
	if err != nil {
		return auth.Identity{}, auth.ErrUnauthenticated
	}
	record, err := s.store.APIKey(ctx, key.ID())
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return auth.Identity{}, storefault.Code(err, kind, key.ID())
	}
	// An unknown id is compared as well, so that it takes the same time as a wrong secret.
	if !key.Matches(s.pepper, record.Hash) || err != nil || !s.valid(record) {
		return auth.Identity{}, auth.ErrUnauthenticated
	}
	s.touch(ctx, record)
	identity := auth.Identity{Kind: auth.Client, ID: record.ID}
	for _, scope := range record.Scopes {
		identity.Scopes = append(identity.Scopes, auth.Scope(scope))
	}
	return identity, nil
}

// Check is Authenticate for a stage service's client. ttl is how long the answer may be kept.
func (s *Service) Check(ctx context.Context, key string) (identity auth.Identity, ttl time.Duration, err error) {
	identity, err = s.Authenticate(ctx, auth.Credentials{APIKey: key})
	if errors.Is(err, auth.ErrUnauthenticated) {
		err = fault.New(codes.Unauthenticated, auth.ReasonAPIKeyInvalid, "the API key is unknown, expired or revoked")
	}
	return identity, CheckTTL, err
}

// touch notes the use of a key, coarsely. A failure is only logged: the key is good all the same.
func (s *Service) touch(ctx context.Context, record store.APIKey) {
	now := s.now()
	if now.Sub(record.LastUseTime) < touchEvery || !s.due(record.ID, now) {
		return
	}
	err := s.store.Update(ctx, func(tx store.Tx) error { return tx.TouchAPIKey(ctx, record.ID) })
	if err != nil {
		s.log.WarnContext(ctx, "the use of an API key could not be noted", slog.String("key", record.ID), slog.Any("error", err))
	}
}

// due lets one of several concurrent calls note the use.
func (s *Service) due(id string, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if now.Sub(s.touched[id]) < touchEvery {
		return false
	}
	s.touched[id] = now
	return true
}

// Bootstrap makes the first admin key if there is no key at all, and writes it to a file that its owner alone can read.
// It reports whether it did.
func (s *Service) Bootstrap(ctx context.Context, file string) (bool, error) {
	made := false
	err := s.store.Update(ctx, func(tx store.Tx) error {
		made = false
		if err := tx.Lock(ctx, "api-keys"); err != nil {
			return err
		}
		keys, _, err := tx.ListAPIKeys(ctx, store.Page{Size: 1})
		if err != nil || len(keys) > 0 {
			return err
		}
		// The file comes first: a crash in between leaves a file with an unknown key, which the next start replaces; the
		// other order would leave a key that nobody has.
		key := auth.NewKey()
		if err := writePrivate(file, key.Reveal()+"\n"); err != nil {
			return err
		}
		_, err = tx.CreateAPIKey(ctx, s.record(key, "bootstrap", []string{string(auth.Admin)}, time.Time{}))
		made = err == nil
		return err
	})
	if err != nil {
		return false, fmt.Errorf("make the first API key: %w", err)
	}
	return made, nil
}

// writePrivate replaces a file with mode 0600, whole or not at all.
func writePrivate(path, text string) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the folder of the key file: %w", err)
	}
	temp, err := os.CreateTemp(dir, ".key-*") // Mode 0600.
	if err != nil {
		return fmt.Errorf("make the key file: %w", err)
	}
	defer func() { _ = os.Remove(temp.Name()) }()
	_, err = temp.WriteString(text)
	if err == nil {
		err = temp.Sync()
	}
	if closeErr := temp.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the key file: %w", err)
	}
	return nil
}
