package sqlserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

func TestAppendAddsRowsRejectsAndMarkerTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64", "name", "string")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, "one"}, []any{3, 2, nil})}
	l := loadtest.New("run_1", target(connector.Append, "things", columns), rows,
		connector.Reject{Row: 1, File: "a.csv", Line: 3, Byte: 40, Stage: "transform", Errors: `[{"type":"type","value":"\u0000"}]`, Record: `{"id":"x"}`},
		connector.Reject{Row: -1, File: "a.csv", Line: 4, Byte: 60, Stage: "ingest", Errors: `[{"type":"malformed"}]`, Raw: []byte("raw")})

	out := b.load(l)

	require.True(t, out.Committed)
	require.False(t, out.Existing)
	require.Equal(t, []string{"1|one", "2|NULL"}, b.rows("SELECT [id], [name] FROM [dbo].[things] ORDER BY [id]"))
	require.Equal(t, []string{"committed|" + `{"written":2,"refused":0}`}, b.rows("SELECT [state], [receipt] FROM [dbo].[_lume_runs] WHERE [run_id] = N'run_1' AND [target] = N'main'"))
	require.Equal(t, []string{
		`NULL|a.csv|4|60|ingest|[{"type":"malformed"}]|NULL|raw`,
		`1|a.csv|3|40|transform|[{"type":"type","value":"\u0000"}]|{"id":"x"}|NULL`,
	}, b.rows("SELECT [_row], [file], [line], [byte_offset], [stage], [errors], [record], [raw] FROM [dbo].[things_rejects] ORDER BY [_row]"))
}

func TestUpsertReplacesEqualKeysAndKeepsOtherColumns(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "a!", "string", "b!", "int32", "v", "decimal(5,2)")
	b.exec("CREATE TABLE [dbo].[things] ([note] nvarchar(20) NULL DEFAULT (N'kept'), [v] decimal(5,2) NULL, [b] int NOT NULL, [a] nvarchar(10) NOT NULL, UNIQUE ([b], [a]))")
	b.exec("INSERT INTO [dbo].[things] ([note], [v], [b], [a]) VALUES (N'mine', 1, 1, N'x'), (N'mine', 2, 2, N'x')")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, "x", 1, "10.50"}, []any{1, "y", 1, nil})}
	l := loadtest.New("run_1", target(connector.Upsert, "things", columns), rows)
	b.load(l)
	require.EqualValues(t, 2, l.Written)
	require.Equal(t, []string{"x|1|10.50|mine", "x|2|2.00|mine", "y|1|NULL|kept"}, b.rows("SELECT [a], [b], [v], [note] FROM [dbo].[things] ORDER BY [a], [b]"))
}

func TestUpsertOfKeysAloneCountsEveryRow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})}
	b.load(loadtest.New("run_1", target(connector.Upsert, "things", columns), rows))
	again := loadtest.New("run_2", target(connector.Upsert, "things", columns), rows)
	b.load(again)
	require.EqualValues(t, 2, again.Written)
	require.Equal(t, []string{"1", "2"}, b.rows("SELECT [id] FROM [dbo].[things] ORDER BY [id]"))
}

func TestAKeyThatTheCollationTakesForAnotherIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "k!", "string", "v", "int32")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, "a", 1}, []any{5, "b", 2}, []any{9, "a  ", 3})}
	for i, mode := range []connector.Mode{connector.Upsert, connector.Append, connector.Replace} {
		l := loadtest.New(fmt.Sprintf("run_%d", i), target(mode, fmt.Sprintf("t%d", i), columns), rows)
		b.load(l)
		require.Equal(t, []int64{9}, l.RefusedRows(), mode)
		require.EqualValues(t, 2, l.Written)
		require.Equal(t, []string{"a|1", "b|2"}, b.rows(fmt.Sprintf("SELECT [k], [v] FROM [dbo].[t%d] ORDER BY [k]", i)))
	}
}

func TestRowsThatConstraintsRefuseBecomeRejects(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64", "v", "int32", "name", "string")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, 5, "ok"}, []any{1, 2, -5, "negative"}, []any{2, 3, 5, nil}, []any{3, 4, 5, "too long for it"}, []any{4, 1, 5, "again"}, []any{5, 6, 6, "ok"})}
	for i, mode := range []connector.Mode{connector.Append, connector.Replace, connector.Upsert} {
		table := fmt.Sprintf("t%d", i)
		b.exec("CREATE TABLE [dbo].[" + table + "] ([id] bigint NOT NULL PRIMARY KEY, [v] int NULL CONSTRAINT [positive" + fmt.Sprint(i) + "] CHECK ([v] > 0), [name] nvarchar(8) NOT NULL)")
		l := loadtest.New("run_"+table, target(mode, table, columns), rows)
		b.load(l)
		require.Equal(t, []int64{1, 2, 3, 4}, l.RefusedRows(), mode)
		require.Equal(t, []string{"1|5|ok", "6|6|ok"}, b.rows("SELECT [id], [v], [name] FROM [dbo].["+table+"] ORDER BY [id]"))
		require.Contains(t, l.Refused[1].Message, "positive")
		require.Equal(t, connector.RefusedRow{Column: "name", Message: "the column does not allow NULL"}, l.Refused[2])
		require.Equal(t, connector.RefusedRow{Column: "name", Message: "is longer than the 8 characters of the column"}, l.Refused[3])
		for _, reason := range l.Refused {
			require.NotContains(t, reason.Message, "again")
		}
	}
}

func TestReplaceOfRowsThatOthersReferToFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	b.exec("CREATE TABLE [dbo].[things] ([id] bigint NOT NULL PRIMARY KEY)")
	b.exec("CREATE TABLE [dbo].[parts] ([thing] bigint NOT NULL, CONSTRAINT [of] FOREIGN KEY ([thing]) REFERENCES [dbo].[things] ([id]))")
	b.exec("INSERT INTO [dbo].[things] ([id]) VALUES (1); INSERT INTO [dbo].[parts] ([thing]) VALUES (1)")
	l := loadtest.New("run_1", target(connector.Replace, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 2})})
	_, err := b.link.Load(t.Context(), l.Load)
	coded(t, err, "ROWS_REFERENCED")
	require.Equal(t, []string{"1"}, b.rows("SELECT [id] FROM [dbo].[things]"))
	require.Empty(t, b.rows("SELECT [run_id] FROM [dbo].[_lume_runs]"))
}

func TestOddNamesAreTakenAsTheyStand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE SCHEMA [My.Schema]")
	columns := loadtest.Columns(t, "Select", "int64", "a ]b]; DROP", "string", "äöü", "bool", "$1", "date")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, "x", "true", "2024-02-29"})}
	for i, mode := range []connector.Mode{connector.Append, connector.Replace} {
		b.load(loadtest.New(fmt.Sprintf("run_%d", i), target(mode, `"My.Schema"."Table ]'T"`, columns), rows))
	}
	require.Equal(t, []string{"1|x|true"}, b.rows("SELECT [Select], [a ]]b]]; DROP], [äöü] FROM [My.Schema].[Table ]]'T]"))
	require.Len(t, b.rows("SELECT [run_id] FROM [My.Schema].[_lume_runs]"), 2)
	for _, check := range b.link.CheckTarget(t.Context(), target(connector.Append, `"No.Schema".t`, columns)) {
		if check.Status == connector.CheckFailed {
			require.Equal(t, "SCHEMA_NOT_FOUND", check.Err.Reason)
		}
	}
}

func TestAColumnThatCouldLoseAValueIsAMismatchBeforeARowMoves(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, c := range [][2]string{
		{"int64", "int"}, {"int32", "smallint"}, {"int16", "tinyint"}, {"int64", "float"}, {"int64", "decimal(18,0)"}, {"int32", "decimal(10,2)"},
		{"decimal(12,2)", "decimal(12,1)"}, {"decimal(12,2)", "decimal(11,2)"}, {"decimal(12,2)", "float"}, {"decimal(19,4)", "money"}, {"decimal(10,0)", "int"},
		{"float64", "real"}, {"timestamp", "datetimeoffset(6)"}, {"timestamptz", "datetime2(6)"}, {"timestamp", "datetime2(3)"}, {"timestamp", "datetime"}, {"time", "time(0)"},
		{"date", "datetime2(6)"}, {"string", "uniqueidentifier"}, {"string", "int"}, {"int16", "nvarchar(10)"}, {"binary", "nvarchar(max)"}, {"bool", "smallint"}, {"binary", "binary(8)"},
	} {
		table := fmt.Sprintf("t%d", i)
		b.exec("CREATE TABLE [dbo].[" + table + "] ([v] " + c[1] + " NULL)")
		columns := loadtest.Columns(t, "v", c[0])
		l := loadtest.New("run_"+table, target(connector.Append, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, nil})})
		_, err := b.link.Load(t.Context(), l.Load)
		require.Equal(t, "v", coded(t, err, "TYPE_MISMATCH").Column, "%v", c)
		require.False(t, l.Balanced)
	}
}

func TestValuesFitTheColumnsThatATableHas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, c := range [][4]string{
		{"int16", "bigint", "-7", "-7"}, {"int32", "decimal(10,0)", "-2147483648", "-2147483648"}, {"int64", "decimal(21,2)", "9223372036854775807", "9223372036854775807.00"},
		{"decimal(4,0)", "smallint", "-9999", "-9999"}, {"decimal(18,0)", "bigint", "999999999999999999", "999999999999999999"},
		{"decimal(5,2)", "decimal(7,4)", "999.99", "999.9900"}, {"float32", "float", "0.5", "0.5"}, {"string", "nvarchar(3)", "äöü", "äöü"},
		{"string", "varchar(3)", "abc", "abc"}, {"uuid", "nvarchar(36)", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"},
		{"json", "nvarchar(max)", `{"b":1,"a":1.10,"a":2}`, `{"b":1,"a":1.10,"a":2}`},
	} {
		for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
			table := fmt.Sprintf("t%d%s", i, mode)
			b.exec("CREATE TABLE [dbo].[" + table + "] ([v] " + c[1] + " NULL)")
			columns := loadtest.Columns(t, "v", c[0])
			b.load(loadtest.New("run_"+table, target(mode, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, c[2]})}))
			require.Equal(t, []string{c[3]}, b.rows("SELECT [v] FROM [dbo].["+table+"]"), "%v", c)
		}
	}
}

func TestTextThatACodePageCouldLoseIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE [dbo].[t] ([v] varchar(20) NULL)")
	columns := loadtest.Columns(t, "v", "string")
	l := loadtest.New("run_1", target(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, "plain"}, []any{1, "日本"}, []any{2, strings.Repeat("x", 21)})})
	b.load(l)
	require.Equal(t, []int64{1, 2}, l.RefusedRows())
	require.Equal(t, []string{"plain"}, b.rows("SELECT [v] FROM [dbo].[t]"))
}

func TestColumnsThatTheDatabaseMakesAreNotLoaded(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE [dbo].[t] ([id] bigint IDENTITY(1,1) NOT NULL, [needed] int NOT NULL, [v] int NULL)")
	_, err := b.link.Load(t.Context(), loadtest.New("run_1", target(connector.Append, "t", loadtest.Columns(t, "id", "int64", "needed", "int32")),
		&loadtest.Rows{Batch: loadtest.Batch(t, loadtest.Columns(t, "id", "int64", "needed", "int32"))}).Load)
	require.Equal(t, "id", coded(t, err, "COLUMN_NOT_WRITABLE").Column)
	columns := loadtest.Columns(t, "v", "int32")
	_, err = b.link.Load(t.Context(), loadtest.New("run_2", target(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns)}).Load)
	require.Equal(t, "needed", coded(t, err, "COLUMN_REQUIRED").Column)
	columns = loadtest.Columns(t, "v!", "int32", "needed", "int32")
	_, err = b.link.Load(t.Context(), loadtest.New("run_3", target(connector.Upsert, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns)}).Load)
	coded(t, err, "KEY_NOT_UNIQUE")
}

func TestARunThatFindsNoTableLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	spec := target(connector.Append, "things", columns)
	spec.Create = false
	_, err := b.link.Load(t.Context(), loadtest.New("run_1", spec, &loadtest.Rows{Batch: loadtest.Batch(t, columns)}).Load)
	coded(t, err, "TABLE_NOT_FOUND")
	require.Equal(t, []string{"0"}, b.rows("SELECT COUNT(*) AS n FROM sys.tables"))
}
