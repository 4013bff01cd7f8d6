package snowflake_test

import (
	"database/sql"
	"encoding/hex"
	"fmt"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/connectortest"
	"github.com/lume-data/lume/connector/snowflake"
	"github.com/lume-data/lume/test/server"
)

// suite is a schema that the connector suite shares: on the emulator, or on the account that LUME_TEST_SNOWFLAKE_DSN names.
type suite struct {
	settings map[string]any
	secrets  map[string]string
	// real is true for an account.
	real   bool
	prefix string
	tables atomic.Int64
}

func newSuite(t *testing.T) *suite {
	t.Helper()
	dsn := os.Getenv("LUME_TEST_SNOWFLAKE_DSN")
	if dsn == "" {
		s := server.StartFakesnow(t)
		set := settings(s.URL)
		set["database"] = s.Database
		return &suite{settings: set, secrets: map[string]string{"password": "none"}, prefix: "suite"}
	}
	u, err := url.Parse(dsn)
	require.NoError(t, err)
	path := strings.Split(strings.Trim(u.Path, "/"), "/")
	require.Len(t, path, 2, "the path of the DSN is /DATABASE/SCHEMA")
	s := &suite{real: true, secrets: map[string]string{}, prefix: fmt.Sprintf("suite_%d", os.Getpid()), settings: map[string]any{
		"account": u.Host, "user": u.User.Username(), "database": path[0], "schema": path[1],
		"warehouse": u.Query().Get("warehouse"), "role": u.Query().Get("role"), "host": u.Query().Get("host"),
	}}
	if password, ok := u.User.Password(); ok {
		s.secrets["password"] = password
	}
	if name := u.Query().Get("private_key_file"); name != "" {
		key, err := os.ReadFile(name)
		require.NoError(t, err)
		s.secrets["private_key"], s.secrets["private_key_passphrase"] = string(key), u.Query().Get("passphrase")
	}
	return s
}

func (s *suite) open(t *testing.T) *snowflake.Connector {
	t.Helper()
	link, err := open(t, s.settings, s.secrets)
	require.NoError(t, err)
	return link
}

func (s *suite) place(*testing.T) connector.TargetSpec {
	return connector.TargetSpec{Table: fmt.Sprintf("%s_%d", s.prefix, s.tables.Add(1))}
}

// text are columns of text.
func text(names ...string) []connector.Column {
	list := make([]connector.Column, len(names))
	for i, name := range names {
		list[i] = connector.Column{Name: name, Type: connector.Type{Name: connector.TypeString}}
	}
	return list
}

func (s *suite) has(t *testing.T, table string) bool {
	t.Helper()
	rows := connectortest.QueryRows(t, s.open(t), "SELECT TO_VARCHAR(COUNT(*)) AS n FROM INFORMATION_SCHEMA.TABLES WHERE table_name = '"+table+"'", text("n"))
	return *rows[0][0] != "0"
}

func (s *suite) rows(t *testing.T, spec connector.TargetSpec) []connectortest.Row {
	t.Helper()
	if !s.has(t, spec.Table) {
		return nil
	}
	names := make([]string, len(spec.Columns))
	for i, c := range spec.Columns {
		names[i] = quote(c.Name)
	}
	return connectortest.QueryRows(t, s.open(t), "SELECT "+strings.Join(names, ", ")+" FROM "+quote(spec.Table), spec.Columns)
}

func quote(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

func (s *suite) rejects(t *testing.T, spec connector.TargetSpec, runID string) (list []connector.Reject) {
	t.Helper()
	if !s.has(t, spec.Table+"_rejects") {
		return nil
	}
	columns := text("_row", "file", "line", "byte_offset", "stage", "errors", "record", "raw")
	rows := connectortest.QueryRows(t, s.open(t), `SELECT TO_VARCHAR("_row") AS "_row", "file", TO_VARCHAR("line") AS "line", TO_VARCHAR("byte_offset") AS "byte_offset",
		"stage", "errors", "record", HEX_ENCODE("raw") AS "raw" FROM `+quote(spec.Table+"_rejects")+" WHERE \"run_id\" = '"+runID+"'", columns)
	text := func(v *string) string {
		if v == nil {
			return ""
		}
		return *v
	}
	number := func(v *string) int64 {
		if v == nil {
			return -1
		}
		n, err := strconv.ParseInt(*v, 10, 64)
		require.NoError(t, err)
		return n
	}
	for _, r := range rows {
		reject := connector.Reject{Row: number(r[0]), File: text(r[1]), Line: number(r[2]), Byte: number(r[3]), Stage: text(r[4]), Errors: text(r[5]), Record: text(r[6])}
		if r[7] != nil {
			var err error
			reject.Raw, err = hex.DecodeString(*r[7])
			require.NoError(t, err)
		}
		list = append(list, reject)
	}
	return list
}

// fill makes the table with names of columns in upper case, which the suite's queries, that quote none, mean.
func (s *suite) fill(t *testing.T, columns []connector.Column, rows []connectortest.Row) string {
	t.Helper()
	columns = slices.Clone(columns)
	for i := range columns {
		columns[i].Name = strings.ToUpper(columns[i].Name)
	}
	return quote(connectortest.FillTable(t, s.open(t), s.place(t), columns, rows))
}

// only are values that the emulator does not keep: in a VARIANT it takes numbers for floating point ones.
func (s *suite) only() connectortest.Only {
	if s.real {
		return nil
	}
	return connectortest.Only{connector.TypeJSON: {
		`{"a":[1,2.50,null,true],"b":{"c":"日本 \"x\""}}`: {Value: connectortest.Text(`{"a":[1,2.5,null,true],"b":{"c":"日本 \"x\""}}`)},
		"12345678901234567890.123":                      {Value: connectortest.Text("12345678901234567000.0")},
	}}
}

func TestTargetSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	connectortest.Target(t, connectortest.TargetHarness{
		Open:  func(t *testing.T) connector.Target { return s.open(t) },
		Place: s.place, Rows: s.rows, Rejects: s.rejects, Evicts: true, StagesFirst: true,
		NoKeys: true, FoldsNames: !s.real, Only: s.only(),
		// A cell of bytes takes twice the room of one of text.
		MaxBinary: 8 << 20,
	})
}

func TestRowSourceSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	connectortest.RowSource(t, connectortest.RowSourceHarness{
		Open: func(t *testing.T) connector.RowSource { return s.open(t) },
		Fill: s.fill, TextType: "VARCHAR",
	})
}

func TestChecksSuite(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	connectortest.Checks(t, connectortest.ChecksHarness{Open: func(t *testing.T) connector.Connector { return s.open(t) }})
}

func TestOddTableNamesAreTakenAsTheyStand(t *testing.T) {
	t.Parallel()
	s := newSuite(t)
	columns := []connector.Column{
		{Name: "id", Type: connector.Type{Name: connector.TypeInt64}, Required: true, Key: true}, {Name: `Select "x" y`, Type: connector.Type{Name: connector.TypeString}},
	}
	for i, name := range []string{"select", "two words", `a"b`, "semi; DROP TABLE x; --", "日本", "mixedCase"} {
		name += fmt.Sprint(" ", s.prefix)
		spec := connector.TargetSpec{Table: quote(name), Name: "main", Create: true, Columns: columns}
		for id, mode := range []connector.Mode{connector.Append, connector.Upsert, connector.Replace} {
			spec.Mode = mode
			connectortest.Fill(t, s.open(t), spec, []connectortest.Row{connectortest.Values(fmt.Sprint(id), "value "+string(mode))})
		}
		require.True(t, s.has(t, strings.ReplaceAll(name, "'", "''")), name)
		spec.Table = name
		require.Equal(t, []connectortest.Row{connectortest.Values("2", "value replace")}, s.rows(t, spec), "%d: %s", i, name)
	}
}

// On the emulator, which takes statements from anybody.
func TestReplaceKeepsTheTableAndItsViews(t *testing.T) {
	t.Parallel()
	s := server.StartFakesnow(t)
	at, err := url.Parse(s.URL)
	require.NoError(t, err)
	db, err := sql.Open("snowflake", fmt.Sprintf("LUME:none@%s/%s/PUBLIC?account=acme&protocol=http", at.Host, s.Database))
	require.NoError(t, err)
	defer db.Close()
	set := settings(s.URL)
	set["database"] = s.Database
	link, err := open(t, set, map[string]string{"password": "none"})
	require.NoError(t, err)
	spec := connector.TargetSpec{Table: "THINGS", Name: "main", Create: true, Mode: connector.Replace, Columns: text("V")}
	connectortest.Fill(t, link, spec, []connectortest.Row{connectortest.Values("old"), connectortest.Values("old too")})
	_, err = db.ExecContext(t.Context(), "CREATE VIEW SEEN AS SELECT V FROM THINGS")
	require.NoError(t, err)
	connectortest.Fill(t, link, spec, []connectortest.Row{connectortest.Values("new")})
	require.Equal(t, []connectortest.Row{connectortest.Values("new")}, connectortest.QueryRows(t, link, "SELECT V FROM SEEN", text("V")))
}
