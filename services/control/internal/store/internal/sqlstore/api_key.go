package sqlstore

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"github.com/lume-data/lume/services/control/internal/store"
)

const apiKeyColumns = "id, hash, display_name, scopes, create_time, expire_time, last_use_time, revoke_time"

func scanAPIKey(row scanner) (store.APIKey, error) {
	var (
		k                               store.APIKey
		scopes                          []byte
		created, expires, used, revoked int64
	)
	if err := row.Scan(&k.ID, &k.Hash, &k.DisplayName, &scopes, &created, &expires, &used, &revoked); err != nil {
		return k, err
	}
	k.CreateTime, k.ExpireTime = fromMicros(created), fromMicros(expires)
	k.LastUseTime, k.RevokeTime = fromMicros(used), fromMicros(revoked)
	if err := json.Unmarshal(scopes, &k.Scopes); err != nil {
		return k, fmt.Errorf("decode scopes: %w", err)
	}
	return k, nil
}

// APIKey implements [store.APIKeyReader].
func (r reader) APIKey(ctx context.Context, id string) (store.APIKey, error) {
	return one(ctx, r.conn, "read API key", scanAPIKey, "SELECT "+apiKeyColumns+" FROM api_keys WHERE id = ?", id)
}

// ListAPIKeys implements [store.APIKeyReader].
func (r reader) ListAPIKeys(ctx context.Context, p store.Page) ([]store.APIKey, string, error) {
	var (
		before   = int64(1) << 62
		beforeID string
	)
	if p.After != "" {
		at, id, ok := strings.Cut(p.After, ".")
		n, err := strconv.ParseInt(at, 10, 64)
		if !ok || err != nil {
			return nil, "", store.ErrInvalidCursor
		}
		before, beforeID = n, id
	}
	list, err := all(ctx, r.conn, "list API keys", scanAPIKey, "SELECT "+apiKeyColumns+` FROM api_keys
		WHERE create_time < ? OR (create_time = ? AND id < ?) ORDER BY create_time DESC, id DESC LIMIT ?`,
		before, before, beforeID, limit(p))
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, func(k store.APIKey) string {
		return strconv.FormatInt(micros(k.CreateTime), 10) + "." + k.ID
	})
	return list, next, nil
}

// CreateAPIKey implements [store.APIKeyWriter].
func (t *tx) CreateAPIKey(ctx context.Context, k store.APIKey) (store.APIKey, error) {
	scopes, err := encodeJSON(nonNilTexts(k.Scopes))
	if err != nil {
		return k, err
	}
	now, err := t.Now(ctx)
	if err != nil {
		return k, err
	}
	n, err := t.exec(ctx, "create API key", "INSERT INTO api_keys ("+apiKeyColumns+") VALUES (?, ?, ?, ?, ?, ?, 0, 0) ON CONFLICT (id) DO NOTHING",
		k.ID, nonNil(k.Hash), k.DisplayName, scopes, micros(now), micros(k.ExpireTime))
	if err != nil {
		return k, err
	}
	if n == 0 {
		return k, store.ErrExists
	}
	return t.APIKey(ctx, k.ID)
}

// RevokeAPIKey implements [store.APIKeyWriter].
func (t *tx) RevokeAPIKey(ctx context.Context, id string) (store.APIKey, error) {
	now, err := t.Now(ctx)
	if err != nil {
		return store.APIKey{}, err
	}
	if _, err := t.exec(ctx, "revoke API key", "UPDATE api_keys SET revoke_time = ? WHERE id = ? AND revoke_time = 0", micros(now), id); err != nil {
		return store.APIKey{}, err
	}
	return t.APIKey(ctx, id)
}

// TouchAPIKey implements [store.APIKeyWriter].
func (t *tx) TouchAPIKey(ctx context.Context, id string) error {
	now, err := t.Now(ctx)
	if err != nil {
		return err
	}
	_, err = t.exec(ctx, "touch API key", "UPDATE api_keys SET last_use_time = ? WHERE id = ? AND last_use_time < ?", micros(now), id, micros(now))
	return err
}
