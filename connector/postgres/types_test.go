package postgres_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// roundTrips holds values of each type and the text that PostgreSQL gives back for them; empty for the same text.
var roundTrips = []struct {
	typ    string
	values [][2]string
}{
	{"string", [][2]string{{"", ""}, {"a", ""}, {"NULL", ""}, {"\\N", ""}, {"tab\tline\r\nend", ""}, {"äöü 😀 \u202e", ""}, {strings.Repeat("x", 1<<20), ""}}},
	{"bool", [][2]string{{"true", ""}, {"false", ""}}},
	{"int16", [][2]string{{"-32768", ""}, {"32767", ""}, {"0", ""}}},
	{"int32", [][2]string{{"-2147483648", ""}, {"2147483647", ""}}},
	{"int64", [][2]string{{"-9223372036854775808", ""}, {"9223372036854775807", ""}, {"9007199254740993", ""}}},
	{"decimal(12,2)", [][2]string{{"0.00", ""}, {"0.01", ""}, {"-0.10", ""}, {"9999999999.99", ""}, {"-9999999999.99", ""}, {"100.00", ""}, {"10000.00", ""}}},
	{"decimal(38,0)", [][2]string{{"0", ""}, {"99999999999999999999999999999999999999", ""}, {"-99999999999999999999999999999999999999", ""}, {"10000000000000000000000000000000000000", ""}}},
	{"decimal(38,18)", [][2]string{{"0.000000000000000001", ""}, {"99999999999999999999.999999999999999999", ""}, {"-99999999999999999999.999999999999999999", ""}, {"1.000000000000000000", ""}}},
	{"decimal(38,38)", [][2]string{{"0.00000000000000000000000000000000000001", ""}, {"-0.99999999999999999999999999999999999999", ""}}},
	{"decimal(38,37)", [][2]string{{"9.9999999999999999999999999999999999999", ""}, {"0.0000000000000000000000000000000000001", ""}}},
	{"decimal(1,1)", [][2]string{{"0.9", ""}, {"-0.9", ""}}},
	{"decimal(4,3)", [][2]string{{"9.999", ""}, {"0.001", ""}}},
	{"float32", [][2]string{{"3.4028235e+38", ""}, {"1e-45", ""}, {"NaN", ""}, {"+Inf", "Infinity"}, {"-Inf", "-Infinity"}, {"-0", ""}, {"0.1", ""}}},
	{"float64", [][2]string{{"1.7976931348623157e+308", ""}, {"5e-324", ""}, {"NaN", ""}, {"+Inf", "Infinity"}, {"-0", ""}, {"0.1", ""}}},
	{"date", [][2]string{{"0001-01-01", ""}, {"9999-12-31", ""}, {"1970-01-01", ""}, {"2000-02-29", ""}, {"1999-12-31", ""}}},
	{"time", [][2]string{{"00:00:00", ""}, {"23:59:59.999999", ""}, {"12:00:00.1", ""}}},
	{"timestamp", [][2]string{{"0001-01-01 00:00:00", ""}, {"9999-12-31 23:59:59.999999", ""}, {"1969-12-31 23:59:59.999999", ""}, {"2024-10-27 01:30:00", ""}}},
	{"timestamptz", [][2]string{{"0001-01-01 00:00:00Z", "0001-01-01 00:00:00+00"}, {"9999-12-31 23:59:59.999999Z", "9999-12-31 23:59:59.999999+00"}, {"2024-10-27 01:30:00+02:00", "2024-10-26 23:30:00+00"}}},
	{"uuid", [][2]string{{"00000000-0000-0000-0000-000000000000", ""}, {"ffffffff-ffff-ffff-ffff-ffffffffffff", ""}, {"123e4567-e89b-12d3-a456-426614174000", ""}}},
	{"json", [][2]string{{`{"a": 1.10, "b": [9007199254740993, null]}`, ""}, {`"x"`, ""}, {`null`, ""}}},
}

func TestEveryTypeComesBackAsItWentIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for n, c := range roundTrips {
		columns := loadtest.Columns(t, "n", "int32", "v", c.typ)
		rows := [][]any{{0, 0, nil}}
		for i, v := range c.values {
			rows = append(rows, []any{i + 1, i + 1, v[0]})
		}
		table := fmt.Sprintf("t%d", n)
		l := loadtest.New("run_"+table, spec(connector.Append, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, rows...), Size: 2})
		b.load(l)
		require.Empty(t, l.Refused, c.typ)
		require.Equal(t, "1", b.text("SELECT count(*) FROM "+table+" WHERE v IS NULL AND n = 0"), c.typ)
		for i, v := range c.values {
			want := v[1]
			if want == "" {
				want = v[0]
			}
			require.Equal(t, want, b.text(fmt.Sprintf("SELECT v FROM %s WHERE n = %d", table, i+1)), c.typ)
		}
		requireSourceReads(t, b, table, columns, rows)
	}
}

// requireSourceReads requires that the connector, as a source, reads back the very values that were loaded.
func requireSourceReads(t *testing.T, b *bundle, table string, columns []connector.Column, rows [][]any) {
	t.Helper()
	stream, err := b.link.Query(t.Context(), "SELECT * FROM "+table+" ORDER BY n", "", false)
	require.NoError(t, err)
	defer func() { require.NoError(t, stream.Close()) }()
	require.Equal(t, columns[1].Type, stream.Columns()[1].Type)
	want := loadtest.Batch(t, columns, rows...)
	got, err := stream.Next(t.Context())
	require.NoError(t, err)
	defer got.Release()
	require.Equal(t, want.Column(2).String(), got.Column(1).String())
	_, err = stream.Next(t.Context())
	require.ErrorIs(t, err, io.EOF)
}

func TestBytesComeBackAsTheyWentIn(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "v", "binary")
	b.load(loadtest.New("run_1", spec(connector.Append, "t", columns),
		&loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, []byte{}}, []any{1, []byte{0, 0xff, '\n'}}, []any{2, nil})}))
	require.Equal(t, `\x,\x00ff0a,NULL`, b.text("SELECT string_agg(coalesce(v::text, 'NULL'), ',' ORDER BY v) FROM t"))
}

func TestEveryDecimalIsExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	random := rand.New(rand.NewPCG(3, 4))
	pairs, table := []string{"n", "int32"}, "CREATE TABLE t (n int"
	for _, p := range [][2]int{{1, 0}, {4, 4}, {9, 2}, {18, 3}, {19, 0}, {20, 7}, {28, 13}, {37, 1}, {38, 0}, {38, 5}, {38, 19}, {38, 38}} {
		name := fmt.Sprintf("v%d_%d", p[0], p[1])
		pairs = append(pairs, name, fmt.Sprintf("decimal(%d,%d)", p[0], p[1]), "free"+name, fmt.Sprintf("decimal(%d,%d)", p[0], p[1]))
		table += fmt.Sprintf(", %s numeric(%d,%d), free%s numeric", name, p[0], p[1], name)
	}
	b.exec(table + ")")
	columns := loadtest.Columns(t, pairs...)
	rows := make([][]any, 300)
	for i := range rows {
		rows[i] = []any{i, i}
		for _, c := range columns[1:] {
			digits := make([]byte, 1+random.IntN(c.Type.Precision))
			for d := range digits {
				// Runs of zeros and nines are where groups of four digits go wrong.
				digits[d] = "0000999123456780"[random.IntN(16)]
			}
			n, _ := new(big.Int).SetString(string(digits), 10)
			if random.IntN(2) == 0 {
				n.Neg(n)
			}
			rows[i] = append(rows[i], decimalText(n, c.Type.Scale))
		}
	}
	want := loadtest.Batch(t, columns, rows...)
	b.load(loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: want}))
	for i, c := range columns[1:] {
		for row := 0; row < len(rows); row += 50 {
			require.Equal(t, rows[row][i+2], b.text(fmt.Sprintf("SELECT %s FROM t WHERE n = %d", c.Name, row)))
		}
	}
	stream, err := b.link.Query(t.Context(), "SELECT * FROM t ORDER BY n", "", false)
	require.NoError(t, err)
	defer stream.Close()
	got, err := stream.Next(t.Context())
	require.NoError(t, err)
	defer got.Release()
	for i, c := range columns {
		for row := range rows {
			wanted := want.Column(i + 1).ValueStr(row)
			if strings.HasPrefix(c.Name, "free") {
				wanted = rows[row][i+1].(string)
			}
			require.Equal(t, wanted, got.Column(i).ValueStr(row), c.Name)
		}
	}
}

// decimalText writes n / 10^scale with all its fractional digits.
func decimalText(n *big.Int, scale int) string {
	digits, sign := new(big.Int).Abs(n).String(), ""
	if n.Sign() < 0 {
		sign = "-"
	}
	if scale == 0 {
		return sign + digits
	}
	digits = strings.Repeat("0", max(0, scale+1-len(digits))) + digits
	return sign + digits[:len(digits)-scale] + "." + digits[len(digits)-scale:]
}

func TestValuesFitTheColumnsThatATableHas(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE DOMAIN short AS varchar(4); CREATE DOMAIN code AS short CHECK (VALUE <> 'zzz'); CREATE TYPE mood AS ENUM ('ok', 'bad')`)
	cases := []struct {
		typ, column, value, want string
	}{
		{"int16", "bigint", "-7", "-7"},
		{"int32", "numeric(10,0)", "-2147483648", "-2147483648"},
		{"int64", "numeric", "-9223372036854775808", "-9223372036854775808"},
		{"int64", "numeric(21,2)", "9223372036854775807", "9223372036854775807.00"},
		{"decimal(4,0)", "smallint", "-9999", "-9999"},
		{"decimal(18,0)", "bigint", "999999999999999999", "999999999999999999"},
		{"decimal(5,2)", "numeric(7,4)", "999.99", "999.9900"},
		{"float32", "double precision", "0.5", "0.5"},
		{"string", "varchar(3)", "äöü", "äöü"},
		{"string", "char(3)", "ab", "ab "},
		{"string", "mood", "ok", "ok"},
		{"string", "code", "yyy", "yyy"},
		{"uuid", "text", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"},
		{"json", "json", `{"b":1,"a":1.10,"a":2}`, `{"b":1,"a":1.10,"a":2}`},
		{"timestamp", "timestamp(6)", "2024-01-01 00:00:00.000001", "2024-01-01 00:00:00.000001"},
	}
	for i, c := range cases {
		for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
			table := fmt.Sprintf("t%d%s", i, mode)
			b.exec("CREATE TABLE " + table + " (v " + c.column + ")")
			columns := loadtest.Columns(t, "v", c.typ)
			b.load(loadtest.New("run_"+table, spec(mode, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, c.value})}))
			require.Equal(t, c.want, b.text("SELECT format('%s', v) FROM "+table), "%s into %s", c.typ, c.column)
		}
	}
}

func TestAColumnThatCouldLoseAValueIsAMismatchBeforeARowMoves(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, c := range [][2]string{
		{"int64", "integer"}, {"int32", "smallint"}, {"int64", "double precision"}, {"int64", "numeric(18,0)"}, {"int32", "numeric(10,2)"},
		{"decimal(12,2)", "numeric(12,1)"}, {"decimal(12,2)", "numeric(11,2)"}, {"decimal(12,2)", "double precision"}, {"decimal(10,0)", "integer"},
		{"float64", "real"}, {"timestamp", "timestamptz"}, {"timestamptz", "timestamp"}, {"timestamp", "timestamp(3)"}, {"time", "time(0)"},
		{"date", "timestamp"}, {"string", "uuid"}, {"string", "integer"}, {"int16", "text"}, {"json", "bytea"}, {"binary", "text"}, {"bool", "smallint"},
	} {
		table := fmt.Sprintf("t%d", i)
		b.exec("CREATE TABLE " + table + " (v " + c[1] + ")")
		columns := loadtest.Columns(t, "v", c[0])
		l := loadtest.New("run_"+table, spec(connector.Append, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, nil})})
		_, err := b.link.Load(t.Context(), l.Load)
		require.Equal(t, "v", coded(t, err, "TYPE_MISMATCH").Column, "%v", c)
		require.False(t, l.Balanced)
		failed := failedCheck(b.link.CheckTarget(t.Context(), l.Target))
		require.Equal(t, "columns", failed.Name, "%v", c)
		require.Equal(t, "TYPE_MISMATCH", failed.Err.Reason)
	}
}

func failedCheck(checks []connector.Check) connector.Check {
	for _, c := range checks {
		if c.Status == connector.CheckFailed {
			return c
		}
	}
	return connector.Check{}
}

func TestTypesWithoutALumeTypeAreReadAsTheirText(t *testing.T) {
	t.Parallel()
	b := setup(t)
	stream, err := b.link.Query(t.Context(), `SELECT 1.50::numeric AS free, 'NaN'::numeric AS nan, '{1,2}'::int[] AS list, interval '1 day 2 hours' AS span,
		'10.0.0.1'::inet AS addr, '12:00+02'::timetz AS tz, '$1.00'::money AS money, int4range(1, 3) AS range, 10::numeric(40,0) AS wide, '\x00'::bytea AS raw, 5::oid AS oid`, "", false)
	require.NoError(t, err)
	defer stream.Close()
	batch, err := stream.Next(t.Context())
	require.NoError(t, err)
	defer batch.Release()
	require.Equal(t, []string{"1.50", "NaN", "{1,2}", "P1DT2H", "10.0.0.1", "12:00:00+02", "$1.00", "[1,3)", "10", "AA==", "5"}, loadtest.Texts(batch, 0))
}

func TestAValueThatItsTypeCannotHoldEndsTheRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for _, expression := range []string{"'infinity'::date", "'-infinity'::timestamp", "'NaN'::numeric(5,2)", "'24:00'::time"} {
		stream, err := b.link.Query(t.Context(), "SELECT "+expression+" AS v", "", false)
		require.NoError(t, err)
		_, err = stream.Next(t.Context())
		require.Equal(t, "v", coded(t, err, "SOURCE_VALUE").Column, expression)
		require.NoError(t, stream.Close())
	}
}

func TestJSONThatJSONBCannotHoldIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "v", "json")
	values := []string{`{"a":1}`, `"\u0000"`, `"\ud800"`, `1e400000`, `[]`, strings.Repeat("[", 20000) + strings.Repeat("]", 20000)}
	rows := make([][]any, len(values))
	for i, v := range values {
		require.True(t, json.Valid([]byte(v)) || len(v) > 10000)
		rows[i] = []any{i * 10, v}
	}
	l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, rows...)})
	out, err := b.link.Load(context.WithoutCancel(t.Context()), l.Load)
	require.NoError(t, err)
	require.True(t, out.Committed)
	require.Subset(t, []int64{10, 20, 30, 50}, l.RefusedRows())
	require.Contains(t, l.RefusedRows(), int64(10))
	require.Contains(t, l.RefusedRows(), int64(20))
	for _, reason := range l.Refused {
		require.Equal(t, "v", reason.Column)
	}
}
