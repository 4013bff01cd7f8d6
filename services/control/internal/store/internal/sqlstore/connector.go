package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/lume-data/lume/services/control/internal/store"
)

const connectorColumns = "name, type, description, settings, etag, create_time, update_time"

func scanConnector(row scanner) (store.Connector, error) {
	var (
		c                store.Connector
		settings         []byte
		created, updated int64
	)
	if err := row.Scan(&c.Name, &c.Type, &c.Description, &settings, &c.ETag, &created, &updated); err != nil {
		return c, err
	}
	c.CreateTime, c.UpdateTime = fromMicros(created), fromMicros(updated)
	c.Secrets = map[string]store.SealedSecret{}
	if err := json.Unmarshal(settings, &c.Settings); err != nil {
		return c, fmt.Errorf("decode settings of connector %s: %w", c.Name, err)
	}
	return c, nil
}

// Connector implements [store.ConnectorReader].
func (r reader) Connector(ctx context.Context, name string) (store.Connector, error) {
	return r.connector(ctx, name, "")
}

func (r reader) connector(ctx context.Context, name, lock string) (store.Connector, error) {
	c, err := one(ctx, r.conn, "read connector", scanConnector,
		"SELECT "+connectorColumns+" FROM connectors WHERE name = ?"+lock, name)
	if err != nil {
		return store.Connector{}, err
	}
	list := []store.Connector{c}
	if err := r.addSecrets(ctx, list); err != nil {
		return store.Connector{}, err
	}
	return list[0], nil
}

// ListConnectors implements [store.ConnectorReader].
func (r reader) ListConnectors(ctx context.Context, typ string, p store.Page) ([]store.Connector, string, error) {
	list, err := all(ctx, r.conn, "list connectors", scanConnector,
		"SELECT "+connectorColumns+" FROM connectors WHERE name > ? AND (? = '' OR type = ?) ORDER BY name LIMIT ?",
		p.After, typ, typ, limit(p))
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, func(c store.Connector) string { return c.Name })
	return list, next, r.addSecrets(ctx, list)
}

// addSecrets fills in the secrets of connectors that are in order of their names.
func (r reader) addSecrets(ctx context.Context, list []store.Connector) error {
	if len(list) == 0 {
		return nil
	}
	type secret struct {
		connector, field string
		store.SealedSecret
	}
	secrets, err := all(ctx, r.conn, "read secrets", func(row scanner) (secret, error) {
		var (
			s       secret
			updated int64
		)
		err := row.Scan(&s.connector, &s.field, &s.Sealed, &s.Fingerprint, &updated)
		s.UpdateTime = fromMicros(updated)
		return s, err
	}, "SELECT connector, field, sealed, fingerprint, update_time FROM connector_secrets WHERE connector >= ? AND connector <= ?",
		list[0].Name, list[len(list)-1].Name)
	if err != nil {
		return err
	}
	byName := make(map[string]map[string]store.SealedSecret, len(list))
	for _, c := range list {
		byName[c.Name] = c.Secrets
	}
	for _, s := range secrets {
		if fields := byName[s.connector]; fields != nil {
			fields[s.field] = s.SealedSecret
		}
	}
	return nil
}

func encodeSettings(settings map[string]any) ([]byte, error) {
	if settings == nil {
		settings = map[string]any{}
	}
	return encodeJSON(settings)
}

// CreateConnector implements [store.ConnectorWriter].
func (t *tx) CreateConnector(ctx context.Context, c store.Connector) (store.Connector, error) {
	if err := validValue(c.Settings); err != nil {
		return c, err
	}
	settings, err := encodeSettings(c.Settings)
	if err != nil {
		return c, err
	}
	now, err := t.Now(ctx)
	if err != nil {
		return c, err
	}
	n, err := t.exec(ctx, "create connector", "INSERT INTO connectors ("+connectorColumns+") VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
		c.Name, c.Type, c.Description, settings, newETag(), micros(now), micros(now))
	if err != nil {
		return c, err
	}
	if n == 0 {
		return c, store.ErrExists
	}
	if err := t.insertSecrets(ctx, c); err != nil {
		return c, err
	}
	return t.Connector(ctx, c.Name)
}

func (t *tx) insertSecrets(ctx context.Context, c store.Connector) error {
	now, err := t.Now(ctx)
	if err != nil {
		return err
	}
	for _, field := range slices.Sorted(maps.Keys(c.Secrets)) {
		s := c.Secrets[field]
		if s.UpdateTime.IsZero() {
			s.UpdateTime = now
		}
		if _, err := t.exec(ctx, "store secret",
			"INSERT INTO connector_secrets (connector, field, sealed, fingerprint, update_time) VALUES (?, ?, ?, ?, ?)",
			c.Name, field, nonNil(s.Sealed), s.Fingerprint, micros(s.UpdateTime)); err != nil {
			return err
		}
	}
	return nil
}

// UpdateConnector implements [store.ConnectorWriter].
func (t *tx) UpdateConnector(ctx context.Context, c store.Connector, etag string) (store.Connector, error) {
	if err := validValue(c.Settings); err != nil {
		return c, err
	}
	old, err := t.connector(ctx, c.Name, t.d.ForUpdate)
	if err != nil {
		return c, err
	}
	if err := compareETag(etag, old.ETag); err != nil {
		return c, err
	}
	settings, err := encodeSettings(c.Settings)
	if err != nil {
		return c, err
	}
	now, err := t.Now(ctx)
	if err != nil {
		return c, err
	}
	if _, err := t.exec(ctx, "update connector",
		"UPDATE connectors SET description = ?, settings = ?, etag = ?, update_time = ? WHERE name = ?",
		c.Description, settings, newETag(), micros(now), c.Name); err != nil {
		return c, err
	}
	if _, err := t.exec(ctx, "clear secrets", "DELETE FROM connector_secrets WHERE connector = ?", c.Name); err != nil {
		return c, err
	}
	if err := t.insertSecrets(ctx, c); err != nil {
		return c, err
	}
	return t.Connector(ctx, c.Name)
}

// DeleteConnector implements [store.ConnectorWriter].
func (t *tx) DeleteConnector(ctx context.Context, name, etag string) error {
	old, err := t.connector(ctx, name, t.d.ForUpdate)
	if err != nil {
		return err
	}
	if err := compareETag(etag, old.ETag); err != nil {
		return err
	}
	var runID string
	err = t.get(ctx, "find runs of connector", `
		SELECT r.id FROM runs r
		JOIN version_connectors v ON v.flow = r.flow AND v.number = r.version
		WHERE r.open = 1 AND v.connector = ? ORDER BY r.id LIMIT 1`, []any{name}, &runID)
	switch {
	case err == nil:
		return &store.InUseError{RunID: runID}
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	_, err = t.exec(ctx, "delete connector", "DELETE FROM connectors WHERE name = ?", name)
	return err
}

// RequireConnectors implements [store.ConnectorWriter].
func (t *tx) RequireConnectors(ctx context.Context, names []string) error {
	for _, name := range slices.Compact(slices.Sorted(slices.Values(names))) {
		var found string
		err := t.get(ctx, "find connector", "SELECT name FROM connectors WHERE name = ?"+t.d.ForShare, []any{name}, &found)
		if errors.Is(err, store.ErrNotFound) {
			return &store.MissingError{Kind: "connector", Name: name}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
