package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/sqlite"
)

// bundle is a database file, a connector to it, and a connection to look at what is there.
type bundle struct {
	t    testing.TB
	path string
	link *sqlite.Connector
	db   *sql.DB
}

func setup(t testing.TB) *bundle {
	t.Helper()
	root := t.TempDir()
	path := filepath.Join(root, "odd name %20?#.db")
	db, err := sql.Open("sqlite", "file://"+strings.NewReplacer("%", "%25", "?", "%3f", "#", "%23").Replace(path)+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	link, err := open(t, root, path)
	require.NoError(t, err)
	return &bundle{t: t, path: path, link: link.(*sqlite.Connector), db: db}
}

func open(t testing.TB, root, path string) (connector.Connector, error) {
	return connector.NewRegistry(sqlite.Definition()).Open(t.Context(), connector.Env{Roots: []string{root}, Log: slog.New(slog.DiscardHandler)},
		"sqlite", map[string]any{"path": path}, nil)
}

func (b *bundle) exec(statements string) {
	b.t.Helper()
	_, err := b.db.ExecContext(b.t.Context(), statements)
	require.NoError(b.t, err)
}

func (b *bundle) text(query string) string {
	b.t.Helper()
	var value sql.NullString
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), "SELECT CAST(("+query+") AS TEXT)").Scan(&value))
	if !value.Valid {
		return "NULL"
	}
	return value.String
}

func (b *bundle) load(l *loadtest.Load) connector.Outcome {
	b.t.Helper()
	out, err := b.link.Load(b.t.Context(), l.Load)
	require.NoError(b.t, err, "%v", errors.Unwrap(err))
	return out
}

func spec(mode connector.Mode, table string, columns []connector.Column) connector.TargetSpec {
	return connector.TargetSpec{Name: "main", Table: table, Mode: mode, Columns: columns, Create: true}
}

func coded(t testing.TB, err error, reason string) *connector.Error {
	t.Helper()
	var e *connector.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, reason, e.Reason, "%v: %v", e, e.Cause)
	return e
}

func TestAppendAddsRowsRejectsAndMarkerTogether(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64", "name", "string")
	l := loadtest.New("run_1", spec(connector.Append, "things", columns),
		&loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1, "one"}, []any{3, 2, nil})},
		connector.Reject{Row: 1, File: "a.csv", Line: 3, Byte: 40, Stage: "transform", Errors: `[{"type":"type"}]`, Record: `{"id":"\u0000"}`},
		connector.Reject{Row: -1, Line: 4, Byte: 60, Stage: "ingest", Errors: `[{"type":"malformed"}]`, Raw: []byte{0xff, 0}})

	out := b.load(l)

	require.True(t, out.Committed)
	require.Equal(t, "1|one,2|NULL", b.text("SELECT group_concat(id || '|' || coalesce(name, 'NULL')) FROM things"))
	require.Equal(t, string(out.Receipt), b.text("SELECT receipt FROM _lume_runs WHERE run_id = 'run_1' AND target = 'main' AND state = 'committed'"))
	require.Equal(t, `run_1|1|a.csv|3|40|transform|[{"type":"type"}]|{"id":"\u0000"}|NULL`,
		b.text("SELECT run_id || '|' || _row || '|' || file || '|' || line || '|' || byte_offset || '|' || stage || '|' || errors || '|' || record || '|' || coalesce(raw, 'NULL') FROM things_rejects WHERE _row = 1"))
	require.Equal(t, "FF00", b.text("SELECT hex(raw) FROM things_rejects WHERE _row IS NULL AND record IS NULL AND file IS NULL"))
}

func TestModesAndTheirSecondLoad(t *testing.T) {
	t.Parallel()
	for mode, want := range map[connector.Mode]string{connector.Append: "5,6,7", connector.Upsert: "5,6,7", connector.Replace: "6,7"} {
		b := setup(t)
		columns := loadtest.Columns(t, "id!", "int64", "v", "string")
		b.load(loadtest.New("run_1", spec(connector.Append, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 5, "old"})}))
		rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 6, "x"}, []any{1, 7, "y"})}
		first := b.load(loadtest.New("run_2", spec(mode, "things", columns), rows))
		second := b.load(loadtest.New("run_2", spec(mode, "things", columns), rows))
		require.True(t, second.Existing)
		require.Equal(t, first.Receipt, second.Receipt)
		require.Equal(t, want, b.text("SELECT group_concat(id) FROM (SELECT id FROM things ORDER BY id)"), mode)
	}
}

func TestReplaceKeepsTheTableItsTriggersAndItsViews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	b.exec("CREATE TABLE things (id integer, CHECK (id < 100)); INSERT INTO things VALUES (1), (2), (3); CREATE TABLE gone (n)")
	b.exec("CREATE VIEW seen AS SELECT count(*) AS n FROM things; CREATE TRIGGER old AFTER DELETE ON things BEGIN INSERT INTO gone VALUES (old.id); END")
	before := b.text("SELECT group_concat(rootpage || sql) FROM sqlite_schema WHERE tbl_name = 'things'")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 7}, []any{1, 8})}

	b.load(loadtest.New("run_1", spec(connector.Replace, "things", columns), rows))

	require.Equal(t, "2", b.text("SELECT n FROM seen"))
	require.Equal(t, "1,2,3", b.text("SELECT group_concat(n) FROM (SELECT n FROM gone ORDER BY n)"))
	require.Equal(t, before, b.text("SELECT group_concat(rootpage || sql) FROM sqlite_schema WHERE tbl_name = 'things'"))
}

func TestALoadThatItsCommitRefusesHasNoOutcome(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	b.exec("CREATE TABLE parents (id integer PRIMARY KEY); CREATE TABLE children (id integer REFERENCES parents DEFERRABLE INITIALLY DEFERRED)")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 7})}

	out, err := b.link.Load(t.Context(), loadtest.New("run_1", spec(connector.Append, "children", columns), rows).Load)

	coded(t, err, "CONSTRAINT_VIOLATED")
	require.Equal(t, connector.Outcome{}, out)
	require.Equal(t, "0", b.text("SELECT count(*) FROM children"))
}

func TestOddNamesAreTakenAsTheyStand(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int64", `a "b" c`, "string", "select", "string")
	for i, table := range []string{"select", `"two words"`, `"dot.ted"`, `"a""b"`, `"semi; DROP TABLE x; --"`, "ä", "日本", "[x]", "main.plain"} {
		for _, mode := range []connector.Mode{connector.Append, connector.Upsert, connector.Replace} {
			rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 7, "x", "y"})}
			l := loadtest.New(fmt.Sprintf("run_%d%s", i, mode), spec(mode, table, columns), rows)
			b.load(l)
			require.Empty(t, l.Refused, table)
		}
		name := strings.TrimPrefix(strings.ReplaceAll(strings.Trim(table, `"`), `""`, `"`), "main.")
		require.Equal(t, "1", b.text(`SELECT count(*) FROM "`+strings.ReplaceAll(name, `"`, `""`)+`" WHERE "a ""b"" c" = 'x' AND "select" = 'y'`), table)
		require.Equal(t, "1", b.text("SELECT count(*) FROM sqlite_schema WHERE name = '"+name+"_rejects'"), table)
	}
}

func TestUpsertReplacesEqualKeys(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE things (note TEXT DEFAULT 'kept', v TEXT, a TEXT, b INT, UNIQUE (b, a)); INSERT INTO things VALUES ('mine', '1', 'x', 1)")
	columns := loadtest.Columns(t, "a!", "string", "b!", "int32", "v", "decimal(5,2)")
	l := loadtest.New("run_1", spec(connector.Upsert, "things", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, "x", 1, "10.50"}, []any{1, "y", 1, nil})})
	b.load(l)
	require.EqualValues(t, 2, l.Written)
	require.Equal(t, "x/10.50/mine,y/-/kept", b.text("SELECT group_concat(a || '/' || coalesce(v, '-') || '/' || note) FROM things"))
}

func TestRefusedRowsBecomeRejectsAndTheReasonStaysOnTheRightRow(t *testing.T) {
	t.Parallel()
	cases := map[string]struct {
		table, typ string
		values     []any
		reasons    map[int64]connector.RefusedRow
	}{
		"check":               {"v INT CONSTRAINT positive CHECK (v > 0)", "int32", []any{1, -1, 5}, map[int64]connector.RefusedRow{1: {Message: "violates the check constraint positive"}}},
		"not null":            {"v INT NOT NULL", "int32", []any{nil, 1}, map[int64]connector.RefusedRow{0: {Column: "v", Message: "the column does not allow NULL"}}},
		"unique":              {"v INT UNIQUE", "int32", []any{1, 2, 1, 3}, map[int64]connector.RefusedRow{2: {Message: "violates the unique constraint on t.v"}}},
		"unique that ignores": {"v INT UNIQUE ON CONFLICT IGNORE", "int32", []any{1, 1}, map[int64]connector.RefusedRow{1: {Message: "violates the unique constraint on t.v"}}},
		"foreign key":         {"v INT REFERENCES refs", "int32", []any{1, 2, nil}, map[int64]connector.RefusedRow{1: {Message: "violates a foreign key"}}},
		"nul":                 {"v TEXT", "string", []any{"a", "b\x00"}, map[int64]connector.RefusedRow{1: {Column: "v", Message: "has a NUL character, which SQLite's functions do not see past"}}},
		"nan":                 {"v REAL", "float64", []any{"NaN", "1"}, map[int64]connector.RefusedRow{0: {Column: "v", Message: "is NaN, which SQLite would keep as NULL"}}},
	}
	for name, c := range cases {
		for _, mode := range []connector.Mode{connector.Append, connector.Upsert, connector.Replace} {
			t.Run(name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				b := setup(t)
				b.exec("CREATE TABLE refs (id INTEGER PRIMARY KEY); INSERT INTO refs VALUES (1); CREATE TABLE t (id INTEGER PRIMARY KEY, " + c.table + ")")
				columns := loadtest.Columns(t, "id!", "int64", "v", c.typ)
				rows := make([][]any, len(c.values))
				for i, v := range c.values {
					rows[i] = []any{i, i, v}
				}
				l := loadtest.New("run_1", spec(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, rows...)})
				b.load(l)
				require.Equal(t, c.reasons, l.Refused)
				require.Equal(t, fmt.Sprint(len(c.values)-len(c.reasons)), b.text("SELECT count(*) FROM t"))
				require.Equal(t, fmt.Sprint(len(c.reasons)), b.text("SELECT count(*) FROM t_rejects WHERE json_extract(record, '$.row') = _row"))
			})
		}
	}
}

func TestARefusedRowAmongManyCostsOnlyItsGroup(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE t (id INT CHECK (id % 100 <> 7))")
	columns := loadtest.Columns(t, "id", "int64")
	rows := make([][]any, 10_000)
	for i := range rows {
		rows[i] = []any{2 * i, i}
	}
	l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, rows...), Size: 999})
	b.load(l)
	require.Len(t, l.Refused, 100)
	for i, row := range l.RefusedRows() {
		require.EqualValues(t, 2*(i*100+7), row)
	}
}

func TestATriggerThatRollsBackEndsTheLoadWithoutATrace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE t (id INT); CREATE TRIGGER r BEFORE INSERT ON t WHEN NEW.id = 2 BEGIN SELECT RAISE(ROLLBACK, 'no'); END")
	columns := loadtest.Columns(t, "id", "int64")
	l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1}, []any{1, 2}, []any{2, 3})})
	_, err := b.link.Load(t.Context(), l.Load)
	coded(t, err, "TRANSACTION_ROLLED_BACK")
	require.Equal(t, "0", b.text("SELECT count(*) FROM t"))
}

func TestAnAbortedRunCannotCommitAndACommittedOneIsFound(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	rows := &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1})}
	target := spec(connector.Append, "t", columns)
	for range 2 {
		out, err := b.link.Settle(t.Context(), loadtest.Settlement("run_1", target, 5))
		require.NoError(t, err)
		require.False(t, out.Committed)
	}
	_, err := b.link.Load(t.Context(), loadtest.New("run_1", target, rows).Load)
	require.ErrorIs(t, err, connector.ErrAborted)
	committed := b.load(loadtest.New("run_2", target, rows))
	out, err := b.link.Settle(t.Context(), loadtest.Settlement("run_2", target, 5))
	require.NoError(t, err)
	require.True(t, out.Committed)
	require.Equal(t, committed.Receipt, out.Receipt)
	require.Equal(t, "1", b.text("SELECT count(*) FROM t"))
}

func TestALoadThatFailsOrIsCancelledLeavesNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id", "int64")
	l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, 1})})
	l.Balance = func(int64, int64) ([]byte, error) { return nil, errors.New("off by one") }
	_, err := b.link.Load(t.Context(), l.Load)
	require.ErrorContains(t, err, "off by one")
	ctx, cancel := context.WithCancel(t.Context())
	l.Balance = func(int64, int64) ([]byte, error) { cancel(); return nil, nil }
	_, err = b.link.Load(ctx, l.Load)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "0", b.text("SELECT count(*) FROM sqlite_schema"))
}

func TestEveryTypeIsKeptExactly(t *testing.T) {
	t.Parallel()
	cases := map[string][][2]string{
		"string":         {{"", ""}, {"007", ""}, {"äöü 😀", ""}, {"1e5", ""}},
		"bool":           {{"true", "1"}, {"false", "0"}},
		"int64":          {{"-9223372036854775808", ""}, {"9223372036854775807", ""}},
		"int16":          {{"-32768", ""}},
		"decimal(38,18)": {{"99999999999999999999.999999999999999999", ""}, {"-0.000000000000000001", ""}, {"1.000000000000000000", ""}},
		"decimal(12,2)":  {{"10.50", ""}, {"-0.10", ""}, {"9999999999.99", ""}},
		"decimal(5,0)":   {{"-12345", ""}},
		"float64":        {{"0.1", ""}, {"1.7976931348623157e+308", ""}},
		"date":           {{"0001-01-01", ""}, {"9999-12-31", ""}, {"1969-12-31", ""}},
		"time":           {{"23:59:59.999999", ""}, {"00:00:00", "00:00:00.000000"}},
		"timestamp":      {{"0001-01-01 00:00:00", "0001-01-01 00:00:00.000000"}, {"9999-12-31 23:59:59.999999", ""}, {"1969-12-31 23:59:59.999999", ""}},
		"timestamptz":    {{"2024-10-27 01:30:00Z", "2024-10-27 01:30:00.000000Z"}},
		"uuid":           {{"123e4567-e89b-12d3-a456-426614174000", ""}},
		"json":           {{`{"a":1.10}`, ""}},
	}
	for typ, values := range cases {
		b := setup(t)
		columns := loadtest.Columns(t, "v", typ)
		rows := [][]any{{0, nil}}
		for i, v := range values {
			rows = append(rows, []any{i + 1, v[0]})
		}
		l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, rows...)})
		b.load(l)
		require.Empty(t, l.Refused)
		require.Equal(t, "NULL", b.text("SELECT v FROM t WHERE rowid = 1"))
		for i, v := range values {
			want := v[1]
			if want == "" {
				want = v[0]
			}
			require.Equal(t, want, b.text(fmt.Sprintf("SELECT v FROM t WHERE rowid = %d", i+2)), typ)
		}
	}
}

func TestAColumnThatWouldChangeAValueIsAMismatch(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"decimal(5,2)", "DECIMAL(5,2)"}, {"decimal(5,2)", "REAL"}, {"string", "NUMERIC"}, {"string", "INT"}, {"uuid", "UUID"}, {"json", "JSON"}, {"int64", "TEXT"}, {"binary", "TEXT"}} {
		b := setup(t)
		b.exec("CREATE TABLE t (v " + c[1] + ")")
		columns := loadtest.Columns(t, "v", c[0])
		l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns)})
		_, err := b.link.Load(t.Context(), l.Load)
		coded(t, err, "TYPE_MISMATCH")
		checks := b.link.CheckTarget(t.Context(), l.Target)
		require.Equal(t, "TYPE_MISMATCH", checks[3].Err.Reason)
	}
}

func TestPathsStayInsideTheRoots(t *testing.T) {
	t.Parallel()
	root, outside := t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(outside, "a.db"), root + "/../a.db", "relative.db", root, "/"} {
		_, err := open(t, root, path)
		require.Error(t, err, path)
	}
	require.NoError(t, os.Symlink(outside, filepath.Join(root, "way")))
	require.NoError(t, os.Symlink(filepath.Join(outside, "b.db"), filepath.Join(root, "b.db")))
	for _, path := range []string{"way/a.db", "b.db"} {
		link, err := open(t, root, filepath.Join(root, path))
		require.NoError(t, err)
		columns := loadtest.Columns(t, "id", "int64")
		_, err = link.(*sqlite.Connector).Load(t.Context(), loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns)}).Load)
		coded(t, err, "PATH_NOT_ALLOWED")
	}
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
	_, err = connector.NewRegistry(sqlite.Definition()).Open(t.Context(), connector.Env{}, "sqlite", map[string]any{"path": filepath.Join(root, "a.db")}, nil)
	coded(t, err, "ROOT_NOT_ALLOWED")
}

func TestAQueryReadsOneBatchWithItsTypes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE TABLE t (batch TEXT, i INT, r REAL, x BLOB, d DATE, ts TIMESTAMP, n DECIMAL(5,2), free);
		INSERT INTO t VALUES ('b1', 9007199254740993, 0.5, x'00ff', '2024-02-03', '2024-02-03 01:02:03.123456789', '1.5', 'x'), ('b2', 1, 1, 1, 1, 1, 1, 1);
		INSERT INTO t (batch, r, ts, free) VALUES ('b1', 2, 5, 7)`)
	stream, err := b.link.Query(t.Context(), "SELECT i, r, x, d, ts, n, free, i + 1 AS e FROM t WHERE batch = :source_path ORDER BY rowid", "b1", true)
	require.NoError(t, err)
	defer stream.Close()
	var types []string
	for _, c := range stream.Columns() {
		types = append(types, string(c.Type.Name))
	}
	require.Equal(t, []string{"int64", "float64", "binary", "string", "string", "string", "string", "string"}, types)
	batch, err := stream.Next(t.Context())
	require.NoError(t, err)
	defer batch.Release()
	var got [2][]string
	for row := range got {
		for _, col := range batch.Columns() {
			got[row] = append(got[row], col.ValueStr(row))
		}
	}
	require.Equal(t, []string{"9007199254740993", "0.5", "AP8=", "2024-02-03", "2024-02-03 01:02:03.123456789", "1.5", "x", "9007199254740994"}, got[0])
	require.Equal(t, []string{"(null)", "2", "(null)", "(null)", "5", "(null)", "7", "(null)"}, got[1])
	_, err = stream.Next(t.Context())
	require.ErrorIs(t, err, io.EOF)
}

func TestAQueryCanOnlySelectFromItsOwnFile(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE t (a TEXT)")
	for _, query := range []string{
		"ATTACH '/tmp/x.db' AS x", "DELETE FROM t RETURNING a", "PRAGMA database_list", "SELECT 1 AS a; ATTACH 'x' AS y",
		"SELECT * FROM nothing", "SELECT FROM", "VACUUM INTO '/tmp/y.db'", "INSERT INTO t VALUES (1) RETURNING a", "SELECT 1 AS a, 2 AS a",
	} {
		_, err := b.link.Query(t.Context(), query, "", false)
		require.Equal(t, connector.KindInvalid, connector.AsError(err).Kind, "%s: %v", query, err)
	}
}

func TestDiscoverPagesThroughTablesAndViews(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE TABLE "b.x" (id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE a (x REAL NOT NULL); CREATE VIEW c AS SELECT * FROM a`)
	var paths []string
	cursor := ""
	for {
		items, next, err := b.link.Discover(t.Context(), "", cursor, 1)
		require.NoError(t, err)
		require.Len(t, items, 1)
		paths = append(paths, items[0].Kind+" "+items[0].Path)
		if cursor = next; cursor == "" {
			break
		}
	}
	require.Equal(t, []string{`table "b.x"`, "table a", "view c"}, paths)
	items, _, err := b.link.Discover(t.Context(), "a", "", 10)
	require.NoError(t, err)
	require.Equal(t, []connector.ItemColumn{{Name: "x", Type: "float64", NativeType: "REAL"}}, items[0].Columns)
}

func TestCheckLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	link, err := open(t, root, filepath.Join(root, "new.db"))
	require.NoError(t, err)
	for _, c := range link.Check(t.Context()) {
		require.NotEqual(t, connector.CheckFailed, c.Status, c.Name)
	}
	entries, err := os.ReadDir(root)
	require.NoError(t, err)
	require.Empty(t, entries)
	b := setup(t)
	b.exec("CREATE TABLE t (a)")
	for _, c := range b.link.Check(t.Context()) {
		require.Equal(t, connector.CheckPassed, c.Status, "%s %v", c.Name, c.Err)
	}
	require.Equal(t, "1", b.text("SELECT count(*) FROM sqlite_schema"))
	require.NoError(t, os.WriteFile(filepath.Join(root, "text.db"), []byte(strings.Repeat("not a database ", 100)), 0o600))
	link, err = open(t, root, filepath.Join(root, "text.db"))
	require.NoError(t, err)
	require.Equal(t, "NOT_A_DATABASE", link.Check(t.Context())[0].Err.Reason)
}
