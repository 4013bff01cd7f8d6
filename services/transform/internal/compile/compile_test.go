package compile_test

import (
	"context"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"buf.build/go/protoyaml"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/structpb"

	flowv1 "github.com/lume-data/lume/gen/lume/flow/v1"
	typev1 "github.com/lume-data/lume/gen/lume/type/v1"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/compile"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) {
	if engine.IsChild() {
		os.Exit(engine.Main())
	}
	goleak.VerifyTestMain(m)
}

func setup(t testing.TB) *compile.Compiler {
	t.Helper()
	root := t.TempDir()
	pool, err := engine.New(context.Background(), engine.Config{Root: root, MemoryBytes: 256 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	return compile.New(pool, root)
}

func flow(t testing.TB, text string) *flowv1.Flow {
	t.Helper()
	f := &flowv1.Flow{}
	require.NoError(t, protoyaml.Unmarshal([]byte(text), f), text)
	return f
}

const tail = "\ntarget: {connector: t, table: x, mode: append}\n"

const (
	csv     = "name: f\nsource: {connector: c, csv: {}}" + tail
	json    = "name: f\nsource: {connector: c, json: {}}" + tail
	parquet = "name: f\nsource: {connector: c, parquet: {}}" + tail
)

// TestFlowsCompileToTheirSQL compares every statement with the golden files; -update writes them.
func TestFlowsCompileToTheirSQL(t *testing.T) {
	t.Parallel()
	c := setup(t)
	typed := compile.Source{Known: true, Columns: []compile.Column{{Name: "id", Type: "BIGINT"}, {Name: "price", Type: "DECIMAL(9,3)"}, {Name: "at", Type: "TIMESTAMP"}, {Name: "blob", Type: "BLOB"}}}
	for name, tc := range map[string]struct {
		flow   string
		source compile.Source
	}{
		"plain": {flow: csv + "columns: [{name: id, type: string}, {name: n, type: int32, from: qty}]"},
		"invoice": {flow: csv + `
filter: kind <> 'test'
references: [{name: countries, connector: c, path: x, key: code, on: upper(country), required: true}]
columns:
  - {name: invoice_id, type: string, from: trim(inv_no), required: true, key: true}
  - {name: amount, type: "decimal(12,2)", from: "replace(amt, '$', '')", min: "0"}
  - {name: issued_on, type: date, from: issued, format: "%d/%m/%Y"}
  - {name: region, type: string, from: countries.region}
  - {name: status, type: string, from: upper(state), one_of: [OPEN, PAID, VOID], on_error: {default: OPEN}}
  - {name: share, type: float64, from: CAST(part AS DOUBLE) / CAST(whole AS DOUBLE), on_error: null}
  - {name: run, type: string, from: run.id}
rules:
  - {name: positive, check: amount > 0, message: amount must be positive}
  - {name: busy, check: 100 // length(region) > 3, on_error: warn}
  - {name: unique_day, unique: [issued_on, region], on_error: fail}
`},
		"every_type": {flow: csv + `
columns:
  - {name: a_string, type: string, from: x, pattern: "[a-z]+", max_length: 9}
  - {name: a_bool, type: bool, from: x}
  - {name: an_int16, type: int16, from: x}
  - {name: an_int64, type: int64, from: x, one_of: ["1", "2"]}
  - {name: a_decimal, type: "decimal(38,9)", from: x, lossy: true}
  - {name: a_float32, type: float32, from: x}
  - {name: a_date, type: date, from: x}
  - {name: a_month, type: date, from: x, format: "%d %b %Y"}
  - {name: a_time, type: time, from: x}
  - {name: a_timestamp, type: timestamp, from: x}
  - {name: an_instant, type: timestamptz, from: x}
  - {name: a_local, type: timestamptz, from: x, time_zone: Europe/Paris}
  - {name: an_offset, type: timestamptz, from: x, format: "%Y-%m-%d %H:%M:%S%z"}
  - {name: some_hex, type: binary, from: x}
  - {name: some_base64, type: binary, from: x, format: base64}
  - {name: a_uuid, type: uuid, from: x}
  - {name: some_json, type: json, from: x}
`},
		"unnest": {flow: json + `
unnest: {path: lines, as: line}
filter: line.sku IS NOT NULL
columns: [{name: order_id, type: string, from: '"order".id', key: true}, {name: sku, type: string, from: line.sku, key: true}, {name: qty, type: int32, from: line.qty, on_error: fail}]
duplicates: keep_last
`, source: compile.Source{Raw: true, Unnested: true}},
		"typed": {flow: parquet + `columns: [{name: id, type: int32}, {name: price, type: "decimal(9,2)", lossy: true}, {name: at, type: timestamptz, time_zone: UTC}, {name: text, type: string, from: price}, {name: blob, type: binary}]`, source: typed},
	} {
		r, err := c.Compile(context.Background(), flow(t, tc.flow), tc.source)
		require.NoError(t, err, name)
		require.Empty(t, r.Problems, name)
		require.NotNil(t, r.Plan, name)
		var b strings.Builder
		for _, step := range r.Plan.Explain() {
			b.WriteString("-- " + step.Name + "\n" + step.SQL + ";\n\n")
		}
		path := filepath.Join("testdata", name+".sql")
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(b.String()), 0o600))
			continue
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), b.String(), "%s; run the test with -update if the change is meant", name)
	}
}

func TestProblemsNameTheirPlace(t *testing.T) {
	t.Parallel()
	c := setup(t)
	known := compile.Source{Known: true, Columns: []compile.Column{{Name: "id", Type: "VARCHAR"}, {Name: "amount", Type: "VARCHAR"}}}
	typed := compile.Source{Known: true, Columns: []compile.Column{{Name: "d", Type: "DECIMAL(9,3)"}, {Name: "f", Type: "DOUBLE"}, {Name: "t", Type: "TIMESTAMP"}, {Name: "z", Type: "TIMESTAMP WITH TIME ZONE"}, {Name: "x", Type: "VARCHAR"}}}
	col := func(settings string) string { return csv + "columns: [{name: a, " + settings + "}]" }
	two := func(rules string) string {
		return csv + "columns: [{name: a, type: int32}, {name: b, type: string}]\nrules: [" + rules + "]"
	}
	for _, tc := range []struct {
		flow   string
		source compile.Source
		// want are `field REASON`.
		want string
	}{
		{flow: col("type: text"), want: "columns[0].type UNKNOWN_TYPE"},
		{flow: col("type: 'decimal(39,1)'"), want: "columns[0].type UNKNOWN_TYPE"},
		{flow: csv + "columns: [{name: a, type: string}, {name: A, type: string}]", want: "columns[1].name DUPLICATE_COLUMN"},
		{flow: csv + "columns: [{name: _row, type: string}, {name: _lume_x, type: string}]", want: "columns[0].name INVALID_NAME, columns[1].name INVALID_NAME"},
		{flow: col("type: string, from: uper(x)"), want: "columns[0].from UNKNOWN_FUNCTION"},
		{flow: col("type: string, from: now()"), want: "columns[0].from NOT_DETERMINISTIC"},
		{flow: col("type: string, from: upper(id"), want: "columns[0].from SYNTAX_ERROR"},
		{flow: col("type: string, from: idd"), source: known, want: "columns[0].from UNKNOWN_COLUMN"},
		{flow: col("type: string"), source: known, want: "columns[0].from UNKNOWN_COLUMN"},
		{flow: col("type: string, from: amount > 5"), source: known, want: "columns[0].from TYPE_MISMATCH"},
		{flow: col("type: bool, from: CAST(amount AS DATE) > '2024-13-01'"), source: known, want: "columns[0].from INVALID_VALUE"},
		{flow: col("type: int32, from: CAST('x' AS INTEGER)"), want: "columns[0].from INVALID_VALUE"},
		{flow: col("type: string, from: 'string_split(id, ''-'')'"), want: "columns[0].from TYPE_MISMATCH"},
		{flow: col("type: date, from: x, format: '%d/%m'"), want: "columns[0].format INVALID_FORMAT"},
		{flow: col("type: date, from: x, format: '%Y-%m-%d %H'"), want: "columns[0].format INVALID_FORMAT"},
		{flow: col("type: date, from: x, format: '%Q'"), want: "columns[0].format INVALID_FORMAT"},
		{flow: col("type: time, from: x, format: '%Y %H'"), want: "columns[0].format INVALID_FORMAT"},
		{flow: col("type: timestamp, from: x, format: '%Y-%m-%d %H:%M%z'"), want: "columns[0].format INVALID_FORMAT"},
		{flow: col("type: timestamptz, from: x, format: '%Y-%m-%d %H:%M'"), want: "columns[0].format INVALID_FORMAT"},
		{flow: col("type: timestamptz, from: x, format: '%z %Y-%m-%d'"), want: "columns[0].format INVALID_FORMAT"},
		{flow: col("type: string, from: x, format: '%Y'"), want: "columns[0].format INVALID_FORMAT"},
		{flow: col("type: binary, from: x, format: utf8"), want: "columns[0].format INVALID_FORMAT"},
		{flow: col("type: timestamptz, from: x, time_zone: Mars/Base"), want: "columns[0].time_zone INVALID_TIME_ZONE"},
		{flow: col("type: timestamp, from: x, time_zone: UTC"), want: "columns[0].time_zone INVALID_TIME_ZONE"},
		{flow: col("type: int32, from: x, pattern: a"), want: "columns[0].pattern INVALID_CONSTRAINT"},
		{flow: col("type: string, from: x, pattern: '['"), want: "columns[0].pattern INVALID_PATTERN"},
		{flow: col("type: string, from: x, pattern: '(?=a)'"), want: "columns[0].pattern INVALID_PATTERN"},
		{flow: col("type: int32, from: x, max_length: 3"), want: "columns[0].max_length INVALID_CONSTRAINT"},
		{flow: col("type: json, from: x, one_of: ['1']"), want: "columns[0].one_of INVALID_CONSTRAINT"},
		{flow: col("type: bool, from: x, min: 'true'"), want: "columns[0].min INVALID_CONSTRAINT"},
		{flow: col("type: int32, from: x, one_of: ['1', '1.5', '1e5']"), want: "columns[0].one_of[1] INVALID_VALUE, columns[0].one_of[2] INVALID_VALUE"},
		{flow: col("type: date, from: x, min: '2024', max: '2024-01-01'"), want: "columns[0].min INVALID_VALUE"},
		{flow: col("type: int32, from: x, on_error: drop"), want: "columns[0].on_error INVALID_ON_ERROR"},
		{flow: col("type: int32, from: x, on_error: {default: abc}"), want: "columns[0].on_error.default INVALID_VALUE"},
		{flow: col("type: int32, from: x, on_error: {otherwise: 1}"), want: "columns[0].on_error INVALID_ON_ERROR"},
		{flow: col("type: int32, from: x, on_error: {default: 5}, max: '4'"), want: "columns[0].on_error.default INVALID_VALUE"},
		{flow: col("type: int32, from: x, required: true, on_error: null"), want: "columns[0].on_error INVALID_ON_ERROR"},
		{flow: col("type: int32, from: x, key: true, on_error: 'null'"), want: "columns[0].on_error INVALID_ON_ERROR"},
		{flow: csv + "duplicates: keep_last\ncolumns: [{name: a, type: string}]", want: "duplicates INVALID_DUPLICATES"},
		{flow: csv + "filter: amount\ncolumns: [{name: a, type: string}]", want: "filter TYPE_MISMATCH"},
		{flow: csv + "filter: run.nothing = 'x'\ncolumns: [{name: a, type: string}]", want: "filter UNKNOWN_COLUMN"},
		{flow: two("{name: r, check: a > 0}, {name: r, check: a > 1}"), want: "rules[1].name DUPLICATE_RULE"},
		{flow: two("{name: r, check: c > 0}"), want: "rules[0].check UNKNOWN_COLUMN"},
		{flow: two("{name: r, check: run.id = b}"), want: "rules[0].check UNKNOWN_COLUMN"},
		{flow: two("{name: r, check: a = b}"), want: "rules[0].check TYPE_MISMATCH"},
		{flow: two("{name: r, check: a + 1}"), want: "rules[0].check TYPE_MISMATCH"},
		{flow: two("{name: r, unique: [a, c]}, {name: s, unique: [a, A]}"), want: "rules[0].unique[1] UNKNOWN_COLUMN, rules[1].unique[1] DUPLICATE_COLUMN"},
		{flow: csv + "references: [{name: run, connector: c, path: x, key: k, on: a}]\ncolumns: [{name: a, type: string}]", want: "references[0].name DUPLICATE_REFERENCE"},
		{flow: csv + "references: [{name: r, connector: c, path: x, key: k, on: a}, {name: r, connector: c, path: x, key: k, on: a}]\ncolumns: [{name: a, type: string}]", want: "references[1].name DUPLICATE_REFERENCE"},
		{flow: csv + "references: [{name: r, connector: c, path: x, key: k, on: r.v}]\ncolumns: [{name: a, type: string}]", source: known, want: "references[0].on UNKNOWN_COLUMN, columns[0].from UNKNOWN_COLUMN"},
		{flow: csv + "references: [{name: r, connector: c, path: x, key: k, on: a}]\ncolumns: [{name: a, type: string}]",
			source: compile.Source{Lookups: map[string][]compile.Column{"r": {{Name: "kk", Type: "VARCHAR"}}}}, want: "references[0].key UNKNOWN_COLUMN"},
		{flow: csv + "references: [{name: r, connector: c, parquet: {}, path: x, key: k, on: a}]\ncolumns: [{name: a, type: string}]",
			source: compile.Source{Lookups: map[string][]compile.Column{"r": {{Name: "k", Type: "BIGINT"}}}}, want: "references[0].on TYPE_MISMATCH"},
		{flow: csv + "unnest: {path: x, as: y}\ncolumns: [{name: a, type: string}]", want: "unnest INVALID_UNNEST"},
		{flow: json + "unnest: {path: x, as: y}\ncolumns: [{name: _Record, type: string, from: x}]", want: "columns[0].name INVALID_NAME"},
		{flow: parquet + "columns: [{name: d, type: 'decimal(9,2)'}, {name: f, type: int64}, {name: t, type: date}, {name: z, type: timestamp}]", source: typed,
			want: "columns[0].from LOSSY_COLUMN, columns[1].from LOSSY_COLUMN, columns[2].from LOSSY_COLUMN, columns[3].from TYPE_MISMATCH"},
		{flow: parquet + "columns: [{name: t, type: timestamptz}, {name: x, type: date, from: t, format: '%Y-%m-%d', lossy: true}]", source: typed, want: "columns[0].from TYPE_MISMATCH, columns[1].format INVALID_FORMAT"},
		{flow: csv + "filter: (\ncolumns: [{name: a, type: nope, from: nope()}, {name: b, type: int32, from: x, one_of: [y]}]\nrules: [{name: r, check: a >}]",
			want: "filter SYNTAX_ERROR, columns[0].from UNKNOWN_FUNCTION, columns[0].type UNKNOWN_TYPE, columns[1].one_of[0] INVALID_VALUE, rules[0].check SYNTAX_ERROR"},
	} {
		r, err := c.Compile(context.Background(), flow(t, tc.flow), tc.source)
		require.NoError(t, err, tc.flow)
		var got []string
		for _, p := range r.Problems {
			got = append(got, p.Field+" "+p.Reason)
			require.NotEmpty(t, p.Message, tc.flow)
			require.NotContains(t, p.Message+p.Next, "%!", tc.flow)
		}
		require.Equal(t, tc.want, strings.Join(got, ", "), "%s\n%+v", tc.flow, r.Problems)
		require.Nil(t, r.Plan)
	}
}

func TestDefaultMustHaveAnExactText(t *testing.T) {
	t.Parallel()
	c := setup(t)
	f := flow(t, csv+"columns: [{name: a, type: int64, from: x}]")
	for number, exact := range map[float64]bool{9007199254740991: true, 9007199254740992: false, -5: true} {
		f.Columns[0].OnError = structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"default": structpb.NewNumberValue(number)}})
		r, err := c.Compile(context.Background(), f, compile.Source{})
		require.NoError(t, err)
		require.Equal(t, exact, len(r.Problems) == 0, "%v", number)
	}
}

func TestSourceColumnsAreWhatTheFlowReads(t *testing.T) {
	t.Parallel()
	c := setup(t)
	r, err := c.Compile(context.Background(), flow(t, json+`
filter: kind <> 'x'
references: [{name: countries, connector: c, path: x, key: code, on: address.country}]
columns: [{name: id, type: string}, {name: a, type: string, from: '"order".lines || Customer.name || countries.region || run.id'}]
rules: [{name: r, check: a <> id}]
`), compile.Source{Raw: true})
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	require.Equal(t, []string{"Customer.name", "address.country", "id", "kind", "order.lines"}, r.SourceColumns)
}

func TestTypedSourceWithoutColumnsIsCheckedAsFarAsItCan(t *testing.T) {
	t.Parallel()
	c := setup(t)
	r, err := c.Compile(context.Background(), flow(t, parquet+"columns: [{name: a, type: int32, from: x / 2}]"), compile.Source{})
	require.NoError(t, err)
	require.Empty(t, r.Problems)
	require.Nil(t, r.Plan, "the types are not known")
	require.Equal(t, []string{"x"}, r.SourceColumns)
}

func TestStagedTypesAreRead(t *testing.T) {
	t.Parallel()
	got := compile.SourceColumns([]*typev1.StagedColumn{{Name: "a", Type: "utf8"}, {Name: "b", Type: "decimal(9,2)"}, {Name: "c", Type: "uuid"}, {Name: "d", Type: "timestamptz"}})
	require.Equal(t, []compile.Column{{Name: "a", Type: "VARCHAR"}, {Name: "b", Type: "DECIMAL(9,2)"}, {Name: "c", Type: "VARCHAR"}, {Name: "d", Type: "TIMESTAMP WITH TIME ZONE"}}, got)
}
