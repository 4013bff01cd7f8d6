package databricks

import (
	"context"
	"sort"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Discover implements connector.Discoverer: tables and views of all schemas of the connector's catalog.
func (c *Connector) Discover(ctx context.Context, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	s, err := c.connect(ctx)
	if err != nil {
		return nil, "", err
	}
	defer s.close()
	tables, err := c.list(ctx, s, prefix, cursor)
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(tables) > limit {
		tables = tables[:limit]
		next = tables[limit-1].path
	}
	items := make([]connector.Item, 0, len(tables))
	for _, t := range tables {
		found, err := c.lookup(ctx, s, t.Table)
		if hasReason(err, tableNotFound) {
			// It was dropped in the meantime.
			continue
		}
		if err != nil {
			return nil, "", err
		}
		item := connector.Item{Path: t.path, Kind: t.kind, Size: -1}
		for _, col := range found.columns {
			typ, _ := typeOf(col.native)
			item.Columns = append(item.Columns, connector.ItemColumn{Name: col.name, Type: typ.String(), NativeType: col.native, Nullable: true})
		}
		items = append(items, item)
	}
	return items, next, nil
}

// listed is a table or view of a listing.
type listed struct {
	sqlload.Table
	path, kind string
}

// list returns the tables whose path starts with prefix, after the cursor, ordered by path.
func (c *Connector) list(ctx context.Context, s *session, prefix, cursor string) ([]listed, error) {
	schemas, err := s.values(ctx, "SHOW SCHEMAS IN "+quote(c.catalog))
	if err != nil {
		return nil, err
	}
	var list []listed
	for _, row := range schemas {
		schema := text(row, 0)
		if schema == "information_schema" {
			continue
		}
		start := sqlload.Table{Schema: schema, Name: "x"}.String()
		if start = start[:len(start)-1]; !strings.HasPrefix(start, prefix) && !strings.HasPrefix(prefix, start) {
			continue
		}
		for kind, show := range map[string]string{"view": "SHOW VIEWS IN ", "table": "SHOW TABLES IN "} {
			found, err := s.values(ctx, show+quote(c.catalog)+"."+quote(schema))
			if err != nil {
				return nil, err
			}
			for _, row := range found {
				t := sqlload.Table{Schema: schema, Name: text(row, 1)}
				if path := t.String(); strings.HasPrefix(path, prefix) && path > cursor {
					list = append(list, listed{Table: t, path: path, kind: kind})
				}
			}
		}
	}
	// A view is in both listings: its line as a view goes first and stays.
	sort.Slice(list, func(i, j int) bool {
		return list[i].path < list[j].path || list[i].path == list[j].path && list[i].kind > list[j].kind
	})
	kept := list[:0]
	for i, t := range list {
		if i == 0 || t.path != kept[len(kept)-1].path {
			kept = append(kept, t)
		}
	}
	return kept, nil
}
