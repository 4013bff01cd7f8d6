package sqlite_test

import (
	"fmt"
	"testing"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// BenchmarkLoad loads 100,000 rows of 12 columns in batches of 50, as they come where rows were dropped.
func BenchmarkLoad(b *testing.B) {
	columns := loadtest.Columns(b, "id", "int64", "invoice", "string", "customer", "string", "amount", "decimal(12,2)", "tax", "decimal(12,2)",
		"issued", "date", "created", "timestamp", "status", "string", "region", "string", "quantity", "int32", "rate", "float64", "paid", "bool")
	rows := make([][]any, 100_000)
	for i := range rows {
		rows[i] = []any{i, i, fmt.Sprintf("INV-%08d", i), fmt.Sprintf("customer %d GmbH", i%5000), fmt.Sprintf("%d.%02d", i, i%100), "1.50",
			"2024-02-29", "2024-02-29 12:34:56.789", "OPEN", "EMEA", i % 100, float64(i) / 8, i%2 == 0}
	}
	batch := loadtest.Batch(b, columns, rows...)
	d := setup(b)
	n := 0
	for b.Loop() {
		n++
		d.load(loadtest.New(fmt.Sprintf("run_%d", n), spec(connector.Append, fmt.Sprintf("t%d", n), columns), &loadtest.Rows{Batch: batch, Size: 50}))
	}
	b.ReportMetric(float64(len(rows)*n)/b.Elapsed().Seconds(), "rows/s")
}
