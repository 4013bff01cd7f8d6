package mysql_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

func TestKeysDifferInCaseAndInTheBlanksAtTheirEnd(t *testing.T) {
	t.Parallel()
	columns := loadtest.Columns(t, "id!", "string", "v", "int32")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, "a", 1}, []any{1, "A", 2}, []any{2, "a ", 3}, []any{3, "ä", 4}, []any{4, "", 5})}
	for _, mode := range modes {
		b := setup(t)
		l := loadtest.New("run_1", spec(mode, "things", columns), rows)
		b.load(l)
		require.Empty(t, l.Refused)
		require.Equal(t, "[a] 1,[A] 2,[a ] 3,[ä] 4,[] 5", b.text("SELECT group_concat('[', id, '] ', v ORDER BY v) FROM things"))
	}
}

func TestAnUpsertNeverChangesAnotherRow(t *testing.T) {
	t.Parallel()
	columns := loadtest.Columns(t, "id!", "int32", "email", "string", "v", "int32")
	for name, table := range map[string]string{
		"the key comes first": "id int PRIMARY KEY, email varchar(20) UNIQUE, v int", "the key comes last": "email varchar(20) PRIMARY KEY, v int, id int, UNIQUE (id)",
		"a number beside": "no int AUTO_INCREMENT PRIMARY KEY, email varchar(20) UNIQUE, v int, id int NOT NULL, UNIQUE (id)",
	} {
		b := setup(t)
		b.exec("CREATE TABLE t (" + table + ") COLLATE utf8mb4_bin")
		b.exec("INSERT INTO t (id, email, v) VALUES (1, 'one', 10), (2, 'two', 20)")
		l := loadtest.New("run_1", spec(connector.Upsert, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns,
			[]any{0, 1, "one", 11}, []any{1, 3, "two", 30}, []any{2, 2, "one", 21}, []any{3, 4, "four", 40}, []any{4, 5, "four", 50}, []any{5, nil, "six", 60})})
		b.load(l)
		require.Equal(t, []int64{1, 2, 4, 5}, l.RefusedRows(), name)
		require.EqualValues(t, 2, l.Written, name)
		require.Equal(t, "1 one 11,2 two 20,4 four 40", b.text("SELECT group_concat(id, ' ', email, ' ', v ORDER BY id) FROM t"), name)
	}
}

func TestReplaceKeepsTheTableItsGrantsAndItsViews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	b.exec("CREATE TABLE things (id bigint) AUTO_INCREMENT = 1 COMMENT 'mine'")
	b.exec("INSERT INTO things SELECT seq FROM seq_1_to_100")
	b.exec("CREATE VIEW seen AS SELECT count(*) AS n FROM things")
	reader := "reader_" + b.server.Database
	b.exec("CREATE USER " + reader + "@'%'")
	b.atEnd("DROP USER " + reader + "@'%'")
	b.exec("GRANT SELECT, UPDATE (id) ON things TO " + reader + "@'%'")
	grants := "SELECT group_concat(privilege_type ORDER BY privilege_type) FROM (SELECT privilege_type FROM information_schema.table_privileges " +
		"WHERE table_name = 'things' AND grantee LIKE '%" + reader + "%' UNION ALL SELECT concat(privilege_type, '(', column_name, ')') " +
		"FROM information_schema.column_privileges WHERE table_name = 'things' AND grantee LIKE '%" + reader + "%') AS g"
	require.Equal(t, "SELECT,UPDATE(id)", b.text(grants))
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 7}, []any{1, 8})}

	b.load(loadtest.New("run_1", spec(connector.Replace, "things", columns), rows))

	require.Equal(t, "2", b.text("SELECT n FROM seen"))
	require.Equal(t, "SELECT,UPDATE(id)", b.text(grants))
	require.Equal(t, "mine", b.text("SELECT table_comment FROM information_schema.tables WHERE table_schema = database() AND table_name = 'things'"))
}

func TestADefaultIsNotTakenForAZero(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		b := setup(t)
		b.exec("CREATE TABLE t (no int AUTO_INCREMENT PRIMARY KEY, v varchar(9) DEFAULT 'x')")
		columns := loadtest.Columns(t, "no!", "int32", "v", "string")
		l := loadtest.New("run_1", spec(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 0, nil}, []any{1, 7, ""})})
		b.load(l)
		require.Equal(t, "0 -,7 ", b.text("SELECT group_concat(no, ' ', coalesce(v, '-') ORDER BY no) FROM t"), mode)
	}
}
