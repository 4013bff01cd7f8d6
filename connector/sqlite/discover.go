package sqlite

import (
	"context"
	"errors"

	"modernc.org/sqlite"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// selectOnly lets the connection compile nothing but SELECTs from now on: no other file can be attached, and no pragma read.
func (s *session) selectOnly() error {
	return s.Raw(func(driverConn any) error {
		conn, ok := driverConn.(sqlite.AuthorizerRegisterer)
		if !ok {
			return errors.New("the driver has no authorizer")
		}
		return conn.RegisterAuthorizer(func(action sqlite.AuthorizerActionCode, _, _, _, _ string) sqlite.AuthorizerReturnCode {
			switch action {
			case sqlite.AuthSelect, sqlite.AuthRead, sqlite.AuthFunction, sqlite.AuthRecursive:
				return sqlite.AuthorizerOK
			}
			return sqlite.AuthorizerDeny
		})
	})
}

// itemsQuery lists tables and views by path in byte order. Names are quoted as sqlload.Table does.
const itemsQuery = `
SELECT name, type, path FROM (
  SELECT name, type, CASE WHEN instr(name, '.') OR instr(name, '"') OR trim(name) <> name THEN '"' || replace(name, '"', '""') || '"' ELSE name END AS path
    FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\_%' ESCAPE '\'
)
 WHERE substr(path, 1, length(?1)) = ?1 AND path > ?2 ORDER BY path LIMIT ?3`

// Discover implements connector.Discoverer.
func (c *Connector) Discover(ctx context.Context, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	s, err := c.connect(ctx, readOnly)
	if err != nil {
		return nil, "", err
	}
	defer s.close()
	rows, err := s.QueryContext(ctx, itemsQuery, prefix, cursor, limit+1)
	if err != nil {
		return nil, "", coded(ctx, err)
	}
	defer rows.Close()
	var items []connector.Item
	var names []string
	for rows.Next() {
		item, name := connector.Item{Size: -1}, ""
		if err := rows.Scan(&name, &item.Kind, &item.Path); err != nil {
			return nil, "", coded(ctx, err)
		}
		items, names = append(items, item), append(names, name)
	}
	if err := rows.Err(); err != nil {
		return nil, "", coded(ctx, err)
	}
	next := ""
	if len(items) > limit {
		items = items[:limit]
		next = items[limit-1].Path
	}
	for i := range items {
		if items[i].Columns, err = s.itemColumns(ctx, sqlload.Table{Name: names[i]}); err != nil {
			return nil, "", err
		}
	}
	return items, next, nil
}

func (s *session) itemColumns(ctx context.Context, t sqlload.Table) ([]connector.ItemColumn, error) {
	rows, err := s.QueryContext(ctx, `SELECT name, type, NOT "notnull" AND pk = 0 FROM pragma_table_xinfo(?) WHERE hidden <> 1`, t.Name)
	if err != nil {
		return nil, coded(ctx, err)
	}
	defer rows.Close()
	var columns []connector.ItemColumn
	for rows.Next() {
		var c connector.ItemColumn
		if err := rows.Scan(&c.Name, &c.NativeType, &c.Nullable); err != nil {
			return nil, coded(ctx, err)
		}
		c.Type = string(typeOf(c.NativeType))
		columns = append(columns, c)
	}
	return columns, coded(ctx, rows.Err())
}
