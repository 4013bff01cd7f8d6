package sqlite_test

import (
	"database/sql"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/sqlite"
)

// suite is a database file that the connector suite shares.
type suite struct {
	root, path string
	tables     atomic.Int64
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	root := t.TempDir()
	s := &suite{root: root, path: filepath.Join(root, "suite.db")}
	require.NoError(t, os.WriteFile(s.path, nil, 0o600))
	return s
}

func (s *suite) open(t *testing.T) *sqlite.Connector {
	t.Helper()
	link, err := open(t, s.root, s.path)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, link.Close()) })
	return link.(*sqlite.Connector)
}

// ask runs f with a connection of its own.
func (s *suite) ask(t *testing.T, f func(db *sql.DB)) {
	t.Helper()
	db, err := sql.Open("sqlite", "file://"+s.path+"?_pragma=busy_timeout(10000)")
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	f(db)
}

func (s *suite) place(*testing.T) connector.TargetSpec {
	return connector.TargetSpec{Table: fmt.Sprintf("suite_%d", s.tables.Add(1))}
}

func (s *suite) has(t *testing.T, table string) (found bool) {
	t.Helper()
	s.ask(t, func(db *sql.DB) {
		require.NoError(t, db.QueryRowContext(t.Context(), "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?)", table).Scan(&found))
	})
	return found
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (s *suite) rows(t *testing.T, spec connector.TargetSpec) []connectortest.Row {
	t.Helper()
	if !s.has(t, spec.Table) {
		return nil
	}
	names := make([]string, len(spec.Columns))
	for i, c := range spec.Columns {
		names[i] = quote(c.Name)
	}
	return connectortest.QueryRows(t, s.open(t), "SELECT "+strings.Join(names, ", ")+" FROM "+spec.Table, spec.Columns)
}

func (s *suite) rejects(t *testing.T, spec connector.TargetSpec, runID string) (list []connector.Reject) {
	t.Helper()
	if !s.has(t, spec.Table+"_rejects") {
		return nil
	}
	s.ask(t, func(db *sql.DB) {
		rows, err := db.QueryContext(t.Context(), `SELECT coalesce(_row, -1), coalesce(file, ''), coalesce(line, -1), coalesce(byte_offset, -1), stage,
			errors, coalesce(record, ''), raw FROM `+spec.Table+"_rejects WHERE run_id = ?", runID)
		require.NoError(t, err)
		defer rows.Close()
		for rows.Next() {
			var r connector.Reject
			require.NoError(t, rows.Scan(&r.Row, &r.File, &r.Line, &r.Byte, &r.Stage, &r.Errors, &r.Record, &r.Raw))
			list = append(list, r)
		}
		require.NoError(t, rows.Err())
	})
	return list
}

func (s *suite) fill(t *testing.T, columns []connector.Column, rows []connectortest.Row) string {
	t.Helper()
	return connectortest.FillTable(t, s.open(t), s.place(t), columns, rows)
}

// sessions counts the connections that are open: each has the file open. The looker-on closes its own.
func (s *suite) sessions(t *testing.T) (n int) {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	require.NoError(t, err)
	for _, file := range files {
		if name, err := os.Readlink(filepath.Join("/proc/self/fd", file.Name())); err == nil && name == s.path {
			n++
		}
	}
	return n
}

// made makes a table by a definition of its columns and returns its place.
func (s *suite) made(t *testing.T, columns string) connector.TargetSpec {
	t.Helper()
	spec := s.place(t)
	s.ask(t, func(db *sql.DB) {
		_, err := db.ExecContext(t.Context(), "CREATE TABLE "+spec.Table+" ("+columns+")")
		require.NoError(t, err)
	})
	return spec
}

// folding are the ways in which keys are equal.
func (s *suite) folding() []connectortest.Folding {
	table := func(columns string) func(*testing.T) connector.TargetSpec {
		return func(t *testing.T) connector.TargetSpec { t.Helper(); return s.made(t, columns) }
	}
	return []connectortest.Folding{
		{Name: "case", Make: table("k text COLLATE NOCASE PRIMARY KEY, v text"), One: "a", Other: "A"},
		{Name: "blanks", Make: table("v text, k text COLLATE RTRIM NOT NULL UNIQUE"), One: "a", Other: "a "},
		{Name: "index", Make: func(t *testing.T) connector.TargetSpec {
			t.Helper()
			spec := s.made(t, "k text NOT NULL, v text")
			s.ask(t, func(db *sql.DB) {
				_, err := db.ExecContext(t.Context(), "CREATE UNIQUE INDEX "+spec.Table+"_k ON "+spec.Table+" (k COLLATE NOCASE)")
				require.NoError(t, err)
			})
			return spec
		}, One: "a", Other: "A"},
	}
}

// guarded makes a table with a constraint.
func (s *suite) guarded(t *testing.T) connectortest.Guard {
	t.Helper()
	return connectortest.Guard{Place: s.made(t, "id integer PRIMARY KEY, name text CONSTRAINT short CHECK (length(name) <= 10)"),
		Reason: connector.RefusedRow{Message: "violates the check constraint short"}}
}

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	connectortest.Target(t, connectortest.TargetHarness{
		Open:  func(t *testing.T) connector.Target { return s.open(t) },
		Place: s.place, Rows: s.rows, Rejects: s.rejects, Sessions: s.sessions, FoldsNames: true,
		Folding: s.folding(), Guarded: s.guarded,
		Only: connectortest.Only{
			connector.TypeString:  {"\u0000": {Refused: true}},
			connector.TypeFloat32: {"NaN": {Refused: true}, "-0": {Value: connectortest.Text("0")}},
			connector.TypeFloat64: {"NaN": {Refused: true}, "-0": {Value: connectortest.Text("0")}},
		},
	})
}

func TestRowSourceSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	connectortest.RowSource(t, connectortest.RowSourceHarness{
		Open: func(t *testing.T) connector.RowSource { return s.open(t) },
		Fill: s.fill, TextType: "text", Sessions: s.sessions,
	})
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	at := func(path string) func(*testing.T) (connector.Connector, error) {
		return func(t *testing.T) (connector.Connector, error) {
			t.Helper()
			return open(t, s.root, path)
		}
	}
	require.NoError(t, os.WriteFile(filepath.Join(s.root, "text.db"), []byte(strings.Repeat("this is no database\n", 100)), 0o600))
	// SQLite reads a file of a later version, and does not write it, whoever asks.
	readOnly := filepath.Join(s.root, "later.db")
	db, err := sql.Open("sqlite", "file://"+readOnly)
	require.NoError(t, err)
	_, err = db.ExecContext(t.Context(), "CREATE TABLE t (x)")
	require.NoError(t, err)
	require.NoError(t, db.Close())
	content, err := os.ReadFile(readOnly)
	require.NoError(t, err)
	content[18] = 3
	require.NoError(t, os.WriteFile(readOnly, content, 0o600))
	connectortest.Checks(t, connectortest.ChecksHarness{
		Open: func(t *testing.T) connector.Connector { return s.open(t) },
		Broken: []connectortest.Broken{
			{Name: "OutsideOfTheRoots", Open: at(filepath.Join(t.TempDir(), "x.db")), Reason: "ROOT_NOT_ALLOWED", Kind: connector.KindPermission},
			{Name: "ReadOnlyFile", Open: at(readOnly), Check: "write", Reason: "READ_ONLY", Kind: connector.KindPermission},
			{Name: "NotADatabase", Open: at(filepath.Join(s.root, "text.db")), Reason: "NOT_A_DATABASE", Kind: connector.KindConflict},
		},
	})
}
