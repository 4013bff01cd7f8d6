package sqlserver_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
)

// database is a fresh database for the tests that SQL targets share.
func database(t *testing.T) loadtest.Database {
	t.Helper()
	b := setup(t)
	return loadtest.Database{Link: b.link, Exec: b.exec, Text: func(query string) string {
		rows := b.rows(query)
		require.Len(t, rows, 1, query)
		return rows[0]
	}}
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
		Owned: loadtest.Owned{Look: "SELECT object_id FROM sys.tables WHERE name = N'things'"},
		Refusals: []loadtest.Refusal{
			{
				Name: "check", Table: "id bigint NOT NULL PRIMARY KEY, v int CONSTRAINT positive CHECK (v > 0)", Columns: []string{"id!", "int64", "v", "int32"},
				Rows:   [][]any{{3, 1, 5}, {5, 2, -5}, {9, 3, nil}},
				Reason: map[int64]connector.RefusedRow{5: {Column: "v", Message: "violates the constraint positive"}},
			},
			{
				Name: "not null", Table: "id bigint NOT NULL PRIMARY KEY, v int NOT NULL", Columns: []string{"id!", "int64", "v", "int32"},
				Rows:   [][]any{{3, 1, nil}, {5, 2, 1}},
				Reason: map[int64]connector.RefusedRow{3: {Column: "v", Message: "the column does not allow NULL"}},
			},
			{
				Name: "text", Table: "id bigint NOT NULL PRIMARY KEY, v nvarchar(8), w varchar(20)", Columns: []string{"id!", "int64", "v", "string", "w", "string"},
				Rows: [][]any{{3, 1, "ok", "plain"}, {5, 2, "too long for it", nil}, {9, 3, nil, "日本"}, {11, 4, "äöüäöüäö", "123456789012345678901"}},
				Reason: map[int64]connector.RefusedRow{
					5:  {Column: "v", Message: "is longer than the 8 characters of the column"},
					9:  {Column: "w", Message: "has characters that not every code page of a varchar column can hold: use nvarchar"},
					11: {Column: "w", Message: "is longer than the 20 characters of the column"},
				},
			},
			{
				Name: "unique in the batch", Table: "id bigint NOT NULL PRIMARY KEY, v int, CONSTRAINT UQ__t UNIQUE (v)", Columns: []string{"id!", "int64", "v", "int32"},
				Rows:   [][]any{{3, 1, 5}, {5, 2, 6}, {9, 3, 5}, {11, 4, 5}, {12, 5, 7}},
				Reason: map[int64]connector.RefusedRow{9: {Message: "violates the unique constraint UQ__t"}, 11: {Message: "violates the unique constraint UQ__t"}},
			},
		},
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
