package mysql_test

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// BenchmarkLoad loads 1M rows of 12 columns; beside it the same rows as a ready file by LOAD DATA of the server's own client, and
// the way of a batch with a refused row: all rows through the temporary table. The ratios are what counts.
func BenchmarkLoad(b *testing.B) {
	const rows = 1_000_000
	d := setup(b)
	columns := loadtest.InvoiceColumns(b)
	batch, file := loadtest.Invoices(b, rows, line)
	plan := "CREATE TABLE %s (id bigint, invoice varchar(40), customer varchar(80), amount numeric(12,2), tax numeric(12,2), issued date, created datetime(6), " +
		"status varchar(10), region varchar(10), quantity int, rate double, paid tinyint(1)%s)"
	var ours, theirs, staged time.Duration
	n := 0
	load := func(table string) time.Duration {
		started := time.Now()
		d.load(loadtest.New("run_"+table, spec(connector.Append, table, columns), &loadtest.Rows{Batch: batch, Size: 16 << 10}))
		took := time.Since(started)
		d.exec("DROP TABLE " + table)
		return took
	}
	for b.Loop() {
		n++
		table := fmt.Sprintf("ours%d", n)
		d.exec(fmt.Sprintf(plan, table, ""))
		ours += load(table)

		table = fmt.Sprintf("theirs%d", n)
		d.exec(fmt.Sprintf(plan, table, ""))
		started := time.Now()
		command := exec.Command("mariadb", "--no-defaults", "--local-infile=1", "--protocol=tcp", "--skip-ssl", "-h", d.server.Host, "-P", strconv.Itoa(d.server.Port),
			"-u", d.server.User, d.server.Database, "-e", fmt.Sprintf("LOAD DATA LOCAL INFILE '%s' INTO TABLE %s CHARACTER SET utf8mb4", file, table))
		command.Env = append(os.Environ(), "MYSQL_PWD="+d.server.Password)
		out, err := command.CombinedOutput()
		require.NoError(b, err, "%s", out)
		theirs += time.Since(started)
		require.Equal(b, strconv.Itoa(rows), d.text("SELECT count(*) FROM "+table))
		d.exec("DROP TABLE " + table)

		table = fmt.Sprintf("staged%d", n)
		d.exec(fmt.Sprintf(plan, table, ", CHECK (id <> 999999)"))
		staged += load(table)
	}
	b.ReportMetric(ours.Seconds()/float64(n), "load-s")
	b.ReportMetric(theirs.Seconds()/float64(n), "client-s")
	b.ReportMetric(staged.Seconds()/float64(n), "one-refused-s")
	b.ReportMetric(ours.Seconds()/theirs.Seconds(), "ratio")
}

// line writes an invoice in LOAD DATA's own format.
func line(w io.Writer, v loadtest.Invoice) {
	fmt.Fprintf(w, "%d\t%s\t%s\t%d.%02d\t%d.%02d\t%s\t%s\t%s\t%s\t%d\t%g\t%d\n", v.ID, v.Number, v.Customer, v.Amount/100, v.Amount%100,
		v.Tax/100, v.Tax%100, v.Issued.Format(time.DateOnly), v.Created.Format("2006-01-02 15:04:05.000000"), v.Status, v.Region, v.Quantity, v.Rate, 1-v.ID%2)
}

// BenchmarkQuery reads 1M rows of 12 columns.
func BenchmarkQuery(b *testing.B) {
	const rows = 1_000_000
	d := setup(b)
	columns := loadtest.InvoiceColumns(b)
	batch, _ := loadtest.Invoices(b, rows, line)
	d.load(loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: batch, Size: 16 << 10}))
	for b.Loop() {
		stream, err := d.link.Query(b.Context(), "SELECT * FROM t", "", false)
		require.NoError(b, err)
		read := int64(0)
		for read < rows {
			batch, err := stream.Next(b.Context())
			require.NoError(b, err)
			read += batch.NumRows()
			batch.Release()
		}
		require.NoError(b, stream.Close())
	}
	b.ReportMetric(rows*float64(b.N)/b.Elapsed().Seconds(), "rows/s")
}
