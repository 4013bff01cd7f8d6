package mysql_test

import (
	"fmt"
	"testing"

	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

func TestSQLTargetSuite(t *testing.T) {
	t.Parallel()
	loadtest.Suite{
		Open:  database,
		Quote: quote,
		OddSchema: func(t *testing.T, db loadtest.Database) string {
			t.Helper()
			name := db.Text("SELECT database()") + "_Odd `x`.y"
			db.Exec("CREATE DATABASE " + quote(name))
			t.Cleanup(func() { db.Exec("DROP DATABASE " + quote(name)) })
			return name
		},
		Owned: loadtest.Owned{
			Give: "ALTER TABLE things COMMENT 'mine'",
			Look: "SELECT table_comment FROM information_schema.tables WHERE table_schema = database() AND table_name = 'things' AND table_comment <> ''",
		},
		Before: "CREATE TABLE refs (id int PRIMARY KEY); INSERT INTO refs VALUES (5)", Refusals: refusals,
		Fits: [][4]string{
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
		},
		Mismatches: [][2]string{
			{"int64", "int"}, {"int32", "smallint"}, {"int32", "mediumint"}, {"int64", "double"}, {"int64", "numeric(18,0)"}, {"int32", "numeric(10,2)"}, {"int16", "tinyint"},
			{"decimal(12,2)", "numeric(12,1)"}, {"decimal(12,2)", "numeric(11,2)"}, {"decimal(12,2)", "double"}, {"decimal(10,0)", "int"}, {"decimal(21,0)", "bigint unsigned"},
			{"float64", "float"}, {"float64", "double(10,2)"}, {"float32", "float(7,4)"}, {"timestamp", "timestamp(6) NULL"}, {"timestamp", "datetime(3)"}, {"timestamptz", "timestamp NULL"}, {"time", "time"},
			{"date", "datetime(6)"}, {"string", "uuid"}, {"string", "int"}, {"string", "set('a')"}, {"int16", "text"}, {"json", "blob"}, {"binary", "text"}, {"string", "blob"}, {"bool", "bit(1)"},
			{"uuid", "char(32)"}, {"uuid", "binary(16)"}, {"json", "enum('1')"}, {"int16", "year"},
		},
	}.Run(t)
}

func TestEveryTypeComesBackAsItWentIn(t *testing.T) {
	t.Parallel()
	loadtest.Values{
		Open: database,
		Reads: map[string]map[string]string{
			"bool":      {"true": "1", "false": "0"},
			"time":      {"00:00:00": "00:00:00.000000", "12:00:00.1": "12:00:00.100000"},
			"timestamp": {"0001-01-01 00:00:00": "0001-01-01 00:00:00.000000", "2024-10-27 01:30:00": "2024-10-27 01:30:00.000000"},
			"timestamptz": {
				"0001-01-01 00:00:00Z": "0001-01-01 00:00:00.000000", "9999-12-31 23:59:59.999999Z": "9999-12-31 23:59:59.999999",
				"2024-10-27 01:30:00+02:00": "2024-10-26 23:30:00.000000",
			},
			"binary": {"AP8K": "\x00\xff\n"},
		},
		More: []loadtest.Written{
			{Type: "string", Values: []string{"\x00\x1a\b"}},
			{Type: "json", Values: []string{`{"a": 1.10, "a": "\u0000"}`, "12345678901234567890.123456789"}},
			{Type: "decimal(38,30)", Values: []string{"0.000000000000000000000000000001", "-99999999.999999999999999999999999999999"}},
		},
	}.Run(t)
}

func TestEveryDecimalIsExact(t *testing.T) {
	t.Parallel()
	// A decimal has 65 digits, of which 30 can be behind the point.
	loadtest.Decimals(t, database, 30, func(precision, scale int) (string, int) {
		shown := min(30, 65-(precision-scale))
		return fmt.Sprintf("decimal(65,%d)", shown), shown
	})
}
