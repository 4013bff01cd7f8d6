package e2e_test

import (
	"database/sql"
	"fmt"
	"testing"

	_ "github.com/go-sql-driver/mysql" // Reads what the mysql connector wrote.
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/test/server"
)

// Runs between systems, both ways, on `lume up`: what is particular to a system, its connector's own suite holds.
func TestEverySystemOnOneProcess(t *testing.T) {
	t.Parallel()
	everySystem(t, up(t))
}

func TestEverySystemOnFourProcesses(t *testing.T) {
	t.Parallel()
	everySystem(t, four(t))
}

func everySystem(t *testing.T, i *installation) {
	t.Helper()
	rowsOfPostgres := origins()[0]
	for _, journey := range []struct {
		from origin
		to   destination
		mode string
	}{
		{objectFrom(azure, "azure_blob", formats[0]), toMySQL, "append"},
		{objectFrom(azure, "azure_blob", formats[4]), toMySQL, "replace"},
		{rowsOfMySQL, objectsIn(bucket, "parquet", "s3"), "append"},
		{rowsOfMySQL, objectsIn(azure, "jsonl", "azure_blob"), "replace"},
		{rowsOfPostgres, toMySQL, "upsert"},
		{rowsOfPostgres, objectsIn(azure, "csv", "azure_blob"), "append"},
		{rowsOfPostgres, tableOf("sqlserver"), "upsert"},
		{objectFrom(bucket, "s3", formats[0]), tableOf("snowflake"), "append"},
	} {
		t.Run(fmt.Sprintf("%s to %s by %s", journey.from.name, journey.to.name, journey.mode), func(t *testing.T) {
			t.Parallel()
			onePath(t, i, journey.from, journey.to.open(t, i, journey.mode), journey.mode)
		})
	}
	for _, to := range []destination{toMySQL, tableOf("sqlserver"), tableOf("snowflake")} {
		for _, mode := range to.modes {
			t.Run(mode+" to "+to.name, func(t *testing.T) {
				t.Parallel()
				twoBatches(t, i, to.open(t, i, mode), mode)
			})
		}
	}
}

// tableOf is a table that is there before the run.
func tableOf(kind string) destination {
	return destination{kind, []string{"append", "upsert", "replace"}, func(t *testing.T, i *installation, _ string) sink {
		t.Helper()
		return warehouses[kind](t, i).target(t)
	}}
}

// mysqlDatabase is a MariaDB database with a connector to it.
type mysqlDatabase struct {
	connector string
	conn      *sql.DB
}

func openMySQL(t *testing.T, i *installation) mysqlDatabase {
	t.Helper()
	m := server.StartMySQL(t)
	name := fresh("mysql")
	i.connector(t, name, "mysql", map[string]any{"host": m.Host, "port": m.Port, "database": m.Database, "user": m.User, "sslmode": "disable"},
		map[string]string{"password": m.Password})
	conn, err := sql.Open("mysql", m.DSN())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	return mysqlDatabase{connector: name, conn: conn}
}

var rowsOfMySQL = origin{"rows of mysql", func(t *testing.T, i *installation, list []order) (string, string, string) {
	t.Helper()
	d := openMySQL(t, i)
	_, err := d.conn.ExecContext(t.Context(), "CREATE TABLE batches (batch varchar(50), id bigint, name text, amount decimal(12,2), issued date, region text)")
	require.NoError(t, err)
	for batch, orders := range map[string][]order{"wanted": list, "other": orders(9_000, 10, 0)} {
		for _, o := range orders {
			var name any
			if !o.bad() {
				name = o.name
			}
			_, err := d.conn.ExecContext(t.Context(), "INSERT INTO batches VALUES (?, ?, ?, ?, ?, ?)", batch, o.id, name, o.amount(), o.issued, o.region)
			require.NoError(t, err)
		}
	}
	return fmt.Sprintf(`connector: %s, query: "SELECT id, name, amount, issued, region FROM batches WHERE batch = :source_path"`, d.connector), "region", "wanted"
}}

var toMySQL = destination{"mysql", []string{"append", "upsert", "replace"}, func(t *testing.T, i *installation, _ string) sink {
	t.Helper()
	d := openMySQL(t, i)
	return sqlSink(d.conn, d.connector, "SELECT id, name, CAST(amount AS char), CAST(issued AS char), region FROM orders",
		"SELECT count(*) FROM information_schema.tables WHERE table_schema = database() AND table_name = ?")
}}
