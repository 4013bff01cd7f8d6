package stage_test

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	"github.com/lume-data/lume/services/ingest/internal/stage"
)

// invoices writes rows of twelve columns, about 141 bytes each, some of them quoted.
func invoices(t testing.TB, path string, rows int) int64 {
	f, err := os.Create(path)
	require.NoError(t, err)
	w := bufio.NewWriterSize(f, 1<<20)
	r := rand.New(rand.NewPCG(1, 1))
	countries, states := []string{"FR", "DE", "US", "GB", "IT", "ES", "NL", "BE"}, []string{"OPEN", "PAID", "VOID", "open"}
	notes := []string{"late", "early", "urgent", "paid by card", "wire transfer", "see contract", "N/A", "check with sales"}
	_, _ = fmt.Fprintln(w, "invoice_id,customer,email,country,state,amount,tax,issued,due,qty,sku,note")
	for i := range rows {
		note := fmt.Sprint(notes[r.IntN(8)], " ", r.IntN(1_000_000))
		if r.IntN(20) == 0 {
			note = `"` + note + `, ""quoted"""`
		}
		_, _ = fmt.Fprintf(w, "INV-%09d,Customer No %07d,user%06d@mail1.example.com,%s,%s,%d.%02d,%d.%02d,2024-%02d-%02d,2025-%02d-%02d,%d,SKU-%05d-%c,%s\n",
			i, r.IntN(300_000), r.IntN(500_000), countries[r.IntN(8)], states[r.IntN(4)], r.IntN(100_000), r.IntN(100), r.IntN(2_000), r.IntN(100),
			1+r.IntN(12), 1+r.IntN(28), 1+r.IntN(12), 1+r.IntN(28), r.IntN(100), r.IntN(20_000), 'A'+rune(r.IntN(3)), note)
	}
	require.NoError(t, w.Flush())
	info, err := f.Stat()
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return info.Size()
}

// BenchmarkCSV stages one million rows. LUME_BENCH_CSV names another file with a header.
func BenchmarkCSV(b *testing.B) {
	bench := setup(b)
	path := os.Getenv("LUME_BENCH_CSV")
	if path == "" {
		path = filepath.Join(b.TempDir(), "in.csv")
		invoices(b, path, 1_000_000)
	}
	info, err := os.Stat(path)
	require.NoError(b, err)
	b.SetBytes(info.Size())
	before := processor(b)
	var staged int64
	for b.Loop() {
		batch := bench.batch(b, "file://"+path, csv(&flowv1.Csv{}))
		m, err := stage.New(bench.cfg).Stage(b.Context(), batch)
		require.NoError(b, err)
		staged = 0
		for _, p := range m.GetParts() {
			staged += p.GetData().GetSize()
		}
	}
	b.ReportMetric(float64(staged)/1e6, "staged-MB")
	b.ReportMetric((processor(b)-before).Seconds()/float64(b.N), "cpu-s/op")
}

// processor returns the processor time that this process has used. It is what counts where others use the machine, too.
func processor(b *testing.B) time.Duration {
	var u syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
