package postgres_test

import (
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
			const name = `My.Schema "x" ;`
			db.Exec("CREATE SCHEMA " + quote(name))
			return name
		},
		Owned:  loadtest.Owned{Give: "GRANT SELECT ON things TO pg_monitor", Look: "SELECT relacl::text || oid::text FROM pg_class WHERE relname = 'things'"},
		Before: beforeRefusals, Refusals: refusals,
		Fits: [][4]string{
			{"int16", "bigint", "-7", "-7"},
			{"int32", "numeric(10,0)", "-2147483648", "-2147483648"},
			{"int64", "numeric", "-9223372036854775808", "-9223372036854775808"},
			{"int64", "numeric(21,2)", "9223372036854775807", "9223372036854775807.00"},
			{"decimal(4,0)", "smallint", "-9999", "-9999"},
			{"decimal(18,0)", "bigint", "999999999999999999", "999999999999999999"},
			{"decimal(5,2)", "numeric(7,4)", "999.99", "999.9900"},
			{"float32", "double precision", "0.5", "0.5"},
			{"string", "varchar(3)", "äöü", "äöü"},
			{"string", "char(3)", "ab", "ab"},
			{"string", "mood", "ok", "ok"},
			{"string", "code", "yyy", "yyy"},
			{"uuid", "text", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"},
			{"json", "json", `{"b":1,"a":1.10,"a":2}`, `{"b":1,"a":1.10,"a":2}`},
			{"timestamp", "timestamp(6)", "2024-01-01 00:00:00.000001", "2024-01-01 00:00:00.000001"},
		},
		Mismatches: [][2]string{
			{"int64", "integer"}, {"int32", "smallint"}, {"int64", "double precision"}, {"int64", "numeric(18,0)"}, {"int32", "numeric(10,2)"},
			{"decimal(12,2)", "numeric(12,1)"}, {"decimal(12,2)", "numeric(11,2)"}, {"decimal(12,2)", "double precision"}, {"decimal(10,0)", "integer"},
			{"float64", "real"}, {"timestamp", "timestamptz"}, {"timestamptz", "timestamp"}, {"timestamp", "timestamp(3)"}, {"time", "time(0)"},
			{"date", "timestamp"}, {"string", "uuid"}, {"string", "integer"}, {"int16", "text"}, {"json", "bytea"}, {"binary", "text"}, {"bool", "smallint"},
		},
	}.Run(t)
}

func TestEveryTypeComesBackAsItWentIn(t *testing.T) {
	t.Parallel()
	loadtest.Values{
		Open:      database,
		SameTypes: true,
		Reads: map[string]map[string]string{
			"float32": {"+Inf": "Infinity", "-Inf": "-Infinity"},
			"float64": {"+Inf": "Infinity"},
			"timestamptz": {
				"0001-01-01 00:00:00Z": "0001-01-01 00:00:00+00", "9999-12-31 23:59:59.999999Z": "9999-12-31 23:59:59.999999+00",
				"2024-10-27 01:30:00+02:00": "2024-10-26 23:30:00+00",
			},
			"binary": {"": `\x`, "AP8K": `\x00ff0a`},
		},
		More: []loadtest.Written{
			{Type: "decimal(38,38)", Values: []string{"0.00000000000000000000000000000000000001", "-0.99999999999999999999999999999999999999"}},
			{Type: "decimal(38,37)", Values: []string{"9.9999999999999999999999999999999999999", "0.0000000000000000000000000000000000001"}},
			{Type: "float32", Values: []string{"3.4028235e+38", "1e-45", "NaN", "+Inf", "-Inf", "-0", "0.1"}},
			{Type: "float64", Values: []string{"1.7976931348623157e+308", "5e-324", "NaN", "+Inf", "-0", "0.1"}},
		},
	}.Run(t)
}

func TestEveryDecimalIsExact(t *testing.T) {
	t.Parallel()
	// A numeric without a scale shows the digits that it was given.
	loadtest.Decimals(t, database, 38, func(_, scale int) (string, int) { return "numeric", scale })
}
