package mysql_test

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/mysql"
	"github.com/lume-data/lume/test/server"
)

var (
	spec  = loadtest.Spec
	modes = loadtest.Modes
	coded = loadtest.Coded
)

// bundle is a database, a connector to it, and sessions to look at what is there.
type bundle struct {
	t      testing.TB
	server *server.MySQL
	link   *mysql.Connector
	db     *sql.DB
}

func setup(t testing.TB) *bundle {
	t.Helper()
	m := server.StartMySQL(t)
	return &bundle{t: t, server: m, link: connect(t, m, nil), db: openDB(t, m)}
}

func openDB(t testing.TB, m *server.MySQL) *sql.DB {
	t.Helper()
	db, err := sql.Open("mysql", m.DSN())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, db.Close()) })
	return db
}

// connect opens a connector to a database; settings override.
func connect(t testing.TB, m *server.MySQL, override map[string]any) *mysql.Connector {
	t.Helper()
	link, err := open(t, m, override)
	require.NoError(t, err)
	return link.(*mysql.Connector)
}

func open(t testing.TB, m *server.MySQL, override map[string]any) (connector.Connector, error) {
	t.Helper()
	settings := map[string]any{"host": m.Host, "port": float64(m.Port), "database": m.Database, "user": m.User, "sslmode": "disable"}
	password := m.Password
	for name, value := range override {
		if name == "password" {
			password = value.(string)
			continue
		}
		settings[name] = value
	}
	link, err := connector.NewRegistry(mysql.Definition()).Open(t.Context(), connector.Env{Log: slog.New(slog.DiscardHandler)},
		"mysql", settings, map[string]connector.Secret{"password": connector.NewSecret(password)})
	if err == nil {
		t.Cleanup(func() { require.NoError(t, link.Close()) })
	}
	return link, err
}

// database is a fresh database for the tests that SQL targets share.
func database(t *testing.T) loadtest.Database {
	t.Helper()
	b := setup(t)
	return loadtest.Database{Link: b.link, Exec: b.exec, Text: func(query string) string { return b.text(query) }, Sessions: func() int { return len(b.sessions()) }, Kill: func() {
		for _, id := range b.sessions() {
			b.exec(fmt.Sprintf("KILL %d", id))
		}
	}}
}

func (b *bundle) exec(statements string) {
	b.t.Helper()
	// A test that has ended still cleans up.
	_, err := b.db.ExecContext(context.WithoutCancel(b.t.Context()), statements)
	require.NoError(b.t, err, statements)
}

// atEnd runs statements when the test has ended.
func (b *bundle) atEnd(statements string) { b.t.Cleanup(func() { b.exec(statements) }) }

// text returns the one value of a query as text.
func (b *bundle) text(query string, args ...any) string {
	b.t.Helper()
	var value sql.NullString
	require.NoError(b.t, b.db.QueryRowContext(b.t.Context(), "SELECT ("+query+")", args...).Scan(&value), query)
	if !value.Valid {
		return "NULL"
	}
	return value.String
}

func (b *bundle) load(l *loadtest.Load) connector.Outcome {
	b.t.Helper()
	return l.Run(b.t, b.link)
}
