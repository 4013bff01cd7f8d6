package sqlserver_test

import (
	"errors"
	"io"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/sqlserver/tdstest"
)

// read returns the columns of a query and the values of its first row as text.
func read(t *testing.T, b *bundle, query string) ([]connector.Column, []string) {
	t.Helper()
	stream, err := b.link.Query(t.Context(), query, "", false)
	require.NoError(t, err, "%v", errors.Unwrap(err))
	defer func() { require.NoError(t, stream.Close()) }()
	batch, err := stream.Next(t.Context())
	require.NoError(t, err, "%v", errors.Unwrap(err))
	defer batch.Release()
	values := make([]string, batch.NumCols())
	for i := range values {
		values[i] = batch.Column(i).ValueStr(0)
	}
	_, err = stream.Next(t.Context())
	require.ErrorIs(t, err, io.EOF)
	return stream.Columns(), values
}

func TestTypesOfTheServerAreReadExactly(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, c := range [][3]string{
		{"CAST(255 AS tinyint)", "int16", "255"}, {"CAST(-32768 AS smallint)", "int16", "-32768"}, {"CAST(7 AS int)", "int32", "7"},
		{"CAST(9223372036854775807 AS bigint)", "int64", "9223372036854775807"}, {"CAST(1 AS bit)", "bool", "true"},
		{"CAST(N'922337203685477.5807' AS money)", "decimal(19,4)", "922337203685477.5807"}, {"CAST(N'-922337203685477.5808' AS money)", "decimal(19,4)", "-922337203685477.5808"},
		{"CAST(N'-214748.3648' AS smallmoney)", "decimal(10,4)", "-214748.3648"},
		{"CAST(N'12345678901234567890.123456789012345678' AS decimal(38,18))", "decimal(38,18)", "12345678901234567890.123456789012345678"},
		{"CAST(N'-0.01' AS numeric(5,2))", "decimal(5,2)", "-0.01"}, {"CAST(0.5 AS real)", "float32", "0.5"}, {"CAST(0.1 AS float)", "float64", "0.1"},
		{"CAST(N'0001-01-01' AS date)", "date", "0001-01-01"}, {"CAST(N'9999-12-31' AS date)", "date", "9999-12-31"},
		{"CAST(N'23:59:59.999999' AS time(6))", "time", "23:59:59.999999"},
		{"CAST(N'2024-02-29 23:59:59.123456' AS datetime2(7))", "timestamp", "2024-02-29T23:59:59.123456"},
		{"CAST(N'2024-02-29T12:34:56.007' AS datetime)", "timestamp", "2024-02-29T12:34:56.007"},
		{"CAST(N'2024-02-29T12:34:00' AS smalldatetime)", "timestamp", "2024-02-29T12:34:00"},
		{"CAST(N'2024-02-29 01:30:00.5 +05:30' AS datetimeoffset(6))", "timestamptz", "2024-02-28T20:00:00.5Z"},
		{"CAST(N'123e4567-e89b-12d3-a456-426614174000' AS uniqueidentifier)", "uuid", "123e4567-e89b-12d3-a456-426614174000"},
		{"CAST(N'日本🙂' AS nvarchar(20))", "string", "日本🙂"}, {"CAST(N'x' AS varchar(5))", "string", "x"}, {"CAST(N'<a/>' AS xml)", "string", "<a/>"},
	} {
		columns, values := read(t, b, "SELECT "+c[0]+" AS v")
		require.Equal(t, c[1], columns[0].Type.String(), c[0])
		require.Equal(t, c[2], values[0], c[0])
	}
}

func TestATypeWithoutAnExactFormIsRefusedByName(t *testing.T) {
	t.Parallel()
	b := setup(t)
	query := "SELECT CAST(1 AS int) AS ok, CAST(N'x' AS sql_variant) AS whatever"
	_, err := b.link.Describe(t.Context(), query, false)
	e := coded(t, err, "QUERY_COLUMN_TYPE")
	require.Equal(t, "whatever", e.Column)
	require.Contains(t, e.Message, "sql_variant")
	_, err = b.link.Query(t.Context(), query, "", false)
	coded(t, err, "QUERY_COLUMN_TYPE")
	_, err = b.link.Describe(t.Context(), "SELECT COUNT(*) FROM sys.tables", false)
	coded(t, err, "QUERY_COLUMN_NAMES")
}

func TestASecondResultIsNotLeftOutInSilence(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stream, err := b.link.Query(t.Context(), "SELECT 1 AS [x] (SELECT 2 AS [y])", "", false)
	for err == nil {
		_, err = stream.Next(t.Context())
	}
	// A server that does not take that for two statements does not take it at all.
	require.Contains(t, []string{"QUERY_STATEMENTS", "QUERY_SYNTAX"}, connector.AsError(err).Reason)
	if stream != nil {
		require.NoError(t, stream.Close())
	}
}

func TestAQueryThatNoSnapshotCanAnswerSaysSo(t *testing.T) {
	t.Parallel()
	for _, number := range []int32{3952, 7420} {
		server, b, _ := faulty(t)
		server.FailNext("SELECT 1 AS one", tdstest.Fault{Error: &tdstest.Error{Number: number, State: 1, Class: 16, Text: "secret"}})
		_, err := b.link.Query(t.Context(), "SELECT 1 AS one", "", false)
		e := coded(t, err, "QUERY_SNAPSHOT")
		require.Equal(t, connector.KindInvalid, e.Kind)
		require.Contains(t, e.Next, "ALLOW_SNAPSHOT_ISOLATION")
		require.NotContains(t, e.Error()+e.Next, "secret")
	}
}

func TestAValueThatAFlowCannotHoldEndsTheRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stream, err := b.link.Query(t.Context(), "SELECT CAST(N'2024-02-29 23:59:59.1234567' AS datetime2(7)) AS v", "", false)
	require.NoError(t, err)
	_, err = stream.Next(t.Context())
	require.Equal(t, "v", coded(t, err, "SOURCE_VALUE").Column)
	require.NoError(t, stream.Close())
}

func TestViewsAndTypesAreDiscovered(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE [dbo].[things] ([id] bigint NOT NULL, [amount] decimal(12,2) NULL, [note] nvarchar(20) NULL)")
	b.exec("CREATE VIEW [dbo].[seen] AS SELECT [id] FROM [dbo].[things]")
	items, next, err := b.link.Discover(t.Context(), "dbo.t", "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Equal(t, []connector.Item{{Path: "dbo.things", Kind: "table", Size: -1, Columns: []connector.ItemColumn{
		{Name: "id", Type: "int64", NativeType: "bigint"}, {Name: "amount", Type: "decimal(12,2)", NativeType: "decimal(12,2)", Nullable: true},
		{Name: "note", Type: "string", NativeType: "nvarchar(20)", Nullable: true},
	}}}, items)
	items, _, err = b.link.Discover(t.Context(), "dbo.s", "", 10)
	require.NoError(t, err)
	require.Len(t, items, 1)
	require.Equal(t, "view", items[0].Kind)
}
