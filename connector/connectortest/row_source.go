package connectortest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// RowSourceHarness says how to reach a database as a source.
type RowSourceHarness struct {
	// Open opens a link of its own.
	Open func(t *testing.T) connector.RowSource
	// Fill makes a new table of these rows and returns its name as SQL writes it.
	Fill func(t *testing.T, columns []connector.Column, rows []Row) string
	// TextType is the type that an expression of text is cast to, for example `text`.
	TextType string
	// SQL rewrites a query of the suite, in which quotes are doubled in strings and names are in double quotes, for a system that
	// writes these otherwise; nil if it does not.
	SQL func(query string) string
	// Sessions returns how many connections the system counts; nil if there is nobody to ask.
	Sessions func(t *testing.T) int
	// NoNUL is true for systems whose text has no NUL character.
	NoNUL bool
	// NoDiscover is true for sources that list nothing.
	NoDiscover bool
}

// RowSource runs the suite of row sources.
func RowSource(t *testing.T, h RowSourceHarness) {
	tests := []struct {
		name string
		run  func(*testing.T, RowSourceHarness)
	}{
		{"TheBatchIsBoundAsData", batchIsBound},
		{"ABatchComparedWithANumberIsOneOrRefused", batchAsNumber},
		{"OnlyPlaceholdersAreReplaced", placeholders},
		{"AQueryWithoutPlaceholderIsRefused", queryWithoutPlaceholder},
		{"RowsComeInOrderAndWhole", rowsInOrder},
		{"DescribeSaysWhatQueryDelivers", describeAgrees},
		{"NothingCanBeWritten", nothingIsWritten},
		{"WrongQueriesAreCoded", wrongQueries},
		{"AQueryCanBeCutAndClosed", queryIsCut},
		{"DiscoverPagesThroughTables", discoverTables},
	}
	t.Run("Suite", func(t *testing.T) {
		for _, test := range tests {
			t.Run(test.name, func(t *testing.T) {
				t.Parallel()
				test.run(t, h)
			})
		}
	})
	noSessions(t, h.Sessions)
}

// QueryRows runs a query without a placeholder and returns its rows in canonical form for columns.
func QueryRows(t *testing.T, src connector.RowSource, query string, columns []connector.Column) []Row {
	t.Helper()
	stream, err := src.Query(t.Context(), query, "", false)
	require.NoError(t, err)
	rows, err := drain(t, stream, columns)
	require.NoError(t, err)
	return rows
}

// drain reads a stream to its end and closes it. columns are those to read the values as; nil for the stream's own.
func drain(t *testing.T, stream connector.RowStream, columns []connector.Column) ([]Row, error) {
	t.Helper()
	defer func() { require.NoError(t, stream.Close()) }()
	if columns == nil {
		columns = stream.Columns()
	}
	require.Len(t, stream.Columns(), len(columns))
	var rows []Row
	for {
		batch, err := stream.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return rows, nil
		}
		if err != nil {
			return nil, err
		}
		require.EqualValues(t, len(columns), batch.NumCols())
		for i := range int(batch.NumRows()) {
			row := make(Row, len(columns))
			for c := range columns {
				require.Equal(t, stream.Columns()[c].Type.Arrow().String(), batch.Column(c).DataType().String())
				row[c] = Value(t, batch.Column(c), i, columns[c].Type)
			}
			rows = append(rows, row)
		}
		batch.Release()
	}
}

func (h RowSourceHarness) sql(query string) string {
	if h.SQL == nil {
		return query
	}
	return h.SQL(query)
}

func textColumns(names ...string) []connector.Column {
	columns := make([]connector.Column, len(names))
	for i, name := range names {
		columns[i] = connector.Column{Name: name, Type: named(connector.TypeString)}
	}
	return columns
}

func batchIsBound(t *testing.T, h RowSourceHarness) {
	src := h.Open(t)
	query := fmt.Sprintf("SELECT CAST(%s AS %s) AS batch", connector.Placeholder, h.TextType)
	for _, path := range []string{
		"batch-1", "'; DROP TABLE x; --", `"`, "''", `\'; --`, "$1", ":source_path", "?", "a\nb", "%", "日本🙂", strings.Repeat("x", 10_000), " ", "1) OR (1=1",
	} {
		stream, err := src.Query(t.Context(), query, path, true)
		require.NoError(t, err)
		rows, err := drain(t, stream, textColumns("batch"))
		require.NoError(t, err)
		require.Equal(t, []Row{Values(path)}, rows)
	}
	table := h.Fill(t, people(), append(persons(0, 10, "p"), Values("10", "cut")))
	// Text does not end at the character that ends it in C: it is another batch, or refused.
	stream, err := src.Query(t.Context(), "SELECT id FROM "+table+" WHERE name = "+connector.Placeholder, "cut\x00here", true)
	var rows []Row
	if err == nil {
		rows, err = drain(t, stream, nil)
	}
	if h.NoNUL {
		require.Equal(t, connector.KindInvalid, codedError(t, err).Kind)
	} else {
		require.NoError(t, err)
	}
	require.Empty(t, rows)
	stream, err = src.Query(t.Context(), "SELECT id FROM "+table+" WHERE name = "+connector.Placeholder, "p 3' OR '1'='1", true)
	require.NoError(t, err)
	rows, err = drain(t, stream, nil)
	require.NoError(t, err)
	require.Empty(t, rows)
	stream, err = src.Query(t.Context(), "SELECT id FROM "+table+" WHERE name = "+connector.Placeholder+" OR name = "+connector.Placeholder, "p 3", true)
	require.NoError(t, err)
	rows, err = drain(t, stream, nil)
	require.NoError(t, err)
	require.Equal(t, []Row{Values("3")}, rows)
}

func batchAsNumber(t *testing.T, h RowSourceHarness) {
	table := h.Fill(t, people(), persons(5, 9, "p"))
	src := h.Open(t)
	query := "SELECT id FROM " + table + " WHERE id = " + connector.Placeholder
	stream, err := src.Query(t.Context(), query, "7", true)
	require.NoError(t, err)
	rows, err := drain(t, stream, nil)
	require.NoError(t, err)
	require.Equal(t, []Row{Values("7")}, rows)
	rows = nil
	if stream, err = src.Query(t.Context(), query, "no number", true); err == nil {
		rows, err = drain(t, stream, nil)
	}
	if err != nil {
		require.Equal(t, connector.KindInvalid, codedError(t, err).Kind)
	}
	require.Empty(t, rows)
}

func placeholders(t *testing.T, h RowSourceHarness) {
	query := fmt.Sprintf("SELECT ':source_path' AS a, CAST(%s AS %s) AS b, 'it''s :source_path' AS \"c :source_path\" -- :source_path\n/* :source_path */",
		connector.Placeholder, h.TextType)
	stream, err := h.Open(t).Query(t.Context(), h.sql(query), "bound", true)
	require.NoError(t, err)
	require.Equal(t, "c :source_path", stream.Columns()[2].Name)
	rows, err := drain(t, stream, nil)
	require.NoError(t, err)
	require.Equal(t, []Row{Values(":source_path", "bound", "it's :source_path")}, rows)
}

func queryWithoutPlaceholder(t *testing.T, h RowSourceHarness) {
	src := h.Open(t)
	for query, bound := range map[string]bool{
		"SELECT 1 AS x": true,
		"SELECT ':source_path' AS x -- :source_path": true,
		"SELECT " + connector.Placeholder + " AS x":  false,
	} {
		_, err := src.Query(t.Context(), query, "b", bound)
		require.Equal(t, connector.KindInvalid, codedError(t, err).Kind)
		_, err = src.Describe(t.Context(), query, bound)
		require.Equal(t, connector.KindInvalid, codedError(t, err).Kind)
	}
}

func rowsInOrder(t *testing.T, h RowSourceHarness) {
	rows := persons(0, 30_000, "row")
	rows[17][1], rows[18][1] = Null, Text("")
	table := h.Fill(t, people(), rows)
	got := QueryRows(t, h.Open(t), "SELECT id, name FROM "+table+" ORDER BY id", people())
	require.Len(t, got, len(rows))
	for i := range rows {
		require.Equal(t, rows[i].String(), got[i].String())
	}
	require.Empty(t, QueryRows(t, h.Open(t), "SELECT id, name FROM "+table+" WHERE id < 0", people()))
}

func describeAgrees(t *testing.T, h RowSourceHarness) {
	table := h.Fill(t, people(), persons(0, 1, "x"))
	query := h.sql("SELECT id, name AS \"Full Name\" FROM " + table + " WHERE name <> " + connector.Placeholder)
	src := h.Open(t)
	described, err := src.Describe(t.Context(), query, true)
	require.NoError(t, err)
	stream, err := src.Query(t.Context(), query, "b", true)
	require.NoError(t, err)
	require.Equal(t, described, stream.Columns())
	_, err = drain(t, stream, nil)
	require.NoError(t, err)
	require.True(t, strings.EqualFold("id", described[0].Name), "a name that is not quoted is in the system's case")
	require.Equal(t, "Full Name", described[1].Name)
	require.Equal(t, connector.TypeInt64, described[0].Type.Name)
	require.Equal(t, connector.TypeString, described[1].Type.Name)
}

func nothingIsWritten(t *testing.T, h RowSourceHarness) {
	table := h.Fill(t, people(), persons(0, 3, "x"))
	src := h.Open(t)
	for _, query := range []string{
		"DELETE FROM " + table + " WHERE name <> " + connector.Placeholder + " RETURNING id",
		"DELETE FROM " + table + " WHERE name <> " + connector.Placeholder,
		"INSERT INTO " + table + " VALUES (99, " + connector.Placeholder + ") RETURNING id",
		"SELECT id FROM " + table + " WHERE name <> " + connector.Placeholder + "; DELETE FROM " + table,
		"SELECT id FROM " + table + " WHERE name <> " + connector.Placeholder + "; COMMIT; DELETE FROM " + table + "; COMMIT",
		// Where a line's end or nothing ends a statement.
		"SELECT id FROM " + table + " WHERE name <> " + connector.Placeholder + "\nDELETE FROM " + table,
		"SELECT id FROM " + table + " WHERE name <> " + connector.Placeholder + " COMMIT DELETE FROM " + table,
		"COMMIT; DELETE FROM " + table + " WHERE name <> " + connector.Placeholder,
		"WITH gone AS (DELETE FROM " + table + " WHERE name <> " + connector.Placeholder + " RETURNING id) SELECT id FROM gone",
		"WITH all_of_it AS (SELECT " + connector.Placeholder + " AS x) DELETE FROM " + table,
		"DROP TABLE " + table + " -- " + connector.Placeholder,
		"SELECT id FROM " + table + " WHERE name <> " + connector.Placeholder + " DELETE FROM " + table + " COMMIT",
	} {
		stream, err := src.Query(t.Context(), query, "b", true)
		if err == nil {
			_, err = drain(t, stream, nil)
		}
		requireCoded(t, err)
	}
	require.Len(t, QueryRows(t, src, "SELECT id, name FROM "+table, people()), 3)
}

func wrongQueries(t *testing.T, h RowSourceHarness) {
	table := h.Fill(t, people(), nil)
	src := h.Open(t)
	for query, kinds := range map[string][]connector.Kind{
		"SELEC id FROM " + table:              {connector.KindInvalid},
		"SELECT no_such_column FROM " + table: {connector.KindInvalid, connector.KindNotFound},
		"SELECT id FROM no_such_table_at_all": {connector.KindInvalid, connector.KindNotFound},
		"":                                    {connector.KindInvalid},
		"SELECT id, id FROM " + table:         {connector.KindInvalid},
	} {
		_, err := src.Describe(t.Context(), query, false)
		coded := codedError(t, err)
		require.Contains(t, kinds, coded.Kind, "%s: %s", query, coded.Reason)
		_, err = src.Query(t.Context(), query, "", false)
		requireCoded(t, err)
	}
}

func queryIsCut(t *testing.T, h RowSourceHarness) {
	table := h.Fill(t, people(), persons(0, 20_000, "row"))
	src := h.Open(t)
	query := "SELECT id, name FROM " + table
	// Closed before the first batch, after it, and twice.
	for _, batches := range []int{0, 1} {
		stream, err := src.Query(t.Context(), query, "", false)
		require.NoError(t, err)
		for range batches {
			batch, err := stream.Next(t.Context())
			require.NoError(t, err)
			batch.Release()
		}
		require.NoError(t, stream.Close())
		require.NoError(t, stream.Close())
	}
	ctx, cancel := context.WithCancel(t.Context())
	stream, err := src.Query(ctx, query, "", false)
	require.NoError(t, err)
	cancel()
	for err == nil {
		_, err = stream.Next(ctx)
	}
	require.NotErrorIs(t, err, io.EOF, "a cut query does not look like its end")
	_ = stream.Close()
	_, err = src.Query(ctx, query, "", false)
	require.Error(t, err)
}
