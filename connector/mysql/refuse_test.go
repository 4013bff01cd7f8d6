package mysql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// refusals are tables that refuse rows.
var refusals = []loadtest.Refusal{
	{
		Name: "check", Table: "id bigint PRIMARY KEY, v int, CONSTRAINT positive CHECK (v > 0)", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, -1}, {9, 3, 7}, {11, 4, 0}, {12, 5, nil}},
		Reason: map[int64]connector.RefusedRow{5: {Message: "violates the check constraint positive"}, 11: {Message: "violates the check constraint positive"}},
	},
	{
		Name: "not null", Table: "id bigint PRIMARY KEY, v int NOT NULL", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, nil}, {5, 2, 1}},
		Reason: map[int64]connector.RefusedRow{3: {Column: "v", Message: "the column does not allow NULL"}},
	},
	{
		Name: "text", Table: "id bigint PRIMARY KEY, v varchar(3), c char(3), m enum('1','b''c','2') ", Columns: []string{"id!", "int64", "v", "string", "c", "string", "m", "string"},
		Rows: [][]any{{3, 1, "abc", "c", "1"}, {5, 2, "abcd", "c", "1"}, {9, 3, "ab\x00", "c", "b'c"}, {11, 4, "äöü", "c", nil}, {12, 5, "ab  ", "c", "1"}, {13, 6, "ab ", "c ", "1"}, {14, 7, "a", "c", "3"}},
		Reason: map[int64]connector.RefusedRow{
			5:  {Column: "v", Message: "is longer than the 3 characters of the column"},
			12: {Column: "v", Message: "is longer than the 3 characters of the column"},
			13: {Column: "c", Message: "ends with a blank, which a char column does not keep"},
			14: {Column: "m", Message: "is not a member of the column's enum"},
		},
	},
	{
		Name: "latin1", Table: "id bigint PRIMARY KEY, v text CHARACTER SET latin1", Columns: []string{"id!", "int64", "v", "string"},
		Rows:   [][]any{{3, 1, "äöü"}, {5, 2, "日本"}, {6, 3, "x"}},
		Reason: map[int64]connector.RefusedRow{5: {Column: "v", Message: "has a character or value that the column cannot hold"}},
	},
	{
		Name: "range", Table: "id bigint PRIMARY KEY, u int unsigned, d decimal(9,2) unsigned, t timestamp(6) NULL", Columns: []string{"id!", "int64", "u", "int32", "d", "decimal(7,2)", "t", "timestamptz"},
		Rows: [][]any{{3, 1, 5, "1.00", "2024-01-01 00:00:00Z"}, {5, 2, -1, "1.00", nil}, {9, 3, 1, "-1.00", nil}, {11, 4, 1, "0.00", "1969-12-31 23:59:59Z"}, {12, 5, 1, "0.00", "9999-12-31 23:59:59Z"}},
		Reason: map[int64]connector.RefusedRow{
			5: {Column: "u", Message: "is negative, which an unsigned column cannot hold"}, 9: {Column: "d", Message: "is negative, which an unsigned column cannot hold"},
			11: {Column: "t", Message: "is out of the column's range"}, 12: {Column: "t", Message: "is out of the column's range"},
		},
	},
	{
		Name: "unique in the batch", Unsaid: connector.Upsert, Table: "id bigint PRIMARY KEY, v int, UNIQUE one (v)", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {11, 4, 5}, {12, 5, 7}},
		Reason: map[int64]connector.RefusedRow{9: {Message: "violates the unique key one"}, 11: {Message: "violates the unique key one"}},
	},
	{
		Name: "foreign key", Table: "id bigint PRIMARY KEY, v int, CONSTRAINT known FOREIGN KEY (v) REFERENCES refs (id)", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {12, 4, nil}},
		Reason: map[int64]connector.RefusedRow{5: {Message: "violates the foreign key known"}},
	},
	{
		Name: "trigger", Table: "id bigint PRIMARY KEY, v int", Columns: []string{"id!", "int64", "v", "int32"},
		Then:   "CREATE TRIGGER no13 BEFORE INSERT ON t FOR EACH ROW BEGIN IF NEW.v = 13 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret 13'; END IF; END",
		Rows:   [][]any{{3, 1, 13}, {5, 2, 1}},
		Reason: map[int64]connector.RefusedRow{3: {Message: "a trigger of the table raised an error"}},
	},
}

func TestErrorsThatAreNoRowsFaultAreNeverBisected(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ setup, grant, reason string }{
		"permission":       {"CREATE TABLE t (v int)", "SELECT", "PERMISSION_DENIED"},
		"nothing to see":   {"CREATE TABLE t (v int)", "", "TABLE_NOT_FOUND"},
		"missing column":   {"CREATE TABLE t (w int)", "ALL", "COLUMN_NOT_FOUND"},
		"needed column":    {"CREATE TABLE t (v int, w int NOT NULL)", "ALL", "COLUMN_REQUIRED"},
		"generated":        {"CREATE TABLE t (w int, v int GENERATED ALWAYS AS (w) STORED)", "ALL", "COLUMN_NOT_WRITABLE"},
		"view":             {"CREATE VIEW t AS SELECT 1 AS v", "ALL", "NOT_A_TABLE"},
		"no transactions":  {"CREATE TABLE t (v int) ENGINE = MyISAM", "ALL", "ENGINE_NOT_TRANSACTIONAL"},
		"rejects mismatch": {"CREATE TABLE t (v int); CREATE TABLE t_rejects (v int)", "ALL", "REJECTS_TABLE_MISMATCH"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(c.setup)
			user := b.server.Database
			b.exec("CREATE USER '" + user + "'@'%' IDENTIFIED BY 'pw'; GRANT CREATE TEMPORARY TABLES ON " + user + ".* TO '" + user + "'@'%'")
			b.atEnd("DROP USER '" + user + "'@'%'")
			// Both tables of bookkeeping are there, but for the case that is about one.
			b.load(loadtest.New("run_0", spec(connector.Append, "other", loadtest.Columns(t, "v", "int32")), &loadtest.Rows{Batch: loadtest.Batch(t, loadtest.Columns(t, "v", "int32"))}))
			if name != "rejects mismatch" {
				b.exec("CREATE TABLE t_rejects LIKE other_rejects")
			}
			b.exec("GRANT INSERT, SELECT, UPDATE ON " + user + "._lume_runs TO '" + user + "'@'%'; GRANT INSERT ON " + user + ".t_rejects TO '" + user + "'@'%'")
			if c.grant != "" {
				b.exec("GRANT " + c.grant + " ON " + user + ".t TO '" + user + "'@'%'")
			}
			link := connect(t, b.server, map[string]any{"user": user, "password": "pw"})
			columns := loadtest.Columns(t, "v", "int32")
			target := spec(connector.Append, "t", columns)
			target.Create = false
			l := loadtest.New("run_1", target, &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})})
			_, err := link.Load(t.Context(), l.Load)
			e := coded(t, err, c.reason)
			require.NotEmpty(t, e.Next)
			require.Empty(t, l.Refused)
			require.Equal(t, c.reason, loadtest.Failed(t, link.CheckTarget(t.Context(), l.Target)).Err.Reason)
		})
	}
}

func TestAUserWhoMayNotCreateATableIsToldSo(t *testing.T) {
	t.Parallel()
	b := setup(t)
	user := b.server.Database
	b.exec("CREATE USER '" + user + "'@'%' IDENTIFIED BY 'pw'; GRANT CREATE TEMPORARY TABLES ON " + user + ".* TO '" + user + "'@'%'")
	b.atEnd("DROP USER '" + user + "'@'%'")
	link := connect(t, b.server, map[string]any{"user": user, "password": "pw"})
	target := spec(connector.Append, "t", loadtest.Columns(t, "v", "int32"))
	failed := loadtest.Failed(t, link.CheckTarget(t.Context(), target))
	require.Equal(t, "table", failed.Name)
	require.Equal(t, "PERMISSION_DENIED", failed.Err.Reason)
	target.Table = "no_such_database.t"
	require.Equal(t, "DATABASE_NOT_FOUND", loadtest.Failed(t, b.link.CheckTarget(t.Context(), target)).Err.Reason)
	require.Equal(t, "0", b.text("SELECT count(*) FROM information_schema.tables WHERE table_schema = database()"))
}
