package databricks

import (
	"context"
	"slices"
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
	tables, err := c.list(ctx, s, prefix, cursor, limit+1)
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

// list returns the tables whose path starts with prefix, after the cursor, ordered by path: at least so many, if there are.
func (c *Connector) list(ctx context.Context, s *session, prefix, cursor string, atLeast int) ([]listed, error) {
	rows, err := s.values(ctx, "SHOW SCHEMAS IN "+quote(c.catalog))
	if err != nil {
		return nil, err
	}
	// No schema's start of a path is the start of another's, so that paths are ordered as these are.
	schemas, starts := map[string]string{}, []string(nil)
	for _, row := range rows {
		schema := text(row, 0)
		start := strings.TrimSuffix(sqlload.Table{Schema: schema, Name: "x"}.String(), "x")
		possible := strings.HasPrefix(start, prefix) || strings.HasPrefix(prefix, start)
		if ahead := start > cursor || strings.HasPrefix(cursor, start); possible && ahead && schema != "information_schema" {
			schemas[start], starts = schema, append(starts, start)
		}
	}
	slices.Sort(starts)
	var list []listed
	for _, start := range starts {
		if len(list) >= atLeast {
			break
		}
		found, err := c.listSchema(ctx, s, schemas[start])
		if err != nil {
			return nil, err
		}
		for _, t := range found {
			if strings.HasPrefix(t.path, prefix) && t.path > cursor {
				list = append(list, t)
			}
		}
	}
	return list, nil
}

// listSchema returns the tables and views of a schema, ordered by path.
func (c *Connector) listSchema(ctx context.Context, s *session, schema string) ([]listed, error) {
	kinds := map[string]string{}
	// A view is in both listings.
	for _, show := range []struct{ kind, statement string }{{"table", "SHOW TABLES IN "}, {"view", "SHOW VIEWS IN "}} {
		rows, err := s.values(ctx, show.statement+quote(c.catalog)+"."+quote(schema))
		if hasReason(err, schemaNotFound) {
			// It was dropped in the meantime.
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			kinds[text(row, 1)] = show.kind
		}
	}
	list := make([]listed, 0, len(kinds))
	for name, kind := range kinds {
		t := sqlload.Table{Schema: schema, Name: name}
		list = append(list, listed{Table: t, path: t.String(), kind: kind})
	}
	slices.SortFunc(list, func(a, b listed) int { return strings.Compare(a.path, b.path) })
	return list, nil
}
