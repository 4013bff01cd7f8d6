package flow

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	contract "github.com/lume-data/lume/connector"
	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
)

var syntax = contract.QuerySyntax{Param: func(n int) string { return fmt.Sprintf("$%d", n) }}

func kinds(name string) (contract.Spec, bool) {
	specs := map[string]contract.Spec{
		"bucket": {Type: "bucket", Source: true, Target: true, ObjectStore: true},
		"db":     {Type: "db", Source: true, Target: true, Query: &syntax},
		"reader": {Type: "reader", Source: true},
		"writer": {Type: "writer", Target: true},
	}
	spec, ok := specs[name]
	return spec, ok
}

func valid() *flowv1.Flow {
	return &flowv1.Flow{
		Name: "f", Source: &flowv1.Source{Connector: "bucket", Format: &flowv1.Source_Csv{Csv: &flowv1.Csv{}}},
		Columns: []*flowv1.Column{{Name: "id", Type: "string", Key: true}, {Name: "n", Type: "decimal(10,2)"}},
		Target:  &flowv1.Target{Connector: "db", Table: "t", Mode: "append"},
	}
}

func query(text string) *flowv1.Source {
	return &flowv1.Source{Connector: "db", Format: &flowv1.Source_Query{Query: text}}
}

func TestEachMistakeIsToldAtItsPlace(t *testing.T) {
	t.Parallel()
	csv := func(c *flowv1.Csv) func(*flowv1.Flow) {
		return func(f *flowv1.Flow) { f.Source.Format = &flowv1.Source_Csv{Csv: c} }
	}
	target := func(t *flowv1.Target) func(*flowv1.Flow) { return func(f *flowv1.Flow) { f.Target = t } }
	targets := func(list ...*flowv1.Target) func(*flowv1.Flow) {
		return func(f *flowv1.Flow) { f.Target, f.Targets = nil, list }
	}
	table := func(name, table, rejects string) *flowv1.Target {
		return &flowv1.Target{Name: name, Connector: "db", Table: table, Rejects: rejects, Mode: "append"}
	}
	objects := func(name, prefix string) *flowv1.Target {
		return &flowv1.Target{Name: name, Connector: "bucket", Prefix: prefix, Mode: "append"}
	}
	reference := func(r *flowv1.Reference) func(*flowv1.Flow) {
		r.Key, r.On = "k", "id"
		return func(f *flowv1.Flow) { f.References = append(f.References, r) }
	}
	for name, c := range map[string]struct {
		change func(*flowv1.Flow)
		want   []string
	}{
		"valid":                 {func(*flowv1.Flow) {}, nil},
		"valid query":           {func(f *flowv1.Flow) { f.Source = query("SELECT 1 WHERE b = :source_path") }, nil},
		"no connector":          {func(f *flowv1.Flow) { f.Source.Connector = "gone" }, []string{"source.connector CONNECTOR_NOT_FOUND"}},
		"no source":             {func(f *flowv1.Flow) { f.Source.Connector = "writer" }, []string{"source.connector CONNECTOR_ROLE"}},
		"csv of a database":     {func(f *flowv1.Flow) { f.Source.Connector = "db" }, []string{"source.query REQUIRED"}},
		"query of a bucket":     {func(f *flowv1.Flow) { f.Source = query(":source_path"); f.Source.Connector = "bucket" }, []string{"source.query CONNECTOR_ROLE"}},
		"no placeholder":        {func(f *flowv1.Flow) { f.Source = query("SELECT ':source_path'") }, []string{"source.query QUERY_WITHOUT_PLACEHOLDER"}},
		"open string":           {func(f *flowv1.Flow) { f.Source = query("SELECT ':source_path") }, []string{"source.query QUERY_UNTERMINATED"}},
		"compressed query":      {func(f *flowv1.Flow) { f.Source = query(":source_path"); f.Source.Compression = "gzip" }, []string{"source.compression CONFLICTING_FIELDS"}},
		"quote is delimiter":    {csv(&flowv1.Csv{Delimiter: proto.String(`"`)}), []string{"source.csv.quote CONFLICTING_FIELDS"}},
		"line end as delimiter": {csv(&flowv1.Csv{Delimiter: proto.String("\n")}), []string{"source.csv.delimiter INVALID_VALUE"}},
		"no header, no names":   {csv(&flowv1.Csv{Header: proto.Bool(false)}), []string{"source.csv.column_names REQUIRED"}},
		"names twice":           {csv(&flowv1.Csv{Header: proto.Bool(false), ColumnNames: []string{"a", "A", ""}}), []string{"source.csv.column_names[1] DUPLICATE_NAME", "source.csv.column_names[2] REQUIRED"}},
		"unnest of csv":         {func(f *flowv1.Flow) { f.Unnest = &flowv1.Unnest{Path: "a", As: "run"} }, []string{"unnest CONFLICTING_FIELDS", "unnest.as RESERVED_NAME"}},
		"reference of a bucket": {reference(&flowv1.Reference{Name: "r", Connector: "bucket"}), []string{"references[0].path REQUIRED"}},
		"reference by query":    {reference(&flowv1.Reference{Name: "r", Connector: "db"}), []string{"references[0].query REQUIRED"}},
		"reference by batch":    {reference(&flowv1.Reference{Name: "r", Connector: "db", Format: &flowv1.Reference_Query{Query: ":source_path"}}), []string{"references[0].query QUERY_WITH_PLACEHOLDER"}},
		"reference with both":   {reference(&flowv1.Reference{Name: "r", Connector: "db", Path: "p", Format: &flowv1.Reference_Query{Query: "SELECT 1"}}), []string{"references[0].path CONFLICTING_FIELDS"}},
		"case of columns":       {func(f *flowv1.Flow) { f.Columns[1].Name = "ID" }, []string{"columns[1].name DUPLICATE_NAME"}},
		"reserved row":          {func(f *flowv1.Flow) { f.Columns[1].Name = "_ROW" }, []string{"columns[1].name RESERVED_NAME"}},
		"nul":                   {func(f *flowv1.Flow) { f.Columns[1].Name = "a\x00b" }, []string{"columns[1].name INVALID_VALUE"}},
		"type":                  {func(f *flowv1.Flow) { f.Columns[1].Type = "decimal(50,2)" }, []string{"columns[1].type INVALID_VALUE"}},
		"duplicates, no key":    {func(f *flowv1.Flow) { f.Columns[0].Key = false; f.Duplicates = "keep_last" }, []string{"duplicates CONFLICTING_FIELDS"}},
		"no target":             {target(nil), []string{"target REQUIRED"}},
		"both targets":          {func(f *flowv1.Flow) { f.Targets = []*flowv1.Target{f.GetTarget()} }, []string{"targets CONFLICTING_FIELDS"}},
		"several targets":       {targets(table("", "t", ""), table("b", "u", ""), objects("c", "t"), objects("d", "u")), nil},
		"targets of one name":   {targets(table("a", "t", ""), table("a", "u", "")), []string{"targets[1].name DUPLICATE_NAME"}},
		"targets without names": {targets(table("", "t", ""), table("", "u", "")), []string{"targets[1].name REQUIRED"}},
		"one table":             {targets(table("a", "t", ""), table("b", "t", "x")), []string{"targets[1].table CONFLICTING_FIELDS"}},
		"one table, quoted":     {targets(table("a", `s."T"`, ""), table("b", "s.t", "x")), []string{"targets[1].table CONFLICTING_FIELDS"}},
		"one table, maybe":      {targets(table("a", "t", ""), table("b", "s.t", "s.x")), []string{"targets[1].table CONFLICTING_FIELDS"}},
		"tables of two schemas": {targets(table("a", "s.t", ""), table("b", "r.t", "")), nil},
		"rows among rejects":    {targets(table("a", "t", ""), table("b", "t_rejects", "")), []string{"targets[1].table CONFLICTING_FIELDS"}},
		"rejects among others":  {targets(table("a", "t", ""), table("b", "u", "t")), []string{"targets[1].rejects CONFLICTING_FIELDS"}},
		"rejects of two":        {targets(table("a", "t", "r"), table("b", "u", "r")), []string{"targets[1].rejects CONFLICTING_FIELDS"}},
		"one prefix":            {targets(objects("a", "p"), objects("b", "p/")), []string{"targets[1].prefix CONFLICTING_FIELDS"}},
		"upsert to one of two":  {targets(table("a", "t", ""), &flowv1.Target{Name: "b", Connector: "bucket", Prefix: "p", Mode: "upsert"}), []string{"targets[1].mode NOT_SUPPORTED"}},
		"upsert without key":    {func(f *flowv1.Flow) { f.Columns[0].Key = false; f.Target.Mode = "upsert" }, []string{"target.mode CONFLICTING_FIELDS"}},
		"upsert to objects":     {target(&flowv1.Target{Connector: "bucket", Prefix: "p", Mode: "upsert"}), []string{"target.mode NOT_SUPPORTED"}},
		"table of a bucket":     {target(&flowv1.Target{Connector: "bucket", Table: "t", Mode: "append", Rejects: "r", Create: true}), []string{"target.table CONNECTOR_ROLE", "target.rejects CONFLICTING_FIELDS", "target.create CONFLICTING_FIELDS"}},
		"prefix of a database":  {target(&flowv1.Target{Connector: "db", Prefix: "p", Mode: "append", Format: "csv"}), []string{"target.prefix CONNECTOR_ROLE", "target.format CONFLICTING_FIELDS"}},
		"rejects among rows":    {target(&flowv1.Target{Connector: "db", Table: "t", Mode: "append", Rejects: "t"}), []string{"target.rejects CONFLICTING_FIELDS"}},
		"target that cannot":    {target(&flowv1.Target{Connector: "reader", Prefix: "p", Mode: "append"}), []string{"target.connector CONNECTOR_ROLE"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := valid()
			c.change(f)
			var got []string
			for _, p := range check(f, kinds) {
				require.NotEmpty(t, p.Message)
				got = append(got, p.Field+" "+p.Reason)
			}
			require.ElementsMatch(t, c.want, got)
		})
	}
}

func TestADigestIsTheSameForTheSameMeaningAndAnotherForAnother(t *testing.T) {
	t.Parallel()
	f := valid()
	f.Columns[1].OnError = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"default": structpb.NewStringValue("<0>")}})
	f.ErrorBudget = &flowv1.ErrorBudget{MaxRejectedRatio: proto.Float64(0.05)}
	first, err := digest(normalise(f), "engine 1")
	require.NoError(t, err)
	for range 20 { // protojson varies its spaces on purpose.
		again, err := digest(normalise(proto.CloneOf(f)), "engine 1")
		require.NoError(t, err)
		require.Equal(t, first, again)
	}

	list := proto.CloneOf(f)
	list.Targets, list.Target = []*flowv1.Target{list.GetTarget()}, nil
	same, err := digest(normalise(list), "engine 1")
	require.NoError(t, err)
	require.Equal(t, first, same)
	for name, change := range map[string]func(*flowv1.Flow){
		"expression": func(f *flowv1.Flow) { f.Columns[1].From = "trim(n)" },
		"order":      func(f *flowv1.Flow) { f.Columns[0], f.Columns[1] = f.Columns[1], f.Columns[0] },
		"presence":   func(f *flowv1.Flow) { f.Source.GetCsv().Delimiter = proto.String(",") },
		"ratio":      func(f *flowv1.Flow) { f.ErrorBudget.MaxRejectedRatio = proto.Float64(0.050000000000000003 * 2) },
	} {
		other := proto.CloneOf(f)
		change(other)
		sum, err := digest(normalise(other), "engine 1")
		require.NoError(t, err)
		require.NotEqual(t, first, sum, name)
	}
	sum, err := digest(normalise(f), "engine 2")
	require.NoError(t, err)
	require.NotEqual(t, first, sum)
}

func TestCanonicalJSONIsPinned(t *testing.T) {
	t.Parallel()
	text, err := canonical(normalise(valid()))
	require.NoError(t, err)
	want := `{"columns":[{"key":true,"name":"id","type":"string"},{"name":"n","type":"decimal(10,2)"}],"name":"f",` +
		`"source":{"connector":"bucket","csv":{}},"target":{"connector":"db","mode":"append","name":"main","table":"t"}}`
	require.Equal(t, []byte(want), text, "byte for byte: it is what digests are made of")
}

func TestTheConnectorsOfAFlowAreNamedOnce(t *testing.T) {
	t.Parallel()
	f := valid()
	f.References = []*flowv1.Reference{{Connector: "db"}, {Connector: "lookup"}}
	require.Equal(t, []string{"bucket", "db", "lookup"}, connectorsOf(f))
	f.References = nil
	require.Equal(t, []string{"bucket"}, sourceConnectorsOf(f))
}
