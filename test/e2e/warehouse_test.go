package e2e_test

import (
	"database/sql"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	dbsql "github.com/databricks/databricks-sql-go"
	driverlog "github.com/databricks/databricks-sql-go/logger"
	_ "github.com/jackc/pgx/v5/stdlib"  // Opens PostgreSQL for package sql.
	_ "github.com/microsoft/go-mssqldb" // Opens SQL Server.
	snowflake "github.com/snowflakedb/gosnowflake"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector/sqlserver/tdstest"
	"github.com/lume-data/lume/test/server"
)

// The drivers log to standard error, even what they get over.
func init() {
	snowflake.GetLogger().SetOutput(io.Discard)
	driverlog.SetLogOutput(io.Discard)
}

// warehouse is a database with a connector to it, and a session that looks at it past Lume.
type warehouse struct {
	connector string
	db        *sql.DB
	dialect
}

// dialect is how a system writes what the tests say to it.
type dialect struct {
	// quote stands around names.
	quote [2]string
	// id, text, amount and day are its types.
	id, text, amount, day string
	// key makes a column the key of its table, where the system has keys.
	key string
	// exact reads an amount with all its digits.
	exact string
	// has counts the tables of a name.
	has string
	// literal writes text.
	literal func(string) string
	// own are the columns and options that a table of the system needs to be a target.
	own string
	// strict makes the system refuse orders without a region, where NOT NULL is not what does it.
	strict string
}

const tablesOfSchema = "SELECT COUNT(*) FROM information_schema.tables WHERE table_name = "

// standard writes a literal as SQL has it.
func standard(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

var dialects = map[string]dialect{
	"postgres": {
		quote: [2]string{`"`, `"`}, id: "bigint", text: "text", amount: "numeric(12,2)", day: "date", key: " PRIMARY KEY", exact: "CAST(%s AS text)",
		has: tablesOfSchema + "%s", literal: standard,
	},
	"mysql": {
		quote: [2]string{"`", "`"}, id: "bigint", text: "varchar(200)", amount: "decimal(12,2)", day: "date", key: " PRIMARY KEY", exact: "CAST(%s AS char)",
		has: tablesOfSchema + "%s AND table_schema = database()", literal: standard,
	},
	"sqlserver": {
		quote: [2]string{"[", "]"}, id: "bigint", text: "nvarchar(200)", amount: "decimal(12,2)", day: "date", key: " PRIMARY KEY", exact: "%s",
		has: "SELECT COUNT(*) FROM sys.tables WHERE name = %s", literal: func(text string) string { return "N" + standard(text) },
	},
	"snowflake": {
		quote: [2]string{`"`, `"`}, id: "NUMBER(19,0)", text: "VARCHAR", amount: "NUMBER(12,2)", day: "DATE", exact: "TO_VARCHAR(%s)",
		has: tablesOfSchema + "%s", literal: standard,
	},
	"databricks": {
		quote: [2]string{"`", "`"}, id: "BIGINT", text: "STRING", amount: "DECIMAL(12,2)", day: "DATE", exact: "CAST(%s AS STRING)",
		literal: func(text string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(text) + "'" },
		own:     ", _lume_run_id STRING, _lume_target STRING) USING DELTA",
		strict:  "ALTER TABLE orders ADD CONSTRAINT placed CHECK (region IS NOT NULL)",
	},
}

// warehouses open a system, empty, each with what a user is told by its administrator.
var warehouses = map[string]func(t *testing.T, i *installation) warehouse{
	"postgres": openPostgres,
	"mysql": func(t *testing.T, i *installation) warehouse {
		d := openMySQL(t, i)
		return warehouse{d.connector, d.conn, dialects["mysql"]}
	},
	"sqlserver":  openSQLServer,
	"snowflake":  openSnowflake,
	"databricks": openDatabricks,
}

func openPostgres(t *testing.T, i *installation) warehouse {
	t.Helper()
	dsn, name := server.StartPostgres(t), fresh("postgres")
	settings, secrets := postgresSettings(t, dsn)
	i.connector(t, name, "postgres", settings, secrets)
	return warehouse{name, openSQL(t, "pgx", dsn), dialects["postgres"]}
}

func openSQLServer(t *testing.T, i *installation) warehouse {
	t.Helper()
	srv, err := tdstest.Start(tdstest.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, srv.Stop()) })
	name := fresh("sqlserver")
	i.connector(t, name, "sqlserver", map[string]any{
		"host": "127.0.0.1", "port": srv.Port(), "database": "master", "user": tdstest.User, "ca_certificate": srv.Certificate,
	}, map[string]string{"password": tdstest.Password})
	dsn := url.URL{Scheme: "sqlserver", User: url.UserPassword(tdstest.User, tdstest.Password), Host: loopback(srv.Port()),
		RawQuery: url.Values{"encrypt": {"disable"}}.Encode()}
	return warehouse{name, openSQL(t, "sqlserver", dsn.String()), dialects["sqlserver"]}
}

func openSnowflake(t *testing.T, i *installation) warehouse {
	t.Helper()
	srv, name := server.StartFakesnow(t), fresh("snowflake")
	i.connector(t, name, "snowflake", map[string]any{
		"account": "acme", "host": srv.URL, "user": "LUME", "warehouse": "WH", "database": srv.Database, "schema": "PUBLIC",
	}, map[string]string{"password": "a-password"})
	u, err := url.Parse(srv.URL)
	require.NoError(t, err)
	return warehouse{name, openSQL(t, "snowflake", fmt.Sprintf("LUME:a-password@%s/%s/PUBLIC?account=acme&protocol=http&warehouse=WH", u.Host, srv.Database)), dialects["snowflake"]}
}

func openDatabricks(t *testing.T, i *installation) warehouse {
	t.Helper()
	srv, name := server.StartSpark(t), fresh("databricks")
	u, err := url.Parse(srv.URL)
	require.NoError(t, err)
	port, err := net.LookupPort("tcp", u.Port())
	require.NoError(t, err)
	open := func(schema string) *sql.DB {
		link, err := dbsql.NewConnector(dbsql.WithServerHostname("http://"+u.Hostname()), dbsql.WithPort(port), dbsql.WithHTTPPath(srv.HTTPPath),
			dbsql.WithAccessToken(srv.Token), dbsql.WithInitialNamespace(srv.Catalog, schema))
		require.NoError(t, err)
		db := sql.OpenDB(link)
		t.Cleanup(func() { _ = db.Close() })
		return db
	}
	schema := strings.ReplaceAll(name, "-", "_")
	_, err = open(srv.Schema).ExecContext(t.Context(), "CREATE SCHEMA "+schema)
	require.NoError(t, err)
	i.connector(t, name, "databricks", map[string]any{
		"host": srv.URL, "http_path": srv.HTTPPath, "catalog": srv.Catalog, "schema": schema, "staging": srv.Staging,
	}, map[string]string{"token": srv.Token})
	return warehouse{name, open(schema), dialects["databricks"]}
}

func openSQL(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func (w warehouse) exec(t *testing.T, statement string) {
	t.Helper()
	_, err := w.db.ExecContext(t.Context(), statement)
	require.NoError(t, err, "%.200s", statement)
}

func (d dialect) name(text string) string { return d.quote[0] + text + d.quote[1] }

// columns of an order, as a table has them; strict ones take no order without a region.
func (d dialect) columns(key, strict string) string {
	return fmt.Sprintf("%s %s%s, %s %s, %s %s, %s %s, %s %s%s",
		d.name("id"), d.id, key, d.name("name"), d.text, d.name("amount"), d.amount, d.name("issued"), d.day, d.name("region"), d.text, strict)
}

// origin has a table of batches, of which a run reads one.
func (w warehouse) origin(t *testing.T) (source string, put func(batch string, list []order) string) {
	t.Helper()
	w.exec(t, "CREATE TABLE "+w.name("batches")+" ("+w.name("batch")+" "+w.text+", "+w.columns("", "")+")")
	w.insert(t, "other", orders(9_000, 10, 0))
	names := make([]string, 0, 5)
	for _, name := range []string{"id", "name", "amount", "issued", "region"} {
		names = append(names, w.name(name))
	}
	query := "SELECT " + strings.Join(names, ", ") + " FROM " + w.name("batches") + " WHERE " + w.name("batch") + " = :source_path"
	return fmt.Sprintf("connector: %s, query: '%s'", w.connector, query), func(batch string, list []order) string {
		w.insert(t, batch, list)
		return batch
	}
}

// insert adds a batch by one statement.
func (w warehouse) insert(t *testing.T, batch string, list []order) {
	t.Helper()
	orNull := func(text string) string {
		if text == "" {
			return "NULL"
		}
		return w.literal(text)
	}
	rows := make([]string, len(list))
	for i, o := range list {
		rows[i] = fmt.Sprintf("(%s, %d, %s, %s, CAST(%s AS date), %s)", w.literal(batch), o.id, orNull(o.name), o.amount(), w.literal(o.issued), orNull(o.region))
	}
	w.exec(t, "INSERT INTO "+w.name("batches")+" VALUES "+strings.Join(rows, ", "))
}

// target makes the table of orders, which refuses those without a region.
func (w warehouse) target(t *testing.T) sink {
	t.Helper()
	if w.strict == "" {
		w.exec(t, "CREATE TABLE "+w.name("orders")+" ("+w.columns(" NOT NULL"+w.key, " NOT NULL")+")")
	} else {
		w.exec(t, "CREATE TABLE "+w.name("orders")+" ("+w.columns("", "")+w.own)
		w.exec(t, w.strict)
	}
	return sink{
		yaml: fmt.Sprintf("connector: %s, table: orders", w.connector),
		rows: func(t *testing.T) map[int64]string {
			t.Helper()
			found := map[int64]string{}
			for _, row := range w.query(t, fmt.Sprintf("SELECT %s, %s, %s, %s, %s FROM %s", w.name("id"), w.name("name"), fmt.Sprintf(w.exact, w.name("amount")),
				w.name("issued"), w.name("region"), w.name("orders"))) {
				var id int64
				_, err := fmt.Sscan(row[0], &id)
				require.NoError(t, err)
				add(t, found, id, row[1:]...)
			}
			return found
		},
		rejects: func(t *testing.T, run string) int {
			t.Helper()
			return len(w.query(t, "SELECT "+w.name("stage")+" FROM "+w.name("orders_rejects")+" WHERE "+w.name("run_id")+" = "+w.literal(run)))
		},
		receipt: func(t *testing.T, run string) string {
			t.Helper()
			found := w.query(t, "SELECT "+w.name("receipt")+" FROM "+w.name("_lume_runs")+" WHERE "+w.name("run_id")+" = "+w.literal(run)+
				" AND "+w.name("state")+" = "+w.literal("committed"))
			require.Len(t, found, 1, "one run has one marker")
			return found[0][0]
		},
	}
}

// query returns the rows of a query as text.
func (w warehouse) query(t *testing.T, query string) (list [][]string) {
	t.Helper()
	rows, err := w.db.QueryContext(t.Context(), query)
	require.NoError(t, err, query)
	defer func() { _ = rows.Close() }()
	columns, err := rows.Columns()
	require.NoError(t, err)
	for rows.Next() {
		values, pointers, texts := make([]any, len(columns)), make([]any, len(columns)), make([]string, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		require.NoError(t, rows.Scan(pointers...))
		for i, value := range values {
			switch v := value.(type) {
			case []byte:
				texts[i] = string(v)
			case time.Time:
				texts[i] = v.Format(time.DateOnly)
			default:
				texts[i] = fmt.Sprint(v)
			}
		}
		list = append(list, texts)
	}
	require.NoError(t, rows.Err())
	return list
}
