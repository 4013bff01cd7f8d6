package mysql_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

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
