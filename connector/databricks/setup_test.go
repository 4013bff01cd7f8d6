package databricks_test

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	dbsql "github.com/databricks/databricks-sql-go"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/databricks"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/test/server"
)

// warehouse is what the suite runs against: Spark with Delta Lake, or the workspace of LUME_TEST_DATABRICKS_DSN.
type warehouse struct {
	settings map[string]any
	secrets  map[string]connector.Secret
	// spark is nil for a workspace.
	spark *server.Spark
	// schemas are what tests make tables in, each with markers of its own, so that they are less in each other's way.
	schemas []string
	tables  atomic.Int64
}

// newWarehouse returns the warehouse with schemas of the test's own.
func newWarehouse(t *testing.T, schemas int) *warehouse {
	t.Helper()
	w := sparkWarehouse
	if dsn := os.Getenv("LUME_TEST_DATABRICKS_DSN"); dsn != "" {
		w = func(t *testing.T) *warehouse { return workspace(t, dsn) }
	}
	made := w(t)
	for range schemas {
		schema := strings.ToLower("lume_test_" + rand.Text())
		made.exec(t, "CREATE SCHEMA "+schema)
		t.Cleanup(func() { made.exec(t, "DROP SCHEMA "+schema+" CASCADE") })
		made.schemas = append(made.schemas, schema)
	}
	made.settings["schema"] = made.schemas[0]
	return made
}

func sparkWarehouse(t *testing.T) *warehouse {
	t.Helper()
	s := server.StartSpark(t)
	return &warehouse{
		settings: map[string]any{"host": s.URL, "http_path": s.HTTPPath, "catalog": s.Catalog, "schema": s.Schema, "staging": s.Staging},
		secrets:  map[string]connector.Secret{"token": connector.NewSecret(s.Token)},
		spark:    s,
	}
}

// sessions counts the connector's open sessions; a workspace is not asked.
func (w *warehouse) sessions(*testing.T) int {
	if w.spark == nil {
		return 0
	}
	return w.spark.Sessions(w.schemas[0])
}

// workspace reads databricks://token:TOKEN@HOST/HTTP_PATH?catalog=…&schema=…&staging=/Volumes/…
func workspace(t *testing.T, dsn string) *warehouse {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	token, _ := u.User.Password()
	w := &warehouse{settings: map[string]any{"host": u.Host, "http_path": u.Path}, secrets: map[string]connector.Secret{"token": connector.NewSecret(token)}}
	for _, name := range []string{"catalog", "schema", "staging"} {
		w.settings[name] = u.Query().Get(name)
	}
	return w
}

// open opens a connector; settings and the token override.
func (w *warehouse) open(t *testing.T, override map[string]any) *databricks.Connector {
	t.Helper()
	link, err := w.tryOpen(t, override)
	require.NoError(t, err)
	return link.(*databricks.Connector)
}

func (w *warehouse) tryOpen(t *testing.T, override map[string]any) (connector.Connector, error) {
	t.Helper()
	settings, secrets := map[string]any{}, map[string]connector.Secret{}
	for name, value := range w.settings {
		settings[name] = value
	}
	for name, value := range w.secrets {
		secrets[name] = value
	}
	for name, value := range override {
		if name == "token" {
			secrets[name] = connector.NewSecret(value.(string))
			continue
		}
		settings[name] = value
	}
	link, err := connector.NewRegistry(databricks.Definition()).Open(t.Context(), connector.Env{Log: slog.New(slog.DiscardHandler)}, "databricks", settings, secrets)
	if err == nil {
		t.Cleanup(func() { require.NoError(t, link.Close()) })
	}
	return link, err
}

// exec runs a statement past the connector.
func (w *warehouse) exec(t *testing.T, statement string) {
	t.Helper()
	db := w.db(t)
	defer func() { require.NoError(t, db.Close()) }()
	_, err := db.ExecContext(context.WithoutCancel(t.Context()), statement)
	require.NoError(t, err)
}

// shown returns what a statement past the connector shows; of only some columns, if they are named.
func (w *warehouse) shown(t *testing.T, statement string, only ...string) string {
	t.Helper()
	db := w.db(t)
	defer func() { require.NoError(t, db.Close()) }()
	rows, err := db.QueryContext(t.Context(), statement)
	require.NoError(t, err)
	defer rows.Close()
	names, err := rows.Columns()
	require.NoError(t, err)
	var said []string
	for rows.Next() {
		values := make([]any, len(names))
		for i := range values {
			values[i] = new(any)
		}
		require.NoError(t, rows.Scan(values...))
		for i, name := range names {
			if len(only) == 0 || slices.Contains(only, name) {
				said = append(said, fmt.Sprintf("%s: %v", name, *values[i].(*any)))
			}
		}
	}
	require.NoError(t, rows.Err())
	require.GreaterOrEqual(t, len(said), max(1, len(only)), "%v", names)
	return strings.Join(said, "\n")
}

// db opens connections past the connector.
func (w *warehouse) db(t *testing.T) *sql.DB {
	t.Helper()
	host, err := url.Parse(w.settings["host"].(string))
	require.NoError(t, err)
	if host.Host == "" {
		host = &url.URL{Scheme: "https", Host: w.settings["host"].(string)}
	}
	port := 443
	if host.Port() != "" {
		_, err = fmt.Sscan(host.Port(), &port)
		require.NoError(t, err)
	}
	link, err := dbsql.NewConnector(dbsql.WithServerHostname(host.Scheme+"://"+host.Hostname()), dbsql.WithPort(port), dbsql.WithHTTPPath(w.settings["http_path"].(string)),
		dbsql.WithAccessToken(w.secrets["token"].Reveal()), dbsql.WithInitialNamespace(w.settings["catalog"].(string), w.settings["schema"].(string)))
	require.NoError(t, err)
	return sql.OpenDB(link)
}

func (w *warehouse) place(*testing.T) connector.TargetSpec {
	n := w.tables.Add(1)
	return connector.TargetSpec{Table: fmt.Sprintf("%s.suite_%d", w.schemas[n%int64(len(w.schemas))], n)}
}

// query runs a query through the connector; a table that does not exist has no rows.
func (w *warehouse) query(t *testing.T, text string, columns []connector.Column) []connectortest.Row {
	t.Helper()
	ctx := context.WithoutCancel(t.Context())
	stream, err := w.open(t, nil).Query(ctx, text, "", false)
	if err != nil {
		coded(t, err, "TABLE_NOT_FOUND")
		return nil
	}
	defer func() { require.NoError(t, stream.Close()) }()
	var rows []connectortest.Row
	for {
		batch, err := stream.Next(ctx)
		if errors.Is(err, io.EOF) {
			return rows
		}
		require.NoError(t, err)
		for i := range int(batch.NumRows()) {
			row := make(connectortest.Row, len(columns))
			for c := range columns {
				row[c] = connectortest.Value(t, batch.Column(c), i, columns[c].Type)
			}
			rows = append(rows, row)
		}
		batch.Release()
	}
}

func (w *warehouse) rows(t *testing.T, spec connector.TargetSpec) []connectortest.Row {
	t.Helper()
	list := make([]string, len(spec.Columns))
	for i, c := range spec.Columns {
		list[i] = "`" + strings.ReplaceAll(c.Name, "`", "``") + "`"
	}
	return w.query(t, "SELECT "+strings.Join(list, ", ")+" FROM "+spec.Table, spec.Columns)
}

var rejectColumns = []connector.Column{
	{Name: "row", Type: connector.Type{Name: connector.TypeInt64}}, {Name: "file", Type: connector.Type{Name: connector.TypeString}},
	{Name: "line", Type: connector.Type{Name: connector.TypeInt64}}, {Name: "byte", Type: connector.Type{Name: connector.TypeInt64}},
	{Name: "stage", Type: connector.Type{Name: connector.TypeString}}, {Name: "errors", Type: connector.Type{Name: connector.TypeString}},
	{Name: "record", Type: connector.Type{Name: connector.TypeString}}, {Name: "raw", Type: connector.Type{Name: connector.TypeBinary}},
}

func (w *warehouse) rejects(t *testing.T, spec connector.TargetSpec, runID string) (list []connector.Reject) {
	t.Helper()
	rows := w.query(t, fmt.Sprintf("SELECT coalesce(_row, -1) AS r, coalesce(file, '') AS f, coalesce(line, -1) AS l, coalesce(byte_offset, -1) AS b, "+
		"stage, errors, coalesce(record, '') AS record, raw FROM %s_rejects WHERE run_id = '%s'", spec.Table, runID), rejectColumns)
	for _, row := range rows {
		r := connector.Reject{File: *row[1], Stage: *row[4], Errors: *row[5], Record: *row[6]}
		for i, to := range map[int]*int64{0: &r.Row, 2: &r.Line, 3: &r.Byte} {
			_, err := fmt.Sscan(*row[i], to)
			require.NoError(t, err)
		}
		if row[7] != nil {
			r.Raw = []byte{}
			_, err := fmt.Sscanf(*row[7], "%x", &r.Raw)
			require.NoError(t, err)
		}
		list = append(list, r)
	}
	return list
}

func (w *warehouse) fill(t *testing.T, columns []connector.Column, rows []connectortest.Row) string {
	t.Helper()
	return connectortest.FillTable(t, w.open(t, nil), w.place(t), columns, rows)
}

var coded = loadtest.Coded

// text returns the one value of a query.
func (w *warehouse) text(t *testing.T, query string) string {
	t.Helper()
	rows := w.query(t, query, []connector.Column{{Name: "v", Type: connector.Type{Name: connector.TypeString}}})
	require.Len(t, rows, 1)
	return *rows[0][0]
}
