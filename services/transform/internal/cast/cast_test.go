package cast_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/internal/engine"
	"github.com/lume-data/lume/services/transform/internal/cast"
)

func TestMain(m *testing.M) {
	if engine.IsChild() {
		os.Exit(engine.Main())
	}
	goleak.VerifyTestMain(m)
}

// no marks text that is not of the type.
const no = "\x00"

// table is what text of a type becomes: pairs of text and canonical value.
type table struct {
	typ, format, zone string
	lossy             bool
	cases             []string
}

var tables = []table{
	{typ: "string", cases: []string{"", "", " x ", " x ", "NULL", "NULL", "é\x01", "é\x01"}},
	{typ: "bool", cases: []string{"true", "true", "FALSE", "false", "True", "true", "yes", no, "1", no, "t", no, "", no, " true", no}},
	{typ: "int16", cases: []string{"12", "12", "-32768", "-32768", "32767", "32767", "32768", no, "+7", "7", "007", "7", "-0", "0",
		"1e2", no, "0x10", no, "1_000", no, " 12 ", no, "12 ", no, "1.0", no, "12.", no, "", no, "-", no, "+", no, "١٢", no, "0b1", no, "1,000", no}},
	{typ: "int32", cases: []string{"2147483647", "2147483647", "2147483648", no, "-2147483648", "-2147483648", "1e5", no, "1.5", no}},
	{typ: "int64", cases: []string{"9223372036854775807", "9223372036854775807", "9223372036854775808", no, "-9223372036854775808", "-9223372036854775808",
		"00000000000000000000000000000000000001", "1", "9007199254740993", "9007199254740993", "1e5", no, "\t1", no, "1\n", no}},
	{typ: "decimal(12,2)", cases: []string{"12.34", "12.34", "12.345", no, "12.340", "12.34", "12.3", "12.30", "12", "12.00", "12.", "12.00", ".5", "0.50", "-.05", "-0.05",
		"+1.1", "1.10", "1e3", no, "1,5", no, "1_0.00", no, " 1", no, "", no, ".", no, "-", no, "9999999999.99", "9999999999.99", "10000000000", no, "0x1", no, "nan", no, "--1", no, "1.1.1", no}},
	{typ: "decimal(5,0)", cases: []string{"12", "12", "12.0", "12", "12.", "12", "12.5", no, ".0", no, "99999", "99999", "100000", no}},
	{typ: "decimal(38,10)", cases: []string{"1234567890123456789012345678.0123456789", "1234567890123456789012345678.0123456789", "0.00000000001", no, "-0.0000000001", "-0.0000000001",
		"12345678901234567890123456789", no}},
	{typ: "decimal(38,38)", cases: []string{"0.12345678901234567890123456789012345678", ".12345678901234567890123456789012345678", "1", no, "0", ".00000000000000000000000000000000000000"}},
	{typ: "decimal(5,2)", lossy: true, cases: []string{"1.005", "1.01", "1.004", "1.00", "-1.005", "-1.01", "999.995", no, "1e2", no}},
	{typ: "float64", cases: []string{"1.5", "1.5", "1", "1.0", "1e5", "100000.0", "-1E-2", "-0.01", "nan", no, "inf", no, "-Infinity", no, "1e999", no, "0x1p3", no, "1_0", no, " 1", no, ".5", "0.5",
		"5.", "5.0", "1e", no, "", no, "0.1", "0.1", "1e-400", "0.0", "9007199254740993", "9007199254740992.0", "1d", no, "1f", no}},
	{typ: "float32", cases: []string{"0.1", "0.1", "1e39", no, "16777217", "16777216.0", "nan", no}},
	{typ: "date", cases: []string{"2024-02-29", "2024-02-29", "2023-02-29", no, "2024-1-5", no, "2024-01-05 ", no, "2024/01/05", no, "epoch", no, "infinity", no, "-infinity", no,
		"2024-01-05 10:00", no, "2024-01-05T00:00:00", no, "0001-01-01", "0001-01-01", "0000-12-31", no, "9999-12-31", "9999-12-31", "10000-01-01", no, "0044-03-15 (BC)", no, "20240105", no, "", no, "24-01-05", no, "2024-13-01", no}},
	{typ: "time", cases: []string{"10:00:00", "10:00:00", "23:59:59.999999", "23:59:59.999999", "10:00:00.5", "10:00:00.5", "10:00:00.500", "10:00:00.5", "24:00:00", no, "10:00", no, "1:00:00", no, "10:00:60", no,
		"10:00:00.1234567", no, "10:00:00Z", no, "10:00:00+01", no, "", no, "2024-01-01 10:00:00", no, "10:00:00 ", no}},
	{typ: "timestamp", cases: []string{"2024-01-05 10:00:00", "2024-01-05 10:00:00", "2024-01-05T10:00:00.5", "2024-01-05 10:00:00.5", "2024-01-05 10:00:00.123456", "2024-01-05 10:00:00.123456",
		"2024-01-05 10:00:00.1234567", no, "2024-01-05 10:00:00.000000", "2024-01-05 10:00:00", "2024-01-05 10:00:00Z", no, "2024-01-05 10:00:00+02:00", no, "2024-01-05", no, "2024-01-05 10:00", no, "2024-01-05 24:00:00", no,
		"2024-01-05 10:00:60", no, "infinity", no, "-infinity", no, "epoch", no, "now", no, "0000-01-01 00:00:00", no, "0001-01-01 00:00:00", "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999", "9999-12-31 23:59:59.999999",
		"10000-01-01 00:00:00", no, " 2024-01-05 10:00:00", no, "2024-02-30 10:00:00", no, "2024-01-05  10:00:00", no, "2024-01-05 10:00:00 Europe/Paris", no, "0044-03-15 (BC) 10:00:00", no}},
	{typ: "timestamptz", cases: []string{"2024-01-05T10:00:00Z", "2024-01-05 10:00:00+00", "2024-01-05 10:00:00+02:00", "2024-01-05 08:00:00+00", "2024-01-05 10:00:00-0530", "2024-01-05 15:30:00+00",
		"2024-01-05 10:00:00+05", "2024-01-05 05:00:00+00", "2024-01-05 10:00:00", no, "2024-01-05 10:00:00 +02:00", no, "2024-01-05 10:00:00+02:00:30", no, "2024-01-05 10:00:00 UTC", no, "2024-01-05 10:00:00+16:00", no,
		"infinity", no, "epoch", no, "2024-01-05 10:00Z", no, "2024-01-05 10:00:00.1234567Z", no, "0001-01-01 00:00:00+01", no, "9999-12-31 23:59:59-01", no, "2024-02-30T10:00:00Z", no}},
	{typ: "timestamptz", zone: "Europe/Paris", cases: []string{"2024-01-05 10:00:00", "2024-01-05 09:00:00+00", "2024-07-05 10:00:00", "2024-07-05 08:00:00+00", "2024-01-05 10:00:00Z", "2024-01-05 10:00:00+00",
		"2024-03-31 02:30:00", no, "2024-03-31 01:59:59", "2024-03-31 00:59:59+00", "2024-03-31 03:00:00", "2024-03-31 01:00:00+00", "2024-01-05", no, "infinity", no}},
	{typ: "uuid", cases: []string{"6f9619ff-8b86-d011-b42d-00c04fc964ff", "6f9619ff-8b86-d011-b42d-00c04fc964ff", "6F9619FF-8B86-D011-B42D-00C04FC964FF", "6f9619ff-8b86-d011-b42d-00c04fc964ff",
		"{6f9619ff-8b86-d011-b42d-00c04fc964ff}", no, "6f9619ff8b86d011b42d00c04fc964ff", no, "6f9619ff-8b86-d011-b42d-00c04fc964fg", no, "", no}},
	{typ: "json", cases: []string{`{"a":1.10}`, `{"a":1.10}`, ` [1, 2] `, ` [1, 2] `, `null`, `null`, `"x"`, `"x"`, `[1,]`, no, `{"a":1,}`, no, `NaN`, no, `[Infinity]`, no, `-inf`, no, `{a:1}`, no, `'x'`, no, ``, no, `{"a":1} x`, no,
		`01`, no, `{"a": "NaN, ] , }"}`, `{"a": "NaN, ] , }"}`, `{"nan": "\", ]"}`, `{"nan": "\", ]"}`, `["a\\", 1,]`, no, `// x`, no, `12345678901234567890.12345678901234567890`, `12345678901234567890.12345678901234567890`}},
	{typ: "binary", cases: []string{"00ff", "00ff", "", "", "ABcd", "abcd", "0", no, "0x00", no, "zz", no, `\x00`, no}},
	{typ: "binary", format: "base64", cases: []string{"AP8=", "00ff", "", "", "AP8", no, "AP==", "00", "A===", no, "AP8=\n", no, "_-8=", no}},
	{typ: "date", format: "%d/%m/%Y", cases: []string{"31/12/2023", "2023-12-31", "1/2/2023", no, "31/12/23", no, "31/12/0023", "0023-12-31", "32/01/2023", no, "31/12/2023 ", no, "2023-12-31", no}},
	{typ: "date", format: "%d/%m/%Y", cases: []string{" 1/02/2023", no, "01/02/202 ", no, "01/02/023\t", no, "\n1/02/2023", no, "01/2/20230", no, "1 /02/2023", no, "01/02/1999", "1999-02-01"}},
	{typ: "date", format: "%j.%y", cases: []string{"366.24", "2024-12-31", "366.23", no, "66.024", no}},
	{typ: "time", format: "%H:%M:%S", cases: []string{"10:00:59", "10:00:59", "10:00:60", no, "24:00:00", no, "10:60:00", no}},
	{typ: "timestamp", format: "%Y%m%dT%H%M%S", cases: []string{"20240105T103000", "2024-01-05 10:30:00", "2024015T1030000", no, "20240105T10300 ", no}},
	{typ: "date", format: "%d %b %Y", cases: []string{"05 Jan 2024", "2024-01-05", "05 JAN 2024", "2024-01-05", "5 Jan 2024", no, "05 Foo 2024", no}},
	{typ: "date", format: "%-d.%-m.%Y", cases: []string{"5.1.2024", "2024-01-05", "05.01.2024", no}},
	{typ: "date", format: "%Y%m%d", cases: []string{"20240105", "2024-01-05", "2024015", no, "240105", no}},
	{typ: "time", format: "%I:%M %p", cases: []string{"01:30 PM", "13:30:00", "01:30 pm", "13:30:00", "13:30 PM", no, "1:30 PM", no}},
	{typ: "timestamp", format: "%d/%m/%Y %H:%M", cases: []string{"05/01/2024 10:30", "2024-01-05 10:30:00", "05/01/2024 24:00", no, "05/01/2024", no, "05/01/2024 10:30:00", no}},
	{typ: "timestamptz", format: "%Y-%m-%dT%H:%M:%S%z", cases: []string{"2024-01-05T10:00:00+0200", "2024-01-05 08:00:00+00", "2024-01-05T10:00:00+02:00", "2024-01-05 08:00:00+00", "2024-01-05T10:00:00-0530", "2024-01-05 15:30:00+00",
		"2024-01-05T10:00:00", no, "2024-01-05T10:00:00+02", "2024-01-05 08:00:00+00", "24-01-05T10:00:00+0200", no, "2024-01-05T9:00:00+0200", no}},
	{typ: "timestamptz", format: "%d.%m.%Y %H:%M", zone: "Europe/Paris", cases: []string{"05.01.2024 10:00", "2024-01-05 09:00:00+00", "31.03.2024 02:30", no}},
}

func TestTextBecomesAValueOrAnError(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	dir := filepath.Join(root, "job")
	require.NoError(t, os.Mkdir(dir, 0o700))
	pool, err := engine.New(context.Background(), engine.Config{Root: root})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, pool.Close()) })
	var steps []engine.Step
	for _, tb := range tables {
		typ, err := connector.ParseType(tb.typ)
		require.NoError(t, err)
		steps = append(steps, engine.Step{Name: tb.typ, Rows: true, SQL: query(cast.Column{Type: typ, From: "VARCHAR", Format: tb.format, TimeZone: tb.zone, Lossy: tb.lossy, X: "x", C: "c"}, tb.cases)})
	}
	result, err := pool.Run(context.Background(), engine.Job{Dir: dir, Steps: steps})
	require.NoError(t, err)
	for i, tb := range tables {
		rows := result.Steps[i].Rows
		require.Len(t, rows, len(tb.cases)/2+1)
		require.Nil(t, rows[0][0], "NULL stays NULL")
		for j := 1; j < len(rows); j++ {
			in, want := tb.cases[2*j-2], tb.cases[2*j-1]
			name := fmt.Sprintf("%s %s %s: %q", tb.typ, tb.format, tb.zone, in)
			if want == no {
				if rows[j][0] != nil {
					t.Errorf("%s became %q", name, *rows[j][0])
				}
				continue
			}
			if rows[j][0] == nil {
				t.Errorf("%s was refused", name)
				continue
			}
			if *rows[j][0] != want {
				t.Errorf("%s became %q, not %q", name, *rows[j][0], want)
			}
		}
	}
}

// query converts NULL and then the text of all cases.
func query(c cast.Column, cases []string) string {
	values := []string{"(0, NULL)"}
	for i := 0; i < len(cases); i += 2 {
		values = append(values, fmt.Sprintf("(%d, %s)", i+1, cast.Quote(cases[i])))
	}
	attempt, accept := c.Layers()
	if attempt == "" {
		attempt = "NULL"
	}
	show := "CAST(m AS VARCHAR)"
	if c.Type.Name == connector.TypeBinary {
		show = "lower(to_hex(m))"
	}
	return "SELECT " + show + " FROM (SELECT n, " + accept + " AS m FROM (SELECT n, x, " + attempt + " AS c FROM (VALUES " + strings.Join(values, ", ") + ") AS t(n, x)) u) v ORDER BY n"
}

func TestOffsetEndsAFormat(t *testing.T) {
	t.Parallel()
	for format, want := range map[string]bool{"%Y %z": true, "%Y%%z": false, "%Y%%%z": true, "%z %Y": false, "%Y": false, "": false} {
		_, ok := cast.CutOffset(format)
		require.Equal(t, want, ok, format)
	}
}
