package sqlserver

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// planOf is the plan of a load into a table with names that need quotes.
func planOf(t *testing.T, mode connector.Mode) (sqlload.Plan, []column) {
	t.Helper()
	text, id := connector.Type{Name: connector.TypeString}, connector.Type{Name: connector.TypeInt64}
	plan, err := sqlload.NewPlan(dialect, "dbo", connector.TargetSpec{Table: "sales.it's a t]", Mode: mode, Columns: []connector.Column{
		{Name: "code", Type: text, Key: true}, {Name: "id", Type: id, Key: true, Required: true}, {Name: "a]b", Type: text},
	}})
	require.NoError(t, err)
	return plan, []column{
		{Column: plan.Columns[0], native: native{name: "code", base: "nvarchar", length: 900, collation: keyCollation}},
		{Column: plan.Columns[1], native: native{name: "id", base: "bigint"}},
		{Column: plan.Columns[2], native: native{name: "a]b", base: "nvarchar", length: -1, collation: "Latin1_General_CI_AS"}},
	}
}

func TestStatementsOfALoad(t *testing.T) {
	t.Parallel()
	plan, columns := planOf(t, connector.Upsert)
	for want, got := range map[string]string{
		`IF OBJECT_ID(N'[sales].[it''s a t]]]', N'U') IS NULL CREATE TABLE [sales].[it's a t]]] (
  [code] nvarchar(450) COLLATE Latin1_General_100_BIN2 NOT NULL,
  [id] bigint NOT NULL,
  [a]]b] nvarchar(max) NULL,
  PRIMARY KEY NONCLUSTERED ([code], [id])
)`: createTarget(plan),
		`IF OBJECT_ID(N'[sales].[_lume_runs]', N'U') IS NULL CREATE TABLE [sales].[_lume_runs] (
  [run_id] nvarchar(200) COLLATE Latin1_General_100_BIN2 NOT NULL,
  [target] nvarchar(200) COLLATE Latin1_General_100_BIN2 NOT NULL,
  [state] nvarchar(200) COLLATE Latin1_General_100_BIN2 NOT NULL,
  [flow_version] nvarchar(200) COLLATE Latin1_General_100_BIN2 NOT NULL,
  [version_digest] nvarchar(200) COLLATE Latin1_General_100_BIN2 NOT NULL,
  [attempt] bigint NOT NULL,
  [fence] bigint NOT NULL,
  [receipt] nvarchar(max),
  [start_time] datetime2(6) NOT NULL,
  [end_time] datetime2(6),
  PRIMARY KEY ([run_id], [target])
)`: plan.CreateRuns(),
		`INSERT INTO [sales].[_lume_runs] ([run_id], [target], [state], [flow_version], [version_digest], [attempt], [fence], [start_time]) ` +
			`SELECT @p1, @p2, @p3, @p4, @p5, @p6, @p7, SYSUTCDATETIME() WHERE NOT EXISTS (SELECT 1 FROM [sales].[_lume_runs] ` +
			`WHERE [run_id] = @p1 AND [target] = @p2)`: plan.InsertMarker(),
		`UPDATE [sales].[_lume_runs] SET [state] = @p1, [flow_version] = @p2, [version_digest] = @p3, [attempt] = @p4, [fence] = @p5, [start_time] = SYSUTCDATETIME() ` +
			`WHERE [run_id] = @p6 AND [target] = @p7 AND [state] = 'aborted' AND [fence] < @p8`: plan.TakeMarker(),
		`UPDATE [sales].[_lume_runs] SET [fence] = @p1 WHERE [run_id] = @p2 AND [target] = @p3 AND [state] = 'aborted' AND [fence] < @p4`: plan.RaiseMarker(),
		`CREATE TABLE [#lume_load] ([_row] bigint NOT NULL PRIMARY KEY, [code] nvarchar(450) COLLATE Latin1_General_100_BIN2 NULL, [id] bigint NULL, ` +
			`[a]]b] nvarchar(max) COLLATE Latin1_General_CI_AS NULL)`: createStage(columns),
		`UPDATE t SET [a]]b] = s.[a]]b] FROM [sales].[it's a t]]] AS t WITH (UPDLOCK, HOLDLOCK) INNER JOIN [#lume_load] AS s ON t.[code] = s.[code] AND t.[id] = s.[id] ` +
			`WHERE s.[_row] >= @p1 AND s.[_row] < @p2`: updateStaged(plan),
		`INSERT INTO [sales].[it's a t]]] ([code], [id], [a]]b]) SELECT [code], [id], [a]]b] FROM [#lume_load] AS s WHERE s.[_row] >= @p1 AND s.[_row] < @p2 ` +
			`AND NOT EXISTS (SELECT 1 FROM [sales].[it's a t]]] AS t WITH (UPDLOCK, HOLDLOCK) WHERE t.[code] = s.[code] AND t.[id] = s.[id])`: insertStaged(plan),
		`DELETE FROM [sales].[it's a t]]]`: plan.DeleteAll(),
		`UPDATE [sales].[_lume_runs] SET [state] = 'committed', [receipt] = @p1, [end_time] = SYSUTCDATETIME() ` +
			`WHERE [run_id] = @p2 AND [target] = @p3 AND [fence] = @p4 AND [state] = 'loading'`: plan.CommitMarker(),
		`SET XACT_ABORT ON; SET LOCK_TIMEOUT 30000; SET NOCOUNT OFF`: settings,
	} {
		require.Equal(t, want, got)
	}
	plan, _ = planOf(t, connector.Append)
	require.Equal(t, `INSERT INTO [sales].[it's a t]]] ([code], [id], [a]]b]) SELECT [code], [id], [a]]b] FROM [#lume_load] AS s WHERE s.[_row] >= @p1 AND s.[_row] < @p2`,
		insertStaged(plan))
	plan.Columns = plan.Columns[:2]
	require.Contains(t, updateStaged(plan), "UPDATE t SET [code] = s.[code] FROM", "a table of keys counts every row")
}

func TestCreatedTypes(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"string": "nvarchar(max)", "bool": "bit", "int16": "smallint", "int32": "int", "int64": "bigint", "decimal(38,18)": "decimal(38,18)", "float32": "real",
		"float64": "float(53)", "date": "date", "time": "time(6)", "timestamp": "datetime2(6)", "timestamptz": "datetimeoffset(6)", "binary": "varbinary(max)",
		"uuid": "uniqueidentifier", "json": "nvarchar(max)",
	} {
		typ, err := connector.ParseType(text)
		require.NoError(t, err)
		require.Equal(t, want, typeName(typ))
	}
	require.Equal(t, "nvarchar(450) COLLATE Latin1_General_100_BIN2", keyTypeName(connector.Type{Name: connector.TypeString}))
	require.Equal(t, "varbinary(900)", keyTypeName(connector.Type{Name: connector.TypeBinary}))
	require.Equal(t, "bigint", keyTypeName(connector.Type{Name: connector.TypeInt64}))
}
