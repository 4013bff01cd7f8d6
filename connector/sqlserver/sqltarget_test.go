package sqlserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// database is a fresh database for the tests that SQL targets share.
func database(t *testing.T) loadtest.Database {
	t.Helper()
	b := setup(t)
	text := func(query string) string {
		rows := b.rows(query)
		require.Len(t, rows, 1, query)
		return rows[0]
	}
	sessions := func() []string {
		return b.rows("SELECT [session_id] FROM sys.dm_exec_sessions WHERE [program_name] LIKE N'lume/%' AND [database_id] = DB_ID()")
	}
	kill := func() {
		for _, id := range sessions() {
			b.exec("KILL " + id)
		}
	}
	return loadtest.Database{Link: b.link, Exec: b.exec, Text: text, Sessions: func() int { return len(sessions()) }, Kill: kill}
}

func TestSQLTargetSuite(t *testing.T) {
	t.Parallel()
	loadtest.Suite{
		Open:  database,
		Quote: quote,
		OddSchema: func(t *testing.T, db loadtest.Database) string {
			t.Helper()
			const name = "My.Schema ]x"
			db.Exec("CREATE SCHEMA " + quote(name))
			return name
		},
		Owned:  loadtest.Owned{Look: "SELECT object_id FROM sys.tables WHERE name = N'things'"},
		Before: before, Refusals: refusals,
		Fits: [][4]string{
			{"int16", "bigint", "-7", "-7"}, {"int32", "decimal(10,0)", "-2147483648", "-2147483648"}, {"int64", "decimal(21,2)", "9223372036854775807", "9223372036854775807.00"},
			{"decimal(4,0)", "smallint", "-9999", "-9999"}, {"decimal(18,0)", "bigint", "999999999999999999", "999999999999999999"},
			{"decimal(5,2)", "decimal(7,4)", "999.99", "999.9900"}, {"float32", "float", "0.5", "0.5"}, {"string", "nvarchar(3)", "äöü", "äöü"},
			{"string", "varchar(3)", "abc", "abc"}, {"uuid", "nvarchar(36)", "123e4567-e89b-12d3-a456-426614174000", "123e4567-e89b-12d3-a456-426614174000"},
			{"json", "nvarchar(max)", `{"b":1,"a":1.10,"a":2}`, `{"b":1,"a":1.10,"a":2}`},
		},
		Mismatches: [][2]string{
			{"int64", "int"}, {"int32", "smallint"}, {"int16", "tinyint"}, {"int64", "float"}, {"int64", "decimal(18,0)"}, {"int32", "decimal(10,2)"},
			{"decimal(12,2)", "decimal(12,1)"}, {"decimal(12,2)", "decimal(11,2)"}, {"decimal(12,2)", "float"}, {"decimal(19,4)", "money"}, {"decimal(10,0)", "int"},
			{"float64", "real"}, {"timestamp", "datetimeoffset(6)"}, {"timestamptz", "datetime2(6)"}, {"timestamp", "datetime2(3)"}, {"timestamp", "datetime"}, {"time", "time(0)"},
			{"date", "datetime2(6)"}, {"string", "uniqueidentifier"}, {"string", "int"}, {"int16", "nvarchar(10)"}, {"binary", "nvarchar(max)"}, {"bool", "smallint"}, {"binary", "binary(8)"},
		},
	}.Run(t)
}
