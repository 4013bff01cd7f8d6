package oracle

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// Value is the value of an expression: NULL, or text, or an integer, or a truth.
type Value struct {
	Null bool
	Kind Kind
	Text string
	Int  int64
	Bool bool
}

// Kind is the type of an expression.
type Kind int

// Kinds of expression.
const (
	Text Kind = iota
	Int
	Bool
)

func null(k Kind) Value           { return Value{Null: true, Kind: k} }
func textValue(s string) Value    { return Value{Kind: Text, Text: s} }
func intValue(n int64) Value      { return Value{Kind: Int, Int: n} }
func boolValue(b bool) Value      { return Value{Kind: Bool, Bool: b} }
func (v Value) isTrue() bool      { return !v.Null && v.Bool }
func (v Value) same(w Value) bool { return v.Text == w.Text && v.Int == w.Int && v.Bool == w.Bool }

// Row gives the columns that an expression sees.
type Row map[string]Value

// Expr is an expression that can write itself as SQL and evaluate itself. An error of Eval is an error of the row.
type Expr struct {
	Kind Kind
	SQL  string
	// Columns are the names that it refers to.
	Columns []string
	Eval    func(Row) (Value, error)
}

func column(name string, kind Kind) Expr {
	return Expr{Kind: kind, SQL: name, Columns: []string{name}, Eval: func(r Row) (Value, error) { return r[name], nil }}
}

func literal(s string) Expr {
	return Expr{Kind: Text, SQL: quote(s), Eval: func(Row) (Value, error) { return textValue(s), nil }}
}

func number(n int64) Expr {
	return Expr{Kind: Int, SQL: strconv.FormatInt(n, 10), Eval: func(Row) (Value, error) { return intValue(n), nil }}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

// strict makes an expression of its arguments' values that is NULL if one of them is.
func strict(kind Kind, sql string, f func([]Value) (Value, error), args ...Expr) Expr {
	return Expr{Kind: kind, SQL: sql, Columns: columnsOf(args...), Eval: func(r Row) (Value, error) {
		values := make([]Value, len(args))
		isNull := false
		for i, a := range args {
			v, err := a.Eval(r)
			if err != nil {
				return Value{}, err
			}
			values[i], isNull = v, isNull || v.Null
		}
		if isNull {
			return null(kind), nil
		}
		return f(values)
	}}
}

func columnsOf(args ...Expr) []string {
	var names []string
	for _, a := range args {
		names = append(names, a.Columns...)
	}
	return names
}

func upper(a Expr) Expr {
	return strict(Text, "upper("+a.SQL+")", func(v []Value) (Value, error) { return textValue(strings.ToUpper(v[0].Text)), nil }, a)
}

func trim(a Expr) Expr {
	return strict(Text, "trim("+a.SQL+")", func(v []Value) (Value, error) { return textValue(strings.Trim(v[0].Text, " ")), nil }, a)
}

func replace(a Expr, from, to string) Expr {
	return strict(Text, fmt.Sprintf("replace(%s, %s, %s)", a.SQL, quote(from), quote(to)), func(v []Value) (Value, error) {
		return textValue(strings.ReplaceAll(v[0].Text, from, to)), nil
	}, a)
}

func concat(a, b Expr) Expr {
	return strict(Text, "("+a.SQL+" || "+b.SQL+")", func(v []Value) (Value, error) { return textValue(v[0].Text + v[1].Text), nil }, a, b)
}

func length(a Expr) Expr {
	return strict(Int, "length("+a.SQL+")", func(v []Value) (Value, error) { return intValue(int64(len([]rune(v[0].Text)))), nil }, a)
}

func coalesce(a, b Expr) Expr {
	return Expr{Kind: a.Kind, SQL: "coalesce(" + a.SQL + ", " + b.SQL + ")", Columns: columnsOf(a, b), Eval: func(r Row) (Value, error) {
		v, err := a.Eval(r)
		if err != nil || !v.Null {
			return v, err
		}
		return b.Eval(r)
	}}
}

func nullIf(a, b Expr) Expr {
	return Expr{Kind: a.Kind, SQL: "nullif(" + a.SQL + ", " + b.SQL + ")", Columns: columnsOf(a, b), Eval: func(r Row) (Value, error) {
		v, err := a.Eval(r)
		if err != nil || v.Null {
			return v, err
		}
		w, err := b.Eval(r)
		if err == nil && !w.Null && v.same(w) {
			return null(a.Kind), nil
		}
		return v, err
	}}
}

// castInt is CAST(a AS BIGINT): strict text of an integer, or an error of the row.
func castInt(a Expr) Expr {
	return strict(Int, "CAST("+a.SQL+" AS BIGINT)", func(v []Value) (Value, error) {
		n, ok := parseInt(v[0].Text, math.MinInt64, math.MaxInt64)
		if !ok {
			return Value{}, fmt.Errorf("%q is not an integer", v[0].Text)
		}
		return intValue(n), nil
	}, a)
}

func add(a, b Expr) Expr {
	return strict(Int, "("+a.SQL+" + "+b.SQL+")", func(v []Value) (Value, error) {
		sum, _ := bits.Add64(uint64(v[0].Int), uint64(v[1].Int), 0)
		n := int64(sum)
		if (n > v[0].Int) != (v[1].Int > 0) && v[1].Int != 0 {
			return Value{}, fmt.Errorf("%d + %d overflows", v[0].Int, v[1].Int)
		}
		return intValue(n), nil
	}, a, b)
}

// intDivide is a // b: rounded toward zero, an error of the row for b = 0.
func intDivide(a, b Expr) Expr {
	return strict(Int, "("+a.SQL+" // "+b.SQL+")", func(v []Value) (Value, error) {
		if v[1].Int == 0 || (v[0].Int == math.MinInt64 && v[1].Int == -1) {
			return Value{}, fmt.Errorf("%d // %d", v[0].Int, v[1].Int)
		}
		return intValue(v[0].Int / v[1].Int), nil
	}, a, b)
}

func when(cond, then, otherwise Expr) Expr {
	return Expr{
		Kind: then.Kind, SQL: fmt.Sprintf("CASE WHEN %s THEN %s ELSE %s END", cond.SQL, then.SQL, otherwise.SQL),
		Columns: columnsOf(cond, then, otherwise),
		Eval: func(r Row) (Value, error) {
			c, err := cond.Eval(r)
			if err != nil {
				return Value{}, err
			}
			if c.isTrue() {
				return then.Eval(r)
			}
			return otherwise.Eval(r)
		},
	}
}

func compare(op string, a, b Expr) Expr {
	return strict(Bool, "("+a.SQL+" "+op+" "+b.SQL+")", func(v []Value) (Value, error) {
		order := strings.Compare(v[0].Text, v[1].Text)
		if v[0].Kind == Int {
			order = 0
			if v[0].Int < v[1].Int {
				order = -1
			} else if v[0].Int > v[1].Int {
				order = 1
			}
		}
		switch op {
		case "=":
			return boolValue(order == 0), nil
		case "<>":
			return boolValue(order != 0), nil
		case "<":
			return boolValue(order < 0), nil
		default:
			return boolValue(order >= 0), nil
		}
	}, a, b)
}

func isNull(a Expr) Expr {
	return Expr{Kind: Bool, SQL: "(" + a.SQL + " IS NULL)", Columns: a.Columns, Eval: func(r Row) (Value, error) {
		v, err := a.Eval(r)
		return boolValue(v.Null), err
	}}
}

func or(a, b Expr) Expr {
	return Expr{Kind: Bool, SQL: "(" + a.SQL + " OR " + b.SQL + ")", Columns: columnsOf(a, b), Eval: func(r Row) (Value, error) {
		v, err := a.Eval(r)
		if err != nil {
			return v, err
		}
		w, err := b.Eval(r)
		switch {
		case err != nil:
			return w, err
		case v.isTrue() || w.isTrue():
			return boolValue(true), nil
		case v.Null || w.Null:
			return null(Bool), nil
		}
		return boolValue(false), nil
	}}
}
