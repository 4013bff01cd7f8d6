package loadtest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Invoice is a row of the benchmarks. Amounts are in cents.
type Invoice struct {
	ID                               int
	Number, Customer, Status, Region string
	Amount, Tax                      int64
	Issued, Created                  time.Time
	Quantity                         int
	Rate                             float64
	Paid                             bool
}

// InvoiceColumns are the columns of invoices.
func InvoiceColumns(t testing.TB) []connector.Column {
	return Columns(t, "id", "int64", "invoice", "string", "customer", "string", "amount", "decimal(12,2)", "tax", "decimal(12,2)",
		"issued", "date", "created", "timestamp", "status", "string", "region", "string", "quantity", "int32", "rate", "float64", "paid", "bool")
}

// Invoices makes rows, and a file of them that line writes.
func Invoices(t testing.TB, rows int, line func(w io.Writer, v Invoice)) (batch arrow.RecordBatch, path string) {
	t.Helper()
	fields := []arrow.Field{{Name: connector.RowColumn, Type: arrow.PrimitiveTypes.Int64}}
	for _, c := range InvoiceColumns(t) {
		fields = append(fields, arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true})
	}
	build := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer build.Release()
	path = filepath.Join(t.TempDir(), "rows")
	file, err := os.Create(path)
	require.NoError(t, err)
	w := bufio.NewWriter(file)
	start := time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)
	for i := range rows {
		cents := int64(i) * 7919 % 10_000_000
		v := Invoice{
			ID: i, Number: fmt.Sprintf("INV-%08d", i), Customer: fmt.Sprintf("customer %d GmbH", i%5000), Amount: cents, Tax: cents / 5,
			Issued: start.AddDate(0, 0, i%2000), Created: start.Add(time.Duration(i) * 1_234_567 * time.Microsecond),
			Status: [...]string{"OPEN", "PAID", "VOID"}[i%3], Region: [...]string{"EMEA", "APAC", "AMER"}[i%3],
			Quantity: i % 100, Rate: float64(i%1000) / 8, Paid: i%2 == 0,
		}
		v.append(build)
		line(w, v)
	}
	require.NoError(t, w.Flush())
	require.NoError(t, file.Close())
	return build.NewRecordBatch(), path
}

func (v Invoice) append(b *array.RecordBuilder) {
	b.Field(0).(*array.Int64Builder).Append(int64(v.ID))
	b.Field(1).(*array.Int64Builder).Append(int64(v.ID))
	b.Field(2).(*array.StringBuilder).Append(v.Number)
	b.Field(3).(*array.StringBuilder).Append(v.Customer)
	b.Field(4).(*array.Decimal128Builder).Append(decimal128.FromI64(v.Amount))
	b.Field(5).(*array.Decimal128Builder).Append(decimal128.FromI64(v.Tax))
	b.Field(6).(*array.Date32Builder).Append(arrow.Date32FromTime(v.Issued))
	b.Field(7).(*array.TimestampBuilder).Append(arrow.Timestamp(v.Created.UnixMicro()))
	b.Field(8).(*array.StringBuilder).Append(v.Status)
	b.Field(9).(*array.StringBuilder).Append(v.Region)
	b.Field(10).(*array.Int32Builder).Append(int32(v.Quantity))
	b.Field(11).(*array.Float64Builder).Append(v.Rate)
	b.Field(12).(*array.BooleanBuilder).Append(v.Paid)
}
