package mysql_test

import (
	"bytes"
	"fmt"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// roundTrips holds values of each type and the text that MariaDB gives back for them; empty for the same text.
var roundTrips = []struct {
	typ    string
	values [][2]string
}{
	{"string", [][2]string{{"", ""}, {"a", ""}, {"NULL", ""}, {"\\N", ""}, {"N", ""}, {"tab\tline\r\nend\\", ""}, {"\x00\x1a\b", ""}, {"äöü 😀 \u202e", ""}, {strings.Repeat("x", 1<<20), ""}}},
	{"bool", [][2]string{{"true", "1"}, {"false", "0"}}},
	{"int16", [][2]string{{"-32768", ""}, {"32767", ""}, {"0", ""}}},
	{"int32", [][2]string{{"-2147483648", ""}, {"2147483647", ""}}},
	{"int64", [][2]string{{"-9223372036854775808", ""}, {"9223372036854775807", ""}, {"9007199254740993", ""}}},
	{"decimal(12,2)", [][2]string{{"0.00", ""}, {"0.01", ""}, {"-0.10", ""}, {"9999999999.99", ""}, {"-9999999999.99", ""}, {"100.00", ""}, {"10000.00", ""}}},
	{"decimal(38,0)", [][2]string{{"0", ""}, {"99999999999999999999999999999999999999", ""}, {"-99999999999999999999999999999999999999", ""}, {"10000000000000000000000000000000000000", ""}}},
	{"decimal(38,18)", [][2]string{{"0.000000000000000001", ""}, {"99999999999999999999.999999999999999999", ""}, {"-99999999999999999999.999999999999999999", ""}, {"1.000000000000000000", ""}}},
	{"decimal(38,30)", [][2]string{{"0.000000000000000000000000000001", ""}, {"-99999999.999999999999999999999999999999", ""}}},
	{"decimal(1,1)", [][2]string{{"0.9", ""}, {"-0.9", ""}}},
	{"decimal(4,3)", [][2]string{{"9.999", ""}, {"0.001", ""}}},
	{"date", [][2]string{{"0001-01-01", ""}, {"9999-12-31", ""}, {"1970-01-01", ""}, {"2000-02-29", ""}, {"1999-12-31", ""}, {"1900-02-28", ""}, {"1900-03-01", ""}}},
	{"time", [][2]string{{"00:00:00", "00:00:00.000000"}, {"23:59:59.999999", ""}, {"12:00:00.1", "12:00:00.100000"}}},
	{"timestamp", [][2]string{{"0001-01-01 00:00:00", "0001-01-01 00:00:00.000000"}, {"9999-12-31 23:59:59.999999", ""}, {"1969-12-31 23:59:59.999999", ""}, {"2024-10-27 01:30:00", "2024-10-27 01:30:00.000000"}}},
	{"timestamptz", [][2]string{{"0001-01-01 00:00:00Z", "0001-01-01 00:00:00.000000"}, {"9999-12-31 23:59:59.999999Z", "9999-12-31 23:59:59.999999"}, {"2024-10-27 01:30:00+02:00", "2024-10-26 23:30:00.000000"}}},
	{"uuid", [][2]string{{"00000000-0000-0000-0000-000000000000", ""}, {"ffffffff-ffff-ffff-ffff-ffffffffffff", ""}, {"123e4567-e89b-12d3-a456-426614174000", ""}}},
	{"json", [][2]string{{`{"a": 1.10, "b": [9007199254740993, null], "a": "\u0000"}`, ""}, {`"x"`, ""}, {`null`, ""}, {`12345678901234567890.123456789`, ""}}},
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
		for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
			table := fmt.Sprintf("t%d%s", n, mode)
			l := loadtest.New("run_"+table, spec(mode, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, rows...), Size: 2})
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
		}
	}
}

func TestBytesComeBackAsTheyWentIn(t *testing.T) {
	t.Parallel()
	for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
		b := setup(t)
		b.exec("CREATE TABLE t (n int, v longblob, w varbinary(3), x binary(3))")
		every := make([]byte, 256)
		for i := range every {
			every[i] = byte(i)
		}
		columns := loadtest.Columns(t, "n", "int32", "v", "binary", "w", "binary", "x", "binary")
		l := loadtest.New("run_1", spec(mode, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns,
			[]any{0, 0, []byte{}, []byte{}, []byte{0, 0, 0}}, []any{1, 1, every, []byte{0, 0xff, '\n'}, []byte("abc")}, []any{2, 2, nil, nil, nil},
			[]any{3, 3, nil, []byte("abcd"), nil}, []any{4, 4, nil, nil, []byte("ab")})})
		b.load(l)
		require.Equal(t, []int64{3, 4}, l.RefusedRows())
		require.Equal(t, fmt.Sprintf("0 //000000,1 %X/00FF0A/616263,2 NULL/NULL/NULL", every),
			b.text("SELECT group_concat(n, ' ', coalesce(hex(v), 'NULL'), '/', coalesce(hex(w), 'NULL'), '/', coalesce(hex(x), 'NULL') ORDER BY n) FROM t"))
	}
}

func TestACellOf16MBIsWholeAndALargerOneThanTheServerTakesIsRefused(t *testing.T) {
	t.Parallel()
	b := setup(t)
	columns := loadtest.Columns(t, "id!", "int32", "v", "binary", "s", "string")
	bytes16 := bytes.Repeat([]byte{0, 1, 0xfe, 0xff}, 4<<20)
	text16 := strings.Repeat("ä\t\n\\", 16<<20/5)
	for _, mode := range modes {
		table := "t" + string(mode)
		l := loadtest.New("run_"+table, spec(mode, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns,
			[]any{0, 1, bytes16, text16}, []any{1, 2, make([]byte, 64<<20+1), nil}, []any{2, 3, []byte("x"), "y"})})
		b.load(l)
		require.Equal(t, []int64{1}, l.RefusedRows(), mode)
		require.Equal(t, "v", l.Refused[1].Column)
		stream, err := b.link.Query(t.Context(), "SELECT v, s FROM "+table+" ORDER BY id", "", false)
		require.NoError(t, err)
		batch, err := stream.Next(t.Context())
		require.NoError(t, err)
		want := loadtest.Batch(t, columns, []any{0, 1, bytes16, text16})
		require.True(t, want.Column(2).String() == batch.Column(0).String() || want.Column(2).ValueStr(0) == batch.Column(0).ValueStr(0))
		require.Equal(t, text16, batch.Column(1).ValueStr(0))
		batch.Release()
		require.NoError(t, stream.Close())
		b.exec("DROP TABLE " + table)
	}
}

func TestEveryDecimalIsExact(t *testing.T) {
	t.Parallel()
	b := setup(t)
	random := rand.New(rand.NewPCG(3, 4))
	pairs, table := []string{"n", "int32"}, "CREATE TABLE t (n int"
	for _, p := range [][2]int{{1, 0}, {4, 4}, {9, 2}, {18, 3}, {19, 0}, {20, 7}, {28, 13}, {37, 1}, {38, 0}, {38, 5}, {38, 19}, {38, 30}} {
		name := fmt.Sprintf("v%d_%d", p[0], p[1])
		pairs = append(pairs, name, fmt.Sprintf("decimal(%d,%d)", p[0], p[1]), "wide"+name, fmt.Sprintf("decimal(%d,%d)", p[0], p[1]))
		table += fmt.Sprintf(", %s numeric(%d,%d), wide%s numeric(65,30)", name, p[0], p[1], name)
	}
	b.exec(strings.ReplaceAll(table, "widev38_0 numeric(65,30)", "widev38_0 numeric(65,0)") + ")")
	columns := loadtest.Columns(t, pairs...)
	for i := range columns {
		if strings.HasPrefix(columns[i].Name, "wide") && columns[i].Type.Precision-columns[i].Type.Scale > 35 {
			b.exec("ALTER TABLE t MODIFY " + columns[i].Name + " numeric(65,10)")
		}
	}
	rows := make([][]any, 300)
	for i := range rows {
		rows[i] = []any{i, i}
		for _, c := range columns[1:] {
			digits := make([]byte, 1+random.IntN(c.Type.Precision))
			for d := range digits {
				digits[d] = "0000999123456780"[random.IntN(16)]
			}
			n, _ := new(big.Int).SetString(string(digits), 10)
			if random.IntN(2) == 0 {
				n.Neg(n)
			}
			rows[i] = append(rows[i], decimalText(n, c.Type.Scale))
		}
	}
	l := loadtest.New("run_1", spec(connector.Append, "t", columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, rows...)})
	b.load(l)
	require.Empty(t, l.Refused)
	stream, err := b.link.Query(t.Context(), "SELECT * FROM t ORDER BY n", "", false)
	require.NoError(t, err)
	defer stream.Close()
	got, err := stream.Next(t.Context())
	require.NoError(t, err)
	defer got.Release()
	want := loadtest.Batch(t, columns, rows...)
	for i, c := range columns {
		for row := range rows {
			value := got.Column(i).ValueStr(row)
			if strings.HasPrefix(c.Name, "wide") {
				// A decimal of 65 digits arrives as text with all of them.
				require.Equal(t, "string", stream.Columns()[i].Type.String())
				whole, fraction, _ := strings.Cut(value, ".")
				value = strings.TrimSuffix(whole+"."+(fraction + strings.Repeat("0", 38))[:c.Type.Scale], ".")
				require.Equal(t, rows[row][i+1], value, c.Name)
				continue
			}
			require.Equal(t, want.Column(i+1).ValueStr(row), value, c.Name)
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
	for i, c := range []struct{ typ, column, value, want string }{
		{"bool", "int", "true", "1"},
		{"int16", "bigint", "-7", "-7"},
		{"int16", "mediumint", "-7", "-7"},
		{"int32", "numeric(10,0)", "-2147483648", "-2147483648"},
		{"int64", "numeric(21,2)", "9223372036854775807", "9223372036854775807.00"},
		{"int64", "bigint unsigned", "9223372036854775807", "9223372036854775807"},
		{"decimal(20,0)", "bigint unsigned", "18446744073709551615", "18446744073709551615"},
		{"decimal(4,0)", "smallint", "-9999", "-9999"},
		{"decimal(18,0)", "bigint", "999999999999999999", "999999999999999999"},
		{"decimal(5,2)", "numeric(7,4)", "999.99", "999.9900"},
		{"float32", "double", "0.5", "0.5"},
		{"string", "varchar(3)", "äöü", "äöü"},
		{"string", "char(3)", "ab", "ab"},
		{"string", "enum('no','ok')", "ok", "ok"},
		{"string", "tinytext", "ok", "ok"},
		{"string", "text CHARACTER SET latin1", "äöü", "äöü"},
		{"string", "text CHARACTER SET utf16", "äöü😀", "äöü😀"},
		{"uuid", "uuid", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"},
		{"uuid", "varchar(36)", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"},
		{"json", "json", `{"b":1,"a":1.10,"a":2}`, `{"b":1,"a":1.10,"a":2}`},
		{"timestamptz", "timestamp(6) NULL", "2024-01-01 00:00:00.000001Z", "2024-01-01 00:00:00.000001"},
	} {
		for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
			table := fmt.Sprintf("t%d%s", i, mode)
			b.exec("CREATE TABLE " + table + " (v " + c.column + ")")
			columns := loadtest.Columns(t, "v", c.typ)
			l := loadtest.New("run_"+table, spec(mode, table, columns), &loadtest.Rows{Batch: loadtest.Batch(t, columns, []any{0, c.value}, []any{1, nil})})
			b.load(l)
			require.Empty(t, l.Refused, "%s into %s", c.typ, c.column)
			require.Equal(t, c.want, b.text("SELECT v FROM "+table+" WHERE v IS NOT NULL"), "%s into %s", c.typ, c.column)
		}
	}
}

func TestAColumnThatCouldLoseAValueIsAMismatchBeforeARowMoves(t *testing.T) {
	t.Parallel()
	b := setup(t)
	for i, c := range [][2]string{
		{"int64", "int"}, {"int32", "smallint"}, {"int32", "mediumint"}, {"int64", "double"}, {"int64", "numeric(18,0)"}, {"int32", "numeric(10,2)"}, {"int16", "tinyint"},
		{"decimal(12,2)", "numeric(12,1)"}, {"decimal(12,2)", "numeric(11,2)"}, {"decimal(12,2)", "double"}, {"decimal(10,0)", "int"}, {"decimal(21,0)", "bigint unsigned"},
		{"float64", "float"}, {"float64", "double(10,2)"}, {"float32", "float(7,4)"}, {"timestamp", "timestamp(6) NULL"}, {"timestamp", "datetime(3)"}, {"timestamptz", "timestamp NULL"}, {"time", "time"},
		{"date", "datetime(6)"}, {"string", "uuid"}, {"string", "int"}, {"string", "set('a')"}, {"int16", "text"}, {"json", "blob"}, {"binary", "text"}, {"string", "blob"}, {"bool", "bit(1)"},
		{"uuid", "char(32)"}, {"uuid", "binary(16)"}, {"json", "enum('1')"}, {"int16", "year"},
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

func TestASourceReadsEveryTypeOfTheServer(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec(`CREATE TABLE t (a tinyint, b tinyint unsigned, c smallint unsigned, d mediumint, e int unsigned, f bigint unsigned, g year, h bit(9), i float, j double,
		k decimal(65,30), l decimal(38,10), m date, n time(6), o datetime(6), p timestamp(6) NULL, q char(3), r set('x','y'), s enum('x'), u json, v uuid, w binary(2), x blob, y text, z datetime)`)
	b.exec(`INSERT INTO t VALUES (-128, 255, 65535, -8388608, 4294967295, 18446744073709551615, 2155, b'100000001', 16777217, 0.1, 1.5, 1.5, '2024-02-29', '23:59:59.000001',
		'9999-12-31 23:59:59.999999', '1970-01-01 00:00:01.5', 'ab', 'x,y', 'x', '{"a":1}', '123e4567-e89b-12d3-a456-426614174000', 'a', 'b', 'ä\0', '2024-02-29 01:02:03')`)
	columns, err := b.link.Describe(t.Context(), "SELECT * FROM t", false)
	require.NoError(t, err)
	var types []string
	for _, c := range columns {
		types = append(types, c.Type.String())
	}
	require.Equal(t, "int16/int16/int32/int32/int64/decimal(20,0)/int16/int64/float32/float64/string/decimal(38,10)/date/time/timestamp/timestamptz/string/string/string/string/string/binary/binary/string/timestamp",
		strings.Join(types, "/"))
	require.Equal(t, []string{"-128|255|65535|-8388608|4294967295|18446744073709551615|2155|257|1.6777216e+07|0.1|1.500000000000000000000000000000|1.5|2024-02-29|23:59:59.000001|" +
		"9999-12-31T23:59:59.999999|1970-01-01T00:00:01.5Z|ab|x,y|x|{\"a\":1}|123e4567-e89b-12d3-a456-426614174000|YQA=|Yg==|ä\x00|2024-02-29T01:02:03"},
		all(t, b.link, "SELECT * FROM t", "", false))
}

func TestAValueThatItsTypeCannotHoldEndsTheRead(t *testing.T) {
	t.Parallel()
	b := setup(t)
	b.exec("SET SESSION sql_mode = ''; CREATE TABLE t (n int, d date, s datetime(6), t time(6), b bit(64), u decimal(3,1) unsigned, z timestamp NULL);" +
		"INSERT INTO t (n, d) VALUES (1, '0000-00-00'), (2, '2024-00-10'), (3, '0000-05-05'); INSERT INTO t (n, s) VALUES (4, '0000-00-00 00:00:00');" +
		"INSERT INTO t (n, t) VALUES (5, '24:00:00'), (6, '-00:00:01'), (7, '838:59:59.999999'); INSERT INTO t (n, b) VALUES (8, ~0);" +
		"INSERT INTO t (n, z) VALUES (10, '0000-00-00 00:00:00')")
	for n, column := range map[int]string{1: "d", 2: "d", 3: "d", 4: "s", 5: "t", 6: "t", 7: "t", 8: "b", 10: "z"} {
		stream, err := b.link.Query(t.Context(), fmt.Sprintf("SELECT d, s, t, b, z FROM t WHERE n = %d", n), "", false)
		require.NoError(t, err)
		for range 2 {
			_, err = stream.Next(t.Context())
			require.Equal(t, column, coded(t, err, "SOURCE_VALUE").Column, n)
		}
		require.NoError(t, stream.Close())
	}
	require.Equal(t, []string{"838:59:59.999999"}, all(t, b.link, "SELECT CAST(t AS char) AS t FROM t WHERE n = 7", "", false))
}
