package engine

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// extremes has a row of each kind for every type that staged files have.
const extremes = `SELECT * FROM (VALUES
  (1::BIGINT, NULL::VARCHAR, NULL::BLOB, NULL::BOOLEAN, NULL::SMALLINT, NULL::INTEGER, NULL::BIGINT, NULL::DECIMAL(38,18), NULL::DECIMAL(4,1), NULL::FLOAT,
   NULL::DOUBLE, NULL::DATE, NULL::TIME, NULL::TIMESTAMP, NULL::TIMESTAMPTZ),
  (2, '', ''::BLOB, false, -32768, -2147483648, -9223372036854775808, -99999999999999999999.999999999999999999, -999.9, '-inf', '-inf',
   '0001-01-01', '00:00:00', '0001-01-01 00:00:00', '0001-01-01 00:00:00+00'),
  (3, 'a' || chr(0) || '€😀' || repeat('x', 70000), '\x00\xFF\x80'::BLOB, true, 32767, 2147483647, 9223372036854775807,
   99999999999999999999.999999999999999999, 999.9, 'nan', 'nan', '9999-12-31', '23:59:59.999999', '9999-12-31 23:59:59.999999', '9999-12-31 23:59:59.999999+00'),
  (4, '"', '"'::BLOB, true, 0, 0, 0, 0.000000000000000001, -0.1, 1.17549435e-38, -4.9406564584124654e-324, '1582-10-14', '12:00:00.000001', '1969-12-31 23:59:59.999999', '1969-12-31 23:59:59.999999+00'),
  (5, '{"a": 1.10}', ' '::BLOB, true, 0, 0, 0, 1, 1, -0.0, -0.0, '-infinity', '24:00:00', 'infinity', '-infinity')
) AS t(n, s, b, t, i2, i4, i8, d, e, f4, f8, day, clock, local, instant)`

func TestRowsThatAreSetAsideAreTheSame(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	r, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{
		{Name: "rows", SQL: "COPY (" + extremes + ") TO 'rows.parquet' (FORMAT parquet)"},
		{Name: "table", SQL: "CREATE TABLE others AS SELECT * REPLACE (day::VARCHAR AS day, clock::VARCHAR AS clock, local::VARCHAR AS local, instant::VARCHAR AS instant) FROM read_parquet('rows.parquet') LIMIT 0"},
		{Name: "rest", SQL: "CREATE TEMP TABLE passed AS SELECT * FROM read_parquet('rows.parquet') WHERE CASE WHEN n = 0 THEN true ELSE set_aside('others', n, s, b, t, i2, i4, i8, d, e, f4, f8, day::VARCHAR, clock::VARCHAR, local::VARCHAR, instant::VARCHAR) END"},
		{Name: "passed", SQL: "SELECT count(*) FROM passed", Rows: true},
		{Name: "kept", SQL: "SELECT count(*) FROM others", Rows: true},
		{Name: "different", Rows: true, SQL: "SELECT COLUMNS(*)::VARCHAR FROM others EXCEPT ALL SELECT COLUMNS(*)::VARCHAR FROM read_parquet('rows.parquet')"},
		{Name: "back", Rows: true, SQL: "SELECT count(*) FROM (SELECT day::DATE, clock::TIME, local::TIMESTAMP, instant::TIMESTAMPTZ FROM others INTERSECT ALL SELECT day, clock, local, instant FROM read_parquet('rows.parquet'))"},
	}})
	require.NoError(t, err)
	text := func(step int) string { s, _ := r.Steps[step].Text(0, 0); return s }
	require.Equal(t, "0", text(3))
	require.Equal(t, "5", text(4))
	require.Empty(t, r.Steps[5].Rows, "values that changed on their way")
	require.Equal(t, "5", text(6), "dates and times are themselves again")
}

func TestEveryRowIsSetAsideOnce(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t, func(c *Config) { c.Threads = 2 })
	optimizers := []string{"common_subexpressions", "filter_pushdown", "filter_pullup"}
	r, err := pool.Run(context.Background(), Job{Dir: dir, DisabledOptimizers: optimizers, Steps: []Step{
		{Name: "rows", SQL: "COPY (SELECT i AS n, 'row ' || i AS s FROM range(300000) t(i)) TO 'rows.parquet' (FORMAT parquet, ROW_GROUP_SIZE 20480)"},
		{Name: "tables", SQL: "CREATE TABLE odd (n BIGINT, s VARCHAR); CREATE TABLE sevens (n BIGINT)"},
		{Name: "split", SQL: `COPY (SELECT n FROM (SELECT n, s, n % 7 AS m FROM read_parquet('rows.parquet'))
			WHERE CASE WHEN n % 2 = 0 AND m <> 0 THEN true WHEN m = 0 THEN set_aside('sevens', n) ELSE set_aside('odd', n, s) END) TO 'passed.parquet' (FORMAT parquet)`},
		{Name: "count", SQL: "SELECT (SELECT count(*) FROM read_parquet('passed.parquet')), (SELECT count(*) FROM sevens), (SELECT count(DISTINCT n) FROM sevens WHERE n % 7 = 0), " +
			"(SELECT count(*) FROM odd), (SELECT count(DISTINCT n) FROM odd WHERE n % 2 = 1 AND n % 7 <> 0 AND s = 'row ' || n)", Rows: true},
	}})
	require.NoError(t, err)
	require.Equal(t, []*string{ptr("128571"), ptr("42858"), ptr("42858"), ptr("128571"), ptr("128571")}, r.Steps[3].Rows[0])
	require.FileExists(t, filepath.Join(dir, "passed.parquet"))
}

func TestAStatementFailsThatSetsAsideWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	for name, call := range map[string]string{
		"no table":       "set_aside('nowhere', 1)",
		"no name":        "set_aside(NULL, 1)",
		"too few values": "set_aside('t', 1)",
		"other type":     "set_aside('t', 'x', 'y')",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pool, dir := setup(t)
			_, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{
				{Name: "table", SQL: "CREATE TABLE t (a INTEGER, b VARCHAR)"}, {Name: "call", SQL: "CREATE TABLE u AS SELECT 1 AS one WHERE " + call},
			}})
			var failed *Error
			require.ErrorAs(t, err, &failed)
			require.Equal(t, "call", failed.Step)
			require.Equal(t, ReasonSQL, failed.Reason)
			// The child is replaced, and the next one works.
			require.Equal(t, "1", *query(t, pool, dir, "SELECT 1")[0][0])
		})
	}
}

func TestAFailedStatementSetsNothingAside(t *testing.T) {
	t.Parallel()
	pool, dir := setup(t)
	r, err := pool.Run(context.Background(), Job{Dir: dir, Steps: []Step{
		{Name: "table", SQL: "CREATE TABLE t (n BIGINT)"},
		{Name: "fails", MayFail: true, SQL: "CREATE TABLE u AS SELECT CASE WHEN set_aside('t', i) THEN 1 ELSE CAST(error('no') AS INTEGER) END AS x FROM range(3) r(i)"},
		{Name: "works", SQL: "CREATE TABLE v AS SELECT 1 AS one WHERE set_aside('t', 7::BIGINT)"},
		{Name: "rows", SQL: "SELECT string_agg(n, ' ') FROM t", Rows: true},
	}})
	require.NoError(t, err)
	require.NotEmpty(t, r.Steps[1].Err)
	require.Equal(t, []*string{ptr("7")}, r.Steps[3].Rows[0])
}
