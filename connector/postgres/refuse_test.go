package postgres_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// beforeRefusals makes what the tables of refusals, and some of those that values fit, are made of.
const beforeRefusals = `CREATE TABLE refs (id int PRIMARY KEY); INSERT INTO refs VALUES (5);
	CREATE TYPE mood AS ENUM ('ok'); CREATE DOMAIN small AS int CHECK (VALUE < 5);
	CREATE DOMAIN short AS varchar(4); CREATE DOMAIN code AS short CHECK (VALUE <> 'zzz');
	CREATE FUNCTION no13() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.v = 13 THEN RAISE EXCEPTION 'secret %', NEW.v; END IF; RETURN NEW; END $$`

// refusals are tables that refuse rows.
var refusals = []loadtest.Refusal{
	{
		Name: "check", Table: "id bigint PRIMARY KEY, v int CONSTRAINT positive CHECK (v > 0)", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, -1}, {9, 3, 7}, {11, 4, 0}, {12, 5, nil}},
		Reason: map[int64]connector.RefusedRow{5: {Message: "violates the check constraint positive"}, 11: {Message: "violates the check constraint positive"}},
	},
	{
		Name: "not null", Table: "id bigint PRIMARY KEY, v int NOT NULL", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, nil}, {5, 2, 1}},
		Reason: map[int64]connector.RefusedRow{3: {Column: "v", Message: "the column does not allow NULL"}},
	},
	{
		Name: "text", Table: "id bigint PRIMARY KEY, v varchar(3)", Columns: []string{"id!", "int64", "v", "string"},
		Rows: [][]any{{3, 1, "abc"}, {5, 2, "abcd"}, {9, 3, "ab\x00"}, {11, 4, "äöü"}, {12, 5, "ab  "}},
		Reason: map[int64]connector.RefusedRow{
			5:  {Column: "v", Message: "is longer than the 3 characters of the column"},
			9:  {Column: "v", Message: "has a NUL character, which the target cannot hold"},
			12: {Column: "v", Message: "is longer than the 3 characters of the column"},
		},
	},
	{
		Name: "unique in the batch", Table: "id bigint PRIMARY KEY, v int UNIQUE", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {11, 4, 5}, {12, 5, 7}},
		Reason: map[int64]connector.RefusedRow{9: {Message: "violates the unique constraint t_v_key"}, 11: {Message: "violates the unique constraint t_v_key"}},
	},
	{
		Name: "deferred unique", Table: "id bigint PRIMARY KEY, v int CONSTRAINT late UNIQUE DEFERRABLE INITIALLY DEFERRED", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}},
		Reason: map[int64]connector.RefusedRow{9: {Message: "violates the unique constraint late"}},
	},
	{
		Name: "foreign key", Table: "id bigint PRIMARY KEY, v int CONSTRAINT known REFERENCES refs DEFERRABLE INITIALLY DEFERRED", Columns: []string{"id!", "int64", "v", "int32"},
		Rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {12, 4, nil}},
		Reason: map[int64]connector.RefusedRow{5: {Message: "violates the foreign key known"}},
	},
	{
		Name: "domain and enum", Table: "id bigint PRIMARY KEY, v mood, w small", Columns: []string{"id!", "int64", "v", "string", "w", "int32"},
		Rows: [][]any{{3, 1, "ok", 1}, {5, 2, "bad", 1}, {9, 3, "ok", 9}},
		Reason: map[int64]connector.RefusedRow{
			5: {Column: "v", Message: "is not a value of the column's type"},
			9: {Column: "w", Message: "violates the check constraint small_check"},
		},
	},
	{
		Name: "trigger", Table: "id bigint PRIMARY KEY, v int", Columns: []string{"id!", "int64", "v", "int32"},
		Then:   "CREATE TRIGGER no13 BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION no13()",
		Rows:   [][]any{{3, 1, 13}, {5, 2, 1}},
		Reason: map[int64]connector.RefusedRow{3: {Message: "a trigger of the table raised an exception"}},
	},
}

func TestErrorsThatAreNoRowsFaultAreNeverBisected(t *testing.T) {
	t.Parallel()
	cases := map[string]struct{ setup, reason string }{
		"permission":     {"CREATE TABLE t (v int); REVOKE ALL ON t FROM PUBLIC", "PERMISSION_DENIED"},
		"missing column": {"CREATE TABLE t (w int)", "COLUMN_NOT_FOUND"},
		"needed column":  {"CREATE TABLE t (v int, w int NOT NULL)", "COLUMN_REQUIRED"},
		"generated":      {"CREATE TABLE t (w int, v int GENERATED ALWAYS AS (w) STORED)", "COLUMN_NOT_WRITABLE"},
		"view":           {"CREATE VIEW t AS SELECT 1 AS v", "NOT_A_TABLE"},
		"row security": {"CREATE TABLE t (v int); ALTER TABLE t ENABLE ROW LEVEL SECURITY; CREATE POLICY even ON t USING (v % 2 = 0) WITH CHECK (true)",
			"ROW_SECURITY"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			b.exec(c.setup)
			role := "lume_test_" + strings.ToLower(rand.Text())
			// Roles are the server's, and whoever is no superuser drops what belongs to a role as its member.
			b.exec("CREATE ROLE " + role + " LOGIN PASSWORD 'pw'; GRANT " + role + " TO CURRENT_USER; GRANT CREATE, USAGE ON SCHEMA public TO " + role)
			t.Cleanup(func() {
				_, err := b.conn.Exec(context.Background(), "DROP OWNED BY "+role+"; DROP ROLE "+role)
				require.NoError(t, err)
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
			require.Equal(t, c.reason, loadtest.Failed(t, link.CheckTarget(t.Context(), l.Target)).Err.Reason)
		})
	}
}
