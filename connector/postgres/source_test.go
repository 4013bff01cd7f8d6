package postgres_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// all reads a query to its end and returns its rows as text.
func all(t *testing.T, b *bundle, query, path string, bound bool) []string {
	t.Helper()
	return loadtest.All(t, b.link, query, path, bound)
}

func TestABatchIsOfTheTypeThatEachPlaceNeeds(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE t (n int); INSERT INTO t VALUES (1), (2)")
	require.Equal(t, []string{"2"}, all(t, b, "SELECT n FROM t WHERE n = :source_path AND n::text = :source_path", "2", true))
}

func TestLongResultsAreStreamed(t *testing.T) {
	t.Parallel()
	loadtest.Streaming{
		Open: database,
		Series: func(n, width int) string {
			return fmt.Sprintf("SELECT i AS n, repeat('x', %d) AS v FROM generate_series(1, %d) i", width, n)
		},
		Sleep:      "SELECT pg_sleep(60)::text AS v",
		SleepLater: "SELECT i, CASE WHEN i > 20000 THEN pg_sleep(60)::text END AS v FROM generate_series(1, 30000) i",
	}.Run(t)
}

func TestAQueryCanOnlyRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE TABLE t (n int); CREATE FUNCTION w() RETURNS int LANGUAGE sql AS 'INSERT INTO t VALUES (1) RETURNING n'")
	for _, query := range []string{"SELECT w() AS n", "INSERT INTO t VALUES (1) RETURNING n", "WITH x AS (DELETE FROM t RETURNING n) SELECT n FROM x"} {
		stream, err := b.link.Query(t.Context(), query, "", false)
		if err == nil {
			_, err = stream.Next(t.Context())
			require.NoError(t, stream.Close())
		}
		coded(t, err, "QUERY_WRITES")
	}
	require.Equal(t, "0", b.text("SELECT count(*) FROM t"))
}

func TestDescribeNamesColumnsAndProblemsWithoutRunning(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("CREATE DOMAIN money2 AS numeric(12,2); CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE t (a numeric(10,3), b money2, c mood, d varchar(5), e int[])")
	loadtest.Described(t, b.link, "SELECT a, b, c, d, e, sum(a) OVER () AS s, pg_sleep(60)::text AS z FROM t WHERE d = :source_path",
		[]string{"a decimal(10,3)", "b decimal(12,2)", "c string", "d string", "e string", "s string", "z string"}, map[string]string{
			"SELECT":                           "QUERY_WITHOUT_ROWS",
			"SELEC 1":                          "QUERY_SYNTAX",
			"SELECT x FROM t":                  "COLUMN_NOT_FOUND",
			"SELECT 1 AS a FROM nothing":       "TABLE_NOT_FOUND",
			"SELECT 1 AS a, 2 AS a":            "QUERY_COLUMN_NAMES",
			"SELECT 1, 2 AS b":                 "QUERY_COLUMN_NAMES",
			"SELECT 1 AS a; DELETE FROM t":     "QUERY_STATEMENTS",
			"SELECT 1 AS a WHERE $1 = 'x'":     "QUERY_PARAMETER",
			"SELECT :source_path::text AS a":   "QUERY_WITH_PLACEHOLDER",
			"DELETE FROM t":                    "QUERY_WITHOUT_ROWS",
			"COPY t TO PROGRAM 'touch /tmp/x'": "QUERY_WITHOUT_ROWS",
		})
}

func TestDiscoverPagesThroughWhatTheRoleCanUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE SCHEMA "My.S"; CREATE TABLE "My.S"."a""b" (id int NOT NULL, v numeric(5,2), x int4range); CREATE VIEW public.z AS SELECT 1 AS one;
		CREATE TABLE public.parts (n int) PARTITION BY RANGE (n); CREATE TABLE public.parts1 PARTITION OF public.parts FOR VALUES FROM (0) TO (9)`)
	require.Equal(t, []string{`table "My.S"."a""b"`, "table public.parts", "view public.z"}, loadtest.Discovered(t, b.link, ""))
	items, next, err := b.link.Discover(t.Context(), `"My`, "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Equal(t, []connector.ItemColumn{
		{Name: "id", Type: "int32", NativeType: "integer"}, {Name: "v", Type: "decimal(5,2)", NativeType: "numeric(5,2)", Nullable: true},
		{Name: "x", Type: "string", NativeType: "int4range", Nullable: true},
	}, items[0].Columns)
}
