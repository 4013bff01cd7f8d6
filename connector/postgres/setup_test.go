package postgres_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/postgres"
	"github.com/lume-data/lume/test/server"
)

var (
	spec  = loadtest.Spec
	coded = loadtest.Coded
)

// bundle is a database, a connector to it, and a session to look at what is there.
type bundle struct {
	t    testing.TB
	dsn  string
	link *postgres.Connector
	conn *pgx.Conn
}

func setup(t testing.TB) *bundle {
	t.Helper()
	return setupIn(t, server.StartPostgres(t))
}

// setupIn is setup for the database of a DSN.
func setupIn(t testing.TB, dsn string) *bundle {
	t.Helper()
	b := &bundle{t: t, dsn: dsn, link: connect(t, dsn, nil)}
	b.conn = b.session()
	return b
}

// connect opens a connector to the database of a DSN; settings override.
func connect(t testing.TB, dsn string, override map[string]any) *postgres.Connector {
	t.Helper()
	link, err := open(t, dsn, override)
	require.NoError(t, err)
	return link.(*postgres.Connector)
}

func open(t testing.TB, dsn string, override map[string]any) (connector.Connector, error) {
	t.Helper()
	settings, password := server.PostgresSettings(t, dsn)
	for name, value := range override {
		if name == "password" {
			password = value.(string)
			continue
		}
		settings[name] = value
	}
	link, err := connector.NewRegistry(postgres.Definition()).Open(t.Context(), connector.Env{Log: slog.New(slog.DiscardHandler)},
		"postgres", settings, map[string]connector.Secret{"password": connector.NewSecret(password)})
	if err == nil {
		t.Cleanup(func() { require.NoError(t, link.Close()) })
	}
	return link, err
}

func (b *bundle) session() *pgx.Conn {
	b.t.Helper()
	conn, err := pgx.Connect(b.t.Context(), b.dsn)
	require.NoError(b.t, err)
	b.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// database is a fresh database for the tests that SQL targets share.
func database(t *testing.T) loadtest.Database {
	t.Helper()
	b := setup(t)
	const ours = " FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'lume/%'"
	return loadtest.Database{Link: b.link, Exec: b.exec, Text: func(query string) string { return b.text(query) }, Sessions: func() (n int) {
		require.NoError(t, b.conn.QueryRow(t.Context(), "SELECT count(*)"+ours).Scan(&n))
		return n
	}, Kill: func() { require.Equal(t, "true", b.text("SELECT bool_and(pg_terminate_backend(pid))"+ours)) }}
}

func (b *bundle) exec(sql string) {
	b.t.Helper()
	_, err := b.conn.Exec(b.t.Context(), sql)
	require.NoError(b.t, err)
}

// text returns the one value of a query as text.
func (b *bundle) text(sql string, args ...any) string {
	b.t.Helper()
	var value *string
	require.NoError(b.t, b.conn.QueryRow(b.t.Context(), "SELECT ("+sql+")::text", args...).Scan(&value))
	if value == nil {
		return "NULL"
	}
	return *value
}

func (b *bundle) load(l *loadtest.Load) connector.Outcome {
	b.t.Helper()
	return l.Run(b.t, b.link)
}
