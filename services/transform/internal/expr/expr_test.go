package expr_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
	"github.com/lume-data/lume/services/transform/internal/expr"
)

func TestMain(m *testing.M) {
	if engine.IsChild() {
		os.Exit(engine.Main())
	}
	goleak.VerifyTestMain(m)
}

type bench struct {
	pool *engine.Pool
	dir  string
}

func setup(t testing.TB) bench {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "job")
	require.NoError(t, os.Mkdir(dir, 0o700))
	pool, err := engine.New(context.Background(), engine.Config{Root: root, MemoryBytes: 256 << 20})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	return bench{pool, dir}
}

func (b bench) parse(t testing.TB, texts ...string) []expr.Parsed {
	t.Helper()
	parsed, err := expr.Parse(context.Background(), b.pool, b.dir, texts)
	require.NoError(t, err)
	require.Len(t, parsed, len(texts))
	return parsed
}

func (b bench) query(t testing.TB, sql string) [][]*string {
	t.Helper()
	r, err := b.pool.Run(context.Background(), engine.Job{Dir: b.dir, Steps: []engine.Step{{Name: "q", SQL: sql, Rows: true}}})
	require.NoError(t, err)
	return r.Steps[0].Rows
}

var scope = expr.Scope{Kind: expr.SourceRef, Known: true, Run: true,
	Columns: []string{"a", "b", "n", "Inv No", "order.id", "ID", "Id", "amount"},
	Lookups: []expr.Lookup{{Name: "countries", Columns: []string{"code", "Region"}, Known: true}}}

func ref(r expr.Ref) string {
	switch r.Kind {
	case expr.LookupRef:
		return "r." + cast.Ident(r.Name)
	case expr.RunRef:
		return "run." + r.Name
	default:
		return "s." + cast.Ident(r.Name)
	}
}

func TestOnlyScalarExpressionsOfListedPartsPass(t *testing.T) {
	t.Parallel()
	b := setup(t)
	refused := map[string][]string{
		expr.ReasonNotAllowed: {"(SELECT 1)", "EXISTS (SELECT 1)", "a IN (SELECT 1)", "ARRAY(SELECT 1)", "*", "COLUMNS('a')", "t.*", "$1", "?", "count(*) OVER ()", "a COLLATE NOCASE",
			"a = ANY([1])", "sum(a)", "count(*)", "string_agg(a, ',')", "a.upper()", "main.upper(a, x := 1)", "struct_pack(x := 1)", "a::INT[]", "a::STRUCT(x INT)", "a::MAP(INT, INT)", "a::nothing",
			"a::ENUM('x')", "repeat(a, 1001)", "lpad(a, n, '0')", "replace(a, 'x', b)", "regexp_matches(a, b)", "a ~ b", "strftime(a, b)", "sum(a) FILTER (WHERE b)", "upper(DISTINCT a)", "{'a': 1}", "1) FROM t; SELECT (1", "SELECT 1"},
		expr.ReasonUnknownFunction: {"read_text('/etc/passwd')", "query('SELECT 1')", "json_execute_serialized_sql('')", "levenshtein(a, b)", "json_structure(a)", "printf('%d', 1)", "format('{}', a)",
			"range(10)", "generate_series(1, 10)", "list_transform([1], x -> x)", "sleep_ms(10)", "error('x')", "write_log('x')", "unnest([1])", "row(1, 2)", "a, b", "[1, 2]", "glob('*')", "nothing(a)",
			"damerau_levenshtein(a, b)", "hamming(a, b)", "getenv('PATH')", "map([1], [2])", "list_resize([1], 1000000000)", "bitstring('1', 1000000000)", "age_now(a)", "factorial(30)"},
		expr.ReasonNotDeterministic: {"now()", "current_date", "current_timestamp", "CURRENT_TIMESTAMP", "today()", "random()", "uuid()", "gen_random_uuid()", "nextval('x')", "localtimestamp", "current_localtime()",
			"current_setting('TimeZone')", "getvariable('x')", "version()", "current_user", "txid_current()", "uuidv7()", "get_current_time()"},
		expr.ReasonSyntax: {"", "  ", "a +", "order.id", "1;", "1 AS x) FROM (SELECT 1", "a AS b", "'a", "1) --", "a FROM t", "a UNION SELECT 1", "a LIMIT 1", "a ORDER BY 1", "\x00", "a\x00", "\xff", ")(", "a b"},
		expr.ReasonTooLarge: {strings.Repeat("(", 500) + "1" + strings.Repeat(")", 500), "a" + strings.Repeat(" ", 5000), strings.Repeat("-", 0) + "upper(" + strings.Repeat("upper(", 80) + "a" + strings.Repeat(")", 81),
			"a" + strings.Repeat(" || a", 600)},
		expr.ReasonType: {"upper()", "upper(a, b)", "substr(a)"},
	}
	var texts, want []string
	for reason, list := range refused {
		for _, text := range list {
			texts = append(texts, text)
			want = append(want, reason)
		}
	}
	for i, p := range b.parse(t, texts...) {
		if p.Problem == nil && p.Node != nil {
			// Names are looked at when they are resolved.
			if problems := expr.Resolve(p.Node, scope); len(problems) > 0 {
				p.Problem = problems[0]
			}
		}
		if p.Problem == nil {
			t.Errorf("%q passed", texts[i])
			continue
		}
		if p.Problem.Reason != want[i] {
			t.Errorf("%q: %s (%s), not %s", texts[i], p.Problem.Reason, p.Problem.Message, want[i])
		}
		require.NotEmpty(t, p.Problem.Message)
		require.NotContains(t, p.Problem.Message, "SELECT (", "the wrapping does not show")
	}
}

func TestExpressionsAreWrittenBackFromTheTree(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for text, want := range map[string]string{
		"trim(A) -- comment":                   `trim(s."a")`,
		`"Inv No" || 'it''s'`:                  `(s."Inv No" || 'it''s')`,
		`"order".id`:                           `s."order.id"`,
		`"order.id"`:                           `s."order.id"`,
		`"ID"`:                                 `s."ID"`,
		"countries.region":                     `r."Region"`,
		"run.id || run.SOURCE_PATH":            `(run.id || run.source_path)`,
		"a LIKE 'x%' AND NOT b ILIKE 'y'":      `((s."a" LIKE 'x%') AND (NOT (s."b" ILIKE 'y')))`,
		"CASE a WHEN 'x' THEN 1 END":           `CASE WHEN (s."a" = 'x') THEN 1 ELSE NULL END`,
		"a IN ('x', NULL) OR b NOT IN ('y')":   `((s."a" IN ('x', NULL)) OR (s."b" NOT IN ('y')))`,
		"a BETWEEN 'a' AND 'b'":                `(s."a" BETWEEN 'a' AND 'b')`,
		"- 5 + -1.50 * 1e3":                    `((-5) + (CAST('-1.50' AS DECIMAL(3,2)) * CAST('1000.0' AS DOUBLE)))`,
		"true AND false IS NOT NULL":           `(true AND (false IS NOT NULL))`,
		"coalesce(a, '') || ifnull(b, 'z')":    `(coalesce(s."a", '') || coalesce(s."b", 'z'))`,
		"a -> '$.x'":                           `json_extract(s."a", '$.x')`,
		"a ->> 'x'":                            `json_extract_string(s."a", 'x')`,
		"string_split(a, '|')[2]":              `(string_split(s."a", '|'))[2]`,
		"a[1:2]":                               `(s."a")[1:2]`,
		"position('x' IN a)":                   `strpos(s."a", 'x')`,
		"extract(year FROM DATE '2020-01-01')": `date_part('year', CAST('2020-01-01' AS DATE))`,
		"12345678901234567890123":              `12345678901234567890123`,
		"-9223372036854775808":                 `(-9223372036854775808)`,
		"TRY(CAST(a AS INTEGER))":              `TRY(CAST(regexp_replace(s."a", '(?s)^(?:([+-]?[0-9]+)|.*)$', '\1') AS INTEGER))`,
		"TRY_CAST('x' AS INTEGER)":             `TRY_CAST(regexp_replace('x', '(?s)^(?:([+-]?[0-9]+)|.*)$', '\1') AS INTEGER)`,
		"a SIMILAR TO 'x.*'":                   `regexp_full_match(s."a", 'x.*')`,
		"CAST(n AS BIGINT) / 100":              `(CAST(regexp_replace(s."n", '(?s)^(?:([+-]?[0-9]+)|.*)$', '\1') AS BIGINT) / 100)`,
		"10 % length(a)":                       `(10 % CASE WHEN length(s."a") = 0 THEN CAST('division by zero' AS BIGINT) ELSE length(s."a") END)`,
		"a IS DISTINCT FROM b":                 `(s."a" IS DISTINCT FROM s."b")`,
		"CAST(a AS DATE) > '2020-01-01'":       `(CAST(regexp_replace(s."a", '` + "(?s)^(?:(" + cast.Pattern("DATE") + `)|.*)$', '\1') AS DATE) > CAST('2020-01-01' AS DATE))`,
	} {
		p := b.parse(t, text)[0]
		require.Nil(t, p.Problem, text)
		require.Empty(t, expr.Resolve(p.Node, scope), text)
		b.types(t, text, p.Node)
		require.Equal(t, want, expr.Renderer{Ref: ref, Strict: true}.SQL(p.Node), text)
	}
}

// types asks the engine for the types of an expression whose columns are text.
func (b bench) types(t testing.TB, text string, n *expr.Node) *expr.Problem {
	t.Helper()
	const stub = `FROM (SELECT NULL::VARCHAR AS "a", NULL::VARCHAR AS "b", NULL::VARCHAR AS "n", NULL::VARCHAR AS "Inv No", NULL::VARCHAR AS "order.id", NULL::VARCHAR AS "ID", NULL::DECIMAL(9,2) AS "amount") s,
		(SELECT NULL::VARCHAR AS "Region") r, (SELECT '' AS id, '' AS source_path, '' AS flow_version, now() AS created_at) run`
	q := expr.Ask(n, stub, ref, func(r expr.Ref) string {
		if r.Name == "amount" {
			return "DECIMAL(9,2)"
		}
		return "VARCHAR"
	})
	r, err := b.pool.Run(context.Background(), engine.Job{Dir: b.dir, Steps: []engine.Step{q.Step}})
	require.NoError(t, err, text)
	p, err := q.Answer(r.Steps[0])
	require.NoError(t, err, text)
	return p
}

func TestTextIsNotMixedWithOtherTypes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for text, want := range map[string]string{
		"a > 0":                            "cannot compare values of type VARCHAR and type INTEGER",
		"a + 1":                            "there is no +(VARCHAR, INTEGER)",
		"abs(a)":                           "there is no abs(VARCHAR)",
		"a = amount":                       "text is mixed with DECIMAL(9,2)",
		"amount IN (a)":                    "text is mixed with DECIMAL(9,2)",
		"amount BETWEEN a AND 5":           "cannot mix values of type DECIMAL(9,2) and VARCHAR in BETWEEN clause",
		"nullif(a, amount)":                "text is mixed with DECIMAL(9,2)",
		"coalesce(a, amount)":              "cannot mix values of type VARCHAR and DECIMAL(9,2) in COALESCE operator",
		"CASE WHEN true THEN a ELSE 1 END": "cannot mix values of type INTEGER and VARCHAR in CASE expression",
	} {
		p := b.parse(t, text)[0]
		require.Nil(t, p.Problem, text)
		require.Empty(t, expr.Resolve(p.Node, scope), text)
		problem := b.types(t, text, p.Node)
		require.NotNil(t, problem, text)
		require.Equal(t, expr.ReasonType, problem.Reason, text)
		require.Contains(t, problem.Message, want, text)
	}
	for _, text := range []string{"a = 'x'", "amount > 0", "amount = '12.50'", "amount IN (1, 2, NULL)", "nullif(amount, 0) IS NULL", "coalesce(a, 'x') = b"} {
		p := b.parse(t, text)[0]
		require.Empty(t, expr.Resolve(p.Node, scope), text)
		require.Nil(t, b.types(t, text, p.Node), text)
	}
}

func TestNamesResolveOrSaySomethingUseful(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for text, want := range map[string][2]string{
		"amout":              {expr.ReasonUnknownColumn, "did you mean amount?"},
		"id":                 {expr.ReasonAmbiguousColumn, "quote the name in its exact spelling"},
		"countries.regio":    {expr.ReasonUnknownColumn, "did you mean Region?"},
		"run.started":        {expr.ReasonUnknownColumn, "there are: id, created_at, source_path, flow_version"},
		"zzz":                {expr.ReasonUnknownColumn, "there are: a, b, n, Inv No, order.id, ID, Id, amount"},
		"uper(a)":            {expr.ReasonUnknownFunction, "did you mean upper?"},
		"upper(a) + nothing": {expr.ReasonUnknownColumn, ""},
	} {
		p := b.parse(t, text)[0]
		problem := p.Problem
		if problem == nil {
			problems := expr.Resolve(p.Node, scope)
			require.NotEmpty(t, problems, text)
			problem = problems[0]
		}
		require.Equal(t, want[0], problem.Reason, text)
		if want[1] != "" {
			require.Equal(t, want[1], problem.Next, text)
		}
	}
	p := b.parse(t, "upper(a) || nothing")[0]
	require.Contains(t, expr.Resolve(p.Node, scope)[0].Message, "(at character 13)")
}

func TestUnknownSourceTakesAnyColumnButTheClock(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.parse(t, "upper(Anything)", "current_date")
	require.Empty(t, expr.Resolve(p[0].Node, expr.Scope{}))
	require.Equal(t, []expr.Ref{{Kind: expr.SourceRef, Name: "Anything"}}, p[0].Node.Refs())
	require.Equal(t, expr.ReasonNotDeterministic, expr.Resolve(p[1].Node, expr.Scope{})[0].Reason)
	require.Empty(t, expr.Resolve(p[1].Node, expr.Scope{Columns: []string{"Current_Date"}, Known: true}), "a column of that name is a column")
}

func TestListedFunctionsExistAndAreDeterministic(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stability := map[string][]string{}
	for _, row := range b.query(t, "SELECT DISTINCT function_name, coalesce(stability, 'MACRO') FROM duckdb_functions() WHERE function_type IN ('scalar', 'macro')") {
		stability[*row[0]] = append(stability[*row[0]], *row[1])
	}
	for _, name := range expr.Functions() {
		found := stability[name]
		require.NotEmpty(t, found, "%s is no function of the engine", name)
		for _, s := range found {
			require.Contains(t, []string{"CONSISTENT", "MACRO"}, s, name)
		}
	}
	for name, s := range stability {
		if slices.Contains(s, "VOLATILE") || slices.Contains(s, "CONSISTENT_WITHIN_QUERY") {
			require.NotContains(t, expr.Functions(), name)
		}
	}
}

func TestLimitsOfExpandedExpressionsHold(t *testing.T) {
	t.Parallel()
	b := setup(t)
	p := b.parse(t, strings.Repeat("nullif(", 30)+"a"+strings.Repeat(", '')", 30))[0]
	require.Nil(t, p.Problem)
	require.Equal(t, expr.ReasonTooLarge, expr.Expanded(p.Node).Reason)
}

func TestFallibleSaysWhatCanFail(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for text, want := range map[string]bool{
		"a": false, "upper(trim(a))": false, "a || b": false, "a = 'x' AND b IS NULL": false, "coalesce(a, 'x')": false, "CASE WHEN a = 'x' THEN b ELSE 'z' END": false,
		"substr(a, 1, 3)": false, "length(a)": false, "CAST(amount AS VARCHAR)": false, "replace(a, 'x', 'y')": false, "true": false, "nullif(a, '')": false, "left(a, 2)": false,
		"CAST(a AS INTEGER)": true, "amount + 1": true, "length(a) / 2": true, "substr(a, length(b))": true, "strptime(a, '%Y')": true, "amount > 0": false, "amount BETWEEN 0.5 AND 12.125": false, "amount > length(a)": true, "amount = 1e5": true, "TRY_CAST(a AS INTEGER)": false,
		"TRY(amount + 1)": false, "regexp_replace(a, 'x', 'y')": true, "chr(length(a)::INTEGER)": true, "length(a) > 0": false, "CAST(length(a) AS INTEGER)": true, "CAST(length(a) AS HUGEINT)": false,
	} {
		p := b.parse(t, text)[0]
		require.Nil(t, p.Problem, text)
		require.Empty(t, expr.Resolve(p.Node, scope), text)
		require.Nil(t, b.types(t, text, p.Node), text)
		require.Equal(t, want, expr.Fallible(p.Node), text)
	}
}

// FuzzParse holds the validator to its promise: what passes is written back to SQL that the parser reads as the same
// tree, with listed names only. Nothing else may come out, and no child may be lost.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{"upper(a)", "a + 1", "CASE WHEN a THEN b ELSE c END", "(SELECT 1)", "1) --", "a IN ('x')", "a::INT", "'\\''", "x -> y", "a[1]", "1e5", "now()", "\"a\"\"b\"", "TRY(a)", "a AT TIME ZONE 'UTC'"} {
		f.Add(seed)
	}
	b := setup(f)
	f.Fuzz(func(t *testing.T, text string) {
		p := b.parse(t, text)[0]
		if (p.Node == nil) == (p.Problem == nil) {
			t.Fatalf("%q has both or neither", text)
		}
		if p.Node == nil {
			return
		}
		if len(expr.Resolve(p.Node, expr.Scope{Run: true})) > 0 {
			return
		}
		sql := expr.Renderer{Ref: func(r expr.Ref) string { return cast.Ident(r.Name) }}.SQL(p.Node)
		if len(sql) > expr.MaxBytes/2 {
			return
		}
		again := b.parse(t, sql)[0]
		if again.Problem != nil {
			t.Fatalf("%q became %q, which does not pass: %v", text, sql, again.Problem)
		}
		expr.Resolve(again.Node, expr.Scope{})
		if twice := (expr.Renderer{Ref: func(r expr.Ref) string { return cast.Ident(r.Name) }}).SQL(again.Node); twice != sql {
			t.Fatalf("%q became %q and then %q", text, sql, twice)
		}
	})
}
