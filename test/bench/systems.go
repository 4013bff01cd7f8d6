package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/all"
)

// A system is what a connector reads from and writes to.
type system struct {
	name string
	// rows bounds how many rows are moved where an emulator stands for the system; 0 is no bound.
	rows int
	// open starts the system and returns what is measured.
	open func(ctx context.Context, h *host, v *invoices) ([]work, error)
}

// work is one line: the same rows by the connector and by its limit. Both are called once in every round, time what counts,
// and fail if a row is missing.
type work struct {
	name, reach string
	ours, limit func(ctx context.Context) (time.Duration, error)
}

// emulated bounds the rows where an emulator is slower than what is measured.
const (
	emulated     = 100_000
	emulatedBits = 20_000
)

var systems = []system{
	{"postgres", 0, openPostgres},
	{"mysql", 0, openMySQL},
	{"sqlite", 0, openSQLite},
	{"sqlserver", emulated, openSQLServer},
	{"snowflake", emulated, openSnowflake},
	{"databricks", emulatedBits, openDatabricks},
	{"s3", 0, openS3},
	{"azure_blob", 0, openAzureBlob},
	{"file", 0, openFile},
}

// benchSystems measures the systems that are named, or all of them.
func benchSystems(ctx context.Context, h *host, only string, rows, repeat int) error {
	wanted := strings.Fields(only)
	for _, name := range wanted {
		if !slices.ContainsFunc(systems, func(s system) bool { return s.name == name }) {
			return fmt.Errorf("there is no system %q", name)
		}
	}
	batches := map[int]*invoices{}
	fmt.Println("\n| system | work | rows | rows/s | Lume | limit | ratio | to reach |")
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- |")
	for _, s := range systems {
		if len(wanted) > 0 && !slices.Contains(wanted, s.name) {
			continue
		}
		n := rows
		if s.rows > 0 {
			n = min(n, s.rows)
		}
		v := batches[n]
		if v == nil {
			dir := h.TempDir()
			if err := os.Chmod(dir, 0o755); err != nil { // Clients of databases read the files as other users.
				return err
			}
			log.Printf("writing %d rows", n)
			var err error
			if v, err = writeInvoices(ctx, dir, n); err != nil {
				return err
			}
			batches[n] = v
		}
		if err := measure(ctx, h, s, v, repeat); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

// measure prints the lines of a system. In every other round the limit goes first.
func measure(ctx context.Context, h *host, s system, v *invoices, repeat int) error {
	log.Printf("%s: starting", s.name)
	works, err := s.open(ctx, h, v)
	if err != nil {
		return err
	}
	ours, limits := make([][]time.Duration, len(works)), make([][]time.Duration, len(works))
	for round := range repeat {
		for i, w := range works {
			turns := []func() error{
				func() error { return into(&ours[i])(w.ours(ctx)) },
				func() error { return into(&limits[i])(w.limit(ctx)) },
			}
			if round%2 == 1 {
				slices.Reverse(turns)
			}
			for _, turn := range turns {
				if err := turn(); err != nil {
					return fmt.Errorf("%s: %w", w.name, cause(err))
				}
			}
			log.Printf("%s: %s: %v, limit %v", s.name, w.name, ours[i][round], limits[i][round])
		}
	}
	for i, w := range works {
		systemLine(s.name, w, v.rows, ours[i], limits[i])
	}
	return nil
}

func into(list *[]time.Duration) func(time.Duration, error) error {
	return func(d time.Duration, err error) error {
		*list = append(*list, d)
		return err
	}
}

func systemLine(system string, w work, rows int, ours, limit []time.Duration) {
	o, l := median(ours), median(limit)
	reach := w.reach
	if reach != "" {
		reach = "at most " + reach
	}
	fmt.Printf("| %s | %s | %d | %.0f | %s | %s | %.2f | %s |\n", system, w.name, rows, float64(rows)/o.Seconds(),
		o.Round(time.Millisecond), l.Round(time.Millisecond), o.Seconds()/l.Seconds(), reach)
}

// link opens a connector as a service does.
func link(ctx context.Context, h *host, typ string, settings map[string]any, secrets map[string]string, roots ...string) (connector.Connector, error) {
	sealed := make(map[string]connector.Secret, len(secrets))
	for name, value := range secrets {
		sealed[name] = connector.NewSecret(value)
	}
	c, err := all.Registry().Open(ctx, connector.Env{Roots: roots, Log: slog.New(slog.DiscardHandler)}, typ, settings, sealed)
	if err != nil {
		return nil, err
	}
	h.Cleanup(func() { _ = c.Close() })
	return c, nil
}

// extract reads all rows of a query as batches.
func extract(ctx context.Context, from connector.RowSource, query string, rows int) (time.Duration, error) {
	return timed(func() error {
		stream, err := from.Query(ctx, query, "", false)
		if err != nil {
			return err
		}
		defer stream.Close()
		read := 0
		for {
			batch, err := stream.Next(ctx)
			if errors.Is(err, io.EOF) {
				return counted(read, rows)
			}
			if err != nil {
				return err
			}
			read += int(batch.NumRows())
			batch.Release()
		}
	})
}

// counted fails unless all rows were there.
func counted(got, want int) error {
	if got != want {
		return fmt.Errorf("%d rows instead of %d", got, want)
	}
	return nil
}
