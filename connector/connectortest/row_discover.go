package connectortest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// discoverTables makes tables and looks for them in one list and in pages. Other tests make and drop tables meanwhile.
func discoverTables(t *testing.T, h RowSourceHarness) {
	src := h.Open(t)
	discoverer, ok := src.(connector.Discoverer)
	require.Equal(t, !h.NoDiscover, ok)
	if !ok {
		return
	}
	var columns []connector.Column
	for i, example := range examples() {
		columns = append(columns, connector.Column{Name: fmt.Sprintf("c%d", i), Type: example.typ})
	}
	tables := []string{h.Fill(t, people(), nil), h.Fill(t, columns, nil), h.Fill(t, people(), nil)}
	all, next, err := discoverer.Discover(t.Context(), "", "", 1000)
	require.NoError(t, err)
	require.Empty(t, next)
	seen := map[string]bool{}
	for _, item := range all {
		require.Contains(t, []string{"table", "view"}, item.Kind)
		require.False(t, seen[item.Path])
		seen[item.Path] = true
		require.NotEmpty(t, item.Columns, item.Path)
		for _, c := range item.Columns {
			require.NotEmpty(t, c.Name)
			require.NotEmpty(t, c.NativeType)
		}
	}
	paged := pages(t, discoverer, "", 2)
	later, _, err := discoverer.Discover(t.Context(), "", "", 1000)
	require.NoError(t, err)
	for _, item := range later {
		// What is in the lists before and after was there all the time.
		if seen[item.Path] {
			require.Contains(t, paged, item.Path, "pages leave out what a list has")
		}
	}
	for _, table := range tables {
		described, err := src.Describe(t.Context(), "SELECT * FROM "+table, false)
		require.NoError(t, err)
		// Other schemas can have tables of the same name.
		var found []connector.Item
		for _, item := range all {
			if lastName(item.Path) == lastName(table) {
				found = append(found, item)
			}
		}
		i := slices.IndexFunc(found, func(item connector.Item) bool {
			return item.Kind == "table" && slices.Equal(shape(described), itemShape(item))
		})
		require.GreaterOrEqual(t, i, 0, "a table %s with %v is not among %v", table, shape(described), found)
		item := found[i]
		if table != tables[0] {
			continue
		}
		// What begins so is listed, and nothing else.
		few := pages(t, discoverer, item.Path, 2)
		require.Contains(t, few, item.Path)
		for _, path := range few {
			require.True(t, strings.HasPrefix(path, item.Path), path)
		}
	}
	require.Empty(t, pages(t, discoverer, "no such path", 2))
}

// shape is the names and types of columns.
func shape(columns []connector.Column) (list []string) {
	for _, c := range columns {
		list = append(list, c.Name+" "+c.Type.String())
	}
	return list
}

func itemShape(item connector.Item) (list []string) {
	for _, c := range item.Columns {
		list = append(list, c.Name+" "+c.Type)
	}
	return list
}

// pages lists the paths with a prefix by pages of a size, in order.
func pages(t *testing.T, d connector.Discoverer, prefix string, size int) (paths []string) {
	t.Helper()
	for cursor := ""; ; {
		items, next, err := d.Discover(t.Context(), prefix, cursor, size)
		require.NoError(t, err)
		require.LessOrEqual(t, len(items), size)
		for _, item := range items {
			if len(paths) > 0 {
				require.Greater(t, item.Path, paths[len(paths)-1], "items are ordered by path")
			}
			paths = append(paths, item.Path)
		}
		if cursor = next; cursor == "" {
			return paths
		}
	}
}

// lastName is the name of a table without its schema and quotes.
func lastName(path string) string {
	name := strings.NewReplacer(`"`, "", "`", "").Replace(path)
	return name[strings.LastIndexByte(name, '.')+1:]
}
