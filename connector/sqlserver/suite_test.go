package sqlserver_test

import (
	"database/sql"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
)

// suite is a database that the connector suite shares.
type suite struct {
	system   system
	database string
	db       *sql.DB
	tables   atomic.Int64
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	s := &suite{system: theSystem(t)}
	s.database = s.system.create(t)
	s.db = s.system.session(t, s.database)
	return s
}

func (s *suite) place(*testing.T) connector.TargetSpec {
	return connector.TargetSpec{Table: fmt.Sprintf("suite_%d", s.tables.Add(1))}
}

func (s *suite) has(t *testing.T, table string) bool {
	t.Helper()
	var n int
	// Tables that other tests create can make a look at the catalog the victim of a deadlock.
	for try := 1; ; try++ {
		err := s.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sys.tables WHERE name = @p1", table).Scan(&n)
		if try < 5 && isNumber(err, 1205) {
			continue
		}
		require.NoError(t, err)
		return n > 0
	}
}

func (s *suite) rows(t *testing.T, spec connector.TargetSpec) []connectortest.Row {
	t.Helper()
	if !s.has(t, spec.Table) {
		return nil
	}
	return connectortest.QueryRows(t, s.system.connect(t, s.database, nil), "SELECT "+names(spec.Columns)+" FROM "+spec.Table, spec.Columns)
}

func (s *suite) rejects(t *testing.T, spec connector.TargetSpec, runID string) (list []connector.Reject) {
	t.Helper()
	if !s.has(t, spec.Table+"_rejects") {
		return nil
	}
	rows, err := s.db.QueryContext(t.Context(), `SELECT COALESCE([_row], -1) AS r, COALESCE([file], N'') AS f, COALESCE([line], -1) AS l, COALESCE([byte_offset], -1) AS b, [stage],
		[errors], COALESCE([record], N'') AS c, [raw] FROM `+spec.Table+"_rejects WHERE [run_id] = @p1", runID)
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
	return connectortest.FillTable(t, s.system.connect(t, s.database, nil), s.place(t), columns, rows)
}

func quote(name string) string { return "[" + strings.ReplaceAll(name, "]", "]]") + "]" }

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
	err := s.db.QueryRowContext(t.Context(), "SELECT COUNT(*) FROM sys.dm_exec_sessions WHERE program_name LIKE N'lume/%' AND database_id = DB_ID()").Scan(&n)
	require.NoError(t, err)
	return n
}

// only are the floating point numbers that real and float do not have; -0 becomes 0.
func only() connectortest.Only {
	refused := connectortest.Instead{Refused: true}
	floats := func(smallest string) map[string]connectortest.Instead {
		return map[string]connectortest.Instead{
			"NaN": refused, "Infinity": refused, "-Infinity": refused, smallest: refused, "-0": {Value: connectortest.Text("0")},
		}
	}
	return connectortest.Only{connector.TypeFloat32: floats("1e-45"), connector.TypeFloat64: floats("5e-324")}
}

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	connectortest.Target(t, connectortest.TargetHarness{
		Open:  func(t *testing.T) connector.Target { return s.system.connect(t, s.database, nil) },
		Place: s.place, Rows: s.rows, Rejects: s.rejects, Sessions: s.sessions, Evicts: true, Only: only(),
		FoldsNames: true,
		// The 8,060 bytes of a row are the limit, not the 1,024 columns.
		MaxColumns: 300,
	})
}

func TestRowSourceSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	connectortest.RowSource(t, connectortest.RowSourceHarness{
		Open: func(t *testing.T) connector.RowSource { return s.system.connect(t, s.database, nil) },
		Fill: s.fill, TextType: "nvarchar(max)", Sessions: s.sessions,
	})
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	with := func(name string, value any) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			return s.system.open(t, s.database, map[string]any{name: value})
		}
	}
	wrong := func(name string, value any) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			return s.system.open(t, s.database, map[string]any{name: value, "password": connectortest.Canary})
		}
	}
	connectortest.Checks(t, connectortest.ChecksHarness{
		Open: func(t *testing.T) connector.Connector { return s.system.connect(t, s.database, nil) },
		Set: func(t *testing.T, field string, value any) (connector.Connector, error) {
			t.Helper()
			return s.system.open(t, s.database, map[string]any{field: value, "encrypt": "true"})
		},
		Refused: map[string]any{"host": "a,b", "port": float64(0), "ca_certificate": "x", "schema": ""},
		Broken: []connectortest.Broken{
			{Name: "UnknownHost", Open: wrong("host", "no-such-host.invalid"), Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable},
			{Name: "NobodyListens", Open: wrong("port", float64(1)), Check: "connect", Reason: "CONNECTION_FAILED", Kind: connector.KindUnavailable},
			{Name: "MissingDatabase", Open: with("database", "no_such_database"), Check: "authenticate", Reason: "DATABASE_NOT_FOUND", Kind: connector.KindNotFound},
			{Name: "WrongPassword", Open: wrong("encrypt", s.system.settings["encrypt"]), Check: "authenticate", Reason: "AUTHENTICATION_FAILED", Kind: connector.KindUnauthenticated},
			{Name: "UnknownUser", Open: wrong("user", "nobody_at_all"), Check: "authenticate", Reason: "AUTHENTICATION_FAILED", Kind: connector.KindUnauthenticated},
		},
	})
}
