package stage_test

import (
	"fmt"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/decimal128"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

// ledger makes a table of a few types, in batches of the sizes given.
func ledger(t testing.TB, sizes ...int) *table {
	columns := []connector.Column{
		{Name: "id", Type: connector.Type{Name: connector.TypeInt64}},
		{Name: "amount", Type: connector.Type{Name: connector.TypeDecimal, Precision: 12, Scale: 2}},
		{Name: "name", Type: connector.Type{Name: connector.TypeString}},
		{Name: "at", Type: connector.Type{Name: connector.TypeTimestampTZ}},
	}
	fields := make([]arrow.Field, len(columns))
	for i, c := range columns {
		fields[i] = arrow.Field{Name: c.Name, Type: c.Type.Arrow(), Nullable: true}
	}
	out := &table{columns: columns}
	n := 0
	for _, size := range sizes {
		b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
		for range size {
			b.Field(0).(*array.Int64Builder).Append(int64(n))
			b.Field(1).(*array.Decimal128Builder).Append(decimal128.FromI64(int64(n * 7)))
			if n%5 == 0 {
				b.Field(2).AppendNull()
			} else {
				b.Field(2).(*array.StringBuilder).Append(fmt.Sprint("name ", n))
			}
			b.Field(3).(*array.TimestampBuilder).Append(arrow.Timestamp(n))
			n++
		}
		batch := b.NewRecordBatch()
		t.Cleanup(batch.Release)
		out.batches = append(out.batches, batch)
		b.Release()
	}
	return out
}

func query(text string) *flowv1.Source {
	return &flowv1.Source{Connector: "db", Format: &flowv1.Source_Query{Query: text}}
}

func TestRowsOfAQueryAreStagedTyped(t *testing.T) {
	t.Parallel()
	b := setup(t)
	*b.rows = *ledger(t, 3, 0, 2)
	m := b.stage(t, b.batch(t, "batch 7", query("SELECT … :source_path")))
	require.Equal(t, "batch 7", b.rows.path)
	require.True(t, b.rows.bound)
	require.Equal(t, []string{"1", "0.07", "name 1", "1970-01-01T00:00:00.000001Z"}, b.read(t, m)[1])
	require.Equal(t, "NULL", b.read(t, m)[0][2])
	require.EqualValues(t, 5, m.GetRecordsRead())
	require.Equal(t, "decimal(12,2)", m.GetColumns()[1].GetType())
	require.Equal(t, "timestamptz", m.GetColumns()[3].GetType())
	require.Nil(t, m.GetParts()[0].GetLocations())
	require.Empty(t, m.GetSourceEtag())
}

func TestDigestAndPartsOfRowsDoNotDependOnTheirBatches(t *testing.T) {
	t.Parallel()
	b := setup(t)
	size := int64(4096)
	var digest string
	var cuts []int64
	for _, sizes := range [][]int{{1000}, {1, 999}, {300, 300, 400}} {
		*b.rows = *ledger(t, sizes...)
		batch := b.batch(t, "x", query("q"))
		batch.Spec.Limits = &flowv1.Limits{PartBytes: &size}
		m := b.stage(t, batch)
		var got []int64
		for _, p := range m.GetParts() {
			got = append(got, p.GetFirstRow())
		}
		if digest == "" {
			digest, cuts = m.GetInputDigest(), got
			require.Greater(t, len(cuts), 5)
		}
		require.Equal(t, digest, m.GetInputDigest())
		require.Equal(t, cuts, got)
	}
	*b.rows = *ledger(t, 999)
	require.NotEqual(t, digest, b.stage(t, b.batch(t, "x", query("q"))).GetInputDigest())
}

func TestQueryWithoutRowsIsOneEmptyPart(t *testing.T) {
	t.Parallel()
	b := setup(t)
	*b.rows = *ledger(t)
	m := b.stage(t, b.batch(t, "x", query("q")))
	require.Len(t, m.GetParts(), 1)
	require.Len(t, m.GetColumns(), 4)
	require.Empty(t, b.read(t, m))
}

func TestPreviewOfRowsStops(t *testing.T) {
	t.Parallel()
	b := setup(t)
	*b.rows = *ledger(t, 3, 3, 3)
	batch := b.batch(t, "x", query("q"))
	batch.MaxRecords = 4
	require.Len(t, b.read(t, b.stage(t, batch)), 4)
}

func TestColumnsThatSQLCannotTellApartFail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.rows.columns = []connector.Column{{Name: "a", Type: connector.Type{Name: connector.TypeString}}, {Name: "A", Type: connector.Type{Name: connector.TypeString}}}
	require.Equal(t, "INVALID_SOURCE_COLUMNS", b.fails(t, b.batch(t, "x", query("q"))).Reason)
}

func TestReferencesAreStagedAndDigested(t *testing.T) {
	t.Parallel()
	b := setup(t)
	countries := b.put(t, "countries.csv", "code,region\nFR,Europe\n")
	rates := b.put(t, "rates.jsonl", `{"code":"FR","vat":{"full":20}}`+"\n"+`{"code":"DE","eu":true}`)
	*b.rows = *ledger(t, 4)
	references := []*flowv1.Reference{
		{Name: "countries", Connector: "in", Path: countries, Key: "code", On: "x"},
		{Name: "rates", Connector: "in", Path: rates, Key: "code", On: "x", Format: &flowv1.Reference_Json{Json: &flowv1.Json{}}},
		{Name: "ledger", Connector: "db", Key: "id", On: "x", Format: &flowv1.Reference_Query{Query: "SELECT"}},
	}
	batch := b.batch(t, b.put(t, "in.csv", small), csv(nil))
	batch.Spec.References = references
	m := b.stage(t, batch)
	require.False(t, b.rows.bound)
	require.Equal(t, smallRows, b.read(t, m))
	require.Equal(t, [][]string{{"FR", "Europe"}}, b.object(t, m.GetReferences()[0].GetData()))
	require.Equal(t, "region", m.GetReferences()[0].GetColumns()[1].GetName())
	var names []string
	for _, c := range m.GetReferences()[1].GetColumns() {
		names = append(names, c.GetName())
	}
	require.Equal(t, []string{"code", "eu", "vat", "vat.full", "_raw"}, names)
	require.Equal(t, []string{"FR", "NULL", `{"full":20}`, "20"}, b.object(t, m.GetReferences()[1].GetData())[0][:4])
	require.Len(t, b.object(t, m.GetReferences()[2].GetData()), 4)
	require.NotEqual(t, sum(small), m.GetInputDigest(), "references are part of the input")

	again := b.batch(t, b.put(t, "in.csv", small), csv(nil))
	again.Spec.References = references
	require.Equal(t, m.GetInputDigest(), b.stage(t, again).GetInputDigest())
	b.put(t, "countries.csv", "code,region\nFR,Africa\n")
	changed := b.batch(t, b.put(t, "in.csv", small), csv(nil))
	changed.Spec.References = references
	require.NotEqual(t, m.GetInputDigest(), b.stage(t, changed).GetInputDigest())
}

func TestReferenceThatCannotBeTrustedFails(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for name, c := range map[string]struct {
		text   string
		max    int64
		reason string
	}{
		"malformed record": {"code,region\nFR\n", 0, "REFERENCE_MALFORMED"},
		"too large":        {"code,region\nFR,Europe\n", 100, "REFERENCE_TOO_LARGE"},
	} {
		batch := b.batch(t, b.put(t, "in.csv", small), csv(nil))
		ref := &flowv1.Reference{Name: "countries", Connector: "in", Path: b.put(t, "ref.csv", c.text), Key: "code", On: "x"}
		if c.max > 0 {
			ref.MaxBytes = proto.Int64(c.max)
		}
		batch.Spec.References = []*flowv1.Reference{ref}
		f := b.fails(t, batch)
		require.Equal(t, c.reason, f.Reason, name)
		require.Contains(t, f.Message, "countries", name)
	}
}
