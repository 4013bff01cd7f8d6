package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lume-data/lume/test/server"
)

func main() {
	lume := flag.String("lume", "bin/lume", "the lume `program`")
	rows := flag.String("rows", "1000000 10000000", "batch `sizes`")
	repeat := flag.Int("repeat", 3, "measured `runs` of each line; medians are printed")
	skipSmall := flag.Bool("skip-small", false, "leave out latency and throughput of small runs")
	only := flag.String("only", "", "measure one `part` alone: batches, small or systems")
	names := flag.String("systems", "", "measure these `systems` alone, as in \"postgres s3\"")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	h := &host{}
	defer h.close()
	o := options{lume: *lume, repeat: *repeat, systems: *names, parts: map[string]bool{"batches": true, "small": !*skipSmall, "systems": true}}
	if *only != "" {
		o.parts = map[string]bool{*only: true}
	}
	for _, text := range strings.Fields(*rows) {
		n, err := strconv.Atoi(text)
		if err != nil {
			h.Fatalf("size %q is not a number", text)
		}
		o.sizes = append(o.sizes, n)
	}
	if err := bench(ctx, h, o); err != nil {
		h.Fatalf("bench: %v", err)
	}
}

// options are what is measured.
type options struct {
	lume   string
	sizes  []int
	repeat int
	// parts are batches, small and systems.
	parts map[string]bool
	// systems are names, all if empty.
	systems string
}

func bench(ctx context.Context, h *host, o options) error {
	for part := range o.parts {
		if !slices.Contains([]string{"batches", "small", "systems"}, part) {
			return fmt.Errorf("there is no part %q: use batches, small or systems", part)
		}
	}
	if len(o.sizes) == 0 {
		return errors.New("there is no size")
	}
	if o.parts["batches"] || o.parts["small"] {
		if err := benchRuns(ctx, h, o); err != nil {
			return err
		}
	}
	if o.parts["systems"] {
		return benchSystems(ctx, h, o.systems, o.sizes[0], o.repeat)
	}
	return nil
}

// benchRuns measures whole runs.
func benchRuns(ctx context.Context, h *host, o options) error {
	lume, err := filepath.Abs(o.lume)
	if err != nil {
		return err
	}
	dsn := server.StartPostgres(h)
	fmt.Println("| work | rows | Lume | limit | ratio | to reach |")
	fmt.Println("| --- | --- | --- | --- | --- | --- |")
	if o.parts["batches"] {
		for _, n := range o.sizes {
			if err := benchBatch(ctx, h, lume, dsn, n, o.repeat); err != nil {
				return err
			}
		}
	}
	if o.parts["small"] {
		return benchSmall(ctx, h, lume, dsn)
	}
	return nil
}

// benchBatch measures one batch size. Lume and its limits take turns, so that a machine that slows down slows both.
func benchBatch(ctx context.Context, h *host, lume, dsn string, n, repeat int) error {
	dir := h.TempDir()
	if err := os.Chmod(dir, 0o755); err != nil { // psql reads the CSVs as this user; the server does not.
		return err
	}
	files := filepath.Join(dir, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		return err
	}
	csv, typed := filepath.Join(files, "batch.csv"), filepath.Join(dir, "typed.csv")
	log.Printf("writing %d rows", n)
	if err := writeBatch(csv, n); err != nil {
		return err
	}
	if err := typedCSV(ctx, csv, typed); err != nil {
		return err
	}
	p, err := startPlatform(ctx, lume, dir, files)
	if err != nil {
		return err
	}
	stopped := false
	defer func() {
		if !stopped {
			p.stop()
		}
	}()
	if err := p.configure(ctx, files, dsn, flow); err != nil {
		return err
	}
	var ingest, transform, egress, whole, duckIn, rewrite, ready, hand []time.Duration
	for i := range repeat {
		log.Printf("%d rows: round %d of %d", n, i+1, repeat)
		if err := psql(ctx, dsn, "DROP TABLE IF EXISTS public.bench_invoices, public.bench_invoices_rejects, hand, hand_rejects, raw_invoices, ready; CHECKPOINT;"); err != nil {
			return err
		}
		r, err := p.run(ctx, "bench:v1", csv)
		if err != nil {
			return err
		}
		s := stagesOf(r)
		ingest, transform, egress, whole = append(ingest, s.ingest), append(transform, s.transform), append(egress, s.egress), append(whole, s.whole)
		log.Printf("lume: ingest %v, transform %v, egress %v, whole %v", s.ingest, s.transform, s.egress, s.whole)

		staged := filepath.Join(dir, "limit.parquet")
		d, err := timed(func() error { return duckIngest(ctx, csv, staged) })
		if err != nil {
			return err
		}
		duckIn = append(duckIn, d)
		parts, err := stagedParts(p.data, r.GetRun().GetRunId())
		if err != nil {
			return err
		}
		if d, err = timed(func() error { return duckRewrite(ctx, parts, filepath.Join(dir, "rewrite.parquet")) }); err != nil {
			return err
		}
		rewrite = append(rewrite, d)
		if d, err = copyReady(ctx, dsn, typed); err != nil {
			return err
		}
		ready = append(ready, d)
		if d, err = byHand(ctx, dsn, csv); err != nil {
			return err
		}
		hand = append(hand, d)
		log.Printf("limits: ingest %v, rewrite %v, \\copy %v, by hand %v", duckIn[i], rewrite[i], ready[i], hand[i])
	}
	stopped = true
	p.stop()
	large := n >= 10_000_000
	pick := func(small, big string) string {
		if large {
			return big
		}
		return small
	}
	line("ingest CSV to staged Parquet, over DuckDB's COPY", n, ingest, duckIn, "1.15")
	line("transform, over a bare rewrite of the staged Parquet", n, transform, rewrite, "2.4")
	line(`load to PostgreSQL, over \copy of a ready CSV`, n, egress, ready, pick("0.75", "0.9"))
	line(`whole run, over that \copy`, n, whole, ready, pick("2.2", "1.8"))
	line("whole run, over the hand-written way", n, whole, hand, "0.6")
	fmt.Printf("| memory of `lume up` (all services) | %d | %d MiB | | | 1024 MiB |\n", n, p.memory.own>>20)
	fmt.Printf("| memory of the largest engine child | %d | %d MiB | | | 1024 MiB |\n", n, p.memory.child>>20)
	return nil
}

// stagedParts returns the list literal of the Parquet parts that ingest staged for a run.
func stagedParts(data, runID string) (string, error) {
	parts, err := filepath.Glob(filepath.Join(data, "staging", "runs", runID, "ingest", "*", "part-?????.parquet"))
	if err != nil || len(parts) == 0 {
		return "", fmt.Errorf("run %s has no staged parts", runID)
	}
	slices.Sort(parts)
	return "['" + strings.Join(parts, "','") + "']", nil
}

func benchSmall(ctx context.Context, h *host, lume, dsn string) error {
	dir := h.TempDir()
	files := filepath.Join(dir, "files")
	if err := os.Mkdir(files, 0o755); err != nil {
		return err
	}
	batch := filepath.Join(files, "thousand.csv")
	if err := writeBatch(batch, 1000); err != nil {
		return err
	}
	p, err := startPlatform(ctx, lume, dir, files)
	if err != nil {
		return err
	}
	defer p.stop()
	if err := p.configure(ctx, files, dsn, smallFlow); err != nil {
		return err
	}
	ours, err := latency(ctx, p, batch, 40)
	if err != nil {
		return err
	}
	var bare []time.Duration
	for range 20 {
		d, err := timed(func() error { return bareRun(ctx, dsn, batch, dir) })
		if err != nil {
			return err
		}
		bare = append(bare, d)
	}
	line("a run of 1,000 rows, warm, p50; over one bare program (to reach: 150 ms)", 1000, ours, bare, "")
	rate, err := throughput(ctx, p, files, 200, 8)
	if err != nil {
		return err
	}
	fmt.Printf("| runs per second, 10-row batches, 8 clients | 10 | %.1f | | | at least 20 |\n", rate)
	return nil
}

// line prints one line of the table.
func line(work string, rows int, ours, limit []time.Duration, reach string) {
	o, l := median(ours), median(limit)
	if reach != "" {
		reach = "at most " + reach
	}
	fmt.Printf("| %s | %d | %s | %s | %.2f | %s |\n", work, rows, o.Round(time.Millisecond), l.Round(time.Millisecond), o.Seconds()/l.Seconds(), reach)
}

func median(d []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(d))
	return sorted[len(sorted)/2]
}
