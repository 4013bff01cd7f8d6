package sqlserver

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	itemsQuery = `SELECT o.object_id, o.type, s.name, o.name FROM sys.objects AS o INNER JOIN sys.schemas AS s ON s.schema_id = o.schema_id
 WHERE o.type IN (N'U', N'V') AND o.is_ms_shipped = 0`

	itemColumnsQuery = `SELECT c.object_id, c.name, t.name, c.max_length, c.precision, c.scale, c.is_nullable
  FROM sys.columns AS c LEFT JOIN sys.types AS t ON t.user_type_id = c.system_type_id
 WHERE c.object_id IN (`
)

// Discover implements connector.Discoverer. It lists what the login may see.
func (c *Connector) Discover(ctx context.Context, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	s, err := c.connect(ctx, "lume/discover")
	if err != nil {
		return nil, "", err
	}
	defer s.close()
	var items []connector.Item
	var ids map[string]int64
	err = steadily(ctx, func() error {
		items, ids, err = listItems(ctx, s, prefix, cursor)
		return err
	})
	if err != nil {
		return nil, "", coded(ctx, err)
	}
	next := ""
	if len(items) > limit {
		items = items[:limit]
		next = items[limit-1].Path
	}
	if len(items) == 0 {
		return items, next, nil
	}
	err = steadily(ctx, func() error { return listColumns(ctx, s, items, ids) })
	return items, next, coded(ctx, err)
}

// listColumns gives items their columns.
func listColumns(ctx context.Context, s *session, items []connector.Item, ids map[string]int64) error {
	index := make(map[int64]int, len(items))
	list := make([]string, len(items))
	for i, item := range items {
		index[ids[item.Path]] = i
		list[i] = strconv.FormatInt(ids[item.Path], 10)
		items[i].Columns = nil
	}
	query := itemColumnsQuery + strings.Join(list, ", ") + ") ORDER BY c.object_id, c.column_id"
	return s.each(ctx, query, nil, func(scan func(...any) error) error {
		var id int64
		var n native
		var base sql.NullString
		if err := scan(&id, &n.name, &base, &n.length, &n.precision, &n.scale, &n.nullable); err != nil {
			return err
		}
		n.base = base.String
		column := connector.ItemColumn{Name: n.name, NativeType: n.declaration(), Nullable: n.nullable}
		if t, ok := typeOf(column.NativeType); ok {
			column.Type = t.String()
		}
		item := &items[index[id]]
		item.Columns = append(item.Columns, column)
		return nil
	})
}

// listItems returns the tables and views after the cursor whose paths have the prefix, in order, and their object ids.
func listItems(ctx context.Context, s *session, prefix, cursor string) ([]connector.Item, map[string]int64, error) {
	var items []connector.Item
	ids := make(map[string]int64)
	err := s.each(ctx, itemsQuery, nil, func(scan func(...any) error) error {
		var id int64
		var kind string
		var name sqlload.Table
		if err := scan(&id, &kind, &name.Schema, &name.Name); err != nil {
			return err
		}
		item := connector.Item{Path: name.String(), Kind: "table", Size: -1}
		if strings.TrimSpace(kind) == "V" {
			item.Kind = "view"
		}
		if strings.HasPrefix(item.Path, prefix) && item.Path > cursor {
			items = append(items, item)
			ids[item.Path] = id
		}
		return nil
	})
	slices.SortFunc(items, func(a, b connector.Item) int { return strings.Compare(a.Path, b.Path) })
	return items, ids, err
}
