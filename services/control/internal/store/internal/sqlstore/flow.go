package sqlstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/services/control/internal/store"
)

const flowColumns = "name, spec, latest_version, etag, create_time, update_time"

func scanFlow(row scanner) (store.Flow, error) {
	var (
		f                store.Flow
		spec             []byte
		created, updated int64
	)
	err := row.Scan(&f.Name, &spec, &f.LatestVersion, &f.ETag, &created, &updated)
	if err != nil {
		return f, err
	}
	f.CreateTime, f.UpdateTime = fromMicros(created), fromMicros(updated)
	f.Spec, err = decode[flowv1.Flow](spec)
	return f, err
}

// Flow implements [store.FlowReader].
func (r reader) Flow(ctx context.Context, name string) (store.Flow, error) {
	return r.flow(ctx, name, "")
}

func (r reader) flow(ctx context.Context, name, lock string) (store.Flow, error) {
	return one(ctx, r.conn, "read flow", scanFlow, "SELECT "+flowColumns+" FROM flows WHERE name = ?"+lock, name)
}

// ListFlows implements [store.FlowReader].
func (r reader) ListFlows(ctx context.Context, p store.Page) ([]store.Flow, string, error) {
	list, err := all(ctx, r.conn, "list flows", scanFlow,
		"SELECT "+flowColumns+" FROM flows WHERE name > ? ORDER BY name LIMIT ?", p.After, limit(p))
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, func(f store.Flow) string { return f.Name })
	return list, next, nil
}

// CreateFlow implements [store.FlowWriter].
func (t *tx) CreateFlow(ctx context.Context, f store.Flow) (store.Flow, error) {
	spec, err := encode(f.Spec)
	if err != nil {
		return f, err
	}
	now, err := t.Now(ctx)
	if err != nil {
		return f, err
	}
	n, err := t.exec(ctx, "create flow", "INSERT INTO flows ("+flowColumns+") VALUES (?, ?, 0, ?, ?, ?) ON CONFLICT (name) DO NOTHING",
		f.Name, nonNil(spec), newETag(), micros(now), micros(now))
	if err != nil {
		return f, err
	}
	if n == 0 {
		return f, store.ErrExists
	}
	return t.Flow(ctx, f.Name)
}

// UpdateFlow implements [store.FlowWriter].
func (t *tx) UpdateFlow(ctx context.Context, f store.Flow, etag string) (store.Flow, error) {
	spec, err := encode(f.Spec)
	if err != nil {
		return f, err
	}
	old, err := t.flow(ctx, f.Name, t.d.ForUpdate)
	if err != nil {
		return f, err
	}
	if err := compareETag(etag, old.ETag); err != nil {
		return f, err
	}
	now, err := t.Now(ctx)
	if err != nil {
		return f, err
	}
	if _, err := t.exec(ctx, "update flow", "UPDATE flows SET spec = ?, etag = ?, update_time = ? WHERE name = ?",
		nonNil(spec), newETag(), micros(now), f.Name); err != nil {
		return f, err
	}
	return t.Flow(ctx, f.Name)
}

// DeleteFlow implements [store.FlowWriter].
func (t *tx) DeleteFlow(ctx context.Context, name, etag string) error {
	old, err := t.flow(ctx, name, t.d.ForUpdate)
	if err != nil {
		return err
	}
	if err := compareETag(etag, old.ETag); err != nil {
		return err
	}
	if old.LatestVersion > 0 {
		return store.ErrInUse
	}
	_, err = t.exec(ctx, "delete flow", "DELETE FROM flows WHERE name = ?", name)
	return err
}

const versionColumns = "flow, number, spec, digest, engine, comment, source_columns, connectors, create_time"

func scanVersion(row scanner) (store.Version, error) {
	var (
		v                           store.Version
		spec, columns, connectorSet []byte
		created                     int64
	)
	err := row.Scan(&v.Flow, &v.Number, &spec, &v.Digest, &v.Engine, &v.Comment, &columns, &connectorSet, &created)
	if err != nil {
		return v, err
	}
	v.CreateTime = fromMicros(created)
	if err := json.Unmarshal(columns, &v.SourceColumns); err != nil {
		return v, fmt.Errorf("decode source columns: %w", err)
	}
	if err := json.Unmarshal(connectorSet, &v.Connectors); err != nil {
		return v, fmt.Errorf("decode connectors: %w", err)
	}
	v.Spec, err = decode[flowv1.Flow](spec)
	return v, err
}

// Version implements [store.VersionReader].
func (r reader) Version(ctx context.Context, flow string, number int32) (store.Version, error) {
	return one(ctx, r.conn, "read version", scanVersion,
		"SELECT "+versionColumns+" FROM versions WHERE flow = ? AND number = ?", flow, number)
}

// VersionByDigest implements [store.VersionReader].
func (r reader) VersionByDigest(ctx context.Context, flow, digest string) (store.Version, error) {
	return one(ctx, r.conn, "read version", scanVersion,
		"SELECT "+versionColumns+" FROM versions WHERE flow = ? AND digest = ?", flow, digest)
}

// ListVersions implements [store.VersionReader].
func (r reader) ListVersions(ctx context.Context, flow string, p store.Page) ([]store.Version, string, error) {
	before := int64(1) << 40
	if p.After != "" {
		n, err := strconv.ParseInt(p.After, 10, 32)
		if err != nil {
			return nil, "", store.ErrInvalidCursor
		}
		before = n
	}
	list, err := all(ctx, r.conn, "list versions", scanVersion,
		"SELECT "+versionColumns+" FROM versions WHERE flow = ? AND number < ? ORDER BY number DESC LIMIT ?", flow, before, limit(p))
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, func(v store.Version) string { return strconv.Itoa(int(v.Number)) })
	return list, next, nil
}

// CreateVersion implements [store.VersionWriter].
func (t *tx) CreateVersion(ctx context.Context, v store.Version, flowETag string) (store.Version, error) {
	spec, err := encode(v.Spec)
	if err != nil {
		return v, err
	}
	flow, err := t.flow(ctx, v.Flow, t.d.ForUpdate)
	if err != nil {
		return v, err
	}
	if err := compareETag(flowETag, flow.ETag); err != nil {
		return v, err
	}
	if _, err := t.VersionByDigest(ctx, v.Flow, v.Digest); err == nil {
		return v, store.ErrExists
	} else if !errors.Is(err, store.ErrNotFound) {
		return v, err
	}
	now, err := t.Now(ctx)
	if err != nil {
		return v, err
	}
	v.Number = flow.LatestVersion + 1
	connectorSet := slices.Compact(slices.Sorted(slices.Values(v.Connectors)))
	columnsJSON, err := encodeJSON(nonNilTexts(v.SourceColumns))
	if err != nil {
		return v, err
	}
	connectorsJSON, err := encodeJSON(nonNilTexts(connectorSet))
	if err != nil {
		return v, err
	}
	if _, err := t.exec(ctx, "create version", "INSERT INTO versions ("+versionColumns+") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
		v.Flow, v.Number, nonNil(spec), v.Digest, v.Engine, v.Comment, columnsJSON, connectorsJSON, micros(now)); err != nil {
		return v, err
	}
	for _, name := range connectorSet {
		if _, err := t.exec(ctx, "note connectors of version",
			"INSERT INTO version_connectors (connector, flow, number) VALUES (?, ?, ?)", name, v.Flow, v.Number); err != nil {
			return v, err
		}
	}
	if _, err := t.exec(ctx, "count version", "UPDATE flows SET latest_version = ? WHERE name = ?", v.Number, v.Flow); err != nil {
		return v, err
	}
	return t.Version(ctx, v.Flow, v.Number)
}

func nonNilTexts(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}

const aliasColumns = "flow, name, version, etag, update_time"

func scanAlias(row scanner) (store.Alias, error) {
	var (
		a       store.Alias
		updated int64
	)
	err := row.Scan(&a.Flow, &a.Name, &a.Version, &a.ETag, &updated)
	a.UpdateTime = fromMicros(updated)
	return a, err
}

// Alias implements [store.AliasReader].
func (r reader) Alias(ctx context.Context, flow, name string) (store.Alias, error) {
	return r.alias(ctx, flow, name, "")
}

func (r reader) alias(ctx context.Context, flow, name, lock string) (store.Alias, error) {
	return one(ctx, r.conn, "read alias", scanAlias,
		"SELECT "+aliasColumns+" FROM aliases WHERE flow = ? AND name = ?"+lock, flow, name)
}

// ListAliases implements [store.AliasReader].
func (r reader) ListAliases(ctx context.Context, flow string, p store.Page) ([]store.Alias, string, error) {
	list, err := all(ctx, r.conn, "list aliases", scanAlias,
		"SELECT "+aliasColumns+" FROM aliases WHERE flow = ? AND name > ? ORDER BY name LIMIT ?", flow, p.After, limit(p))
	if err != nil {
		return nil, "", err
	}
	list, next := page(list, p, func(a store.Alias) string { return a.Name })
	return list, next, nil
}

// SetAlias implements [store.AliasWriter].
func (t *tx) SetAlias(ctx context.Context, a store.Alias, etag string) (store.Alias, error) {
	if _, err := t.Version(ctx, a.Flow, a.Version); err != nil {
		return a, err
	}
	if etag != "" {
		old, err := t.alias(ctx, a.Flow, a.Name, t.d.ForUpdate)
		if errors.Is(err, store.ErrNotFound) {
			return a, store.ErrConflict
		}
		if err != nil {
			return a, err
		}
		if err := compareETag(etag, old.ETag); err != nil {
			return a, err
		}
	}
	now, err := t.Now(ctx)
	if err != nil {
		return a, err
	}
	if _, err := t.exec(ctx, "set alias", "INSERT INTO aliases ("+aliasColumns+`) VALUES (?, ?, ?, ?, ?)
		ON CONFLICT (flow, name) DO UPDATE SET version = excluded.version, etag = excluded.etag, update_time = excluded.update_time`,
		a.Flow, a.Name, a.Version, newETag(), micros(now)); err != nil {
		return a, err
	}
	return t.Alias(ctx, a.Flow, a.Name)
}

// DeleteAlias implements [store.AliasWriter].
func (t *tx) DeleteAlias(ctx context.Context, flow, name, etag string) error {
	old, err := t.alias(ctx, flow, name, t.d.ForUpdate)
	if err != nil {
		return err
	}
	if err := compareETag(etag, old.ETag); err != nil {
		return err
	}
	_, err = t.exec(ctx, "delete alias", "DELETE FROM aliases WHERE flow = ? AND name = ?", flow, name)
	return err
}
