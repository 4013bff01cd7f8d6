package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	dbsql "github.com/databricks/databricks-sql-go"
	_ "github.com/snowflakedb/gosnowflake"

	"github.com/lume-data/lume/test/server"
)

// openSnowflake measures against fakesnow, which is no Snowflake.
func openSnowflake(ctx context.Context, h *host, v *invoices) ([]work, error) {
	s := server.StartFakesnow(h)
	d := &database{rows: v, create: `CREATE TABLE "%s" ("invoice_id" VARCHAR, "customer" VARCHAR, "country" VARCHAR, "kind" VARCHAR, "amount" NUMBER(12,2), ` +
		`"tax" NUMBER(12,2), "quantity" NUMBER(10,0), "issued_on" DATE, "due_on" DATE, "booked_at" TIMESTAMP_NTZ(6), "status" VARCHAR, "note" VARCHAR)`}
	if err := d.setLink(link(ctx, h, "snowflake", map[string]any{
		"account": "acme", "host": s.URL, "user": "LUME", "warehouse": "WH", "database": s.Database,
	}, map[string]string{"password": "a-password"})); err != nil {
		return nil, err
	}
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	db, err := d.overSQL(h, "snowflake", fmt.Sprintf("LUME:a-password@%s/%s/PUBLIC?account=acme&protocol=http&warehouse=WH", u.Host, s.Database))
	if err != nil {
		return nil, err
	}
	types := []string{"VARCHAR", "VARCHAR", "VARCHAR", "VARCHAR", "NUMBER(12,2)", "NUMBER(12,2)", "NUMBER(10,0)", "DATE", "DATE", "TIMESTAMP_NTZ", "VARCHAR", "VARCHAR"}
	values := make([]string, len(typed))
	for i, c := range typed {
		values[i] = fmt.Sprintf(`$1:"%s"::%s`, c.Name, types[i])
	}
	bulk := func(ctx context.Context, table string) error {
		if err := d.exec(ctx, "PUT 'file://"+v.parquet+"' @~/"+table+"/ AUTO_COMPRESS=FALSE SOURCE_COMPRESSION=NONE OVERWRITE=TRUE"); err != nil {
			return err
		}
		return d.exec(ctx, fmt.Sprintf(`COPY INTO "%s" ("%s") FROM (SELECT %s FROM @~/%s/) FILES = ('%s') FILE_FORMAT = (TYPE = PARQUET) FORCE = TRUE`,
			table, strings.Join(names(), `", "`), strings.Join(values, ", "), table, filepath.Base(v.parquet)))
	}
	if err := d.source(ctx, bulk); err != nil {
		return nil, err
	}
	return []work{
		d.load("PUT and COPY INTO of a ready Parquet (emulator)", "", bulk),
		d.extract("gosnowflake, row by row into variables (emulator)", func(ctx context.Context, query string) error {
			return scan(ctx, db, query, v.rows, variables(true)...)
		}),
	}, nil
}

// openDatabricks measures against Spark with Delta Lake, which has neither volumes nor COPY INTO: the limit copies the file to
// where Spark reads it, and inserts what it reads.
func openDatabricks(ctx context.Context, h *host, v *invoices) ([]work, error) {
	s := server.StartSpark(h)
	u, err := url.Parse(s.URL)
	if err != nil {
		return nil, err
	}
	port, err := net.LookupPort("tcp", u.Port())
	if err != nil {
		return nil, err
	}
	d := &database{rows: v, create: "CREATE TABLE %s (invoice_id STRING, customer STRING, country STRING, kind STRING, amount DECIMAL(12,2), tax DECIMAL(12,2), " +
		"quantity INT, issued_on DATE, due_on DATE, booked_at TIMESTAMP_NTZ, status STRING, note STRING, _lume_run_id STRING, _lume_target STRING) USING DELTA"}
	if err := d.setLink(link(ctx, h, "databricks", map[string]any{
		"host": s.URL, "http_path": s.HTTPPath, "catalog": s.Catalog, "schema": s.Schema, "staging": s.Staging,
	}, map[string]string{"token": s.Token})); err != nil {
		return nil, err
	}
	conn, err := dbsql.NewConnector(dbsql.WithServerHostname("http://"+u.Hostname()), dbsql.WithPort(port), dbsql.WithHTTPPath(s.HTTPPath),
		dbsql.WithAccessToken(s.Token), dbsql.WithInitialNamespace(s.Catalog, s.Schema))
	if err != nil {
		return nil, err
	}
	db := sql.OpenDB(conn)
	h.Cleanup(func() { _ = db.Close() })
	d.exec = func(ctx context.Context, statement string) error {
		_, err := db.ExecContext(ctx, statement)
		return err
	}
	d.count = func(ctx context.Context, table string) (n int, err error) {
		return n, db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n)
	}
	staging := strings.TrimPrefix(s.Staging, "file://")
	bulk := func(ctx context.Context, table string) error {
		staged := filepath.Join(staging, table+".parquet")
		if err := copyFile(v.parquet, staged); err != nil {
			return err
		}
		return d.exec(ctx, fmt.Sprintf("INSERT INTO %s SELECT %s, 'plain', 'main' FROM parquet.`file:%s`", table, strings.Join(names(), ", "), staged))
	}
	if err := d.source(ctx, bulk); err != nil {
		return nil, err
	}
	return []work{
		d.load("a copy and INSERT … SELECT of a ready Parquet (Spark)", "", bulk),
		d.extract("databricks-sql-go, row by row into variables (Spark)", func(ctx context.Context, query string) error {
			return scan(ctx, db, query, v.rows, variables(true)...)
		}),
	}, nil
}

// copyFile copies a file and waits until it is on the disk.
func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	if _, err := io.Copy(out, in); err != nil {
		return err
	}
	return out.Sync()
}
