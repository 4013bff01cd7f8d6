package loadtest

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Written are values of a flow's type, as text; those of binary in base64.
type Written struct {
	Type   string
	Values []string
}

// written are the values that every system keeps.
var written = []Written{
	{"string", []string{"", "a", "NULL", "\\N", "N", "007", "1e5", "tab\tline\r\nend\\", "äöü 😀 \u202e", strings.Repeat("x", 1<<20)}},
	{"bool", []string{"true", "false"}},
	{"int16", []string{"-32768", "32767", "0"}},
	{"int32", []string{"-2147483648", "2147483647"}},
	{"int64", []string{"-9223372036854775808", "9223372036854775807", "9007199254740993"}},
	{"decimal(12,2)", []string{"0.00", "0.01", "-0.10", "9999999999.99", "-9999999999.99", "100.00", "10000.00"}},
	{"decimal(38,0)", []string{"0", strings.Repeat("9", 38), "-" + strings.Repeat("9", 38), "1" + strings.Repeat("0", 37)}},
	{"decimal(38,18)", []string{"0.000000000000000001", "99999999999999999999.999999999999999999", "-99999999999999999999.999999999999999999", "1.000000000000000000"}},
	{"decimal(1,1)", []string{"0.9", "-0.9"}},
	{"decimal(4,3)", []string{"9.999", "0.001"}},
	{"date", []string{"0001-01-01", "9999-12-31", "1970-01-01", "2000-02-29", "1999-12-31", "1900-02-28", "1900-03-01", "1969-12-31"}},
	{"time", []string{"00:00:00", "23:59:59.999999", "12:00:00.1"}},
	{"timestamp", []string{"0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "1969-12-31 23:59:59.999999", "2024-10-27 01:30:00"}},
	{"timestamptz", []string{"0001-01-01 00:00:00Z", "9999-12-31 23:59:59.999999Z", "2024-10-27 01:30:00+02:00"}},
	{"uuid", []string{"00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff", "123e4567-e89b-12d3-a456-426614174000"}},
	{"json", []string{`{"a": 1.10, "b": [9007199254740993, null]}`, `"x"`, "null"}},
	{"binary", []string{"", "AP8K"}},
}

// Values are how a system's own client shows what was loaded. A connector that writes a value wrong and reads it back as wrong
// would pass a test that has no other reader.
type Values struct {
	Open Opener
	// Reads are the texts, by type and value, that are other ones than those written.
	Reads map[string]map[string]string
	// More are values that not every system keeps.
	More []Written
	// SameTypes is true if the connector, as a source, delivers each type as it was loaded.
	SameTypes bool
}

// Run loads the values of each type.
func (v Values) Run(t *testing.T) {
	t.Helper()
	db := v.Open(t)
	for n, w := range append(v.More, written...) {
		columns := Columns(t, "n", "int32", "v", w.Type)
		rows := [][]any{{0, 0, nil}}
		for i, value := range w.Values {
			rows = append(rows, []any{i + 1, i + 1, value})
		}
		batch := Batch(t, columns, rows...)
		for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
			table := fmt.Sprintf("t%d%s", n, mode)
			l := New("run_"+table, Spec(mode, table, columns), &Rows{Batch: batch, Size: 2})
			l.Run(t, db.Link)
			require.Empty(t, l.Refused, w.Type)
			require.Equal(t, "1", db.Text("SELECT count(*) FROM "+table+" WHERE v IS NULL AND n = 0"), w.Type)
			for i, value := range w.Values {
				want, other := v.Reads[w.Type][value]
				if !other {
					want = value
				}
				require.Equal(t, want, db.Text(fmt.Sprintf("SELECT v FROM %s WHERE n = %d", table, i+1)), "%s %s", w.Type, value)
			}
			if v.SameTypes {
				got := oneBatch(t, db.Link, "SELECT n, v FROM "+table+" ORDER BY n")
				require.Equal(t, columns[1].Type.Arrow().String(), got.Column(1).DataType().String())
				require.Equal(t, batch.Column(2).String(), got.Column(1).String())
			}
		}
	}
}

// oneBatch reads a query whose rows are one batch.
func oneBatch(t *testing.T, link connector.RowSource, query string) arrow.RecordBatch {
	t.Helper()
	stream, err := link.Query(t.Context(), query, "", false)
	require.NoError(t, err, "%v", errors.Unwrap(err))
	defer func() { require.NoError(t, stream.Close()) }()
	batch, err := stream.Next(t.Context())
	require.NoError(t, err, "%v", errors.Unwrap(err))
	t.Cleanup(batch.Release)
	_, err = stream.Next(t.Context())
	require.ErrorIs(t, err, io.EOF)
	return batch
}

// Decimals loads random decimals of many shapes into columns of the same shape, and into wider ones, which wide declares, with how
// many digits after the point they show. Every digit comes back.
func Decimals(t *testing.T, open Opener, maxScale int, wide func(precision, scale int) (column string, shown int)) {
	t.Helper()
	db := open(t)
	random := rand.New(rand.NewPCG(3, 4))
	pairs, table := []string{"n", "int32"}, "CREATE TABLE t (n int"
	shown := []int{0}
	for _, p := range [][2]int{{1, 0}, {4, 4}, {9, 2}, {18, 3}, {19, 0}, {20, 7}, {28, 13}, {37, 1}, {38, 0}, {38, 5}, {38, 19}, {38, 30}, {38, 38}} {
		if p[1] > maxScale {
			continue
		}
		name, typ := fmt.Sprintf("v%d_%d", p[0], p[1]), fmt.Sprintf("decimal(%d,%d)", p[0], p[1])
		column, digits := wide(p[0], p[1])
		pairs = append(pairs, name, typ, "wide_"+name, typ)
		table += fmt.Sprintf(", %s %s, wide_%s %s", name, typ, name, column)
		shown = append(shown, p[1], digits)
	}
	db.Exec(table + ")")
	columns := Columns(t, pairs...)
	rows, texts := make([][]any, 300), make([][]string, 300)
	for i := range rows {
		rows[i], texts[i] = []any{i, i}, []string{fmt.Sprint(i)}
		for c, column := range columns[1:] {
			digits := make([]byte, 1+random.IntN(column.Type.Precision))
			for d := range digits {
				// Runs of zeros and nines are where groups of digits go wrong.
				digits[d] = "0000999123456780"[random.IntN(16)]
			}
			n, _ := new(big.Int).SetString(string(digits), 10)
			if random.IntN(2) == 0 {
				n.Neg(n)
			}
			value := new(big.Rat).SetFrac(n, new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(column.Type.Scale)), nil))
			rows[i] = append(rows[i], value.FloatString(column.Type.Scale))
			texts[i] = append(texts[i], value.FloatString(shown[c+1]))
		}
	}
	want := Batch(t, columns, rows...)
	l := New("run_1", Spec(connector.Append, "t", columns), &Rows{Batch: want})
	l.Run(t, db.Link)
	require.Empty(t, l.Refused)
	got := oneBatch(t, db.Link, "SELECT * FROM t ORDER BY n")
	for i, c := range columns {
		for row := range rows {
			if row%50 == 0 {
				require.Equal(t, texts[row][i], db.Text(fmt.Sprintf("SELECT %s FROM t WHERE n = %d", c.Name, row)), c.Name)
			}
			wanted := want.Column(i + 1).ValueStr(row)
			if got.Column(i).DataType().ID() == arrow.STRING {
				// What is wider than a decimal of a flow arrives as text.
				wanted = texts[row][i]
			}
			require.Equal(t, wanted, got.Column(i).ValueStr(row), c.Name)
		}
	}
}
