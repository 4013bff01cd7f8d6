package parquetwrite_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	_ "github.com/duckdb/duckdb-go/v2"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/services/ingest/internal/parquetwrite"
)

// columnsOf makes columns of every encoding: plain, dictionary, one that leaves its dictionary, runs, and all NULL.
func columnsOf(rows int) (values, []parquetwrite.Kind) {
	v := make(values, 6)
	for i := range rows {
		add := func(c int, format string, args ...any) {
			s := fmt.Sprintf(format, args...)
			v[c] = append(v[c], &s)
		}
		add(0, "é%d", i*7919)
		add(1, "v%d", i%300)
		add(2, "%s", map[bool]string{true: "same", false: fmt.Sprint(i)}[i < rows/2])
		add(3, "%d", i/100)
		v[4] = append(v[4], nil)
		if i%3 == 0 {
			v[5] = append(v[5], nil)
		} else {
			add(5, "%s", map[bool]string{true: "", false: "only"}[i%5 == 0])
		}
	}
	return v, []parquetwrite.Kind{0, 0, 0, parquetwrite.RepeatedText, 0, 0}
}

func TestDuckDBReadsBackWhatWasWritten(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("duckdb", "")
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	const rows = 260_000
	v, kinds := columnsOf(rows)
	path := filepath.Join(t.TempDir(), "f.parquet")
	write(t, path, v, kinds, 122_880, 2048)

	got, err := db.QueryContext(t.Context(), "SELECT * FROM read_parquet('"+path+"', file_row_number=true) ORDER BY file_row_number")
	require.NoError(t, err)
	defer func() { _ = got.Close() }()
	n := 0
	for got.Next() {
		var texts [6]sql.NullString
		var number64, row int64
		require.NoError(t, got.Scan(&texts[0], &texts[1], &texts[2], &texts[3], &texts[4], &texts[5], &number64, &row))
		for c, text := range texts {
			want := v[c][n]
			if text.Valid != (want != nil) || want != nil && *want != text.String {
				require.Failf(t, "another value", "row %d column %d: %v", n, c, text)
			}
		}
		if number64 != number(n) || row != int64(n) {
			require.Failf(t, "another number", "row %d: %d, %d", n, number64, row)
		}
		n++
	}
	require.NoError(t, got.Err())
	require.Equal(t, rows, n)

	var groups, nulls int64
	require.NoError(t, db.QueryRowContext(t.Context(), "SELECT count(DISTINCT row_group_id), sum(stats_null_count) FILTER (path_in_schema = 'c4') FROM parquet_metadata('"+path+"')").Scan(&groups, &nulls))
	require.EqualValues(t, 3, groups)
	require.EqualValues(t, rows, nulls)
}

func TestDuckDBReadsFileWithoutRows(t *testing.T) {
	t.Parallel()
	db, err := sql.Open("duckdb", "")
	require.NoError(t, err)
	defer func() { _ = db.Close() }()
	path := filepath.Join(t.TempDir(), "f.parquet")
	f, err := parquetwrite.Create(path, []parquetwrite.Column{{Name: "a b"}, {Name: "n", Kind: parquetwrite.Int64}})
	require.NoError(t, err)
	require.NoError(t, f.Close())
	var n int
	require.NoError(t, db.QueryRowContext(t.Context(), `SELECT count("a b") + count(n) FROM '`+path+"'").Scan(&n))
	require.Zero(t, n)
}
