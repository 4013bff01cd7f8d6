package sqlserver_test

import (
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	mssql "github.com/microsoft/go-mssqldb"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload/loadtest"
	"github.com/lume-data/lume/connector/sqlserver"
	"github.com/lume-data/lume/connector/sqlserver/tdstest"
)

// system is a server: the one that LUME_TEST_SQLSERVER_DSN names, or one for tests.
type system struct {
	settings map[string]any
	password string
}

// shared is the server of this test process.
var shared struct {
	sync.Mutex
	server *tdstest.Server
}

func TestMain(m *testing.M) {
	if os.Getenv(serveVariable) != "" {
		os.Exit(serve())
	}
	code := m.Run()
	if shared.server != nil {
		if err := shared.server.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	// What the connector or its driver leaves behind shows only when everything has stopped.
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// theSystem returns the server that all tests use but those about faults.
func theSystem(t testing.TB) system {
	t.Helper()
	if dsn := os.Getenv("LUME_TEST_SQLSERVER_DSN"); dsn != "" {
		s := named(t, dsn)
		s.requireRights(t)
		return s
	}
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		server, err := tdstest.Start(tdstest.Options{})
		require.NoError(t, err)
		shared.server = server
	}
	return fake(shared.server.Port())
}

// fake is a server for tests, reached in the clear.
func fake(port int) system {
	return system{password: tdstest.Password, settings: map[string]any{
		"host": "127.0.0.1", "port": float64(port), "database": "master", "user": tdstest.User, "encrypt": "disable",
	}}
}

// named reads a DSN: sqlserver://user:password@host:port?encrypt=true&trust_server_certificate=true.
func named(t testing.TB, dsn string) system {
	t.Helper()
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	port := 1433
	if u.Port() != "" {
		port, err = strconv.Atoi(u.Port())
		require.NoError(t, err)
	}
	s := system{settings: map[string]any{"host": u.Hostname(), "port": float64(port), "database": "master", "user": u.User.Username()}}
	s.password, _ = u.User.Password()
	for name, values := range u.Query() {
		if s.settings[name] = values[0]; name == "trust_server_certificate" {
			s.settings[name] = values[0] == "true"
		}
	}
	return s
}

// rights are the permissions that the tests need. Without the last two a login sees none but its own sessions, so that tests which count
// sessions or end them would say nothing.
var rights = []string{"CREATE ANY DATABASE", "VIEW SERVER STATE", "ALTER ANY CONNECTION"}

// requireRights ends a test whose login could not show what it is to show.
func (s system) requireRights(t testing.TB) {
	t.Helper()
	for _, right := range rights {
		var granted sql.NullInt64
		require.NoError(t, s.session(t, "master").QueryRowContext(t.Context(), "SELECT HAS_PERMS_BY_NAME(NULL, NULL, @p1) AS granted", right).Scan(&granted))
		require.EqualValues(t, 1, granted.Int64, "the login of LUME_TEST_SQLSERVER_DSN lacks %s: GRANT it, or use another login", right)
	}
}

// session opens a session of the test's own in a database.
func (s system) session(t testing.TB, database string) *sql.DB {
	t.Helper()
	q := url.Values{"database": {database}, "encrypt": {"true"}, "TrustServerCertificate": {"true"}}
	if encrypt, ok := s.settings["encrypt"].(string); ok {
		q.Set("encrypt", encrypt)
	}
	u := url.URL{Scheme: "sqlserver", User: url.UserPassword(s.settings["user"].(string), s.password), RawQuery: q.Encode(),
		Host: fmt.Sprintf("%s:%v", s.settings["host"], s.settings["port"])}
	db, err := sql.Open("sqlserver", u.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = db.Close() })
	return db
}

// isNumber reports whether err is the server's error of that number.
func isNumber(err error, number int32) bool {
	var e mssql.Error
	return errors.As(err, &e) && e.Number == number
}

// creating lets one test at a time create a database: the server locks `model` for it, and others fail with 1807.
var creating sync.Mutex

// create makes a database that goes with the test. Readers in it need not wait for writers.
func (s system) create(t testing.TB) string {
	t.Helper()
	name := fmt.Sprintf("lume_test_%08x", rand.Uint32())
	master := s.session(t, "master")
	for _, statement := range []string{"CREATE DATABASE [" + name + "]", "ALTER DATABASE [" + name + "] SET ALLOW_SNAPSHOT_ISOLATION ON"} {
		// Somebody else may create one too.
		for try := 1; ; try++ {
			creating.Lock()
			_, err := master.ExecContext(t.Context(), statement)
			creating.Unlock()
			if try == 20 || !isNumber(err, 1807) {
				require.NoError(t, err)
				break
			}
			time.Sleep(500 * time.Millisecond)
		}
	}
	t.Cleanup(func() {
		master := s.session(t, "master")
		_, err := master.Exec("ALTER DATABASE [" + name + "] SET SINGLE_USER WITH ROLLBACK IMMEDIATE; DROP DATABASE [" + name + "]")
		require.NoError(t, err)
	})
	return name
}

// connect opens a connector; settings override those of the system.
func (s system) connect(t testing.TB, database string, override map[string]any) *sqlserver.Connector {
	t.Helper()
	link, err := s.open(t, database, override)
	require.NoError(t, err)
	return link
}

func (s system) open(t testing.TB, database string, override map[string]any) (*sqlserver.Connector, error) {
	t.Helper()
	settings, password := map[string]any{}, s.password
	for _, from := range []map[string]any{s.settings, {"database": database}, override} {
		for name, value := range from {
			settings[name] = value
		}
	}
	if text, ok := settings["password"].(string); ok {
		password = text
		delete(settings, "password")
	}
	link, err := connector.NewRegistry(sqlserver.Definition()).Open(t.Context(), connector.Env{Log: slog.New(slog.DiscardHandler)},
		"sqlserver", settings, map[string]connector.Secret{"password": connector.NewSecret(password)})
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { require.NoError(t, link.Close()) })
	return link.(*sqlserver.Connector), nil
}

var (
	target = loadtest.Spec
	coded  = loadtest.Coded
)

// bundle is a database, a connector to it, and a session to look at what is there.
type bundle struct {
	t        testing.TB
	system   system
	database string
	link     *sqlserver.Connector
	db       *sql.DB
}

func setup(t testing.TB) *bundle {
	t.Helper()
	return setupIn(t, theSystem(t))
}

func setupIn(t testing.TB, s system) *bundle {
	t.Helper()
	database := s.create(t)
	return &bundle{t: t, system: s, database: database, link: s.connect(t, database, nil), db: s.session(t, database)}
}

func (b *bundle) exec(statement string) {
	b.t.Helper()
	_, err := b.db.ExecContext(b.t.Context(), statement)
	require.NoError(b.t, err)
}

// rows returns the rows of a query, values separated by |.
func (b *bundle) rows(query string, args ...any) []string {
	b.t.Helper()
	rows, err := b.db.QueryContext(b.t.Context(), query, args...)
	require.NoError(b.t, err)
	defer rows.Close()
	columns, err := rows.Columns()
	require.NoError(b.t, err)
	var list []string
	for rows.Next() {
		values, pointers := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			pointers[i] = &values[i]
		}
		require.NoError(b.t, rows.Scan(pointers...))
		texts := make([]string, len(values))
		for i, v := range values {
			if texts[i] = fmt.Sprint(v); v == nil {
				texts[i] = "NULL"
			} else if raw, ok := v.([]byte); ok {
				texts[i] = string(raw)
			}
		}
		list = append(list, strings.Join(texts, "|"))
	}
	require.NoError(b.t, rows.Err())
	return list
}

func (b *bundle) load(l *loadtest.Load) connector.Outcome {
	b.t.Helper()
	return l.Run(b.t, b.link)
}
