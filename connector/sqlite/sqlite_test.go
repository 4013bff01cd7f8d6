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

var (
	spec  = loadtest.Spec
	coded = loadtest.Coded
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
	return l.Run(b.t, b.link)
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

func TestOddTableNamesAreTakenAsTheyStand(t *testing.T) {
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
	require.Equal(t, []string{`table "b.x"`, "table a", "view c"}, loadtest.Discovered(t, b.link, ""))
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

// Rows of different statements refer to each other forwards, some through many others, and some to rows that never come.
func TestRowsMayReferToLaterRowsFarAway(t *testing.T) {
	t.Parallel()
	columns := loadtest.Columns(t, "id!", "int64", "next", "int64")
	const n = 1000
	var rows [][]any
	var refused []int64
	for i := range n {
		row := []any{i, i, nil}
		switch {
		case i < 200: // A chain.
			row[2] = i + 1
		case i%100 == 50:
			row[2], refused = n+i, append(refused, int64(i))
		case i < n/2:
			row[2] = n - 1 - i
		}
		rows = append(rows, row)
	}
	for _, mode := range loadtest.Modes {
		b := setup(t)
		b.exec("CREATE TABLE t (id INTEGER PRIMARY KEY, next INT REFERENCES t (id))")
		l := loadtest.New("run_1", spec(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, rows...), Size: 99})
		b.load(l)
		// Who refers to a refused row is refused too.
		want := append([]int64(nil), refused...)
		for i := 200; i < n/2; i++ {
			if at := n - 1 - i; at%100 == 50 && i%100 != 50 {
				want = append(want, int64(i))
			}
		}
		require.ElementsMatch(t, want, l.RefusedRows(), mode)
		require.Equal(t, "0", b.text("SELECT count(*) FROM t AS a WHERE next IS NOT NULL AND NOT EXISTS (SELECT 1 FROM t WHERE id = a.next)"))
	}
}
