package mysql_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

var spec = loadtest.Spec

func TestAppendAddsRowsRejectsAndMarkerTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64", "name", "string")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, "one"}, []any{3, 2, nil})}
	l := loadtest.New("run_1", spec(connector.Append, "things", columns), rows,
		connector.Reject{Row: 1, File: "a.csv", Line: 3, Byte: 40, Stage: "transform", Errors: `[{"type":"type","value":"\u0000"}]`, Record: `{"id":"\u0000"}`},
		connector.Reject{Row: -1, File: "a\t.csv", Line: 4, Byte: 60, Stage: "ingest", Errors: `[{"type":"malformed"}]`, Raw: []byte{0xff, 0}})

	out := b.load(l)

	require.True(t, out.Committed)
	require.False(t, out.Existing)
	require.Equal(t, "1|one,2|NULL", b.text("SELECT group_concat(id, '|', coalesce(name, 'NULL') ORDER BY id) FROM things"))
	require.Equal(t, `{"written":2,"refused":0}`, b.text("SELECT receipt FROM _lume_runs WHERE run_id = 'run_1' AND target = 'main' AND state = 'committed'"))
	require.Equal(t, string(out.Receipt), b.text("SELECT receipt FROM _lume_runs"))
	require.Equal(t, `run_1|1|a.csv|3|40|transform|[{"type":"type","value":"\u0000"}]|{"id":"\u0000"}|NULL`,
		b.text("SELECT concat_ws('|', run_id, _row, file, line, byte_offset, stage, errors, record, coalesce(raw, 'NULL')) FROM things_rejects WHERE _row = 1"))
	require.Equal(t, "ingest|a\t.csv|[{\"type\":\"malformed\"}]|FF00|1",
		b.text("SELECT concat_ws('|', stage, file, errors, hex(raw), record IS NULL) FROM things_rejects WHERE _row IS NULL"))
	require.Equal(t, "1", b.text("SELECT abs(timestampdiff(SECOND, utc_timestamp(), start_time)) < 60 AND end_time >= start_time FROM _lume_runs"))
}

func TestUpsertReplacesEqualKeysAndAddsOthers(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "a!", "string", "b!", "int32", "v", "decimal(5,2)")
	b.exec("CREATE TABLE things (note varchar(9) DEFAULT 'kept', v numeric(5,2), b int, a varchar(20), UNIQUE (b, a))")
	b.exec("INSERT INTO things VALUES ('mine', 1, 1, 'x'), ('mine', 2, 2, 'x')")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, "x", 1, "10.50"}, []any{1, "y", 1, nil})}
	l := loadtest.New("run_1", spec(connector.Upsert, "things", columns), rows)

	b.load(l)

	require.EqualValues(t, 2, l.Written)
	require.Equal(t, "x/1/10.50/mine,x/2/2.00/mine,y/1/-/kept",
		b.text("SELECT group_concat(concat_ws('/', a, b, coalesce(v, '-'), note) ORDER BY a, b) FROM things"))
}

func TestUpsertOfKeysAloneCountsEveryRow(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})}
	b.load(loadtest.New("run_1", spec(connector.Upsert, "things", columns), rows))
	again := loadtest.New("run_2", spec(connector.Upsert, "things", columns), rows)
	b.load(again)
	require.EqualValues(t, 2, again.Written)
	require.Equal(t, "2", b.text("SELECT count(*) FROM things"))
}

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

func TestReplaceOfRowsThatOthersReferToIsExplained(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64")
	b.exec("CREATE TABLE things (id bigint PRIMARY KEY)")
	b.exec("INSERT INTO things VALUES (1)")
	b.exec("CREATE TABLE more (id bigint REFERENCES things (id))")
	b.exec("INSERT INTO more VALUES (1)")
	l := loadtest.New("run_1", spec(connector.Replace, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 7})})
	_, err := b.link.Load(t.Context(), l.Load)
	coded(t, err, "ROWS_REFERENCED")
	require.Equal(t, "1", b.text("SELECT id FROM things"))
}

func TestAZeroRowBatchCommitsItsMarker(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		b := setup(t)
		columns := loadtest.Columns(t, "id!", "int64")
		out := b.load(loadtest.New("run_1", spec(mode, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns)}))
		require.True(t, out.Committed, mode)
		require.Equal(t, "committed", b.text("SELECT state FROM _lume_runs"), mode)
	}
}

func TestOddNamesAreTakenAsTheyStand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	other := b.server.Database + "_Odd `x`.y"
	b.exec("CREATE DATABASE `" + b.server.Database + "_Odd ``x``.y`")
	b.atEnd("DROP DATABASE `" + b.server.Database + "_Odd ``x``.y`")
	columns := loadtest.Columns(t, `Select`, "int64", "a `b`; DROP", "string", `äöü "x" 'y'`, "bool", "$1", "date", "?", "binary")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, "x", "true", "2024-02-29", []byte("b")})}
	table := `"` + other + `"."Table ""T"" \ '"`
	for i, mode := range []connector.Mode{connector.Append, connector.Replace} {
		b.load(loadtest.New(fmt.Sprintf("run_%d", i), spec(mode, table, columns), rows))
	}
	in := "`" + b.server.Database + "_Odd ``x``.y`."
	require.Equal(t, "1/x/1/2024-02-29/b", b.text("SELECT concat_ws('/', `Select`, `a ``b``; DROP`, `äöü \"x\" 'y'`, `$1`, `?`) FROM "+in+"`Table \"T\" \\ '`"))
	require.Equal(t, "2", b.text("SELECT count(*) FROM "+in+"_lume_runs"))
	require.Equal(t, "0", b.text("SELECT count(*) FROM "+in+"`Table \"T\" \\ '_rejects`"))
}

func TestARunThatFindsNoTableLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	target := spec(connector.Append, "things", columns)
	target.Create = false
	_, err := b.link.Load(t.Context(), loadtest.New("run_1", target, &loadtest.Rows{Batch: loadtest.Batch(t, columns)}).Load)
	coded(t, err, "TABLE_NOT_FOUND")
	require.Equal(t, "0", b.text("SELECT count(*) FROM information_schema.tables WHERE table_schema = database()"))
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
