package sqlserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/sqlserver/tdstest"
)

// before makes what refusals refer to.
const before = "CREATE TABLE refs (id int NOT NULL PRIMARY KEY); INSERT INTO refs (id) VALUES (5)"

// refusals are tables that refuse rows.
var refusals = []loadtest.Refusal{
	{
		Name: "check", Table: "id bigint NOT NULL PRIMARY KEY, v int CONSTRAINT positive CHECK (v > 0)", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, -1}, {9, 3, 7}, {11, 4, 0}, {12, 5, nil}},
		Reason: map[int64]connector.RefusedRow{5: {Column: "v", Message: "violates the constraint positive"}, 11: {Column: "v", Message: "violates the constraint positive"}},
	},
	{
		Name: "not null", Table: "id bigint NOT NULL PRIMARY KEY, v int NOT NULL", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, nil}, {5, 2, 1}},
		Reason: map[int64]connector.RefusedRow{3: {Column: "v", Message: "the column does not allow NULL"}},
	},
	{
		Name: "text", Table: "id bigint NOT NULL PRIMARY KEY, v nvarchar(3), w varchar(3)", Columns: []string{"id!", "int64", "v", "string", "w", "string"},
		Rows: [][]any{{3, 1, "abc", "abc"}, {5, 2, "abcd", "abc"}, {9, 3, "a🙂", "abc"}, {10, 4, "🙂🙂", "abc"}, {11, 5, "äöü", "ä"}, {12, 6, "ab  ", nil}},
		Reason: map[int64]connector.RefusedRow{
			5: {Column: "v", Message: "is longer than the 3 characters of the column"}, 10: {Column: "v", Message: "is longer than the 3 characters of the column"},
			11: {Column: "w", Message: "has characters that not every code page of a varchar column can hold: use nvarchar"}, 12: {Column: "v", Message: "is longer than the 3 characters of the column"},
		},
	},
	{
		Name: "unique in the batch", Table: "id bigint NOT NULL PRIMARY KEY, v int CONSTRAINT UQ__t UNIQUE", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {11, 4, 5}, {12, 5, 7}},
		Reason: map[int64]connector.RefusedRow{9: {Message: "violates the unique constraint UQ__t"}, 11: {Message: "violates the unique constraint UQ__t"}},
	},
	{
		Name: "unique index", Table: "id bigint NOT NULL PRIMARY KEY, v int", Then: "CREATE UNIQUE INDEX one ON t (v)", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}},
		Reason: map[int64]connector.RefusedRow{9: {Message: "violates the unique index one"}},
	},
	{
		Name: "foreign key", Table: "id bigint NOT NULL PRIMARY KEY, v int CONSTRAINT FK REFERENCES refs (id)", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {12, 4, nil}},
		Reason: map[int64]connector.RefusedRow{5: {Message: "violates the constraint FK"}},
	},
	{
		Name: "long key", Table: "id bigint NOT NULL, a nvarchar(450) NOT NULL, b nvarchar(450) NOT NULL, CONSTRAINT PK__t PRIMARY KEY NONCLUSTERED (id, a, b)",
		Columns: []string{"id!", "int64", "a!", "string", "b!", "string"},
		Rows:    [][]any{{3, 1, strings.Repeat("a", 450), "b"}, {5, 2, strings.Repeat("a", 450), strings.Repeat("b", 450)}, {9, 3, "a", strings.Repeat("b", 450)}},
		Reason:  map[int64]connector.RefusedRow{5: {Message: "the key is longer than the index PK__t allows"}},
	},
}

func TestATriggerSeesTheRowsAndItsErrorEndsTheLoad(t *testing.T) {
	t.Parallel()
	columns := loadtest.Columns(t, "id!", "int64", "v", "int32")
	for _, mode := range loadtest.Modes {
		b := setup(t)
		b.exec("CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, v int)")
		b.exec("CREATE TRIGGER no13 ON t AFTER INSERT AS IF EXISTS (SELECT 1 FROM inserted WHERE v = 13) THROW 50013, N'secret of the trigger', 1")
		b.load(loadtest.New("run_1", target(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, 1})}))
		l := loadtest.New("run_2", target(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 2, 2}, []any{1, 3, 13})})
		_, err := b.link.Load(t.Context(), l.Load)
		e := coded(t, err, "REFUSAL_ENDED_LOAD")
		require.NotContains(t, e.Message+e.Next, "secret")
		require.Equal(t, []string{"1"}, b.rows("SELECT [id] FROM [dbo].[t]"), mode)
	}
}

func TestAMissingPermissionIsNamedByTheCheck(t *testing.T) {
	t.Parallel()
	columns := loadtest.Columns(t, "id!", "int64")
	for _, c := range []struct {
		mode                      connector.Mode
		denied, check, table, has string
	}{
		{connector.Append, "INSERT", "permissions", "t", "INSERT on table dbo.t"}, {connector.Upsert, "UPDATE", "permissions", "t", "UPDATE on table dbo.t"},
		{connector.Replace, "DELETE", "permissions", "t", "DELETE on table dbo.t"}, {connector.Append, "SELECT", "permissions", "t", "SELECT on table dbo.t"},
		{connector.Append, "CREATE TABLE", "table", "missing", "create the table dbo.missing"}, {connector.Append, "ALTER", "rejects", "t", "create the table dbo.t_rejects"},
		{connector.Append, "UPDATE", "marker", "t", "UPDATE on table dbo._lume_runs"},
	} {
		t.Run(fmt.Sprint(c.mode, " ", c.denied), func(t *testing.T) {
			t.Parallel()
			b := setupIn(t, fake(start(t, tdstest.Options{Plain: true, Denied: []string{c.denied}}).Port()))
			b.exec("CREATE TABLE t (id bigint NOT NULL PRIMARY KEY)")
			if c.check == "marker" {
				b.load(loadtest.New("run_0", target(connector.Append, "other", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns)}))
			}
			failed := failedCheck(b.link.CheckTarget(t.Context(), target(c.mode, c.table, columns)))
			require.Equal(t, c.check, failed.Name)
			require.Equal(t, "PERMISSION_DENIED", failed.Err.Reason)
			require.Contains(t, failed.Err.Message, c.has)
			require.Contains(t, failed.Err.Next, "GRANT")
		})
	}
}

func TestReplaceKeepsTheTableItsRightsAndItsViews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	load := func(run string, id int) {
		b.load(loadtest.New(run, target(connector.Replace, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, id})}))
	}
	load("run_1", 1)
	b.exec("CREATE VIEW [dbo].[seen] AS SELECT [id] FROM [dbo].[things]")
	b.exec("GRANT SELECT ON [dbo].[things] TO [public]")
	before := b.rows("SELECT [object_id] FROM sys.tables WHERE name = N'things'")
	load("run_2", 2)
	require.Equal(t, []string{"2"}, b.rows("SELECT [id] FROM [dbo].[seen]"))
	require.Equal(t, before, b.rows("SELECT [object_id] FROM sys.tables WHERE name = N'things'"), "the table, and with it what was granted on it, is the same")
	require.Equal(t, []string{"SELECT"}, b.rows("SELECT [permission_name] FROM sys.database_permissions WHERE [major_id] = "+before[0]))
}
