package snowflake

import (
	"context"
	"slices"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	itemsQuery = "SELECT table_schema AS owner, table_name AS name, table_type AS kind FROM INFORMATION_SCHEMA.TABLES WHERE table_schema <> 'INFORMATION_SCHEMA'"

	itemColumnsQuery = "SELECT table_schema AS owner, table_name AS item, column_name AS name, data_type AS type, numeric_precision AS digits, numeric_scale AS scale, " +
		"datetime_precision AS fraction, character_maximum_length AS length, is_nullable AS nullable " +
		"FROM INFORMATION_SCHEMA.COLUMNS WHERE table_schema <> 'INFORMATION_SCHEMA' AND table_schema >= ? AND table_schema <= ? ORDER BY table_schema, table_name, ordinal_position"
)

// Discover implements connector.Discoverer. It lists tables and views of the database that the role may see. The order is
// that of the paths' bytes, which no collation of the server is asked for.
func (c *Connector) Discover(ctx context.Context, prefix, cursor string, limit int) ([]connector.Item, string, error) {
	s, err := c.connect(ctx, "lume/discover")
	if err != nil {
		return nil, "", err
	}
	defer s.close()
	rows, err := s.records(ctx, itemsQuery)
	if err != nil {
		return nil, "", err
	}
	type named struct {
		connector.Item
		table sqlload.Table
	}
	var found []named
	for _, r := range rows {
		t := sqlload.Table{Schema: r["owner"], Name: r["name"]}
		item := connector.Item{Path: t.String(), Kind: "table", Size: -1}
		if strings.Contains(r["kind"], "VIEW") {
			item.Kind = "view"
		}
		if strings.HasPrefix(item.Path, prefix) && item.Path > cursor {
			found = append(found, named{item, t})
		}
	}
	slices.SortFunc(found, func(a, b named) int { return strings.Compare(a.Path, b.Path) })
	next := ""
	if len(found) > limit {
		found = found[:limit]
		next = found[limit-1].Path
	}
	if len(found) == 0 {
		return nil, "", nil
	}
	schemas := make([]string, len(found))
	index := make(map[sqlload.Table]int, len(found))
	for i, f := range found {
		schemas[i], index[f.table] = f.table.Schema, i
	}
	columns, err := s.records(ctx, itemColumnsQuery, slices.Min(schemas), slices.Max(schemas))
	if err != nil {
		return nil, "", err
	}
	for _, r := range columns {
		i, ok := index[sqlload.Table{Schema: r["owner"], Name: r["item"]}]
		if !ok {
			continue
		}
		n := nativeOf(r)
		found[i].Columns = append(found[i].Columns, connector.ItemColumn{Name: n.name, Type: n.flowType(), NativeType: n.String(), Nullable: n.nullable})
	}
	items := make([]connector.Item, len(found))
	for i, f := range found {
		items[i] = f.Item
	}
	return items, next, nil
}

// flowType is the type as which a query reads the column, or nothing if it reads none.
func (n native) flowType() string {
	logical := strings.ToLower(n.typ)
	switch logical {
	case "number":
		logical = "fixed"
	case "float":
		logical = "real"
	}
	t, ok := typeOf(logical, n.precision, n.scale)
	if !ok {
		return ""
	}
	return t.String()
}
