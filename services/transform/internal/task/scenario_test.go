package task

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	transformv1 "github.com/lume-data/lume/gen/lume/transform/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/fault"
	"github.com/lume-data/lume/internal/receipt"
)

const head = "name: f\nsource: {connector: c, csv: {}}\ntarget: {connector: t, table: x, mode: append}\n"

// requireFault returns the error of a run as clients see it.
func requireFault(t testing.TB, err error, reason string) *fault.Error {
	t.Helper()
	require.Error(t, err)
	f := fault.From(err)
	require.Equal(t, reason, f.Reason, f.Message)
	require.False(t, f.Retryable)
	require.Equal(t, typev1.Stage_STAGE_TRANSFORM, f.Stage)
	return f
}

func TestReferenceIsJoinedByItsKey(t *testing.T) {
	t.Parallel()
	b := setup(t)
	f := head + `
references:
  - {name: countries, connector: c, path: x, key: Code, on: upper(country)}
  - {name: rates, connector: c, path: y, key: cur, on: cur, required: true}
columns:
  - {name: id, type: string}
  - {name: region, type: string, from: countries.region}
  - {name: rate, type: "decimal(6,3)", from: rates.rate}
`
	m := b.stage(csv("id|country|cur", "1|de|EUR", "2|xx|EUR", "3|NULL|USD", "4|fr|GBP", "5|de|NULL"), 1)
	b.refer(m, "countries", csv("code|region|Region2", "DE|Europe|x", "FR|West|y", "NULL|nothing|z", "NULL|nothing|z"))
	b.refer(m, "rates", csv("cur|rate", "EUR|1.5", "USD|x"))
	f = strings.Replace(f, "key: Code", "key: code", 1)
	r, err := b.do(flow(t, f), m)
	require.NoError(t, err)
	require.Equal(t, []string{"0: 1|Europe|1.500", "1: 2|NULL|1.500"}, show(r.rows))
	require.Equal(t, []string{"2: type rate", "3: reference rates", "4: reference rates"}, reasons(t, r.rejects))
}

func TestReferenceWithAKeyTwiceFailsTheRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(csv("id", "1"), 1)
	b.refer(m, "ref", csv("k|v", "1|a", "1|b"))
	_, err := b.do(flow(t, head+"references: [{name: ref, connector: c, path: x, key: k, on: id}]\ncolumns: [{name: v, type: string, from: ref.v}]"), m)
	f := requireFault(t, err, ReasonDuplicateKey)
	require.Equal(t, "ref", f.Meta["reference"])
}

func TestOrderSurvivesAReferenceLargerThanThePart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var lines, keys []string
	for i := range 5000 {
		lines = append(lines, fmt.Sprint(i))
	}
	for i := range 20000 {
		keys = append(keys, fmt.Sprintf("%d|v%d", i, i))
	}
	m := b.stage(csv("id", lines...), 1)
	b.refer(m, "ref", csv("k|v", keys...))
	r, err := b.do(flow(t, head+"references: [{name: ref, connector: c, path: x, key: k, on: id}]\ncolumns: [{name: v, type: string, from: ref.v}]"), m)
	require.NoError(t, err)
	require.Len(t, r.rows, 5000)
	require.Equal(t, "4999: v4999", show(r.rows)[4999])
}

func TestColumnsMissingInTheBatchFailTheRun(t *testing.T) {
	t.Parallel()
	b := setup(t)
	_, err := b.do(flow(t, head+"columns: [{name: amount, type: int32, from: amout}]"), b.stage(csv("id|amount", "1|2"), 1))
	f := requireFault(t, err, "UNKNOWN_COLUMN")
	require.Equal(t, "amount", f.Column)
	require.Equal(t, "id, amount", f.Meta["available"])
	require.Contains(t, f.Message, "amout")
	require.Contains(t, f.Next, "did you mean amount?")
}

func TestNamesOfColumnsMayDifferInCaseAlone(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(csv("ID|id|Id|a \"b\"|", "1|2|3|4|5"), 1)
	r, err := b.do(flow(t, head+`columns: [{name: x, type: string, from: '"ID" || "id" || "Id" || "a ""b"""'}]`), m)
	require.NoError(t, err)
	require.Equal(t, []string{"0: 1234"}, show(r.rows))
	_, err = b.do(flow(t, head+`columns: [{name: x, type: string, from: iD}]`), m)
	requireFault(t, err, "AMBIGUOUS_COLUMN")
	r, err = b.do(flow(t, head+`columns: [{name: x, type: int16, from: '"Id" || ''x'''}]`), m)
	require.NoError(t, err)
	//nolint:testifylint // JSONEq would not see a change of the order.
	require.Equal(t, `{"ID":"1","id":"2","Id":"3","a \"b\"":"4","":"5"}`, r.rejects[0].Record)
}

func TestFailingColumnOrRuleFailsTheRunWithItsPlace(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(csv("id|n", "1|5", "2|5", "3|x", "1|7"), 1)
	_, err := b.do(flow(t, head+"columns: [{name: n, type: int32, on_error: fail}]"), m)
	f := requireFault(t, err, ReasonColumnFailed)
	require.Equal(t, "n", f.Column)
	require.Equal(t, int64(2), f.Coordinate.GetRow())
	require.Equal(t, int64(4), f.Coordinate.GetLine())
	require.Equal(t, int64(200), f.Coordinate.GetByteOffset())
	require.Equal(t, "batch.csv", f.Coordinate.GetFile())
	_, err = b.do(flow(t, head+"columns: [{name: n, type: string}]\nrules: [{name: short, check: n <> 'x', on_error: fail}]"), m)
	f = requireFault(t, err, ReasonRuleFailed)
	require.Equal(t, "short", f.Meta["rule"])
	require.Equal(t, int64(2), f.Coordinate.GetRow())
	_, err = b.do(flow(t, head+"columns: [{name: id, type: string}]\nrules: [{name: once, unique: [id], on_error: fail}]"), m)
	f = requireFault(t, err, ReasonRuleFailed)
	require.Equal(t, int64(3), f.Coordinate.GetRow())
	require.Equal(t, codes.FailedPrecondition, f.Code)
}

func TestUniqueRuleThatWarnsCounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, err := b.do(flow(t, head+"columns: [{name: id, type: string}]\nrules: [{name: once, unique: [id], on_error: warn}]"), b.stage(csv("id", "1", "1", "NULL", "NULL", "1"), 2))
	require.NoError(t, err)
	require.Equal(t, map[string]int64{"once": 2}, r.closing.GetWarnings())
	require.Len(t, r.rows, 5)
}

func TestRejectCarriesMessageAndValue(t *testing.T) {
	t.Parallel()
	b := setup(t)
	long := strings.Repeat("é", 2000)
	r, err := b.do(flow(t, head+"columns: [{name: n, type: \"decimal(5,2)\", max: '10'}, {name: s, type: string, from: n, max_length: 3, pattern: 'a+'}]\nrules: [{name: r, check: n < 5, message: too much}]"),
		b.stage(csv("n", "12", long, "7"), 1))
	require.NoError(t, err)
	var errs []map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.rejects[0].Errors), &errs))
	require.Equal(t, []map[string]any{
		{"column": "n", "rule": "", "type": "range", "message": "is more than 10", "value": "12.00"},
		{"column": "s", "rule": "", "type": "pattern", "message": "does not match the pattern a+", "value": "12"},
	}, errs)
	require.NoError(t, json.Unmarshal([]byte(r.rejects[1].Errors), &errs))
	require.Equal(t, strings.Repeat("é", 1000), errs[0]["value"])
	require.Equal(t, `{"n":"`+long+`"}`, r.rejects[1].Record)
	require.NoError(t, json.Unmarshal([]byte(r.rejects[2].Errors), &errs))
	require.Equal(t, map[string]any{"column": "n", "rule": "r", "type": "check", "message": "too much", "value": "7.00"}, errs[1])
}

func TestRecordOfSeveralRowsIsRejectedWhole(t *testing.T) {
	t.Parallel()
	b := setup(t)
	f := flow(t, `
name: f
source: {connector: c, json: {}}
unnest: {path: lines, as: line}
filter: line.sku IS DISTINCT FROM 'skip'
columns:
  - {name: order_id, type: string, from: id}
  - {name: sku, type: string, from: line.sku}
  - {name: qty, type: int32, from: line.qty, required: true}
rules: [{name: once, unique: [sku]}]
target: {connector: t, table: x, mode: append}
`)
	in := csv("id|line.qty|line.sku|_raw",
		"o1|1|a|{1}", "o1|2|b|{1}", // mapped
		"o2|x|c|{2}", "o2|2|d|{2}", "o2|NULL|e|{2}", // rejected once, with two reasons
		"o3|1|skip|{3}", "o3|2|f|{3}", // one row filtered, one mapped
		"o4|1|skip|{4}",            // filtered
		"o5|1|g|{5}", "o5|1|a|{5}", // a is taken: rejected whole
		"o6|3|h|{6}")
	in.columns, in.raw = []string{"id", "line.qty", "line.sku", "_raw"}, true
	in.records = []int64{0, 0, 1, 1, 1, 2, 2, 3, 4, 4, 5}
	for _, parts := range []int{1, 3} {
		m := b.stage(in, parts)
		m.RecordsRead = 6
		m.Columns = m.Columns[:3]
		r, err := b.do(f, m)
		require.NoError(t, err)
		require.Equal(t, []string{"0: o1|a|1", "1: o1|b|2", "6: o3|f|2", "10: o6|h|3"}, show(r.rows))
		require.Equal(t, []string{"2: type qty; required qty", "9: unique sku once"}, reasons(t, r.rejects))
		require.Equal(t, "{2}", r.rejects[0].Record)
		var c typev1.RecordCountsPart
		for _, p := range r.parts {
			c.Read += p.GetCounts().GetRead()
			c.Filtered += p.GetCounts().GetFiltered()
			c.Rejected += p.GetCounts().GetRejected()
			c.Mapped += p.GetCounts().GetMapped()
			c.RowsToWrite += p.GetCounts().GetRowsToWrite()
		}
		require.Empty(t, protoDiff(&typev1.RecordCountsPart{Read: 6, Filtered: 1, Rejected: 1, Mapped: 4, RowsToWrite: 6}, &c))
		require.Equal(t, int64(1), r.closing.GetRejected())
		require.Equal(t, int64(2), r.closing.GetDroppedRows())
	}
}

func protoDiff(want, got proto.Message) string {
	if proto.Equal(want, got) {
		return ""
	}
	return fmt.Sprintf("want %v, got %v", want, got)
}

func TestKeepFirstAndKeepLastDropOtherRows(t *testing.T) {
	t.Parallel()
	b := setup(t)
	in := csv("id|v", "1|a", "2|b", "1|c", "1|d", "2|b")
	for duplicates, want := range map[string][]string{
		"keep_first": {"0: 1|a", "1: 2|b"},
		"keep_last":  {"3: 1|d", "4: 2|b"},
	} {
		r, err := b.do(flow(t, head+"duplicates: "+duplicates+"\ncolumns: [{name: id, type: int32, key: true}, {name: v, type: string}]\nrules: [{name: u, unique: [v]}]"), b.stage(in, 2))
		require.NoError(t, err)
		require.Equal(t, want, show(r.rows))
		require.Empty(t, r.rejects)
		require.Equal(t, int64(3), r.closing.GetDeduplicated())
		require.Equal(t, int64(3), r.closing.GetDroppedRows())
	}
}

// TestPartsAndParallelismChangeNothing maps one batch in 1, 7 and 50 parts.
func TestPartsAndParallelismChangeNothing(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var lines []string
	for i := range 3000 {
		amount, day := fmt.Sprintf("%d.%02d", i%500, i%100), fmt.Sprintf("%02d/%02d/2024", i%28+1, i%12+1)
		if i%37 == 0 {
			amount = "1e5"
		}
		if i%53 == 0 {
			day = "31/02/2024"
		}
		lines = append(lines, fmt.Sprintf(" id%d |kind%d|%s|%s|open|%d|%d", i%2900, i%9, amount, day, i, i%11))
	}
	f := flow(t, invoices)
	var digest string
	var rows, rejects []string
	for _, parts := range []int{1, 7, 50} {
		r, err := b.do(f, b.stage(csv("inv_no|kind|amt|issued|state|qty|div", lines...), parts))
		require.NoError(t, err)
		got := receipt.Digest(receipt.Sum(r.parts, r.closing))
		gotRejects := reasons(t, r.rejects)
		slices.Sort(gotRejects)
		if digest == "" {
			digest, rows, rejects = got, show(r.rows), gotRejects
			require.NotEmpty(t, rejects)
			continue
		}
		require.Equal(t, digest, got)
		require.Equal(t, rows, show(r.rows))
		require.Equal(t, rejects, gotRejects)
	}
}

func TestTypedSourceMapsExactlyOrSaysWhatItWouldLose(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.typed()
	f := func(columns string) string {
		return "name: f\nsource: {connector: c, parquet: {}}\ntarget: {connector: t, table: x, mode: append}\ncolumns:\n" + columns
	}
	r, err := b.do(flow(t, f(`
  - {name: i, type: int16}
  - {name: d, type: "decimal(20,3)"}
  - {name: f, type: float64}
  - {name: day, type: date}
  - {name: at, type: time}
  - {name: local, type: timestamp}
  - {name: instant, type: timestamptz}
  - {name: zoned, type: timestamptz, from: local, time_zone: Europe/Paris}
  - {name: bytes, type: binary}
  - {name: text, type: string, from: d}
  - {name: flag, type: bool}
`)), m)
	require.NoError(t, err)
	require.Equal(t, []string{"0: 7|12345678901234567.890|1.5|2024-02-29|10:20:30.500000|2024-02-29 10:20:30.5|2024-02-29 10:20:30.5Z|2024-02-29 09:20:30.5Z|AP8=|12345678901234567.89|true",
		"2: NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL|NULL"}, show(r.rows))
	require.Equal(t, []string{"1: type i"}, reasons(t, r.rejects), "a number out of range is the row's error")
	require.JSONEq(t, `{"i":70000,"d":"0.01","f":"0.1","day":"1970-01-01","at":"00:00:00","local":"1970-01-01 00:00:00","instant":"1970-01-01 00:00:00+00","bytes":"","flag":false}`, r.rejects[0].Record)
	schema := b.open(r.parts[0].GetMapped()).Schema()
	for i, want := range []arrow.DataType{arrow.PrimitiveTypes.Int64, arrow.PrimitiveTypes.Uint64, arrow.PrimitiveTypes.Int16, &arrow.Decimal128Type{Precision: 20, Scale: 3}, arrow.PrimitiveTypes.Float64, arrow.FixedWidthTypes.Date32,
		arrow.FixedWidthTypes.Time64us, &arrow.TimestampType{Unit: arrow.Microsecond}, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}, &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"},
		arrow.BinaryTypes.Binary, arrow.BinaryTypes.String, arrow.FixedWidthTypes.Boolean} {
		require.True(t, arrow.TypeEqual(want, schema.Field(i).Type), "%s: want %s, got %s", schema.Field(i).Name, want, schema.Field(i).Type)
	}
	for column, reason := range map[string]string{
		`{name: d, type: "decimal(20,1)"}`: "LOSSY_COLUMN", `{name: f, type: "decimal(20,5)"}`: "LOSSY_COLUMN", `{name: d, type: float64}`: "LOSSY_COLUMN", `{name: local, type: date}`: "LOSSY_COLUMN",
		`{name: instant, type: timestamp}`: "TYPE_MISMATCH", `{name: local, type: timestamptz}`: "TYPE_MISMATCH", `{name: bytes, type: string}`: "TYPE_MISMATCH", `{name: f, type: bool}`: "TYPE_MISMATCH", `{name: f, type: int32}`: "LOSSY_COLUMN"} {
		_, err := b.do(flow(t, f("  - "+column)), m)
		requireFault(t, err, reason)
	}
	r, err = b.do(flow(t, f("  - {name: d, type: \"decimal(20,1)\", lossy: true}\n  - {name: f, type: int32, lossy: true}")), m)
	require.NoError(t, err)
	require.Equal(t, []string{"0: 12345678901234567.9|2", "1: 0.0|0", "2: NULL|NULL"}, show(r.rows))
}

// typed stages three rows of a typed source.
func (b *bench) typed() *typev1.IngestManifest {
	fields := []arrow.Field{{Name: "i", Type: arrow.PrimitiveTypes.Int64}, {Name: "d", Type: &arrow.Decimal128Type{Precision: 19, Scale: 2}}, {Name: "f", Type: arrow.PrimitiveTypes.Float64},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32}, {Name: "at", Type: arrow.FixedWidthTypes.Time64us}, {Name: "local", Type: &arrow.TimestampType{Unit: arrow.Microsecond}},
		{Name: "instant", Type: &arrow.TimestampType{Unit: arrow.Microsecond, TimeZone: "UTC"}}, {Name: "bytes", Type: arrow.BinaryTypes.Binary}, {Name: "flag", Type: arrow.FixedWidthTypes.Boolean}}
	for i := range fields {
		fields[i].Nullable = true
	}
	schema := arrow.NewSchema(fields, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	const micros = int64(1709202030500000) // 2024-02-29 10:20:30.5
	builder.Field(0).(*array.Int64Builder).AppendValues([]int64{7, 70000}, nil)
	builder.Field(1).(*array.Decimal128Builder).AppendValues([]decimal128.Num{decimal128.FromI64(1234567890123456789), decimal128.FromI64(1)}, nil)
	builder.Field(2).(*array.Float64Builder).AppendValues([]float64{1.5, 0.1}, nil)
	builder.Field(3).(*array.Date32Builder).AppendValues([]arrow.Date32{19782, 0}, nil)
	builder.Field(4).(*array.Time64Builder).AppendValues([]arrow.Time64{37230500000, 0}, nil)
	builder.Field(5).(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{arrow.Timestamp(micros), 0}, nil)
	builder.Field(6).(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{arrow.Timestamp(micros), 0}, nil)
	builder.Field(7).(*array.BinaryBuilder).AppendValues([][]byte{{0, 255}, {}}, nil)
	builder.Field(8).(*array.BooleanBuilder).AppendValues([]bool{true, false}, nil)
	for i := range fields {
		builder.Field(i).AppendNull()
	}
	record := builder.NewRecordBatch()
	defer record.Release()
	m := &typev1.IngestManifest{RecordsRead: 3, SourceFile: "batch.parquet"}
	for i, name := range []string{"int64", "decimal(19,2)", "float64", "date", "time", "timestamp", "timestamptz", "binary", "bool"} {
		m.Columns = append(m.Columns, &typev1.StagedColumn{Name: fields[i].Name, Type: name})
	}
	m.Parts = []*typev1.StagedPart{{Data: b.put(fmt.Sprintf("runs/r/ingest/1-1/%d.parquet", b.next()), schema, record.Columns(), 3)}}
	return m
}

func TestRejectOfATypedSourceKeepsDatesThatFewSystemsHave(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := []struct {
		name, typ string
		arrow     arrow.DataType
		fill      func(array.Builder)
	}{
		{"i", "int64", arrow.PrimitiveTypes.Int64, func(b array.Builder) { b.(*array.Int64Builder).AppendValues([]int64{70000, 70001}, nil) }},
		{"day", "date", arrow.FixedWidthTypes.Date32, func(b array.Builder) { b.(*array.Date32Builder).AppendValues([]arrow.Date32{-719528, 2932897}, nil) }},
		{"at", "time", arrow.FixedWidthTypes.Time64us, func(b array.Builder) {
			b.(*array.Time64Builder).AppendValues([]arrow.Time64{86_400_000_000, 86_399_999_999}, nil)
		}},
		{"local", "timestamp", &arrow.TimestampType{Unit: arrow.Microsecond}, func(b array.Builder) {
			b.(*array.TimestampBuilder).AppendValues([]arrow.Timestamp{math.MaxInt64, -math.MaxInt64}, nil)
		}},
	}
	var fields []arrow.Field
	m := &typev1.IngestManifest{RecordsRead: 2, SourceFile: "batch.parquet"}
	for _, c := range columns {
		fields = append(fields, arrow.Field{Name: c.name, Type: c.arrow, Nullable: true})
		m.Columns = append(m.Columns, &typev1.StagedColumn{Name: c.name, Type: c.typ})
	}
	schema := arrow.NewSchema(fields, nil)
	builder := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer builder.Release()
	for i, c := range columns {
		c.fill(builder.Field(i))
	}
	record := builder.NewRecordBatch()
	defer record.Release()
	m.Parts = []*typev1.StagedPart{{Data: b.put(fmt.Sprintf("runs/r/ingest/1-1/%d.parquet", b.next()), schema, record.Columns(), 2)}}
	r, err := b.do(flow(t, "name: f\nsource: {connector: c, parquet: {}}\ntarget: {connector: t, table: x, mode: append}\ncolumns: [{name: i, type: int16}]"), m)
	require.NoError(t, err)
	require.Len(t, r.rejects, 2)
	require.JSONEq(t, `{"i":70000,"day":"0001-01-01 (BC)","at":"24:00:00","local":"infinity"}`, r.rejects[0].Record)
	require.JSONEq(t, `{"i":70001,"day":"10000-01-01","at":"23:59:59.999999","local":"-infinity"}`, r.rejects[1].Record)
}

func TestRunPropertiesAreConstants(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, err := b.do(flow(t, head+"columns: [{name: r, type: string, from: run.id || ' ' || run.flow_version || ' ' || run.source_path}, {name: at, type: timestamptz, from: run.created_at}]"), b.stage(csv("x", "1"), 1))
	require.NoError(t, err)
	require.Equal(t, []string{"0: run_01 f:v1 file:///in/batch.csv|2024-05-06 07:08:09.123456Z"}, show(r.rows))
}

func TestPartWithoutRowsIsNoError(t *testing.T) {
	t.Parallel()
	b := setup(t)
	r, err := b.do(flow(t, invoices), b.stage(table{columns: []string{"inv_no", "kind", "amt", "issued", "state", "qty", "div"}}, 1))
	require.NoError(t, err)
	require.Nil(t, r.parts[0].GetMapped())
	require.Nil(t, r.parts[0].GetRejects())
	require.Nil(t, r.parts[0].GetKeys())
	require.Zero(t, r.closing.GetDroppedRows())
}

func TestBrokenCountsFailTheTask(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(csv("id", "1", "2"), 1)
	m.Parts[0].Data.Rows = 3
	_, err := b.do(flow(t, head+"columns: [{name: id, type: string}]"), m)
	require.Error(t, err)
	require.Equal(t, ReasonImbalance, fault.From(err).Reason)
}

func TestPreviewShowsRowsRejectsAndCounts(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(csv("inv_no|kind|amt|issued|state|qty|div",
		"a1|x|$12.50|01/02/2024|open|1|2", "a2|test|1|01/02/2024|open|1|2", "a3|x|bad|01/02/2024|open|1|2", "a1|x|1|01/02/2024|open|1|2", "a4|x|1|NULL|open|1|2"), 2)
	resp, err := b.preview.Preview(context.Background(), &transformv1.PreviewRequest{Spec: flow(t, invoices), Ingest: m, Run: taskRun})
	require.NoError(t, err)
	require.Equal(t, []string{"id", "amount", "issued", "status", "half"}, resp.GetColumns())
	require.Len(t, resp.GetRows(), 2)
	require.Equal(t, []any{"a1", "12.50", "2024-02-01", "OPEN", "0.5"}, resp.GetRows()[0].AsSlice())
	require.Equal(t, []any{"a4", "1.00", nil, "OPEN", "0.5"}, resp.GetRows()[1].AsSlice())
	require.Len(t, resp.GetRejects(), 2)
	require.Equal(t, "unique", resp.GetRejects()[1].GetErrors()[0].GetType())
	require.Empty(t, protoDiff(&typev1.RecordCounts{Read: 5, Filtered: 1, Rejected: 2, Mapped: 2, RowsToWrite: 2}, resp.GetCounts()))
}

func TestTrapsOfTheEngineAreClosed(t *testing.T) {
	t.Parallel()
	b := setup(t)
	// The same cast in two columns: hoisted, its failure would abort the batch.
	r, err := b.do(flow(t, head+"columns: [{name: a, type: int32, from: CAST(x AS INTEGER)}, {name: b, type: int32, from: CAST(x AS INTEGER) + 1}]"), b.stage(csv("x", "1", "x", "NULL"), 1))
	require.NoError(t, err)
	require.Equal(t, []string{"0: 1|2", "2: NULL|NULL"}, show(r.rows))
	require.Equal(t, []string{"1: expression a; expression b"}, reasons(t, r.rejects))
	// Dividing by zero is no infinity, whatever divides.
	r, err = b.do(flow(t, head+"columns: [{name: a, type: float64, from: 1 / CAST(x AS INTEGER)}, {name: b, type: int32, from: 1 // CAST(x AS INTEGER)}, {name: c, type: int32, from: 'mod(1, CAST(x AS INTEGER))', on_error: {default: 7}}]"),
		b.stage(csv("x", "0", "2"), 1))
	require.NoError(t, err)
	require.Equal(t, []string{"1: 0.5|0|1"}, show(r.rows))
	require.Equal(t, []string{"0: expression a; expression b"}, reasons(t, r.rejects))
	// Text of a source is never SQL.
	r, err = b.do(flow(t, head+`columns: [{name: a, type: string, from: '"x''); DROP TABLE rest; --"'}]`), b.stage(csv("x'); DROP TABLE rest; --", "1"), 1))
	require.NoError(t, err)
	require.Equal(t, []string{"0: 1"}, show(r.rows))
}

// TestDistinctNeverMissesADuplicate holds the look at small batches against what the engine calls equal.
func TestDistinctNeverMissesADuplicate(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for typ, pair := range map[string][2]string{
		"string": {"a", "a"}, "float64": {"0", "-0"}, "float32": {"1.10", "1.1"}, "decimal(9,3)": {"1.1", "1.100"}, "int64": {"7", "007"}, "date": {"2024-01-05", "2024-01-05"}, "binary": {"00FF", "00ff"},
		"timestamptz": {"2024-01-05T10:00:00Z", "2024-01-05T11:00:00+01:00"}, "timestamp": {"2024-01-05 10:00:00", "2024-01-05T10:00:00.0"}, "bool": {"true", "TRUE"}, "time": {"10:00:00", "10:00:00.0"},
		"uuid": {"6f9619ff-8b86-d011-b42d-00c04fc964ff", "6F9619FF-8B86-D011-B42D-00C04FC964FF"}} {
		f := flow(t, head+"columns: [{name: a, type: \""+typ+"\", key: true}, {name: b, type: string}]")
		r, err := b.do(f, b.stage(csv("a|b", pair[0]+"|x", pair[1]+"|y"), 2))
		require.NoError(t, err, typ)
		require.Equal(t, []string{"1: unique a"}, reasons(t, r.rejects), typ)
	}
	r, err := b.do(flow(t, head+"columns: [{name: a, type: string}, {name: b, type: string}]\nrules: [{name: u, unique: [a, b]}]"), b.stage(csv("a|b", "1:a|b", "1|:ab", "1|NULL", "1|NULL", "NULL|NULL"), 1))
	require.NoError(t, err)
	require.Empty(t, r.rejects)
}

func TestTextWithNulIsCarried(t *testing.T) {
	t.Parallel()
	b := setup(t)
	f := flow(t, head+"columns: [{name: a, type: int32}]\nrules: [{name: r, check: a > 5}]")
	f.Columns[0].From, f.Rules[0].Message = "\"n\"", "too\x00small"
	m := b.stage(csv("n|x\x00y", "1|a\x00b"), 1)
	r, err := b.do(f, m)
	require.NoError(t, err)
	require.JSONEq(t, `{"n":"1","x\u0000y":"a\u0000b"}`, r.rejects[0].Record)
	require.Contains(t, r.rejects[0].Errors, `too\u0000small`)
}

// TestWidestFlowIsMapped has the most columns that a flow may have, over a wider source.
func TestWidestFlowIsMapped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	var names, values, columns []string
	for i := range 1200 {
		names, values = append(names, fmt.Sprintf("c%d", i)), append(values, fmt.Sprint(i))
	}
	for i := range 500 {
		columns = append(columns, fmt.Sprintf("  - {name: t%d, type: int32, from: 'CAST(c%d AS INTEGER) + length(c%d)', required: true, min: '0'}", i, i, i+500))
	}
	r, err := b.do(flow(t, head+"columns:\n"+strings.Join(columns, "\n")), b.stage(csv(strings.Join(names, "|"), strings.Join(values, "|"), strings.Repeat("x|", 1199)+"x"), 1))
	require.NoError(t, err)
	require.Len(t, r.rows, 1)
	require.Equal(t, "502", *r.rows[0].values[499])
	require.Equal(t, 500, strings.Count(r.rejects[0].Errors, "expression failed"))
}
