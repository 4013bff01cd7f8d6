package e2e_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
	"github.com/stretchr/testify/require"
)

// order is a record of the batches of the tests. A record without a name is bad: the flow requires one.
type order struct {
	id     int64
	name   string
	cents  int64
	issued string
	region string
}

func (o order) bad() bool { return o.name == "" }

// amount is the exact decimal that every source delivers and every target must hold.
func (o order) amount() string { return fmt.Sprintf("%d.%02d", o.cents/100, o.cents%100) }

// row is the order as the tests read it back from any target.
func (o order) row() string {
	return fmt.Sprintf("%d|%s|%s|%s|%s", o.id, o.name, o.amount(), o.issued, o.region)
}

// orders makes n records, the bad ones of them without a name. Ids start at from.
func orders(from, n, bad int) []order {
	list := make([]order, n)
	for i := range list {
		list[i] = order{
			id: int64(from + i), name: fmt.Sprintf("Zoë, \"%d\"\nof row %d", i%7, i), cents: int64(i)*9_973 + 1,
			issued: time.Date(2024, 1, 1+i%400, 0, 0, 0, 0, time.UTC).Format(time.DateOnly), region: []string{"north", "süd", "东"}[i%3],
		}
	}
	for i := range bad {
		list[(i*37+11)%n].name = ""
	}
	return list
}

// good returns the rows that a target must hold after a run, by id.
func good(list []order) map[int64]string {
	rows := map[int64]string{}
	for _, o := range list {
		if !o.bad() {
			rows[o.id] = o.row()
		}
	}
	return rows
}

// same requires equal rows, and shows the first ones that differ: there may be very many.
func same(t *testing.T, want, got map[int64]string) {
	t.Helper()
	var differ []string
	for id, row := range want {
		if got[id] != row && len(differ) < 5 {
			differ = append(differ, fmt.Sprintf("want %q, got %q", row, got[id]))
		}
	}
	require.Empty(t, differ, "%d rows wanted, %d there", len(want), len(got))
	require.Equal(t, len(want), len(got)) //nolint:testifylint // Len would print every row.
}

// format writes a batch as a source delivers it, and says how a flow reads it.
type format struct {
	name string
	// source is the flow's source, apart from the connector.
	source string
	// region is where the region stands in a record.
	region string
	suffix string
	encode func(t *testing.T, list []order) []byte
}

var formats = []format{
	{"csv", "csv: {}", "region", ".csv", encodeCSV},
	{"csv gzip", "csv: {}", "region", ".csv.gz", func(t *testing.T, l []order) []byte { return gzipped(t, encodeCSV(t, l)) }},
	{"json lines", "json: {layout: lines}", "place.region", ".jsonl", encodeLines},
	{"json array", `json: {records: "$.data.orders"}`, "place.region", ".json", encodeArray},
	{"parquet", "parquet: {}", "region", ".parquet", encodeParquet},
}

func encodeCSV(t *testing.T, list []order) []byte {
	t.Helper()
	var out bytes.Buffer
	w := csv.NewWriter(&out)
	require.NoError(t, w.Write([]string{"id", "name", "amount", "issued", "region"}))
	for _, o := range list {
		require.NoError(t, w.Write([]string{fmt.Sprint(o.id), o.name, o.amount(), o.issued, o.region}))
	}
	w.Flush()
	require.NoError(t, w.Error())
	return out.Bytes()
}

func gzipped(t *testing.T, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(data)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return out.Bytes()
}

func jsonOrder(o order) map[string]any {
	var name any
	if !o.bad() {
		name = o.name
	}
	return map[string]any{
		"id": o.id, "name": name, "amount": json.Number(o.amount()), "issued": o.issued,
		"place": map[string]any{"region": o.region},
	}
}

func encodeLines(t *testing.T, list []order) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, o := range list {
		require.NoError(t, json.NewEncoder(&out).Encode(jsonOrder(o)))
	}
	return out.Bytes()
}

func encodeArray(t *testing.T, list []order) []byte {
	t.Helper()
	records := make([]any, len(list))
	for i, o := range list {
		records[i] = jsonOrder(o)
	}
	text, err := json.MarshalIndent(map[string]any{"count": len(list), "data": map[string]any{"orders": records}}, "", " ")
	require.NoError(t, err)
	return text
}

func encodeParquet(t *testing.T, list []order) []byte {
	t.Helper()
	schema := arrow.NewSchema([]arrow.Field{
		{Name: "id", Type: arrow.PrimitiveTypes.Int64},
		{Name: "name", Type: arrow.BinaryTypes.String, Nullable: true},
		{Name: "amount", Type: &arrow.Decimal128Type{Precision: 12, Scale: 2}},
		{Name: "issued", Type: arrow.FixedWidthTypes.Date32},
		{Name: "region", Type: arrow.BinaryTypes.String},
	}, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, o := range list {
		b.Field(0).(*array.Int64Builder).Append(o.id)
		if o.bad() {
			b.Field(1).AppendNull()
		} else {
			b.Field(1).(*array.StringBuilder).Append(o.name)
		}
		b.Field(2).(*array.Decimal128Builder).Append(decimal128.FromI64(o.cents))
		day, err := time.Parse(time.DateOnly, o.issued)
		require.NoError(t, err)
		b.Field(3).(*array.Date32Builder).Append(arrow.Date32FromTime(day))
		b.Field(4).(*array.StringBuilder).Append(o.region)
	}
	record := b.NewRecordBatch()
	defer record.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(), pqarrow.DefaultWriterProps())
	require.NoError(t, err)
	require.NoError(t, w.Write(record))
	require.NoError(t, w.Close())
	return out.Bytes()
}
