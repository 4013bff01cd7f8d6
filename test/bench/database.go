package main

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	_ "github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	mssql "github.com/microsoft/go-mssqldb"
	_ "modernc.org/sqlite"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/sqlserver/tdstest"
	"github.com/lume-data/lume/test/server"
)

// database is a system with tables, and how the bench speaks to it past the connector.
type database struct {
	link interface {
		connector.Target
		connector.RowSource
	}
	exec  func(ctx context.Context, statement string) error
	count func(ctx context.Context, table string) (int, error)
	// create makes a table of the typed columns by name.
	create string
	// settle, if set, lets the server finish what earlier work has left, before a load is timed.
	settle string
	// keep leaves the tables of a load, where the emulator cannot drop them.
	keep   bool
	rows   *invoices
	serial int
}

// load is the line of a load: each round fills a fresh table by the connector and one by the limit.
func (d *database) load(name, reach string, limit func(ctx context.Context, table string) error) work {
	return work{
		name: "load, over " + name, reach: reach,
		ours: func(ctx context.Context) (time.Duration, error) {
			return d.fresh(ctx, "lume", func(table string) error {
				return d.rows.load(ctx, d.link, connector.TargetSpec{Name: "main", Table: table, Mode: connector.Append, Columns: typed}, "run_"+table)
			})
		},
		limit: func(ctx context.Context) (time.Duration, error) {
			return d.fresh(ctx, "plain", func(table string) error { return limit(ctx, table) })
		},
	}
}

// fresh times what fills a new table, and drops it once all rows were seen in it.
func (d *database) fresh(ctx context.Context, prefix string, fill func(table string) error) (time.Duration, error) {
	d.serial++
	table := fmt.Sprintf("%s_%d", prefix, d.serial)
	if err := d.exec(ctx, fmt.Sprintf(d.create, table)); err != nil {
		return 0, err
	}
	if d.settle != "" {
		if err := d.exec(ctx, d.settle); err != nil {
			return 0, err
		}
	}
	took, err := timed(func() error { return fill(table) })
	if err != nil {
		return 0, err
	}
	n, err := d.count(ctx, table)
	if err == nil {
		err = counted(n, d.rows.rows)
	}
	if err != nil || d.keep {
		return took, err
	}
	return took, d.exec(ctx, "DROP TABLE "+table)
}

// source fills the table that the lines of an extract read.
func (d *database) source(ctx context.Context, fill func(ctx context.Context, table string) error) error {
	if err := d.exec(ctx, fmt.Sprintf(d.create, "source")); err != nil {
		return err
	}
	return fill(ctx, "source")
}

// extract is the line of an extract.
func (d *database) extract(name string, limit func(ctx context.Context, query string) error) work {
	query := "SELECT " + strings.Join(names(), ", ") + " FROM source"
	return work{
		name: "extract, over " + name,
		ours: func(ctx context.Context) (time.Duration, error) { return extract(ctx, d.link, query, d.rows.rows) },
		limit: func(ctx context.Context) (time.Duration, error) {
			return timed(func() error { return limit(ctx, query) })
		},
	}
}

// overSQL makes the bench's own way to a database that package sql opens.
func (d *database) overSQL(h *host, driver, dsn string) (*sql.DB, error) {
	db, err := sql.Open(driver, dsn)
	if err != nil {
		return nil, err
	}
	h.Cleanup(func() { _ = db.Close() })
	d.exec = func(ctx context.Context, statement string) error {
		_, err := db.ExecContext(ctx, statement)
		return err
	}
	d.count = func(ctx context.Context, table string) (n int, err error) {
		return n, db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n)
	}
	return db, nil
}

// scan reads a query as the plainest program does: row by row into variables.
func scan(ctx context.Context, db *sql.DB, query string, rows int, into ...any) error {
	result, err := db.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer result.Close()
	n := 0
	for result.Next() {
		if err := result.Scan(into...); err != nil {
			return err
		}
		n++
	}
	if err := result.Err(); err != nil {
		return err
	}
	return counted(n, rows)
}

// variables are what rows are scanned into. Decimals are text, and days and times are time.Time, or text where the system
// has no types for them.
func variables(moments bool) []any {
	var (
		id, customer, country, kind, amount, tax, issued, due, booked, status, note string
		quantity                                                                    int32
		issuedAt, dueAt, bookedAt                                                   time.Time
	)
	if moments {
		return []any{&id, &customer, &country, &kind, &amount, &tax, &quantity, &issuedAt, &dueAt, &bookedAt, &status, &note}
	}
	return []any{&id, &customer, &country, &kind, &amount, &tax, &quantity, &issued, &due, &booked, &status, &note}
}

// setLink keeps a connector that is source and target.
func (d *database) setLink(c connector.Connector, err error) error {
	if err != nil {
		return err
	}
	d.link = c.(interface {
		connector.Target
		connector.RowSource
	})
	return nil
}

func openPostgres(ctx context.Context, h *host, v *invoices) ([]work, error) {
	dsn := server.StartPostgres(h)
	settings, password := server.PostgresSettings(h, dsn)
	d := &database{rows: v, settle: "CHECKPOINT", create: "CREATE TABLE %s (invoice_id text, customer text, country text, kind text, amount numeric(12,2), " +
		"tax numeric(12,2), quantity integer, issued_on date, due_on date, booked_at timestamp, status text, note text)"}
	if err := d.setLink(link(ctx, h, "postgres", settings, map[string]string{"password": password})); err != nil {
		return nil, err
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	h.Cleanup(func() { _ = conn.Close(context.Background()) })
	d.exec = func(ctx context.Context, statement string) error {
		_, err := conn.Exec(ctx, statement)
		return err
	}
	d.count = func(ctx context.Context, table string) (n int, err error) {
		return n, conn.QueryRow(ctx, "SELECT count(*) FROM "+table).Scan(&n)
	}
	bulk := func(ctx context.Context, table string) error {
		return psql(ctx, dsn, fmt.Sprintf("\\copy %s from '%s' with (format csv)\n", table, v.csv))
	}
	if err := d.source(ctx, bulk); err != nil {
		return nil, err
	}
	return []work{
		d.load(`psql \copy of a ready CSV`, "0.8", bulk),
		d.extract("pgx, row by row into variables", func(ctx context.Context, query string) error {
			var (
				id, customer, country, kind, status, note string
				amount, tax                               pgtype.Numeric
				quantity                                  int32
				issued, due, booked                       time.Time
			)
			rows, err := conn.Query(ctx, query)
			if err != nil {
				return err
			}
			tag, err := pgx.ForEachRow(rows, []any{&id, &customer, &country, &kind, &amount, &tax, &quantity, &issued, &due, &booked, &status, &note},
				func() error { return nil })
			if err != nil {
				return err
			}
			return counted(int(tag.RowsAffected()), v.rows)
		}),
		d.extract(`psql \copy to /dev/null`, func(ctx context.Context, query string) error {
			return psql(ctx, dsn, fmt.Sprintf("\\copy (%s) to '/dev/null' with (format csv)\n", query))
		}),
	}, nil
}

func openMySQL(ctx context.Context, h *host, v *invoices) ([]work, error) {
	m := server.StartMySQL(h)
	d := &database{rows: v, create: "CREATE TABLE %s (invoice_id varchar(40), customer varchar(80), country varchar(10), kind varchar(20), amount decimal(12,2), " +
		"tax decimal(12,2), quantity int, issued_on date, due_on date, booked_at datetime(6), status varchar(10), note varchar(200))"}
	if err := d.setLink(link(ctx, h, "mysql", map[string]any{
		"host": m.Host, "port": float64(m.Port), "database": m.Database, "user": m.User, "sslmode": "disable",
	}, map[string]string{"password": m.Password})); err != nil {
		return nil, err
	}
	db, err := d.overSQL(h, "mysql", m.DSN()+"&parseTime=true")
	if err != nil {
		return nil, err
	}
	bulk := func(ctx context.Context, table string) error {
		cmd := exec.CommandContext(ctx, "mariadb", "--no-defaults", "--local-infile=1", "--protocol=tcp", "--skip-ssl", "-h", m.Host, "-P", strconv.Itoa(m.Port),
			"-u", m.User, m.Database, "-e", fmt.Sprintf("LOAD DATA LOCAL INFILE '%s' INTO TABLE %s CHARACTER SET utf8mb4", v.tsv, table))
		cmd.Env, cmd.Stderr = append(os.Environ(), "MYSQL_PWD="+m.Password), os.Stderr
		return cmd.Run()
	}
	if err := d.source(ctx, bulk); err != nil {
		return nil, err
	}
	return []work{
		d.load("mariadb LOAD DATA of a ready file", "1.15", bulk),
		d.extract("go-sql-driver, row by row into variables", func(ctx context.Context, query string) error {
			return scan(ctx, db, query, v.rows, variables(true)...)
		}),
	}, nil
}

func openSQLite(ctx context.Context, h *host, v *invoices) ([]work, error) {
	dir := h.TempDir()
	path := filepath.Join(dir, "bench.db")
	d := &database{rows: v, create: "CREATE TABLE %s (invoice_id TEXT, customer TEXT, country TEXT, kind TEXT, amount TEXT, tax TEXT, quantity INTEGER, " +
		"issued_on TEXT, due_on TEXT, booked_at TEXT, status TEXT, note TEXT)"}
	if err := d.setLink(link(ctx, h, "sqlite", map[string]any{"path": path}, nil, dir)); err != nil {
		return nil, err
	}
	db, err := d.overSQL(h, "sqlite", path)
	if err != nil {
		return nil, err
	}
	moment := func(at time.Time, day bool) any {
		if day {
			return at.Format(time.DateOnly)
		}
		return at.Format("2006-01-02 15:04:05.000000")
	}
	plain := func(ctx context.Context, table string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		insert, err := tx.PrepareContext(ctx, "INSERT INTO "+table+" VALUES (?"+strings.Repeat(", ?", len(typed)-1)+")")
		if err != nil {
			return err
		}
		if err := v.insert(ctx, insert, moment); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := d.source(ctx, plain); err != nil {
		return nil, err
	}
	return []work{
		d.load("a prepared INSERT in one transaction", "", plain),
		d.extract("modernc, row by row into variables", func(ctx context.Context, query string) error {
			return scan(ctx, db, query, v.rows, variables(false)...)
		}),
	}, nil
}

// openSQLServer measures against the server of the tests, which is no SQL Server.
func openSQLServer(ctx context.Context, h *host, v *invoices) ([]work, error) {
	s, err := tdstest.Start(tdstest.Options{})
	if err != nil {
		return nil, err
	}
	h.Cleanup(func() { _ = s.Stop() })
	d := &database{rows: v, keep: true, create: "CREATE TABLE %s (invoice_id nvarchar(40) NULL, customer nvarchar(80) NULL, country nvarchar(10) NULL, kind nvarchar(20) NULL, " +
		"amount decimal(12,2) NULL, tax decimal(12,2) NULL, quantity int NULL, issued_on date NULL, due_on date NULL, booked_at datetime2(6) NULL, " +
		"status nvarchar(10) NULL, note nvarchar(200) NULL)"}
	if err := d.setLink(link(ctx, h, "sqlserver", map[string]any{
		"host": "127.0.0.1", "port": float64(s.Port()), "database": "master", "user": tdstest.User, "encrypt": "disable",
	}, map[string]string{"password": tdstest.Password})); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "sqlserver", User: url.UserPassword(tdstest.User, tdstest.Password), Host: fmt.Sprintf("127.0.0.1:%d", s.Port()),
		RawQuery: url.Values{"encrypt": {"disable"}}.Encode()}
	db, err := d.overSQL(h, "sqlserver", dsn.String())
	if err != nil {
		return nil, err
	}
	bulk := func(ctx context.Context, table string) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer func() { _ = tx.Rollback() }()
		in, err := tx.PrepareContext(ctx, mssql.CopyIn(table, mssql.BulkOptions{CheckConstraints: true, KeepNulls: true}, names()...))
		if err != nil {
			return err
		}
		if err := v.bulkCopy(ctx, in); err != nil {
			return err
		}
		return tx.Commit()
	}
	if err := d.source(ctx, bulk); err != nil {
		return nil, err
	}
	return []work{
		d.load("go-mssqldb's bulk copy (emulator)", "", bulk),
		d.extract("go-mssqldb, row by row into variables (emulator)", func(ctx context.Context, query string) error {
			return scan(ctx, db, query, v.rows, variables(true)...)
		}),
	}, nil
}
