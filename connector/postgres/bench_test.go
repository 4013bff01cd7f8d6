package postgres_test

import (
	"fmt"
	"io"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// BenchmarkLoad loads 1M rows of 12 columns, and beside it the same rows as a ready CSV by `psql \copy`. The ratio of the
// two is what counts.
func BenchmarkLoad(b *testing.B) {
	const rows = 1_000_000
	d := setup(b)
	columns := loadtest.InvoiceColumns(b)
	batch, csv := loadtest.Invoices(b, rows, line)
	plan := "CREATE TABLE %s (id bigint, invoice text, customer text, amount numeric(12,2), tax numeric(12,2), issued date, created timestamp, " +
		"status text, region text, quantity int, rate double precision, paid boolean)"
	var ours, theirs time.Duration
	n := 0
	for b.Loop() {
		n++
		table := fmt.Sprintf("ours%d", n)
		d.exec(fmt.Sprintf(plan, table))
		d.exec("CHECKPOINT")
		started := time.Now()
		d.load(loadtest.New("run_"+table, spec(connector.Append, table, columns), &loadtest.Rows{Batch: batch, Size: 16 << 10}))
		ours += time.Since(started)
		d.exec("DROP TABLE " + table)

		table = fmt.Sprintf("theirs%d", n)
		d.exec(fmt.Sprintf(plan, table))
		d.exec("CHECKPOINT")
		started = time.Now()
		out, err := exec.Command("psql", d.dsn, "-c", fmt.Sprintf(`\copy %s FROM '%s' (FORMAT csv)`, table, csv)).CombinedOutput()
		require.NoError(b, err, "%s", out)
		theirs += time.Since(started)
		d.exec("DROP TABLE " + table)
	}
	b.ReportMetric(ours.Seconds()/float64(n), "load-s")
	b.ReportMetric(theirs.Seconds()/float64(n), "copy-s")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}

// line writes an invoice in CSV.
func line(w io.Writer, v loadtest.Invoice) {
	fmt.Fprintf(w, "%d,%s,%s,%d.%02d,%d.%02d,%s,%s,%s,%s,%d,%g,%t\n", v.ID, v.Number, v.Customer, v.Amount/100, v.Amount%100,
		v.Tax/100, v.Tax%100, v.Issued.Format(time.DateOnly), v.Created.Format("2006-01-02 15:04:05.000000"), v.Status, v.Region, v.Quantity, v.Rate, v.Paid)
}
