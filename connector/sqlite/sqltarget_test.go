package sqlite_test

import (
	"testing"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// database is a fresh file for the tests that SQL targets share.
func database(t *testing.T) loadtest.Database {
	t.Helper()
	b := setup(t)
	return loadtest.Database{Link: b.link, Exec: b.exec, Text: b.text}
}

func TestSQLTargetSuite(t *testing.T) {
	t.Parallel()
	// refusal is a column v that refuses some of the values.
	refusal := func(name, column, typ string, values []any, reason map[int64]connector.RefusedRow) loadtest.Refusal {
		r := loadtest.Refusal{Name: name, Table: "id INTEGER PRIMARY KEY, " + column, Columns: []string{"id!", "int64", "v", typ}, Reason: reason}
		for i, v := range values {
			r.Rows = append(r.Rows, []any{i, i, v})
		}
		return r
	}
	loadtest.Suite{
		Open:   database,
		Quote:  quote,
		Owned:  loadtest.Owned{Give: "CREATE INDEX mine ON things (id)", Look: "SELECT group_concat(sql) FROM sqlite_schema WHERE tbl_name = 'things'"},
		Before: "CREATE TABLE refs (id INTEGER PRIMARY KEY); INSERT INTO refs VALUES (1)",
		Refusals: []loadtest.Refusal{
			refusal("check", "v INT CONSTRAINT positive CHECK (v > 0)", "int32", []any{1, -1, 5}, map[int64]connector.RefusedRow{1: {Message: "violates the check constraint positive"}}),
			refusal("not null", "v INT NOT NULL", "int32", []any{nil, 1}, map[int64]connector.RefusedRow{0: {Column: "v", Message: "the column does not allow NULL"}}),
			refusal("unique", "v INT UNIQUE", "int32", []any{1, 2, 1, 3}, map[int64]connector.RefusedRow{2: {Message: "violates the unique constraint on t.v"}}),
			refusal("unique that ignores", "v INT UNIQUE ON CONFLICT IGNORE", "int32", []any{1, 1}, map[int64]connector.RefusedRow{1: {Message: "violates the unique constraint on t.v"}}),
			refusal("foreign key", "v INT REFERENCES refs", "int32", []any{1, 2, nil}, map[int64]connector.RefusedRow{1: {Message: "violates a foreign key"}}),
			refusal("nul", "v TEXT", "string", []any{"a", "b\x00"}, map[int64]connector.RefusedRow{1: {Column: "v", Message: "has a NUL character, which SQLite's functions do not see past"}}),
			refusal("nan", "v REAL", "float64", []any{"NaN", "1"}, map[int64]connector.RefusedRow{0: {Column: "v", Message: "is NaN, which SQLite would keep as NULL"}}),
		},
		Fits: [][4]string{
			{"bool", "BOOLEAN", "true", "1"}, {"int64", "NUMERIC", "-9223372036854775808", "-9223372036854775808"}, {"date", "DATE", "2024-02-29", "2024-02-29"},
			{"timestamp", "DATETIME", "2024-02-29 23:59:59", "2024-02-29 23:59:59.000000"}, {"string", "", "007", "007"}, {"decimal(5,2)", "VARCHAR(9)", "1.50", "1.50"},
		},
		Mismatches: [][2]string{
			{"decimal(5,2)", "DECIMAL(5,2)"}, {"decimal(5,2)", "REAL"}, {"string", "NUMERIC"}, {"string", "INT"}, {"uuid", "UUID"}, {"json", "JSON"},
			{"int64", "TEXT"}, {"binary", "TEXT"},
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
				"0001-01-01 00:00:00Z": "0001-01-01 00:00:00.000000Z", "2024-10-27 01:30:00+02:00": "2024-10-26 23:30:00.000000Z",
			},
			"binary": {"AP8K": "\x00\xff\n"},
		},
		More: []loadtest.Written{{Type: "float64", Values: []string{"0.1", "1.7976931348623157e+308"}}},
	}.Run(t)
}
