package postgres_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// suite is a database that the connector suite shares.
type suite struct {
	dsn    string
	tables atomic.Int64
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	s := &suite{dsn: server.StartPostgres(t)}
	s.ask(t, func(conn *pgx.Conn) {
		// Where it is not UTC, and changes its clocks, a time that is taken for a local one shows.
		database := pgx.Identifier{conn.Config().Database}.Sanitize()
		_, err := conn.Exec(t.Context(), "ALTER DATABASE "+database+" SET timezone = 'America/St_Johns'")
		require.NoError(t, err)
	})
	return s
}

// ask runs f in a session of its own.
func (s *suite) ask(t *testing.T, f func(conn *pgx.Conn)) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.dsn)
	require.NoError(t, err)
	defer conn.Close(context.WithoutCancel(t.Context()))
	f(conn)
}

func (s *suite) place(*testing.T) connector.TargetSpec {
	return connector.TargetSpec{Table: fmt.Sprintf("suite_%d", s.tables.Add(1))}
}

func (s *suite) has(t *testing.T, table string) (found bool) {
	t.Helper()
	s.ask(t, func(conn *pgx.Conn) {
		require.NoError(t, conn.QueryRow(t.Context(), "SELECT to_regclass($1) IS NOT NULL", table).Scan(&found))
	})
	return found
}

func (s *suite) rows(t *testing.T, spec connector.TargetSpec) []connectortest.Row {
	t.Helper()
	if !s.has(t, spec.Table) {
		return nil
	}
	return connectortest.QueryRows(t, connect(t, s.dsn, nil), "SELECT "+names(spec.Columns)+" FROM "+spec.Table, spec.Columns)
}

func (s *suite) rejects(t *testing.T, spec connector.TargetSpec, runID string) (list []connector.Reject) {
	t.Helper()
	if !s.has(t, spec.Table+"_rejects") {
		return nil
	}
	s.ask(t, func(conn *pgx.Conn) {
		rows, err := conn.Query(t.Context(), `SELECT coalesce(_row, -1), coalesce(file, ''), coalesce(line, -1), coalesce(byte_offset, -1), stage,
			errors::text, coalesce(record::text, ''), raw FROM `+spec.Table+"_rejects WHERE run_id = $1", runID)
		require.NoError(t, err)
		list, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (r connector.Reject, err error) {
			err = row.Scan(&r.Row, &r.File, &r.Line, &r.Byte, &r.Stage, &r.Errors, &r.Record, &r.Raw)
			return r, err
		})
		require.NoError(t, err)
	})
	return list
}

func (s *suite) fill(t *testing.T, columns []connector.Column, rows []connectortest.Row) string {
	t.Helper()
	return connectortest.FillTable(t, connect(t, s.dsn, nil), s.place(t), columns, rows)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

func names(columns []connector.Column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = quote(c.Name)
	}
	return strings.Join(list, ", ")
}

// sessions counts what the connector has open.
func (s *suite) sessions(t *testing.T) (n int) {
	t.Helper()
	s.ask(t, func(conn *pgx.Conn) {
		err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'lume/%'").Scan(&n)
		require.NoError(t, err)
	})
	return n
}

// made makes a table by a definition of its columns and returns its place.
func (s *suite) made(t *testing.T, columns string) connector.TargetSpec {
	t.Helper()
	spec := s.place(t)
	s.ask(t, func(conn *pgx.Conn) {
		_, err := conn.Exec(t.Context(), "CREATE TABLE "+spec.Table+" ("+columns+")")
		require.NoError(t, err)
	})
	return spec
}

// folding are the ways in which keys are equal. The database has the extension and the collation that they need.
func (s *suite) folding(t *testing.T) []connectortest.Folding {
	t.Helper()
	s.ask(t, func(conn *pgx.Conn) {
		_, err := conn.Exec(t.Context(), "CREATE EXTENSION citext; CREATE COLLATION nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false)")
		require.NoError(t, err)
	})
	table := func(columns string) func(*testing.T) connector.TargetSpec {
		return func(t *testing.T) connector.TargetSpec { t.Helper(); return s.made(t, columns) }
	}
	return []connectortest.Folding{
		{Name: "citext", Make: table("k citext PRIMARY KEY, v text"), One: "a", Other: "A"},
		{Name: "collation", Make: table("k text COLLATE nocase PRIMARY KEY, v text"), One: "é", Other: "É"},
	}
}

// guarded makes a table with a constraint.
func (s *suite) guarded(t *testing.T) connectortest.Guard {
	t.Helper()
	return connectortest.Guard{Place: s.made(t, "id bigint PRIMARY KEY, name text CONSTRAINT short CHECK (length(name) <= 10)"),
		Reason: connector.RefusedRow{Message: "violates the check constraint short"}}
}

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	connectortest.Target(t, connectortest.TargetHarness{
		Open:  func(t *testing.T) connector.Target { return connect(t, s.dsn, nil) },
		Place: s.place, Rows: s.rows, Rejects: s.rejects, Sessions: s.sessions, Evicts: true,
		Folding: s.folding(t), Guarded: s.guarded,
		Only: connectortest.Only{connector.TypeString: {"\u0000": {Refused: true}}},
	})
}

func TestRowSourceSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	connectortest.RowSource(t, connectortest.RowSourceHarness{
		Open: func(t *testing.T) connector.RowSource { return connect(t, s.dsn, nil) },
		Fill: s.fill, TextType: "text", Sessions: s.sessions, NoNUL: true,
	})
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	with := func(name string, value any) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			return connect(t, s.dsn, map[string]any{name: value, "password": connectortest.Canary + `'\ %20`}), nil
		}
	}
	missingDatabase := func(t *testing.T) (connector.Connector, error) {
		t.Helper()
		return connect(t, s.dsn, map[string]any{"database": "no_such_database"}), nil
	}
	tlsWhereThereIsNone := func(t *testing.T) (connector.Connector, error) {
		t.Helper()
		return connect(t, server.OwnPostgres(t, "it needs a server that does not speak TLS"), map[string]any{"sslmode": "require", "password": connectortest.Canary}), nil
	}
	connectortest.Checks(t, connectortest.ChecksHarness{
		Open: func(t *testing.T) connector.Connector { return connect(t, s.dsn, nil) },
		Set: func(t *testing.T, field string, value any) (connector.Connector, error) {
			t.Helper()
			settings := map[string]any{"sslmode": "verify-full"}
			settings[field] = value
			return open(t, s.dsn, settings)
		},
		Refused: map[string]any{
			"host": "/var/run/postgresql", "port": float64(70000), "sslmode": "prefer", "ca_certificate": "not PEM", "client_certificate": "not PEM",
		},
		Broken: []connectortest.Broken{
			{Name: "UnknownHost", Open: with("host", "no-such-host.invalid"), Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable},
			{Name: "NobodyListens", Open: with("port", float64(1)), Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable},
			{Name: "MissingDatabase", Open: missingDatabase, Check: "authenticate", Reason: "DATABASE_NOT_FOUND", Kind: connector.KindNotFound},
			{Name: "UnknownUser", Open: with("user", "nobody_at_all"), Check: "authenticate", Reason: "AUTHENTICATION_FAILED", Kind: connector.KindUnauthenticated},
			{Name: "WrongPassword", Open: with("sslmode", "disable"), Check: "authenticate", Reason: "AUTHENTICATION_FAILED", Kind: connector.KindUnauthenticated},
			{Name: "TLSWhereThereIsNone", Open: tlsWhereThereIsNone, Check: "connect", Reason: "TLS_FAILED", Kind: connector.KindInvalid},
		},
	})
}
