package main

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	_ "github.com/duckdb/duckdb-go/v2" // the limit of ingest and transform
)

// duck runs statements in a fresh in-memory DuckDB with the budget that Lume's engine child has.
func duck(ctx context.Context, statements ...string) error {
	db, err := sql.Open("duckdb", "")
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1)
	settings := []string{"SET threads=2", "SET memory_limit='1GB'", "SET preserve_insertion_order=true"}
	for _, s := range append(settings, statements...) {
		if _, err := db.ExecContext(ctx, s); err != nil {
			return fmt.Errorf("%.60s: %w", s, err)
		}
	}
	return nil
}

// timed returns how long f took.
func timed(f func() error) (time.Duration, error) {
	start := time.Now()
	err := f()
	return time.Since(start), err
}

func varcharColumns() string {
	parts := make([]string, len(columns))
	for i, c := range columns {
		parts[i] = "'" + c + "': 'VARCHAR'"
	}
	return "{" + strings.Join(parts, ", ") + "}"
}

// duckIngest is DuckDB's own way from CSV to staged Parquet, rejects stored.
func duckIngest(ctx context.Context, csv, staged string) error {
	return duck(ctx, fmt.Sprintf(`COPY (FROM read_csv('%s', auto_detect=false, header=true, delim=',', quote='"', escape='"',
 columns=%s, store_rejects=true, rejects_limit=0, buffer_size=8000000, max_line_size=8000000))
 TO '%s' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)`, csv, varcharColumns(), staged))
}

// duckRewrite only reads and writes the staged Parquet.
func duckRewrite(ctx context.Context, staged, out string) error {
	return duck(ctx, fmt.Sprintf(`COPY (FROM read_parquet(%s)) TO '%s' (FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)`, staged, out))
}

// typedCSV writes the valid, typed rows as a CSV that \copy loads without conversion: the input of the load's limit.
func typedCSV(ctx context.Context, csv, out string) error {
	return duck(ctx, fmt.Sprintf(`COPY (SELECT inv_no, trim(customer), upper(country), kind, amount::DECIMAL(12,2), tax::DECIMAL(12,2),
 quantity::INT, strptime(issued, '%%d/%%m/%%Y')::DATE, due::DATE, booked_at::TIMESTAMP, upper(state), note
 FROM (SELECT *, row_number() OVER (PARTITION BY inv_no ORDER BY rn) AS nth FROM
   (SELECT *, row_number() OVER () AS rn FROM read_csv('%s', header=true, auto_detect=false, delim=',', columns=%s)))
 WHERE nth = 1 AND TRY_CAST(amount AS DECIMAL(12,2)) >= 0 AND TRY(strptime(issued, '%%d/%%m/%%Y')) IS NOT NULL
   AND upper(state) IN ('OPEN','PAID','VOID')) TO '%s' (FORMAT csv, HEADER false)`, csv, varcharColumns(), out))
}

// psql runs a script with psql, stopping at its first error.
func psql(ctx context.Context, dsn, script string) error {
	cmd := exec.CommandContext(ctx, "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", dsn)
	cmd.Stdin = strings.NewReader(script)
	cmd.Stderr = os.Stderr
	return cmd.Run()
}

// copyReady loads a ready, typed CSV into a fresh table with psql's \copy, the plainest fast load.
func copyReady(ctx context.Context, dsn, typed string) (time.Duration, error) {
	if err := psql(ctx, dsn, "DROP TABLE IF EXISTS ready; CREATE TABLE ready "+targetTable+";\nCHECKPOINT;"); err != nil {
		return 0, err
	}
	return timed(func() error {
		return psql(ctx, dsn, fmt.Sprintf("\\copy ready from '%s' with (format csv)\n", typed))
	})
}

// byHand is the job as it is done by hand: \copy into a text table, then SQL that casts, checks and splits.
func byHand(ctx context.Context, dsn, csv string) (time.Duration, error) {
	var text []string
	for _, c := range columns {
		text = append(text, c+" text")
	}
	setup := `DROP TABLE IF EXISTS raw_invoices, hand, hand_rejects;
CREATE TABLE raw_invoices (_row bigserial, ` + strings.Join(text, ", ") + `);
CREATE TABLE hand ` + targetTable + `;
CREATE TABLE hand_rejects (_row bigint, errors text[], record jsonb);
CHECKPOINT;`
	if err := psql(ctx, dsn, setup); err != nil {
		return 0, err
	}
	const decimal = `'^[+-]?[0-9]{1,10}(\.[0-9]{1,2})?$'`
	// A day that the month does not have would make to_date fail, and the whole statement with it.
	const day = `CASE WHEN issued ~ '^[0-9]{2}/(0[1-9]|1[0-2])/[0-9]{4}$' THEN substr(issued, 1, 2)::int BETWEEN 1 AND
    date_part('day', make_date(substr(issued, 7, 4)::int, substr(issued, 4, 2)::int, 1) + interval '1 month - 1 day') ELSE false END`
	const iso = `'^[0-9]{4}-[0-9]{2}-[0-9]{2}$'`
	work := `\copy raw_invoices (` + strings.Join(columns, ",") + `) from '` + csv + `' with (format csv, header true)
CREATE TEMP TABLE judged AS SELECT r.*, array_remove(ARRAY[
  CASE WHEN amount !~ ` + decimal + ` THEN 'amount: type' WHEN amount::numeric < 0 THEN 'positive_amount' END,
  CASE WHEN tax !~ ` + decimal + ` THEN 'tax: type' END,
  CASE WHEN quantity !~ '^[+-]?[0-9]{1,9}$' THEN 'quantity: type' END,
  CASE WHEN NOT ` + day + ` THEN 'issued_on: type' END,
  CASE WHEN due !~ ` + iso + ` THEN 'due_on: type' END,
  CASE WHEN booked_at !~ '^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{8}$' THEN 'booked_at: type' END,
  CASE WHEN upper(state) NOT IN ('OPEN','PAID','VOID') THEN 'status: enum' END,
  CASE WHEN row_number() OVER (PARTITION BY inv_no ORDER BY _row) > 1 THEN 'unique' END], NULL) AS errors FROM raw_invoices r;
INSERT INTO hand SELECT inv_no, trim(customer), upper(country), kind, amount::numeric(12,2), tax::numeric(12,2), quantity::int,
  to_date(issued, 'DD/MM/YYYY'), due::date, booked_at::timestamp, upper(state), note FROM judged WHERE errors = '{}';
INSERT INTO hand_rejects SELECT _row, errors, to_jsonb(judged) - 'errors' FROM judged WHERE errors <> '{}';
`
	return timed(func() error { return psql(ctx, dsn, work) })
}
