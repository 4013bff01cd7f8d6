package connectortest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// example is a type with values to its limits, in canonical form.
type example struct {
	typ    connector.Type
	values []string
}

func named(name connector.TypeName) connector.Type { return connector.Type{Name: name} }

func decimal(precision, scale int) connector.Type {
	return connector.Type{Name: connector.TypeDecimal, Precision: precision, Scale: scale}
}

// examples are the values that every target must keep.
func examples() []example {
	return []example{
		{named(connector.TypeBool), []string{"true", "false"}},
		{named(connector.TypeInt16), []string{"0", "-1", "32767", "-32768"}},
		{named(connector.TypeInt32), []string{"0", "2147483647", "-2147483648"}},
		{named(connector.TypeInt64), []string{"0", "9007199254740993", "9223372036854775807", "-9223372036854775808"}},
		{decimal(12, 2), []string{"0.00", "-0.01", "0.10", "9999999999.99", "-9999999999.99"}},
		{decimal(38, 18), []string{"0.000000000000000001", "99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999"}},
		{decimal(38, 0), []string{strings.Repeat("9", 38), "-" + strings.Repeat("9", 38), "1"}},
		{decimal(38, 38), []string{"0." + strings.Repeat("9", 38), "-0." + strings.Repeat("0", 37) + "1"}},
		{decimal(1, 0), []string{"9", "-9"}},
		{named(connector.TypeFloat32), []string{"0", "-0", "1.5", "0.1", floatText(math.MaxFloat32, 32), floatText(math.SmallestNonzeroFloat32, 32), "NaN", "Infinity", "-Infinity"}},
		{named(connector.TypeFloat64), []string{"0", "-0", "0.1", "1e+21", "-1e-07", "1.23456789125e+08", floatText(math.MaxFloat64, 64), floatText(math.SmallestNonzeroFloat64, 64), "NaN", "Infinity", "-Infinity"}},
		{named(connector.TypeDate), []string{"0001-01-01", "1582-10-10", "1969-12-31", "1970-01-01", "2024-02-29", "9999-12-31"}},
		{named(connector.TypeTime), []string{"00:00:00", "12:34:56.7", "23:59:59.999999"}},
		{named(connector.TypeTimestamp), []string{"0001-01-01T00:00:00", "1969-12-31T23:59:59.999999", "2024-03-31T02:30:00", "9999-12-31T23:59:59.999999"}},
		{named(connector.TypeTimestampTZ), []string{"0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "2024-03-31T02:30:00.000001Z", "9999-12-31T23:59:59.999999Z"}},
		{named(connector.TypeBinary), []string{"", "00", "00ff5c27220a0d", strings.Repeat("ab", 1000)}},
		{named(connector.TypeUUID), []string{"00000000-0000-0000-0000-000000000000", "f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "ffffffff-ffff-ffff-ffff-ffffffffffff"}},
		{named(connector.TypeJSON), []string{`{"a":[1,2.50,null,true],"b":{"c":"日本 \"x\""}}`, `[]`, `"text"`, `12345678901234567890.123`, `null`}},
		{named(connector.TypeString), []string{"", " ", "text"}},
	}
}

// valuesTogether loads the values of all types as columns of one table, without those that the system cannot hold as they are.
func valuesTogether(t *testing.T, h TargetHarness, mode connector.Mode) {
	columns := []connector.Column{{Name: "id", Type: named(connector.TypeInt32), Required: true, Key: true}}
	rows := []Row{Values("0")}
	for c, example := range examples() {
		columns = append(columns, connector.Column{Name: fmt.Sprintf("v%d", c), Type: example.typ})
		for len(rows) < len(example.values)+1 {
			rows = append(rows, append(Values(fmt.Sprint(len(rows))), make(Row, c)...))
		}
		for i := range rows {
			// The first row is NULL throughout.
			value := Null
			if i > 0 && i <= len(example.values) {
				if _, excepted := h.instead(example.typ, &example.values[i-1]); !excepted {
					value = &example.values[i-1]
				}
			}
			rows[i] = append(rows[i], value)
		}
	}
	spec := h.place(t, mode, columns...)
	_, err := newLoad(t, spec, newRun(), rows).run(t.Context(), h.Open(t))
	require.NoError(t, err)
	h.sees(t, spec, rows)
}

// valuesInEveryMode loads them by the ways that rows take in other modes than append.
func valuesInEveryMode(t *testing.T, h TargetHarness) {
	modes := h.everyMode()[1:]
	if h.Slow {
		modes = modes[1:]
	}
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			valuesTogether(t, h, mode)
		})
	}
}

func valuesAreExact(t *testing.T, h TargetHarness) {
	if h.Slow {
		require.Empty(t, h.Only, "values with exceptions are loaded apart")
		valuesTogether(t, h, connector.Append)
		return
	}
	for _, example := range examples() {
		t.Run(example.typ.String(), func(t *testing.T) {
			t.Parallel()
			spec := h.place(t, connector.Append,
				connector.Column{Name: "id", Type: named(connector.TypeInt32), Required: true, Key: true}, connector.Column{Name: "v", Type: example.typ})
			var rows, want []Row
			refusals := 0
			for i, value := range append([]*string{Null}, pointers(example.values)...) {
				row := Row{Text(fmt.Sprint(i)), value}
				rows = append(rows, row)
				if instead, ok := h.instead(example.typ, value); ok && instead.Refused {
					refusals++
					continue
				} else if ok {
					row = Row{row[0], instead.Value}
				}
				want = append(want, row)
			}
			l := newLoad(t, spec, newRun(), rows)
			_, err := l.run(t.Context(), h.Open(t))
			require.NoError(t, err)
			require.Len(t, l.refused, refusals)
			h.sees(t, spec, want)
		})
	}
}

func pointers(values []string) []*string {
	list := make([]*string, len(values))
	for i := range values {
		list[i] = &values[i]
	}
	return list
}

// instead returns what a system makes of a value that it cannot hold.
func (h TargetHarness) instead(typ connector.Type, value *string) (Instead, bool) {
	if value == nil {
		return Instead{}, false
	}
	instead, ok := h.Only[typ.Name][*value]
	return instead, ok
}

// texts are strings that something on the way could change.
func texts() []string {
	return []string{
		"", " ", "  leading and trailing  ", "NULL", "null", `\N`, `\`, `"`, `'`, `""`, "''", "a,b", "a;b", "a\tb", "a\nb", "a\r\nb", "\r", "\n",
		"=1+1", "-", "0012", "1e5", "true", "{}", "[]", "${x}", "%s", "; DROP TABLE x; --", "\u0001\u001f\u007f", "\ufeffBOM", "\u0000",
		everyPlane(), "noncharacters \ufdd0\ufdef\ufffe\uffff\U0001fffe\U0010ffff",
		"ä é ñ", "e\u0301", "日本語", "עברית", "\u202eRTL", "🙂👩‍👩‍👧", "\U0001F600\U0010FFFF", "\ufffd", "\ue000", "ß ẞ İ ı", strings.Repeat("x", 1<<20),
	}
}

// everyPlane has characters of all 17 planes of Unicode, whether they are assigned or not: the first but one and the last but two.
func everyPlane() string {
	var b strings.Builder
	for plane := range rune(17) {
		b.WriteRune(plane<<16 + 1)
		b.WriteRune(plane<<16 + 0xfffd)
	}
	return b.String()
}

func textIsExact(t *testing.T, h TargetHarness) {
	spec := h.place(t, connector.Append,
		connector.Column{Name: "id", Type: named(connector.TypeInt32), Required: true, Key: true}, connector.Column{Name: "v", Type: named(connector.TypeString)})
	var rows, want []Row
	refusals := 0
	for i, text := range texts() {
		row := Values(fmt.Sprint(i), text)
		rows = append(rows, row)
		if instead, ok := h.instead(named(connector.TypeString), &text); ok && instead.Refused {
			refusals++
			continue
		} else if ok {
			row = Row{row[0], instead.Value}
		}
		want = append(want, row)
	}
	rows, want = append(rows, Row{Text("1000"), Null}), append(want, Row{Text("1000"), Null})
	l := newLoad(t, spec, newRun(), rows)
	_, err := l.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	require.Len(t, l.refused, refusals)
	h.sees(t, spec, want)
}

func namesAreExact(t *testing.T, h TargetHarness) {
	longest := h.MaxName
	if longest == 0 {
		longest = 63
	}
	names := []string{
		"id", "select", "Order", "order", "ORDER BY", "with space", `quo"te`, "apo'strophe", "back`tick", `back\slash`, "semi;colon", "com,ma",
		"dot.ted", "[bracket]", "$1", ":source_path", "1st", "%", "ä", "日本", "🙂", "_row_", strings.Repeat("n", longest),
	}
	if h.FoldsNames {
		names = slices.DeleteFunc(names, func(name string) bool { return name == "Order" })
	}
	if h.PlaneNames {
		names = slices.DeleteFunc(names, func(name string) bool { return strings.IndexFunc(name, func(r rune) bool { return r > 0xffff }) >= 0 })
	}
	columns := make([]connector.Column, len(names))
	row := make(Row, len(names))
	for i, name := range names {
		columns[i] = connector.Column{Name: name, Type: named(connector.TypeString)}
		row[i] = Text("value of " + name)
	}
	columns[0] = connector.Column{Name: "id", Type: named(connector.TypeInt32), Required: true, Key: true}
	row[0] = Text("1")
	modes := []connector.Mode{connector.Append, connector.Replace}
	if !h.NoUpsert {
		modes = append(modes, connector.Upsert)
	}
	for _, mode := range modes {
		spec := h.place(t, mode, columns...)
		_, err := newLoad(t, spec, newRun(), []Row{row}).run(t.Context(), h.Open(t))
		require.NoError(t, err)
		h.sees(t, spec, []Row{row})
	}
}

func manyColumns(t *testing.T, h TargetHarness) {
	n := h.MaxColumns
	if n == 0 {
		n = 500
	}
	columns := []connector.Column{{Name: "id", Type: named(connector.TypeInt64), Required: true, Key: true}}
	row := Values("1")
	for i := 1; i < n; i++ {
		columns = append(columns, connector.Column{Name: fmt.Sprintf("c%d", i), Type: named(connector.TypeString)})
		if row = append(row, Text(fmt.Sprintf("value %d", i))); i%7 == 0 {
			row[i] = Null
		}
	}
	spec := h.place(t, connector.Append, columns...)
	_, err := newLoad(t, spec, newRun(), []Row{row}).run(t.Context(), h.Open(t))
	require.NoError(t, err)
	h.sees(t, spec, []Row{row})
}

func manyRows(t *testing.T, h TargetHarness) {
	spec, rows := h.place(t, connector.Append), persons(0, 20_000, "many")
	l := newLoad(t, spec, newRun(), rows)
	l.batch = 1500
	_, err := l.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	require.Equal(t, [2]int64{20_000, 0}, l.counted)
	h.sees(t, spec, rows)
}
