package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// smallFlow is the flow of the small batches: the same mapping without a key, so that batches may repeat.
const smallFlow = `name: small
source:
  connector: bench-files
  csv: {}
columns:
  - {name: invoice_id, type: string, from: inv_no, required: true}
  - {name: customer, type: string, from: trim(customer), required: true}
  - {name: amount, type: "decimal(12,2)"}
  - {name: issued_on, type: date, from: issued, format: "%d/%m/%Y"}
  - {name: status, type: string, from: upper(state), one_of: [OPEN, PAID, VOID]}
rules:
  - {name: positive_amount, check: amount >= 0}
target:
  connector: bench-warehouse
  table: public.small
  mode: append
  create: true
`

const smallTable = `(invoice_id text NOT NULL, customer text NOT NULL, amount numeric(12,2), issued_on date, status text)`

// latency measures warm runs of one small batch, one after the other.
func latency(ctx context.Context, p *platform, batch string, times int) ([]time.Duration, error) {
	var all []time.Duration
	for i := range times + 5 {
		d, err := timed(func() error {
			_, err := p.run(ctx, "small:v1", batch)
			return err
		})
		if err != nil {
			return nil, err
		}
		if i >= 5 {
			all = append(all, d)
		}
	}
	return all, nil
}

// bareRun does the three steps in one program without a platform: DuckDB stages the CSV, maps it, and pgx copies the rows.
func bareRun(ctx context.Context, dsn, batch, dir string) error {
	staged, typed := filepath.Join(dir, "bare.parquet"), filepath.Join(dir, "bare.csv")
	err := duck(ctx,
		fmt.Sprintf(`COPY (FROM read_csv('%s', auto_detect=false, header=true, delim=',', columns=%s)) TO '%s' (FORMAT parquet, COMPRESSION zstd)`,
			batch, varcharColumns(), staged),
		fmt.Sprintf(`COPY (SELECT inv_no, trim(customer), TRY_CAST(amount AS DECIMAL(12,2)), TRY(strptime(issued, '%%d/%%m/%%Y'))::DATE, upper(state)
 FROM read_parquet('%s') WHERE TRY_CAST(amount AS DECIMAL(12,2)) >= 0 AND TRY(strptime(issued, '%%d/%%m/%%Y')) IS NOT NULL
 AND upper(state) IN ('OPEN','PAID','VOID')) TO '%s' (FORMAT csv, HEADER false)`, staged, typed))
	if err != nil {
		return err
	}
	f, err := os.Open(typed)
	if err != nil {
		return err
	}
	defer f.Close()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "CREATE TABLE IF NOT EXISTS bare "+smallTable); err != nil {
		return err
	}
	_, err = conn.PgConn().CopyFrom(ctx, f, "COPY bare FROM STDIN WITH (FORMAT csv)")
	return err
}

// throughput measures how many small runs end per second when several clients start them.
func throughput(ctx context.Context, p *platform, dir string, runs, clients int) (float64, error) {
	batch := filepath.Join(dir, "ten.csv")
	if err := writeBatch(batch, 10); err != nil {
		return 0, err
	}
	jobs := make(chan string, runs)
	for i := range runs {
		path := filepath.Join(dir, fmt.Sprintf("ten-%d.csv", i))
		if err := os.Link(batch, path); err != nil {
			return 0, err
		}
		jobs <- path
	}
	close(jobs)
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		first error
	)
	start := time.Now()
	for range clients {
		wg.Go(func() {
			for path := range jobs {
				if _, err := p.run(ctx, "small:v1", path); err != nil {
					mu.Lock()
					if first == nil {
						first = err
					}
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
	return float64(runs) / time.Since(start).Seconds(), first
}
