package mysql_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

var modes = []connector.Mode{connector.Append, connector.Upsert, connector.Replace}

func TestRefusedRowsBecomeRejectsAndTheReasonStaysOnTheRightRow(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, table string
		columns     []string
		// rows of valid and refused values; a refused one names its reason.
		rows   [][]any
		reason map[int64]connector.RefusedRow
	}{
		{
			name: "check", table: "id bigint PRIMARY KEY, v int, CONSTRAINT positive CHECK (v > 0)", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, 5}, {5, 2, -1}, {9, 3, 7}, {11, 4, 0}, {12, 5, nil}},
			reason: map[int64]connector.RefusedRow{5: {Message: "violates the check constraint positive"}, 11: {Message: "violates the check constraint positive"}},
		},
		{
			name: "not null", table: "id bigint PRIMARY KEY, v int NOT NULL", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, nil}, {5, 2, 1}},
			reason: map[int64]connector.RefusedRow{3: {Column: "v", Message: "the column does not allow NULL"}},
		},
		{
			name: "text", table: "id bigint PRIMARY KEY, v varchar(3), c char(3), m enum('1','b''c','2') ", columns: []string{"id!", "int64", "v", "string", "c", "string", "m", "string"},
			rows: [][]any{{3, 1, "abc", "c", "1"}, {5, 2, "abcd", "c", "1"}, {9, 3, "ab\x00", "c", "b'c"}, {11, 4, "äöü", "c", nil}, {12, 5, "ab  ", "c", "1"}, {13, 6, "ab ", "c ", "1"}, {14, 7, "a", "c", "3"}},
			reason: map[int64]connector.RefusedRow{
				5:  {Column: "v", Message: "is longer than the 3 characters of the column"},
				12: {Column: "v", Message: "is longer than the 3 characters of the column"},
				13: {Column: "c", Message: "ends with a blank, which a char column does not keep"},
				14: {Column: "m", Message: "is not a member of the column's enum"},
			},
		},
		{
			name: "latin1", table: "id bigint PRIMARY KEY, v text CHARACTER SET latin1", columns: []string{"id!", "int64", "v", "string"},
			rows:   [][]any{{3, 1, "äöü"}, {5, 2, "日本"}, {6, 3, "x"}},
			reason: map[int64]connector.RefusedRow{5: {Column: "v", Message: "has a character or value that the column cannot hold"}},
		},
		{
			name: "range", table: "id bigint PRIMARY KEY, u int unsigned, d decimal(9,2) unsigned, t timestamp(6) NULL", columns: []string{"id!", "int64", "u", "int32", "d", "decimal(7,2)", "t", "timestamptz"},
			rows: [][]any{{3, 1, 5, "1.00", "2024-01-01 00:00:00Z"}, {5, 2, -1, "1.00", nil}, {9, 3, 1, "-1.00", nil}, {11, 4, 1, "0.00", "1969-12-31 23:59:59Z"}, {12, 5, 1, "0.00", "9999-12-31 23:59:59Z"}},
			reason: map[int64]connector.RefusedRow{
				5: {Column: "u", Message: "is negative, which an unsigned column cannot hold"}, 9: {Column: "d", Message: "is negative, which an unsigned column cannot hold"},
				11: {Column: "t", Message: "is out of the column's range"}, 12: {Column: "t", Message: "is out of the column's range"},
			},
		},
		{
			name: "unique in the batch", table: "id bigint PRIMARY KEY, v int, UNIQUE one (v)", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {11, 4, 5}, {12, 5, 7}},
			reason: map[int64]connector.RefusedRow{9: {Message: "violates the unique key one"}, 11: {Message: "violates the unique key one"}},
		},
		{
			name: "foreign key", table: "id bigint PRIMARY KEY, v int, CONSTRAINT known FOREIGN KEY (v) REFERENCES refs (id)", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {12, 4, nil}},
			reason: map[int64]connector.RefusedRow{5: {Message: "violates the foreign key known"}},
		},
		{
			name: "trigger", table: "id bigint PRIMARY KEY, v int", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, 13}, {5, 2, 1}},
			reason: map[int64]connector.RefusedRow{3: {Message: "a trigger of the table raised an error"}},
		},
	}
	for _, c := range cases {
		for _, mode := range modes {
			t.Run(c.name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.exec("CREATE TABLE refs (id int PRIMARY KEY); INSERT INTO refs VALUES (5); CREATE TABLE t (" + c.table + ")")
				if c.name == "trigger" {
					b.exec("CREATE TRIGGER no13 BEFORE INSERT ON t FOR EACH ROW BEGIN IF NEW.v = 13 THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'secret 13'; END IF; END")
				}
				columns := loadtest.Columns(t, c.columns...)
				l := loadtest.New("run_1", spec(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, c.rows...), Size: 2})

				b.load(l)

				if mode == connector.Upsert && c.name == "unique in the batch" {
					for row := range c.reason {
						require.Contains(t, l.Refused, row)
					}
					require.Len(t, l.Refused, len(c.reason))
				} else {
					require.Equal(t, c.reason, l.Refused)
				}
				require.EqualValues(t, len(c.rows)-len(c.reason), l.Written)
				want := make([]string, 0, len(c.rows))
				for _, row := range c.rows {
					if _, refused := c.reason[int64(row[0].(int))]; !refused {
						want = append(want, fmt.Sprint(row[1]))
					}
				}
				require.Equal(t, strings.Join(want, ","), b.text("SELECT group_concat(id ORDER BY id) FROM t"))
				require.Equal(t, fmt.Sprint(len(c.reason)), b.text("SELECT count(*) FROM t_rejects WHERE stage = 'egress' AND json_value(record, '$.row') = _row"))
			})
		}
	}
}

func TestManyRefusedRowsAmongManyAreFoundExactly(t *testing.T) {
	t.Parallel()
	columns := loadtest.Columns(t, "id!", "int64", "v", "int32")
	random := rand.New(rand.NewPCG(1, 2))
	var rows [][]any
	refused := make([]int64, 0)
	for i := range 20_000 {
		v, row := 1, int64(i*3+random.IntN(3))
		if random.IntN(80) == 0 {
			v = -1
			refused = append(refused, row)
		}
		rows = append(rows, []any{row, i, v})
	}
	batch := loadtest.Batch(t, columns, rows...)
	for _, mode := range []connector.Mode{connector.Append, connector.Upsert} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec("CREATE TABLE t (id bigint PRIMARY KEY, v int CHECK (v > 0))")
			l := loadtest.New("run_1", spec(mode, "t", columns), &loadtest.Rows{Batch: batch})
			b.load(l)
			require.Equal(t, refused, l.RefusedRows())
			require.Equal(t, fmt.Sprint(len(rows)-len(refused)), b.text("SELECT count(*) FROM t"))
		})
	}
}

func TestARowMayReferToALaterRowOfItsBatch(t *testing.T) {
	t.Parallel()
	for _, mode := range modes {
		b := setup(t)
		b.exec("CREATE TABLE t (id bigint PRIMARY KEY, parent bigint, v int CHECK (v > 0), FOREIGN KEY (parent) REFERENCES t (id))")
		columns := loadtest.Columns(t, "id!", "int64", "parent", "int64", "v", "int32")
		l := loadtest.New("run_1", spec(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns,
			[]any{0, 1, 4, 1}, []any{1, 2, 99, 1}, []any{2, 3, nil, -1}, []any{3, 4, 5, 1}, []any{4, 5, nil, 1}, []any{5, 6, 3, 1})})
		b.load(l)
		require.Equal(t, []int64{1, 2, 5}, l.RefusedRows(), mode)
		require.Equal(t, "1,4,5", b.text("SELECT group_concat(id ORDER BY id) FROM t"), mode)
	}
}

func TestTheErrorOfRefuseEndsTheLoadAndRollsBack(t *testing.T) {
	t.Parallel()
	spent := errors.New("the budget is spent")
	for _, value := range []any{-1, nil} {
		b := setup(t)
		b.exec("CREATE TABLE t (v int NOT NULL CHECK (v > 0))")
		columns := loadtest.Columns(t, "v", "int32")
		l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, value})})
		l.Refuse = func(context.Context, int64, connector.RefusedRow) error { return spent }
		_, err := b.link.Load(t.Context(), l.Load)
		require.ErrorIs(t, err, spent)
		require.Equal(t, "0", b.text("SELECT count(*) FROM t"))
	}
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
			require.Equal(t, c.reason, failedCheck(link.CheckTarget(t.Context(), l.Target)).Err.Reason)
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
	failed := failedCheck(link.CheckTarget(t.Context(), target))
	require.Equal(t, "table", failed.Name)
	require.Equal(t, "PERMISSION_DENIED", failed.Err.Reason)
	target.Table = "no_such_database.t"
	require.Equal(t, "DATABASE_NOT_FOUND", failedCheck(b.link.CheckTarget(t.Context(), target)).Err.Reason)
	require.Equal(t, "0", b.text("SELECT count(*) FROM information_schema.tables WHERE table_schema = database()"))
}

func failedCheck(checks []connector.Check) connector.Check {
	for _, c := range checks {
		if c.Status == connector.CheckFailed {
			return c
		}
	}
	return connector.Check{Err: &connector.Error{}}
}
