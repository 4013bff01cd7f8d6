package postgres_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/postgres"
)

// all reads a query to its end and returns its rows as text.
func all(t *testing.T, b *bundle, query, path string, bound bool) []string {
	t.Helper()
	return loadtest.All(t, b.link, query, path, bound)
}

func TestAQueryReadsItsBatchByABoundValue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE TABLE t (batch text, n int); INSERT INTO t VALUES ('b1', 1), ('b2', 2), ('b1', 3), ('x'' OR ''1''=''1', 4)`)
	const query = "SELECT n, ':source_path' AS s FROM t WHERE batch = :source_path -- :source_path\n ORDER BY n"
	require.Equal(t, []string{"1|:source_path", "3|:source_path"}, all(t, b, query, "b1", true))
	require.Equal(t, []string{"4|:source_path"}, all(t, b, query, "x' OR '1'='1", true))
	require.Empty(t, all(t, b, query, "'; DROP TABLE t; --", true))
	require.Equal(t, []string{"2|:source_path"}, all(t, b, "SELECT n, ':source_path' AS s FROM t WHERE n = :source_path AND n::text = :source_path", "2", true))
	_, err := b.link.Query(t.Context(), "SELECT n FROM t WHERE n = :source_path", "not a number", true)
	if err == nil {
		var stream connector.RowStream
		stream, err = b.link.Query(t.Context(), "SELECT n FROM t WHERE n = :source_path", "not a number", true)
		require.NoError(t, err)
		_, err = stream.Next(t.Context())
		require.NoError(t, stream.Close())
	}
	coded(t, err, "QUERY_FAILED")
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
	columns, err := b.link.Describe(t.Context(), "SELECT a, b, c, d, e, sum(a) OVER () AS s, pg_sleep(60)::text AS z FROM t WHERE d = :source_path", true)
	require.NoError(t, err)
	var got []string
	for _, c := range columns {
		got = append(got, c.Name+" "+c.Type.String())
	}
	require.Equal(t, []string{"a decimal(10,3)", "b decimal(12,2)", "c string", "d string", "e string", "s string", "z string"}, got)
	for query, reason := range map[string]string{
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
	} {
		_, err := b.link.Describe(t.Context(), query, false)
		coded(t, err, reason)
	}
}

func TestDiscoverPagesThroughWhatTheRoleCanUse(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE SCHEMA "My.S"; CREATE TABLE "My.S"."a""b" (id int NOT NULL, v numeric(5,2), x int4range); CREATE VIEW public.z AS SELECT 1 AS one;
		CREATE TABLE public.parts (n int) PARTITION BY RANGE (n); CREATE TABLE public.parts1 PARTITION OF public.parts FOR VALUES FROM (0) TO (9)`)
	var paths []string
	cursor := ""
	for {
		items, next, err := b.link.Discover(t.Context(), "", cursor, 1)
		require.NoError(t, err)
		for _, item := range items {
			paths = append(paths, item.Kind+" "+item.Path)
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	require.Equal(t, []string{`table "My.S"."a""b"`, "table public.parts", "view public.z"}, paths)
	items, next, err := b.link.Discover(t.Context(), `"My`, "", 10)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Equal(t, []connector.ItemColumn{
		{Name: "id", Type: "int32", NativeType: "integer"}, {Name: "v", Type: "decimal(5,2)", NativeType: "numeric(5,2)", Nullable: true},
		{Name: "x", Type: "string", NativeType: "int4range", Nullable: true},
	}, items[0].Columns)
}

func TestSettingsThatCannotWorkAreRefused(t *testing.T) {
	t.Parallel()
	base := map[string]any{"host": "h", "database": "d", "user": "u"}
	for field, value := range map[string]any{
		"host": "/var/run/postgresql", "port": float64(70000), "sslmode": "prefer", "ca_certificate": "not PEM", "client_certificate": "not PEM",
	} {
		settings := map[string]any{field: value}
		for name, v := range base {
			if _, ok := settings[name]; !ok {
				settings[name] = v
			}
		}
		_, err := connector.NewRegistry(postgres.Definition()).Open(t.Context(), connector.Env{Log: slog.New(slog.DiscardHandler)}, "postgres", settings, nil)
		require.Equal(t, field, coded(t, err, "INVALID_CONNECTOR_SETTING").Meta["field"])
	}
}

func TestNoErrorShowsThePassword(t *testing.T) {
	t.Parallel()
	b := setup(t)
	const canary = "canary-9f8e7d'\\ %20"
	link := connect(t, b.dsn, map[string]any{"password": canary})
	_, err := link.Query(t.Context(), "SELECT 1 AS a", "", false)
	e := coded(t, err, "AUTHENTICATION_FAILED")
	require.NotContains(t, fmt.Sprintf("%v %+v %#v %v", e, e, e.Meta, e.Cause), canary)
	require.NotContains(t, fmt.Sprintf("%+v", link), canary)
}
