package mysql_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/mysql"
)

// all reads a query to its end and returns its rows as text.
func all(t *testing.T, link *mysql.Connector, query, path string, bound bool) []string {
	t.Helper()
	return loadtest.All(t, link, query, path, bound)
}

func TestPlaceholdersAreFoundAsTheServerReadsAQuery(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE TABLE t (batch varchar(40), n int); INSERT INTO t VALUES ('b1', 1), ('b2', 2), ('b1', 3), ('\\'' OR 1=1 #', 5)`)
	const query = "SELECT n, ':source_path' AS s, 'it\\'s :source_path' AS `:source_path`, 5--1 AS m FROM t WHERE batch = :source_path # :source_path\n-- :source_path\n ORDER BY n"
	require.Equal(t, []string{"1|:source_path|it's :source_path|6", "3|:source_path|it's :source_path|6"}, all(t, b.link, query, "b1", true))
	require.Equal(t, []string{"5"}, all(t, b.link, "SELECT n FROM t WHERE batch = :source_path", `\' OR 1=1 #`, true))
	for _, query := range []string{"SELECT n FROM t WHERE n = ? AND batch = :source_path", "SELECT 1 AS a; SELECT :source_path AS b"} {
		_, err := b.link.Query(t.Context(), query, "b", true)
		require.Equal(t, connector.KindInvalid, connector.AsError(err).Kind, "%v", err)
	}
}

func TestLongResultsAreStreamed(t *testing.T) {
	t.Parallel()
	loadtest.Streaming{
		Open: database,
		Series: func(n, width int) string {
			return fmt.Sprintf("SELECT seq AS n, repeat('x', %d) AS v FROM seq_1_to_%d", width, n)
		},
		Sleep:      "SELECT seq AS n, sleep(60) AS v FROM seq_1_to_3",
		SleepLater: "SELECT seq AS n, CASE WHEN seq > 20000 THEN sleep(60) END AS v FROM seq_1_to_30000",
	}.Run(t)
}

func TestAQueryCanOnlyRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE t (n int); CREATE FUNCTION w() RETURNS int MODIFIES SQL DATA BEGIN INSERT INTO t VALUES (1); RETURN 1; END")
	stream, err := b.link.Query(t.Context(), "SELECT w() AS n", "", false)
	if err == nil {
		_, err = stream.Next(t.Context())
		require.NoError(t, stream.Close())
	}
	coded(t, err, "QUERY_WRITES")
	for _, query := range []string{"INSERT INTO t VALUES (1) RETURNING n", "DELETE FROM t", "SELECT 1 AS a INTO OUTFILE '/tmp/lume-no'", "CALL p()", "SHOW TABLES"} {
		_, err := b.link.Query(t.Context(), query, "", false)
		coded(t, err, "QUERY_SYNTAX")
	}
	require.Equal(t, "0", b.text("SELECT count(*) FROM t"))
}

func TestDescribeNamesColumnsAndProblemsWithoutRunning(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE t (a numeric(10,3), c enum('ok'), d varchar(5), u bigint unsigned); INSERT INTO t VALUES (1, 'ok', 'x', 1), (2, 'ok', 'x', 1)")
	started := time.Now()
	for _, query := range []string{"SELECT sleep(60) AS z", "SELECT sum(sleep(60)) AS z FROM t", "WITH x AS (SELECT sleep(60) AS z FROM t) SELECT z FROM x ORDER BY z LIMIT 1 -- at the end",
		"(SELECT sleep(60) AS z FROM t) UNION ALL SELECT sleep(60) LIMIT 5"} {
		_, err := b.link.Describe(t.Context(), query, false)
		require.NoError(t, err, query)
	}
	loadtest.Described(t, b.link, "SELECT a, c, d, u, sum(a) OVER () AS s, sleep(60) AS z FROM t WHERE d = :source_path ORDER BY a",
		[]string{"a decimal(10,3)", "c string", "d string", "u decimal(20,0)", "s decimal(32,3)", "z int32"}, map[string]string{
			"SELECT":                       "QUERY_SYNTAX",
			"SELEC 1":                      "QUERY_SYNTAX",
			"SELECT x FROM t":              "COLUMN_NOT_FOUND",
			"SELECT 1 AS a FROM nothing":   "TABLE_NOT_FOUND",
			"SELECT 1 AS a, 2 AS a":        "QUERY_COLUMN_NAMES",
			"SELECT 1 AS a; DELETE FROM t": "QUERY_STATEMENTS",
			"SELECT :source_path AS a":     "QUERY_WITH_PLACEHOLDER",
			"SELECT 1 AS a FROM `t":        "QUERY_UNTERMINATED",
			"DELETE FROM t":                "QUERY_SYNTAX",
		})
	require.Less(t, time.Since(started), 20*time.Second)
	// What closes our bracket is a query of its own only inside of it.
	_, err := b.link.Query(t.Context(), "SELECT 1 AS a) UNION (SELECT 2", "", false)
	coded(t, err, "QUERY_SYNTAX")
}

func TestDiscoverPagesThroughWhatTheUserCanUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	schema := b.server.Database + ".my"
	b.exec("CREATE DATABASE `" + schema + "`")
	b.atEnd("DROP DATABASE `" + schema + "`")
	b.exec("CREATE TABLE `" + schema + "`.`a\"b` (id int unsigned NOT NULL, v numeric(5,2), x json, y tinyint(1), z timestamp(6) NULL, w blob); CREATE VIEW z AS SELECT 1 AS one; CREATE TABLE m (x int)")
	require.Equal(t, []string{"table " + b.server.Database + ".m", "view " + b.server.Database + ".z"},
		loadtest.Discovered(t, b.link, b.server.Database+"."))
	items, next, err := b.link.Discover(t.Context(), `"`+schema, "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Equal(t, `"`+schema+`"."a""b"`, items[0].Path)
	require.Equal(t, []connector.ItemColumn{
		{Name: "id", Type: "int64", NativeType: "int(10) unsigned"}, {Name: "v", Type: "decimal(5,2)", NativeType: "decimal(5,2)", Nullable: true},
		{Name: "x", Type: "string", NativeType: "longtext", Nullable: true}, {Name: "y", Type: "int16", NativeType: "tinyint(1)", Nullable: true},
		{Name: "z", Type: "timestamptz", NativeType: "timestamp(6)", Nullable: true}, {Name: "w", Type: "binary", NativeType: "blob", Nullable: true},
	}, items[0].Columns)
}
