// Command messy writes a CSV of invoices as other people deliver them: most records are fine, some are not, and every
// kind of trouble is there. The same seed writes the same bytes. Beside the CSV it writes what Lume has to find in it.
package main

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("out", "messy.csv", "CSV to write")
	truth := flag.String("truth", "", "JSON file for the counts that a run must find; none by default")
	rows := flag.Int("rows", 120_000, "records to write")
	seed := flag.Uint64("seed", 1, "what the random choices start from")
	flag.Parse()
	if err := run(*out, *truth, *rows, *seed); err != nil {
		fmt.Fprintln(os.Stderr, "messy:", err)
		os.Exit(1)
	}
}

func run(out, truth string, rows int, seed uint64) error {
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(file, 1<<20)
	counts := write(w, rows, seed)
	if err := w.Flush(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	if truth == "" {
		return nil
	}
	text, err := json.MarshalIndent(counts, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(truth, append(text, '\n'), 0o600)
}
