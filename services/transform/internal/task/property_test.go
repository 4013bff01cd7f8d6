package task

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"
)

func onError(policy, fallback string) *structpb.Value {
	switch policy {
	case "":
		return nil
	case "default":
		return structpb.NewStructValue(&structpb.Struct{Fields: map[string]*structpb.Value{"default": structpb.NewStringValue(fallback)}})
	}
	return structpb.NewStringValue(policy)
}

// dirt is text that batches hold: some of it valid for a type, some almost.
var dirt = []string{"", " ", "a", "A", "é", "abc", "it's", "a\"b", "x\ny", "NULL", "0", "1", "2", "3", "-1", "+5", "007", "12", " 12 ", "12.5", "12.345", "12.340", ".5", "-.50", "1e5", "1E-3", "0x10",
	"1_000", "nan", "inf", "-infinity", "99999", "32767", "32768", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "yes", "true", "TRUE", "False", "t",
	"2024-01-05", "2024-02-30", "0001-01-01", "0000-01-01", "9999-12-31", "10000-01-01", "epoch", "05/01/2024", "5/1/2024", "31/02/2024", "05/01/24",
	"2024-01-05 10:00:00", "2024-01-05T10:00:00.5", "2024-01-05 10:00:00.1234567", "2024-01-05 10:00:00Z", "2024-01-05T10:00:00+02:00", "2024-01-05 10:00:00-05", "2024-01-05 10:00",
	"10:00:00", "23:59:59.999999", "24:00:00", "10:00", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "6F9619FF-8B86-D011-B42D-00C04FC964FF", "00ff", "0f0", "{\"a\":1.10}", "[1,]", "NaN", "null"}

var sourceColumns = []string{"a", "b", "Some Name", "d"}

// clean is text of types, so that columns are valid now and then.
var clean = [][]string{
	{"0", "1", "2", "12", "-1", "007", "99"},
	{"12.5", "12.50", "0.5", ".5", "-3", "100"},
	{"2024-01-05", "1999-12-31", "0001-01-01", "2024-02-29"},
	{"2024-01-05 10:00:00", "2024-01-05T10:00:00.5", "1999-12-31 23:59:59.999999"},
	{"2024-01-05 10:00:00Z", "2024-01-05T10:00:00+02:00", "1999-12-31 23:59:59.999999-0530"},
	{"true", "false", "TRUE"}, {"a", "A", "b", "it's", "12", "abc", ""}, {"00ff", "", "abCD"}, {"10:00:00", "23:59:59.999999"},
	{"6f9619ff-8b86-d011-b42d-00c04fc964ff", "00000000-0000-0000-0000-000000000000"}, {"{}", "[1, 2]", "1.10", "\"x\""},
}

// genRows draws rows. Every column is mostly of one type, with some dirt in it.
func genRows(t *rapid.T) [][]*string {
	flavours := make([][]string, len(sourceColumns))
	for i := range flavours {
		flavours[i] = rapid.SampledFrom(clean).Draw(t, "flavour")
	}
	dirty := rapid.IntRange(0, 5).Draw(t, "dirty")
	row := rapid.Custom(func(t *rapid.T) []*string {
		out := make([]*string, len(sourceColumns))
		for i := range out {
			switch n := rapid.IntRange(0, 9).Draw(t, "kind"); {
			case n == 9:
			case n < dirty:
				s := rapid.SampledFrom(dirt).Draw(t, "dirt")
				out[i] = &s
			default:
				s := rapid.SampledFrom(flavours[i]).Draw(t, "clean")
				out[i] = &s
			}
		}
		return out
	})
	return rapid.SliceOfN(row, 0, 60).Draw(t, "rows")
}

// genText draws an expression whose value is text.
func genText(t *rapid.T, depth int) formula {
	column := func() formula {
		name := rapid.SampledFrom(sourceColumns).Draw(t, "column")
		sql := name
		if strings.Contains(name, " ") {
			sql = `"` + name + `"`
		} else if rapid.Bool().Draw(t, "case") {
			sql = strings.ToUpper(name)
		}
		return formula{sql, func(row map[string]*string) cell { return cell{text: row[name]} }}
	}
	if depth == 0 {
		return column()
	}
	one := func(sql string, f func(string) string) formula {
		arg := genText(t, depth-1)
		return formula{fmt.Sprintf(sql, arg.sql), func(row map[string]*string) cell {
			c := arg.eval(row)
			if c.failed || c.text == nil {
				return c
			}
			return is(f(*c.text))
		}}
	}
	switch rapid.IntRange(0, 8).Draw(t, "text") {
	case 0:
		return one("trim(%s)", func(s string) string { return strings.Trim(s, " ") })
	case 1:
		return one("Upper(%s)", strings.ToUpper)
	case 2:
		return one("replace(%s, '1', 'O''ne')", func(s string) string { return strings.ReplaceAll(s, "1", "O'ne") })
	case 3:
		a, b := genText(t, depth-1), genText(t, depth-1)
		return formula{"(" + a.sql + ") || '-' || " + b.sql, func(row map[string]*string) cell {
			x, y := a.eval(row), b.eval(row)
			if x.failed || y.failed {
				return cell{failed: true}
			}
			if x.text == nil || y.text == nil {
				return cell{}
			}
			return is(*x.text + "-" + *y.text)
		}}
	case 4:
		a, b := genText(t, depth-1), genText(t, depth-1)
		return formula{"coalesce(" + a.sql + ", " + b.sql + ", 'none')", func(row map[string]*string) cell {
			for _, f := range []formula{a, b} {
				if c := f.eval(row); c.failed || c.text != nil {
					return c
				}
			}
			return is("none")
		}}
	case 5:
		when, then := genText(t, depth-1), genText(t, depth-1)
		word := rapid.SampledFrom(dirt[2:20]).Draw(t, "word")
		return formula{"CASE WHEN " + when.sql + " = " + quote(word) + " THEN " + then.sql + " ELSE 'other' END", func(row map[string]*string) cell {
			c := when.eval(row)
			if c.failed {
				return c
			}
			if c.text != nil && *c.text == word {
				return then.eval(row)
			}
			return is("other")
		}}
	case 6:
		arg := genText(t, depth-1)
		return formula{"nullif(" + arg.sql + ", '1')", func(row map[string]*string) cell {
			c := arg.eval(row)
			if c.text != nil && *c.text == "1" {
				return cell{}
			}
			return c
		}}
	default:
		return column()
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// genNumber draws an expression whose value is a whole number of 64 bits, which can fail.
func genNumber(t *rapid.T, depth int) formula {
	arg := genText(t, 0)
	cast := formula{"CAST(" + arg.sql + " AS BIGINT)", func(row map[string]*string) cell {
		c := arg.eval(row)
		if c.text == nil {
			return c
		}
		v, ok := convert("int64", "", *c.text)
		if !ok {
			return cell{failed: true}
		}
		return is(v)
	}}
	if depth == 0 {
		return cast
	}
	op := rapid.SampledFrom([]string{"+", "-", "*", "//", "%"}).Draw(t, "op")
	other := genNumber(t, depth-1)
	return formula{"(" + cast.sql + " " + op + " " + other.sql + ")", func(row map[string]*string) cell {
		x, y := cast.eval(row), other.eval(row)
		if x.failed || y.failed {
			return cell{failed: true}
		}
		if x.text == nil || y.text == nil {
			// NULL divided by zero is still a division by zero.
			if (op == "//" || op == "%") && y.text != nil && *y.text == "0" {
				return cell{failed: true}
			}
			return cell{}
		}
		a, _ := new(big.Int).SetString(*x.text, 10)
		b, _ := new(big.Int).SetString(*y.text, 10)
		out := new(big.Int)
		switch op {
		case "+":
			out.Add(a, b)
		case "-":
			out.Sub(a, b)
		case "*":
			out.Mul(a, b)
		case "//", "%":
			if b.Sign() == 0 {
				return cell{failed: true}
			}
			if op == "//" {
				out.Quo(a, b)
			} else {
				out.Rem(a, b)
			}
		}
		if !out.IsInt64() {
			return cell{failed: true}
		}
		return is(out.String())
	}}
}

func genTarget(t *rapid.T, i int) target {
	c := target{name: fmt.Sprintf("t%d", i)}
	c.typ = rapid.SampledFrom([]string{"string", "bool", "int16", "int32", "int64", "decimal(7,2)", "decimal(20,0)", "float64", "date", "time", "timestamp", "timestamptz", "binary", "uuid", "json"}).Draw(t, "type")
	if strings.HasPrefix(c.typ, "int") && rapid.Bool().Draw(t, "computed") {
		c.from = genNumber(t, rapid.IntRange(0, 2).Draw(t, "depth"))
	} else {
		c.from = genText(t, rapid.IntRange(0, 2).Draw(t, "depth"))
	}
	if c.typ == "date" && rapid.Bool().Draw(t, "formatted") {
		c.format = "%d/%m/%Y"
	}
	c.required = rapid.IntRange(0, 3).Draw(t, "required") == 0
	bound := map[string][2]string{"int16": {"0", "100"}, "int32": {"-5", "2147483646"}, "int64": {"2", "9000"}, "decimal(7,2)": {"0.00", "12.50"}, "decimal(20,0)": {"1", "99999"},
		"float64": {"0", "100"}, "date": {"2000-01-01", "2024-01-05"}, "string": {"1", "b"}}
	if b, ok := bound[c.typ]; ok && rapid.Bool().Draw(t, "bounded") {
		c.min, c.max = &b[0], &b[1]
	}
	if c.typ == "string" && rapid.Bool().Draw(t, "short") {
		c.maxLength = 3
	}
	enum := map[string][]string{"string": {"a", "A", "12", "it's", ""}, "int32": {"1", "2", "12"}, "decimal(7,2)": {"12.50", "0.50"}, "bool": {"true"}, "date": {"2024-01-05"}}
	if e, ok := enum[c.typ]; ok && rapid.IntRange(0, 3).Draw(t, "enum") == 0 {
		c.oneOf = e
	}
	fallback := map[string]string{"string": "a", "bool": "true", "int16": "2", "int32": "2", "int64": "12", "decimal(7,2)": "0.50", "decimal(20,0)": "5", "float64": "1", "date": "2024-01-05"}
	switch rapid.IntRange(0, 5).Draw(t, "policy") {
	case 0:
		if !c.required {
			c.policy = "null"
		}
	case 1:
		if f, ok := fallback[c.typ]; ok && (len(c.oneOf) == 0 || slices.Contains(c.oneOf, f)) {
			c.policy, c.fallback = "default", f
		}
	}
	return c
}

// genCheck draws a rule over columns of some types.
func genCheck(t *rapid.T, i int, targets []target) (check, bool) {
	c := check{name: fmt.Sprintf("c%d", i), policy: rapid.SampledFrom([]string{"", "reject", "warn"}).Draw(t, "on_error")}
	col := rapid.SampledFrom(targets).Draw(t, "checked")
	c.columns = []string{col.name}
	switch {
	case strings.HasPrefix(col.typ, "int"):
		// Fails for the largest number, and for zero.
		c.sql = "1000 // " + col.name + " < 100"
		c.holds = func(v map[string]*string) (bool, bool) {
			if v[col.name] == nil {
				return true, false
			}
			n, _ := strconv.ParseInt(*v[col.name], 10, 64)
			if n == 0 {
				return false, true
			}
			return 1000/n < 100, false
		}
	case col.typ == "string":
		other := rapid.SampledFrom(targets).Draw(t, "other")
		if other.typ != "string" || other.name == col.name {
			c.sql = "length(" + col.name + ") <> 1"
			c.holds = func(v map[string]*string) (bool, bool) {
				return v[col.name] == nil || len([]rune(*v[col.name])) != 1, false
			}
			return c, true
		}
		c.columns = append(c.columns, other.name)
		c.sql = col.name + " <> " + other.name
		c.holds = func(v map[string]*string) (bool, bool) {
			return v[col.name] == nil || v[other.name] == nil || *v[col.name] != *v[other.name], false
		}
	case col.typ == "date":
		c.sql = col.name + " >= DATE '2000-01-01'"
		c.holds = func(v map[string]*string) (bool, bool) {
			return v[col.name] == nil || *v[col.name] >= "2000-01-01", false
		}
	default:
		return c, false
	}
	return c, true
}

func genScenario(t *rapid.T) scenario {
	var s scenario
	if rapid.Bool().Draw(t, "filtered") {
		if rapid.Bool().Draw(t, "failing filter") {
			n := genNumber(t, 1)
			s.filter = &formula{n.sql + " <> 1", func(row map[string]*string) cell {
				c := n.eval(row)
				if c.failed || c.text == nil {
					return c
				}
				return is(strconv.FormatBool(*c.text != "1"))
			}}
		} else {
			f := genText(t, 1)
			s.filter = &formula{f.sql + " <> 'a'", func(row map[string]*string) cell {
				c := f.eval(row)
				if c.failed || c.text == nil {
					return c
				}
				return is(strconv.FormatBool(*c.text != "a"))
			}}
		}
	}
	for i := range rapid.IntRange(1, 6).Draw(t, "columns") {
		s.targets = append(s.targets, genTarget(t, i))
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "checks") {
		if c, ok := genCheck(t, i, s.targets); ok {
			s.checks = append(s.checks, c)
		}
	}
	if rapid.Bool().Draw(t, "keyed") {
		k := &s.targets[rapid.IntRange(0, len(s.targets)-1).Draw(t, "key")]
		if k.policy != "null" {
			k.key = true
			s.duplicates = rapid.SampledFrom([]string{"", "reject", "keep_first", "keep_last"}).Draw(t, "duplicates")
		}
	}
	for range rapid.IntRange(0, 2).Draw(t, "uniques") {
		u := []string{rapid.SampledFrom(s.targets).Draw(t, "unique").name}
		if other := rapid.SampledFrom(s.targets).Draw(t, "with").name; other != u[0] {
			u = append(u, other)
		}
		s.uniques = append(s.uniques, u)
	}
	return s
}

// canonical brings what Arrow shows of the engine's values to the oracle's form.
func canonical(t testing.TB, targets []target, rows []row) []row {
	for _, r := range rows {
		for i, v := range r.values {
			if v == nil {
				continue
			}
			text := *v
			switch typ := targets[i].typ; typ {
			case "float64":
				f, err := strconv.ParseFloat(text, 64)
				require.NoError(t, err)
				require.False(t, math.IsInf(f, 0) || math.IsNaN(f))
				text = canonicalFloat(f)
			case "time":
				at, err := time.Parse("15:04:05.999999", text)
				require.NoError(t, err)
				text = at.Format("15:04:05.000000")
			case "timestamp", "timestamptz":
				at, err := time.Parse("2006-01-02 15:04:05.999999", strings.TrimSuffix(text, "Z"))
				require.NoError(t, err)
				text = at.Format("2006-01-02 15:04:05.000000")
			}
			r.values[i] = &text
		}
	}
	return rows
}

// canonicalScenario brings constants of the scenario to the oracle's form.
func (s scenario) canonical() scenario {
	for i, t := range s.targets {
		if t.policy == "default" {
			s.targets[i].fallback, _ = convert(t.typ, "", t.fallback)
		}
	}
	return s
}

func TestEngineMapsAsTheOracleDoes(t *testing.T) {
	t.Parallel()
	b := setup(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := genScenario(rt)
		rows := genRows(rt)
		parts := rapid.IntRange(1, 3).Draw(rt, "parts")
		r, err := b.do(s.spec(), b.stage(table{columns: sourceColumns, rows: rows}, parts))
		if err != nil {
			rt.Fatalf("%v\n%v", err, s.spec())
		}
		want := s.canonical().expect(sourceColumns, rows)
		if got := show(canonical(t, s.targets, r.rows)); !slices.Equal(want.rows, got) {
			rt.Fatalf("flow %v\nwant %q\n got %q", s.spec(), want.rows, got)
		}
		if got := reasons(t, r.rejects); !slices.Equal(want.rejects, got) {
			rt.Fatalf("flow %v\nwant %q\n got %q", s.spec(), want.rejects, got)
		}
		var filtered int64
		for _, p := range r.parts {
			filtered += p.GetCounts().GetFiltered()
		}
		require.Equal(rt, want.filtered, filtered)
		require.Equal(rt, want.deduplicated, r.closing.GetDeduplicated())
	})
}
