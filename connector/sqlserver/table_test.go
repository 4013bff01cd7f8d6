package sqlserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

func TestARowThatIsLongerThanARowCanBeIsAReject(t *testing.T) {
	t.Parallel()
	b := setup(t)
	names := []string{"id!", "int64"}
	long, short := []any{1, 2}, []any{2, 3}
	// What is moved out of a row leaves a pointer in it, so that only many values make it too long.
	for i := range 900 {
		names = append(names, fmt.Sprintf("c%d", i), "string")
		long, short = append(long, strings.Repeat("x", 30)), append(short, nil)
	}
	columns := loadtest.Columns(t, names...)
	first := append([]any{0, 1}, short[2:]...)
	for i, mode := range []connector.Mode{connector.Append, connector.Replace, connector.Upsert} {
		table := fmt.Sprintf("t%d", i)
		l := loadtest.New("run_"+table, target(mode, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, first, long, short), Size: 2})
		b.load(l)
		require.Equal(t, map[int64]connector.RefusedRow{1: {Message: "the row is longer than the 8,060 bytes that a row can have"}}, l.Refused, mode)
		require.EqualValues(t, 2, l.Written)
		require.Equal(t, []string{"1", "3"}, b.rows("SELECT [id] FROM [dbo].["+table+"] ORDER BY [id]"))
	}
}

func TestATableWhoseRowsAPolicyHidesIsNotLoaded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	b.exec("CREATE FUNCTION [dbo].[nobody] (@id bigint) RETURNS TABLE WITH SCHEMABINDING AS RETURN SELECT 1 AS [seen] WHERE @id = 0")
	for table, state := range map[string]string{"hidden": "ON", "shown": "OFF"} {
		b.exec("CREATE TABLE [dbo].[" + table + "] ([id] bigint NOT NULL PRIMARY KEY)")
		b.exec("INSERT INTO [dbo].[" + table + "] ([id]) VALUES (1)")
		b.exec("CREATE SECURITY POLICY [dbo].[policy_" + table + "] ADD FILTER PREDICATE [dbo].[nobody]([id]) ON [dbo].[" + table + "] WITH (STATE = " + state + ")")
	}
	for _, mode := range loadtest.Modes {
		spec := target(mode, "hidden", columns)
		l := loadtest.New("run_1", spec, &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 2})})
		_, err := b.link.Load(t.Context(), l.Load)
		require.NotEmpty(t, coded(t, err, "ROW_SECURITY").Next)
		require.False(t, l.Balanced)
		require.Equal(t, "ROW_SECURITY", failedCheck(b.link.CheckTarget(t.Context(), spec)).Err.Reason)
	}
	b.load(loadtest.New("run_2", target(connector.Replace, "shown", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 2})}))
	require.Equal(t, []string{"2"}, b.rows("SELECT [id] FROM [dbo].[shown]"))
}

func TestATableWithAColumnSetIsNotLoaded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE [dbo].[t] ([id] bigint NOT NULL PRIMARY KEY, [a] int SPARSE NULL, [rest] xml COLUMN_SET FOR ALL_SPARSE_COLUMNS)")
	columns := loadtest.Columns(t, "id!", "int64", "a", "int32")
	_, err := b.link.Load(t.Context(), loadtest.New("run_1", target(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, 2})}).Load)
	require.Contains(t, coded(t, err, "COLUMN_SET").Message, "dbo.t")
}

func TestANameIsAsLongAsTheServerCounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// Each takes two of the 128 units.
	for n, want := range map[int]string{64: "", 65: "NAME_TOO_LONG"} {
		columns := loadtest.Columns(t, strings.Repeat("🙂", n), "int64")
		var reason string
		if failed := failedCheck(b.link.CheckTarget(t.Context(), target(connector.Append, "things", columns))); failed.Name != "" {
			reason = failed.Err.Reason
		}
		require.Equal(t, want, reason)
	}
}

// failedCheck is the first check that failed.
func failedCheck(checks []connector.Check) connector.Check {
	for _, c := range checks {
		if c.Status == connector.CheckFailed {
			return c
		}
	}
	return connector.Check{Err: &connector.Error{}}
}
