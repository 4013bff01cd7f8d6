package mysql_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// BenchmarkLoad loads 1M rows of 12 columns; beside it the same rows as a ready file by LOAD DATA of the server's own client, and
// the way of a batch with a refused row: all rows through the temporary table. The ratios are what counts.
func BenchmarkLoad(b *testing.B) {
	const rows = 1_000_000
	d := setup(b)
	columns := loadtest.Columns(b, "id", "int64", "invoice", "string", "customer", "string", "amount", "decimal(12,2)", "tax", "decimal(12,2)",
		"issued", "date", "created", "timestamp", "status", "string", "region", "string", "quantity", "int32", "rate", "float64", "paid", "bool")
	batch, file := invoices(b, columns, rows)
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

// invoices makes rows, and the same rows as a file in LOAD DATA's own format.
func invoices(b *testing.B, columns []connector.Column, rows int) (arrow.RecordBatch, string) {
	fields := []arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true})
	}
	build := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer build.Release()
	path := filepath.Join(b.TempDir(), "rows.tsv")
	file, err := os.Create(path)
	require.NoError(b, err)
	w := bufio.NewWriter(file)
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range rows {
		cents, day := int64(i)*7919%10_000_000, i%2000
		created := start.Add(time.Duration(i) * 1_234_567 * time.Microsecond)
		customer, status, region := fmt.Sprintf("customer %d GmbH", i%5000), [...]string{"OPEN", "PAID", "VOID"}[i%3], [...]string{"EMEA", "APAC", "AMER"}[i%3]
		build.Field(0).(*array.Int64Builder).Append(int64(i))
		build.Field(1).(*array.Int64Builder).Append(int64(i))
		build.Field(2).(*array.StringBuilder).Append(fmt.Sprintf("INV-%08d", i))
		build.Field(3).(*array.StringBuilder).Append(customer)
		build.Field(4).(*array.Decimal128Builder).Append(decimal128.FromI64(cents))
		build.Field(5).(*array.Decimal128Builder).Append(decimal128.FromI64(cents / 5))
		build.Field(6).(*array.Date32Builder).Append(arrow.Date32FromTime(start.AddDate(0, 0, day)))
		build.Field(7).(*array.TimestampBuilder).Append(arrow.Timestamp(created.UnixMicro()))
		build.Field(8).(*array.StringBuilder).Append(status)
		build.Field(9).(*array.StringBuilder).Append(region)
		build.Field(10).(*array.Int32Builder).Append(int32(i % 100))
		build.Field(11).(*array.Float64Builder).Append(float64(i%1000) / 8)
		build.Field(12).(*array.BooleanBuilder).Append(i%2 == 0)
		fmt.Fprintf(w, "%d\tINV-%08d\t%s\t%d.%02d\t%d.%02d\t%s\t%s\t%s\t%s\t%d\t%g\t%d\n", i, i, customer, cents/100, cents%100, cents/5/100, cents/5%100,
			start.AddDate(0, 0, day).Format(time.DateOnly), created.Format("2006-01-02 15:04:05.000000"), status, region, i%100, float64(i%1000)/8, 1-i%2)
	}
	require.NoError(b, w.Flush())
	require.NoError(b, file.Close())
	return build.NewRecordBatch(), path
}

// BenchmarkQuery reads 1M rows of 12 columns.
func BenchmarkQuery(b *testing.B) {
	const rows = 1_000_000
	d := setup(b)
	columns := loadtest.Columns(b, "id", "int64", "invoice", "string", "customer", "string", "amount", "decimal(12,2)", "tax", "decimal(12,2)",
		"issued", "date", "created", "timestamp", "status", "string", "region", "string", "quantity", "int32", "rate", "float64", "paid", "bool")
	batch, _ := invoices(b, columns, rows)
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
