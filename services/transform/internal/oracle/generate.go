package oracle

import (
	"fmt"
	"strconv"
	"strings"

	"pgregory.net/rapid"
)

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// dirty are cells that are, or nearly are, values of some type.
var dirty = []string{
	"0", "7", "12", "-7", "+5", "007", "1e5", " 12 ", "1_000", "0x10", "9223372036854775807", "9223372036854775808", "32768",
	"12.0", "abc", "١٢", "1.5", "1.50", "12.345", "12.3400", "-.5", "5.", ".", "-", "99999.99", "9999.99", "-0.00", "NaN", "inf",
	"2020-02-29", "2021-02-29", "0001-01-01", "0000-01-01", "10000-01-01", "2020-1-2", "2020-01-02 10:00", "infinity", "epoch",
	"31/12/2020", "31/02/2020", "1/2/2020", " 01/02/2020", "01/02/20",
	"2020-01-02 10:00:00", "2020-01-02T10:00:00.123456", "2020-01-02 10:00:00.1234567", "2020-01-02 10:00:00+02", "2020-01-02 24:00:00",
	"true", "TRUE", "False", "yes", "t", "1", "", " ", "a'b", "a\"b", "x\ny", "tab\there", "Ünïcödé", "日本", "😀", "NULL", "null",
}

// Generate draws a flow and a batch for it.
func Generate(t *rapid.T) (Flow, [][]*string) {
	f := Flow{Source: []string{"a", "b", "c", "d"}[:rapid.IntRange(1, 4).Draw(t, "source columns")]}
	if rapid.IntRange(0, 3).Draw(t, "with filter") == 0 {
		e := condition(t, f.Source, 1)
		f.Filter = &e
	}
	for i := range rapid.IntRange(1, 5).Draw(t, "columns") {
		f.Columns = append(f.Columns, drawColumn(t, f, fmt.Sprintf("t%d", i)))
	}
	f.Duplicates = rapid.SampledFrom([]string{"reject", "keep_first", "keep_last"}).Draw(t, "duplicates")
	for i := range rapid.IntRange(0, 3).Draw(t, "rules") {
		f.Rules = append(f.Rules, drawRule(t, f, fmt.Sprintf("r%d", i)))
	}
	rows := rapid.IntRange(0, 40).Draw(t, "rows")
	batch := make([][]*string, rows)
	for i := range batch {
		batch[i] = make([]*string, len(f.Source))
		for j := range batch[i] {
			if cell := rapid.SampledFrom(dirty).Draw(t, "cell"); rapid.IntRange(0, 9).Draw(t, "null") > 0 {
				batch[i][j] = &cell
			}
		}
	}
	return f, batch
}

func drawColumn(t *rapid.T, f Flow, name string) Column {
	c := Column{Name: name, OnError: "reject"}
	c.Type = rapid.SampledFrom([]string{"string", "string", "bool", "int16", "int32", "int64", "decimal(6,2)", "date", "timestamp"}).Draw(t, "type")
	c.From = textExpr(t, f.Source, 2)
	switch {
	case c.Type == "date" && rapid.Bool().Draw(t, "with format"):
		c.Format = "%d/%m/%Y"
	case strings.HasPrefix(c.Type, "int") && rapid.IntRange(0, 2).Draw(t, "integer expression") == 0:
		c.Type, c.From = "int64", intExpr(t, f.Source, 2)
	case c.Type == "string" && rapid.Bool().Draw(t, "with pattern"):
		c.Pattern = rapid.SampledFrom([]string{"[0-9]+", "[a-zA-Z ]*", ".*[0-9].*", `(?s).{2,}`}).Draw(t, "pattern")
	case c.Type == "string" && rapid.Bool().Draw(t, "with one_of"):
		c.OneOf = rapid.SliceOfNDistinct(rapid.SampledFrom(dirty), 1, 20, rapid.ID[string]).Draw(t, "one_of")
	}
	switch rapid.IntRange(0, 5).Draw(t, "kind of column") {
	case 0:
		c.Key = true
	case 1:
		c.Required = true
	case 2:
		c.OnError = "null"
	case 3:
		c.OnError = "default"
		c.Default = map[string]string{
			"string": "none", "bool": "false", "int16": "-1", "int32": "-1", "int64": "-1", "decimal(6,2)": "0.00",
			"date": "2000-01-01", "timestamp": "2000-01-01 00:00:00",
		}[c.Type]
		c.Pattern, c.OneOf = "", nil
	}
	return c
}

func drawRule(t *rapid.T, f Flow, name string) Rule {
	r := Rule{Name: name, Warn: rapid.IntRange(0, 3).Draw(t, "warn") == 0}
	var names []string
	for _, c := range f.Columns {
		names = append(names, c.Name)
	}
	if rapid.Bool().Draw(t, "unique rule") {
		r.Unique = rapid.SliceOfNDistinct(rapid.SampledFrom(names), 1, min(2, len(names)), rapid.ID[string]).Draw(t, "unique")
		return r
	}
	// Rules see columns that reject, so that what they see of a failed column is not in question.
	var candidates []Expr
	for _, c := range f.Columns {
		if c.OnError != "reject" {
			continue
		}
		switch c.Type {
		case "string":
			candidates = append(candidates, compare(rapid.SampledFrom([]string{"=", "<>"}).Draw(t, "op"), column(c.Name, Text), literal(rapid.SampledFrom(dirty).Draw(t, "literal"))))
		case "int16", "int32", "int64":
			candidates = append(candidates, compare(rapid.SampledFrom([]string{"<", ">=", "<>"}).Draw(t, "op"), column(c.Name, Int), number(int64(rapid.IntRange(-8, 12).Draw(t, "bound")))))
		default:
			candidates = append(candidates, Expr{Kind: Bool, SQL: "(" + c.Name + " IS NULL)", Columns: []string{c.Name}, Eval: isNull(column(c.Name, Text)).Eval})
		}
	}
	if len(candidates) == 0 {
		r.Unique = names[:1]
		return r
	}
	r.Check = candidates[rapid.IntRange(0, len(candidates)-1).Draw(t, "check")]
	if len(candidates) > 1 && rapid.Bool().Draw(t, "either") {
		r.Check = or(r.Check, candidates[0])
	}
	return r
}

func textExpr(t *rapid.T, source []string, depth int) Expr {
	pick := rapid.IntRange(0, 11).Draw(t, "text expression")
	if depth == 0 || pick < 4 {
		return column(rapid.SampledFrom(source).Draw(t, "column"), Text)
	}
	arg := func() Expr { return textExpr(t, source, depth-1) }
	switch pick {
	case 4:
		return upper(ascii(arg()))
	case 5:
		return trim(arg())
	case 6:
		return replace(arg(), "1", "2")
	case 7:
		return concat(arg(), literal(rapid.SampledFrom([]string{"", "x", " ", "0"}).Draw(t, "suffix")))
	case 8:
		return coalesce(arg(), arg())
	case 9:
		return nullIf(arg(), literal(rapid.SampledFrom(dirty).Draw(t, "literal")))
	case 10:
		return when(condition(t, source, depth-1), arg(), arg())
	default:
		return replace(arg(), "'", "''")
	}
}

// ascii leaves out what Go and the engine may put in upper case by different editions of Unicode.
func ascii(e Expr) Expr { return replace(replace(e, "Ünïcödé", "u"), "😀", "e") }

func intExpr(t *rapid.T, source []string, depth int) Expr {
	switch pick := rapid.IntRange(0, 4).Draw(t, "integer expression"); {
	case depth == 0 || pick == 0:
		return castInt(column(rapid.SampledFrom(source).Draw(t, "column"), Text))
	case pick == 1:
		return length(textExpr(t, source, depth-1))
	case pick == 2:
		return add(castInt(textExpr(t, source, depth-1)), number(int64(rapid.IntRange(0, 9).Draw(t, "addend"))))
	case pick == 3:
		return intDivide(castInt(textExpr(t, source, depth-1)), castInt(textExpr(t, source, depth-1)))
	default:
		return coalesce(castInt(nullIf(column(rapid.SampledFrom(source).Draw(t, "column"), Text), literal(""))), castInt(literal("3")))
	}
}

func condition(t *rapid.T, source []string, depth int) Expr {
	switch rapid.IntRange(0, 4).Draw(t, "condition") {
	case 0:
		return isNull(textExpr(t, source, depth))
	case 1:
		return compare("=", textExpr(t, source, depth), literal(rapid.SampledFrom(dirty).Draw(t, "literal")))
	case 2:
		return compare("<>", textExpr(t, source, depth), literal(rapid.SampledFrom(dirty).Draw(t, "literal")))
	case 3:
		return compare(">=", length(textExpr(t, source, depth)), number(int64(rapid.IntRange(0, 4).Draw(t, "bound"))))
	default:
		return or(isNull(textExpr(t, source, depth)), compare("<>", textExpr(t, source, depth), literal("x")))
	}
}
