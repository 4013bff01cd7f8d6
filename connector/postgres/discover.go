package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/lume-data/lume/connector"
)

// itemsQuery lists the tables and views that the role may read or write, by path in byte order. Parts of a path are
// quoted as sqlload.Table does.
const itemsQuery = `
WITH item AS (
  SELECT c.oid, CASE WHEN c.relkind IN ('v', 'm') THEN 'view' ELSE 'table' END AS kind,
         CASE WHEN n.nspname ~ '[".]|^\s|\s$' THEN '"' || replace(n.nspname, '"', '""') || '"' ELSE n.nspname::text END || '.' ||
         CASE WHEN c.relname ~ '[".]|^\s|\s$' THEN '"' || replace(c.relname, '"', '""') || '"' ELSE c.relname::text END AS path
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
   WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND NOT c.relispartition AND n.nspname <> 'information_schema' AND n.nspname !~ '^pg_'
     AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT, INSERT')
)
SELECT oid, kind, path FROM item
 WHERE starts_with(path, $1) AND path COLLATE "C" > $2
 ORDER BY path COLLATE "C" LIMIT $3`

const itemColumnsQuery = `
SELECT a.attrelid, a.attname::text, a.atttypid, a.atttypmod, format_type(a.atttypid, a.atttypmod), t.typtype = 'e', NOT a.attnotnull
  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
 WHERE a.attrelid = ANY($1::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
 ORDER BY a.attrelid, a.attnum`

// Discover implements connector.Discoverer.
func (c *Connector) Discover(ctx context.Context, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	conn, err := c.connect(ctx, checkApplication)
	if err != nil {
		return nil, "", err
	}
	defer closeConn(ctx, conn)
	rows, err := conn.Query(ctx, itemsQuery, prefix, cursor, int64(limit)+1)
	if err != nil {
		return nil, "", coded(ctx, err)
	}
	var items []connector.Item
	var oids []uint32
	index := make(map[uint32]int)
	item, oid := connector.Item{Size: -1}, uint32(0)
	_, err = pgx.ForEachRow(rows, []any{&oid, &item.Kind, &item.Path}, func() error {
		index[oid] = len(items)
		items, oids = append(items, item), append(oids, oid)
		return nil
	})
	if err != nil {
		return nil, "", coded(ctx, err)
	}
	next := ""
	if len(items) > limit {
		items, oids = items[:limit], oids[:limit]
		next = items[limit-1].Path
	}
	if rows, err = conn.Query(ctx, itemColumnsQuery, oids); err != nil {
		return nil, "", coded(ctx, err)
	}
	var column connector.ItemColumn
	var typeOID uint32
	var mod int32
	var enum bool
	_, err = pgx.ForEachRow(rows, []any{&oid, &column.Name, &typeOID, &mod, &column.NativeType, &enum, &column.Nullable}, func() error {
		t, _ := decoderOf(typeOID, mod, enum)
		column.Type = t.String()
		items[index[oid]].Columns = append(items[index[oid]].Columns, column)
		return nil
	})
	return items, next, coded(ctx, err)
}
