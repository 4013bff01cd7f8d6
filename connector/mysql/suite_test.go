package mysql_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/test/server"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// suite is a database that the connector suite shares.
type suite struct {
	server *server.MySQL
	db     *sql.DB
	tables atomic.Int64
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	m := server.StartMySQL(t)
	return &suite{server: m, db: openDB(t, m)}
}

func (s *suite) open(t *testing.T) connector.Target {
	t.Helper()
	return connect(t, s.server, nil)
}

func (s *suite) place(*testing.T) connector.TargetSpec {
	return connector.TargetSpec{Table: fmt.Sprintf("suite_%d", s.tables.Add(1))}
}

func (s *suite) has(t *testing.T, table string) (found bool) {
	t.Helper()
	err := s.db.QueryRowContext(t.Context(), "SELECT count(*) FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", s.server.Database, table).Scan(&found)
	require.NoError(t, err)
	return found
}

func (s *suite) rows(t *testing.T, spec connector.TargetSpec) []connectortest.Row {
	t.Helper()
	if !s.has(t, spec.Table) {
		return nil
	}
	return connectortest.QueryRows(t, connect(t, s.server, nil), "SELECT "+names(spec.Columns)+" FROM "+spec.Table, spec.Columns)
}

func (s *suite) rejects(t *testing.T, spec connector.TargetSpec, runID string) (list []connector.Reject) {
	t.Helper()
	if !s.has(t, spec.Table+"_rejects") {
		return nil
	}
	rows, err := s.db.QueryContext(t.Context(), `SELECT coalesce(_row, -1), coalesce(file, ''), coalesce(line, -1), coalesce(byte_offset, -1), stage,
		errors, coalesce(record, ''), raw FROM `+spec.Table+"_rejects WHERE run_id = ?", runID)
	require.NoError(t, err)
	defer rows.Close()
	for rows.Next() {
		var r connector.Reject
		require.NoError(t, rows.Scan(&r.Row, &r.File, &r.Line, &r.Byte, &r.Stage, &r.Errors, &r.Record, &r.Raw))
		list = append(list, r)
	}
	require.NoError(t, rows.Err())
	return list
}

func (s *suite) fill(t *testing.T, columns []connector.Column, rows []connectortest.Row) string {
	t.Helper()
	return connectortest.FillTable(t, connect(t, s.server, nil), s.place(t), columns, rows)
}

func quote(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

// names selects columns. An instant is kept as a DATETIME in UTC, which has no zone to show.
func names(columns []connector.Column) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = quote(c.Name)
		if c.Type.Name == connector.TypeTimestampTZ {
			list[i] = "concat(" + list[i] + ", 'Z') AS " + list[i]
		}
	}
	return strings.Join(list, ", ")
}

// sessions counts what the connector has open.
func (s *suite) sessions(t *testing.T) (n int) {
	t.Helper()
	other := *s.server
	other.Database = ""
	db := openDB(t, &other)
	err := db.QueryRowContext(t.Context(), "SELECT count(*) FROM information_schema.processlist WHERE db = ? AND id NOT IN (SELECT CONNECTION_ID())", s.server.Database).Scan(&n)
	require.NoError(t, err)
	return n
}

// made makes a table by a definition of its columns and returns its place.
func (s *suite) made(t *testing.T, columns string) connector.TargetSpec {
	t.Helper()
	spec := s.place(t)
	_, err := s.db.ExecContext(t.Context(), "CREATE TABLE "+spec.Table+" ("+columns+") CHARACTER SET utf8mb4")
	require.NoError(t, err)
	return spec
}

// folding are the ways in which keys are equal.
func (s *suite) folding() []connectortest.Folding {
	table := func(collation string) func(*testing.T) connector.TargetSpec {
		return func(t *testing.T) connector.TargetSpec {
			t.Helper()
			return s.made(t, "k varchar(20) COLLATE "+collation+" PRIMARY KEY, v text")
		}
	}
	return []connectortest.Folding{
		{Name: "case", Make: table("utf8mb4_general_ci"), One: "a", Other: "A"},
		{Name: "accent", Make: table("utf8mb4_unicode_ci"), One: "é", Other: "e"},
		{Name: "blanks", Make: table("utf8mb4_bin"), One: "a", Other: "a "},
	}
}

// guarded makes a table with a constraint.
func (s *suite) guarded(t *testing.T) connectortest.Guard {
	t.Helper()
	return connectortest.Guard{Place: s.made(t, "id bigint PRIMARY KEY, name text, CONSTRAINT short CHECK (char_length(name) <= 10)"),
		Reason: connector.RefusedRow{Message: "violates the check constraint short"}}
}

// none is what becomes of a value that is refused.
var none = connectortest.Instead{Refused: true}

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	// The looker-on's connections would be counted as the connector's.
	s.db.SetMaxIdleConns(-1)
	floats := map[string]connectortest.Instead{"NaN": none, "Infinity": none, "-Infinity": none, "-0": {Value: connectortest.Text("0")}}
	connectortest.Target(t, connectortest.TargetHarness{
		Open: s.open, Place: s.place, Rows: s.rows, Rejects: s.rejects, Sessions: s.sessions, Evicts: true,
		Folding: s.folding(), Guarded: s.guarded,
		Only:       connectortest.Only{connector.TypeFloat32: floats, connector.TypeFloat64: floats},
		FoldsNames: true, PlaneNames: true,
	})
}

func TestRowSourceSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	s.db.SetMaxIdleConns(-1)
	connectortest.RowSource(t, connectortest.RowSourceHarness{
		Open: func(t *testing.T) connector.RowSource { return connect(t, s.server, nil) },
		Fill: s.fill, TextType: "char", Sessions: s.sessions,
	})
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	with := func(name string, value any) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			return connect(t, s.server, map[string]any{"password": connectortest.Canary + `'\ %20`, name: value}), nil
		}
	}
	missingDatabase := func(t *testing.T) (connector.Connector, error) {
		t.Helper()
		return connect(t, s.server, map[string]any{"database": "no_such_database"}), nil
	}
	connectortest.Checks(t, connectortest.ChecksHarness{
		Open: func(t *testing.T) connector.Connector { return connect(t, s.server, nil) },
		Set: func(t *testing.T, field string, value any) (connector.Connector, error) {
			t.Helper()
			settings := map[string]any{"sslmode": "verify-full"}
			settings[field] = value
			return open(t, s.server, settings)
		},
		Refused: map[string]any{
			"host": "/var/run/mysqld.sock", "port": float64(70000), "sslmode": "prefer", "ca_certificate": "not PEM", "client_certificate": "not PEM",
		},
		Broken: []connectortest.Broken{
			{Name: "UnknownHost", Open: with("host", "no-such-host.invalid"), Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable},
			{Name: "NobodyListens", Open: with("port", float64(1)), Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable},
			{Name: "MissingDatabase", Open: missingDatabase, Check: "authenticate", Reason: "DATABASE_NOT_FOUND", Kind: connector.KindNotFound},
			{Name: "UnknownUser", Open: with("user", "nobody_at_all"), Check: "authenticate", Reason: "AUTHENTICATION_FAILED", Kind: connector.KindUnauthenticated},
			{Name: "WrongPassword", Open: with("sslmode", "disable"), Check: "authenticate", Reason: "AUTHENTICATION_FAILED", Kind: connector.KindUnauthenticated},
			{Name: "UntrustedCertificate", Open: with("sslmode", "verify-full"), Check: "connect", Reason: "TLS_FAILED", Kind: connector.KindInvalid},
		},
	})
}
