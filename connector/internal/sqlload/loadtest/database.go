package loadtest

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Link is a connector to a database that is a source and a target.
type Link interface {
	connector.Target
	connector.RowSource
}

// Database is a fresh database with a link to it.
type Database struct {
	Link Link
	// Exec runs statements, separated by semicolons, in a session of its own.
	Exec func(statements string)
	// Text runs a query for one value past the connector, and returns it as the system's own client writes it; NULL for NULL.
	Text func(query string) string
	// Sessions counts the link's sessions at the server. Kill ends them.
	Sessions func() int
	Kill     func()
}

// Opener makes a fresh database for a test.
type Opener func(t *testing.T) Database

// Modes are the modes of a load.
var Modes = []connector.Mode{connector.Append, connector.Upsert, connector.Replace}

// Spec is a target in the database's own schema. Bookkeeping, and a missing table, are created.
func Spec(mode connector.Mode, table string, columns []connector.Column) connector.TargetSpec {
	return connector.TargetSpec{Name: "main", Table: table, Mode: mode, Columns: columns, Create: true}
}

// All reads a query to its end and returns its rows, values separated by |.
func All(t *testing.T, link connector.RowSource, query, path string, bound bool) []string {
	t.Helper()
	stream, err := link.Query(t.Context(), query, path, bound)
	require.NoError(t, err, "%v", errors.Unwrap(err))
	defer func() { require.NoError(t, stream.Close()) }()
	var rows []string
	for {
		batch, err := stream.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return rows
		}
		require.NoError(t, err, "%v", errors.Unwrap(err))
		for i := range int(batch.NumRows()) {
			rows = append(rows, strings.Join(Texts(batch, i), "|"))
		}
		batch.Release()
	}
}

// Texts are the values of a row as Arrow writes them.
func Texts(batch arrow.RecordBatch, row int) []string {
	out := make([]string, batch.NumCols())
	for i, col := range batch.Columns() {
		out[i] = col.ValueStr(row)
	}
	return out
}

// Discovered pages through what a link discovers below a prefix, one item a page, and returns kinds and paths.
func Discovered(t *testing.T, link connector.Discoverer, prefix string) (list []string) {
	t.Helper()
	for cursor := ""; ; {
		items, next, err := link.Discover(t.Context(), prefix, cursor, 1)
		require.NoError(t, err)
		for _, item := range items {
			list = append(list, item.Kind+" "+item.Path)
		}
		if cursor = next; cursor == "" {
			return list
		}
	}
}

// Described requires what a link says of queries that it does not run: the columns of one, as names and types, and the reasons
// for which it refuses others.
func Described(t *testing.T, link connector.RowSource, query string, columns []string, refused map[string]string) {
	t.Helper()
	described, err := link.Describe(t.Context(), query, true)
	require.NoError(t, err)
	var got []string
	for _, c := range described {
		got = append(got, c.Name+" "+c.Type.String())
	}
	require.Equal(t, columns, got)
	for query, reason := range refused {
		_, err := link.Describe(t.Context(), query, false)
		require.Equal(t, reason, connector.AsError(err).Reason, "%s: %v", query, err)
	}
}
