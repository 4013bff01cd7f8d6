package mysql

import (
	"context"

	"github.com/lume-data/lume/connector"
)

// itemsQuery lists the columns of the tables and views that the user may see, by path in byte order. Parts of a path are quoted
// as sqlload.Table does. A table's columns come with it, so that no table can vanish between them.
const itemsQuery = `
SELECT i.kind, i.path, c.column_name, c.data_type, c.column_type, coalesce(c.numeric_precision, 0), coalesce(c.numeric_scale, -1), c.is_nullable = 'YES'
  FROM (
    SELECT * FROM (
      SELECT table_schema, table_name, CASE WHEN table_type IN ('VIEW', 'SYSTEM VIEW') THEN 'view' ELSE 'table' END AS kind, CAST(CONCAT(
               CASE WHEN table_schema REGEXP '[".]|^[[:space:]]|[[:space:]]$' THEN CONCAT('"', REPLACE(table_schema, '"', '""'), '"') ELSE table_schema END, '.',
               CASE WHEN table_name REGEXP '[".]|^[[:space:]]|[[:space:]]$' THEN CONCAT('"', REPLACE(table_name, '"', '""'), '"') ELSE table_name END) AS BINARY) AS path
        FROM information_schema.tables
       WHERE table_schema NOT IN ('information_schema', 'mysql', 'performance_schema', 'sys') AND table_type IN ('BASE TABLE', 'VIEW', 'SYSTEM VERSIONED')
    ) listed
     WHERE LEFT(path, LENGTH(?)) = CAST(? AS BINARY) AND path > CAST(? AS BINARY)
     ORDER BY path LIMIT ?
  ) i JOIN information_schema.columns c ON c.table_schema = i.table_schema AND c.table_name = i.table_name
 ORDER BY i.path, c.ordinal_position`

// Discover implements connector.Discoverer.
func (c *Connector) Discover(ctx context.Context, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	s, err := c.connect(ctx, anonymous())
	if err != nil {
		return nil, "", err
	}
	defer s.close(ctx)
	var items []connector.Item
	var kind, path, typ string
	var n native
	var column connector.ItemColumn
	err = s.each(ctx, itemsQuery, []any{prefix, prefix, cursor, int64(limit) + 1},
		[]any{&kind, &path, &column.Name, &typ, &column.NativeType, &n.precision, &n.scale, &column.Nullable}, func() error {
			if len(items) == 0 || items[len(items)-1].Path != path {
				items = append(items, connector.Item{Path: path, Kind: kind, Size: -1})
			}
			column.Type = typeOf(driverName(typ, column.NativeType), n.precision, n.scale).String()
			last := &items[len(items)-1]
			last.Columns = append(last.Columns, column)
			return nil
		})
	if err != nil {
		return nil, "", err
	}
	next := ""
	if len(items) > limit {
		items = items[:limit]
		next = items[limit-1].Path
	}
	return items, next, nil
}
