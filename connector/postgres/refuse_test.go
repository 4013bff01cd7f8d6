package postgres_test

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
			name: "check", table: "id bigint PRIMARY KEY, v int CONSTRAINT positive CHECK (v > 0)", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, 5}, {5, 2, -1}, {9, 3, 7}, {11, 4, 0}, {12, 5, nil}},
			reason: map[int64]connector.RefusedRow{5: {Message: "violates the check constraint positive"}, 11: {Message: "violates the check constraint positive"}},
		},
		{
			name: "not null", table: "id bigint PRIMARY KEY, v int NOT NULL", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, nil}, {5, 2, 1}},
			reason: map[int64]connector.RefusedRow{3: {Column: "v", Message: "the column does not allow NULL"}},
		},
		{
			name: "text", table: "id bigint PRIMARY KEY, v varchar(3)", columns: []string{"id!", "int64", "v", "string"},
			rows: [][]any{{3, 1, "abc"}, {5, 2, "abcd"}, {9, 3, "ab\x00"}, {11, 4, "äöü"}, {12, 5, "ab  "}},
			reason: map[int64]connector.RefusedRow{
				5:  {Column: "v", Message: "is longer than the 3 characters of the column"},
				9:  {Column: "v", Message: "has a NUL character, which the target cannot hold"},
				12: {Column: "v", Message: "is longer than the 3 characters of the column"},
			},
		},
		{
			name: "unique in the batch", table: "id bigint PRIMARY KEY, v int UNIQUE", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {11, 4, 5}, {12, 5, 7}},
			reason: map[int64]connector.RefusedRow{9: {Message: "violates the unique constraint t_v_key"}, 11: {Message: "violates the unique constraint t_v_key"}},
		},
		{
			name: "deferred unique", table: "id bigint PRIMARY KEY, v int CONSTRAINT late UNIQUE DEFERRABLE INITIALLY DEFERRED", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}},
			reason: map[int64]connector.RefusedRow{9: {Message: "violates the unique constraint late"}},
		},
		{
			name: "foreign key", table: "id bigint PRIMARY KEY, v int CONSTRAINT known REFERENCES refs DEFERRABLE INITIALLY DEFERRED", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {12, 4, nil}},
			reason: map[int64]connector.RefusedRow{5: {Message: "violates the foreign key known"}},
		},
		{
			name: "domain and enum", table: "id bigint PRIMARY KEY, v mood, w small", columns: []string{"id!", "int64", "v", "string", "w", "int32"},
			rows: [][]any{{3, 1, "ok", 1}, {5, 2, "bad", 1}, {9, 3, "ok", 9}},
			reason: map[int64]connector.RefusedRow{
				5: {Column: "v", Message: "is not a value of the column's type"},
				9: {Column: "w", Message: "violates the check constraint small_check"},
			},
		},
		{
			name: "trigger", table: "id bigint PRIMARY KEY, v int", columns: []string{"id!", "int64", "v", "int32"},
			rows:   [][]any{{3, 1, 13}, {5, 2, 1}},
			reason: map[int64]connector.RefusedRow{3: {Message: "a trigger of the table raised an exception"}},
		},
	}
	for _, c := range cases {
		for _, mode := range modes {
			t.Run(c.name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.exec(`CREATE TABLE refs (id int PRIMARY KEY); INSERT INTO refs VALUES (5);
					CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN small AS int CHECK (VALUE < 5);
					CREATE FUNCTION no13() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.v = 13 THEN RAISE EXCEPTION 'secret %', NEW.v; END IF; RETURN NEW; END $$;
					CREATE TABLE t (` + c.table + `)`)
				if c.name == "trigger" {
					b.exec("CREATE TRIGGER no13 BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no13()")
				}
				columns := loadtest.Columns(t, c.columns...)
				l := loadtest.New("run_1", spec(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, c.rows...), Size: 2})

				b.load(l)

				require.Equal(t, c.reason, l.Refused)
				require.EqualValues(t, len(c.rows)-len(c.reason), l.Written)
				want := make([]string, 0, len(c.rows))
				for _, row := range c.rows {
					if _, refused := c.reason[int64(row[0].(int))]; !refused {
						want = append(want, fmt.Sprint(row[1]))
					}
				}
				require.Equal(t, strings.Join(want, ","), b.text("SELECT string_agg(id::text, ',' ORDER BY id) FROM t"))
				require.Equal(t, fmt.Sprint(len(c.reason)), b.text("SELECT count(*) FROM t_rejects WHERE stage = 'egress' AND (record->>'row')::bigint = _row"))
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
		b.exec("CREATE TABLE t (id bigint PRIMARY KEY, parent bigint REFERENCES t, v int CHECK (v > 0))")
		columns := loadtest.Columns(t, "id!", "int64", "parent", "int64", "v", "int32")
		l := loadtest.New("run_1", spec(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns,
			[]any{0, 1, 4, 1}, []any{1, 2, 99, 1}, []any{2, 3, nil, -1}, []any{3, 4, 5, 1}, []any{4, 5, nil, 1}, []any{5, 6, 3, 1})})
		b.load(l)
		require.Equal(t, []int64{1, 2, 5}, l.RefusedRows(), mode)
		require.Equal(t, "1,4,5", b.text("SELECT string_agg(id::text, ',' ORDER BY id) FROM t"), mode)
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
	cases := map[string]struct{ setup, reason string }{
		"permission":     {"CREATE TABLE t (v int); REVOKE ALL ON t FROM PUBLIC", "PERMISSION_DENIED"},
		"missing column": {"CREATE TABLE t (w int)", "COLUMN_NOT_FOUND"},
		"needed column":  {"CREATE TABLE t (v int, w int NOT NULL)", "COLUMN_REQUIRED"},
		"generated":      {"CREATE TABLE t (w int, v int GENERATED ALWAYS AS (w) STORED)", "COLUMN_NOT_WRITABLE"},
		"view":           {"CREATE VIEW t AS SELECT 1 AS v", "NOT_A_TABLE"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(c.setup)
			role := "weak_" + strings.ReplaceAll(name, " ", "_")
			b.exec("DROP ROLE IF EXISTS " + role)
			b.exec("CREATE ROLE " + role + " LOGIN PASSWORD 'pw'; GRANT CREATE, USAGE ON SCHEMA public TO " + role)
			t.Cleanup(func() {
				_, _ = b.conn.Exec(context.Background(), "DROP OWNED BY "+role)
				_, _ = b.conn.Exec(context.Background(), "DROP ROLE "+role)
			})
			if name != "permission" {
				b.exec("GRANT ALL ON t TO " + role)
			}
			link := connect(t, b.dsn, map[string]any{"user": role, "password": "pw"})
			columns := loadtest.Columns(t, "v", "int32")
			l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2})})
			_, err := link.Load(t.Context(), l.Load)
			e := coded(t, err, c.reason)
			require.NotEmpty(t, e.Next)
			require.Empty(t, l.Refused)
			require.Equal(t, c.reason, failedCheck(link.CheckTarget(t.Context(), l.Target)).Err.Reason)
		})
	}
}
