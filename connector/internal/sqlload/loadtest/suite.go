package loadtest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Suite are the tests that SQL targets pass beside those of all targets: on tables that were there before, on those of bookkeeping,
// and on rows that a server refuses. Their statements are such as every system takes.
type Suite struct {
	// Open makes a fresh database. Names without a schema are in its own.
	Open Opener
	// Quote quotes a name.
	Quote func(name string) string
	// OddSchema makes a schema whose name needs quotes, and returns the name; nil for systems that have no schemas.
	OddSchema func(t *testing.T, db Database) string
	// Owned is what an owner has given the table things.
	Owned Owned
	// Before are statements that run in each database for Refusals first.
	Before   string
	Refusals []Refusal
	// Fits are columns that take values of other types than their own: the flow's type, the column, a value, and what the system's
	// own client reads then. Mismatches are columns that do not, after the flow's type.
	Fits       [][4]string
	Mismatches [][2]string
}

// Owned is what an owner gives a table, such as grants or a comment: Give are statements, and Look is a query for all of it as one
// value.
type Owned struct{ Give, Look string }

// Run runs the tests.
func (s Suite) Run(t *testing.T) {
	tests := map[string]func(*testing.T){
		"RowsRejectsAndMarkerAreThereTogether":       s.together,
		"UpsertReplacesEqualKeysAndKeepsTheRest":     s.upsertKeeps,
		"ReplaceKeepsTheTableAndWhatItsOwnerGave":    s.replaceKeeps,
		"ReplaceOfRowsThatOthersReferToIsExplained":  s.replaceReferenced,
		"OddNamesAreTakenAsTheyStand":                s.oddNames,
		"ARunThatFindsNoTableLeavesNothingBehind":    s.missingTable,
		"ValuesFitTheColumnsThatATableHas":           s.fits,
		"AColumnThatCouldLoseAValueIsAMismatch":      s.mismatches,
		"RefusedRowsBecomeRejectsWithTheirOwnReason": s.refusals,
		"ManyRefusedRowsAmongManyAreFoundExactly":    s.manyRefusals,
		"ARowMayReferToALaterRowOfItsBatch":          s.laterRows,
		"TheErrorOfRefuseEndsTheLoadAndRollsBack":    s.spentBudget,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// names quotes names, separated by commas.
func (s Suite) names(list ...string) string {
	quoted := make([]string, len(list))
	for i, name := range list {
		quoted[i] = s.Quote(name)
	}
	return strings.Join(quoted, ", ")
}

func (s Suite) together(t *testing.T) {
	db := s.Open(t)
	columns := Columns(t, "id!", "int64", "name", "string")
	rows := &Rows{Batch: Batch(t, columns, []any{0, 1, "one"}, []any{3, 2, nil})}
	l := New("run_1", Spec(connector.Append, "things", columns), rows,
		connector.Reject{Row: 1, File: "a.csv", Line: 3, Byte: 40, Stage: "transform", Errors: `[{"type":"type","value":"\u0000"}]`, Record: `{"id":"\u0000"}`},
		connector.Reject{Row: -1, File: "a\t.csv", Line: 4, Byte: 60, Stage: "ingest", Errors: `[{"type":"malformed"}]`, Raw: []byte{0xff, 0}})

	out := l.Run(t, db.Link)

	require.Equal(t, connector.Outcome{Committed: true, Receipt: []byte(`{"written":2,"refused":0}`)}, out)
	require.Equal(t, []string{"1|one", "2|" + Null}, All(t, db.Link, "SELECT id, name FROM things ORDER BY id", "", false))
	require.Equal(t, []string{
		`run_1|1|a.csv|3|40|transform|[{"type":"type","value":"\u0000"}]|{"id":"\u0000"}|` + Null,
		"run_1|" + Null + "|a\t.csv|4|60|ingest|[{\"type\":\"malformed\"}]|" + Null + "|/wA=", // The bytes in base64.
	}, All(t, db.Link, "SELECT "+s.names(sqlload.RejectColumns...)+" FROM things_rejects ORDER BY line", "", false))
	require.Equal(t, []string{`run_1|main|committed|x:v1|sha256:00|1|1|{"written":2,"refused":0}`},
		All(t, db.Link, "SELECT "+s.names("run_id", "target", "state", "flow_version", "version_digest", "attempt", "fence", "receipt")+" FROM "+sqlload.RunsTable, "", false))

	var times []time.Time
	for text := range strings.SplitSeq(All(t, db.Link, "SELECT start_time, end_time FROM "+sqlload.RunsTable, "", false)[0], "|") {
		at, err := time.Parse("2006-01-02T15:04:05.999999", strings.TrimSuffix(strings.Replace(text, " ", "T", 1), "Z"))
		require.NoError(t, err)
		times = append(times, at)
	}
	require.WithinDuration(t, time.Now().UTC(), times[0], time.Minute)
	require.False(t, times[1].Before(times[0]))
}

func (s Suite) upsertKeeps(t *testing.T) {
	db := s.Open(t)
	db.Exec("CREATE TABLE things (note varchar(20) DEFAULT 'kept', v int, b int, a varchar(20), UNIQUE (b, a)); INSERT INTO things VALUES ('mine', 1, 1, 'x'), ('mine', 2, 2, 'x')")
	columns := Columns(t, "a!", "string", "b!", "int32", "v", "int32")
	l := New("run_1", Spec(connector.Upsert, "things", columns), &Rows{Batch: Batch(t, columns, []any{0, "x", 1, 10}, []any{1, "y", 1, nil})})
	for _, check := range db.Link.CheckTarget(t.Context(), l.Target) {
		require.Equal(t, connector.CheckPassed, check.Status, "%s: %v", check.Name, check.Err)
	}
	l.Run(t, db.Link)
	require.EqualValues(t, 2, l.Written)
	require.Equal(t, []string{"x|1|10|mine", "x|2|2|mine", "y|1|" + Null + "|kept"}, All(t, db.Link, "SELECT a, b, v, note FROM things ORDER BY a, b", "", false))

	// Without an index on its key, no row can be told from another.
	db.Exec("CREATE TABLE loose (v int, b int, a varchar(20), UNIQUE (b), UNIQUE (a))")
	loose := New("run_2", Spec(connector.Upsert, "loose", columns), l.Rows)
	require.Equal(t, "KEY_NOT_UNIQUE", Failed(t, db.Link.CheckTarget(t.Context(), loose.Target)).Err.Reason)
	_, err := db.Link.Load(t.Context(), loose.Load)
	require.NotEmpty(t, Coded(t, err, "KEY_NOT_UNIQUE").Next)
}

func (s Suite) replaceKeeps(t *testing.T) {
	db := s.Open(t)
	db.Exec("CREATE TABLE things (id bigint); INSERT INTO things VALUES (1), (2), (3)")
	db.Exec("CREATE VIEW seen AS SELECT count(*) AS n FROM things")
	if s.Owned.Give != "" {
		db.Exec(s.Owned.Give)
	}
	before := db.Text(s.Owned.Look)
	require.NotEqual(t, "NULL", before)
	columns := Columns(t, "id", "int64")
	New("run_1", Spec(connector.Replace, "things", columns), &Rows{Batch: Batch(t, columns, []any{0, 7}, []any{1, 8})}).Run(t, db.Link)
	require.Equal(t, "2", db.Text("SELECT n FROM seen"))
	require.Equal(t, before, db.Text(s.Owned.Look))
}

func (s Suite) replaceReferenced(t *testing.T) {
	db := s.Open(t)
	db.Exec("CREATE TABLE things (id bigint NOT NULL PRIMARY KEY); CREATE TABLE parts (thing bigint, FOREIGN KEY (thing) REFERENCES things (id))")
	db.Exec("INSERT INTO things VALUES (1); INSERT INTO parts VALUES (1)")
	columns := Columns(t, "id!", "int64")
	_, err := db.Link.Load(t.Context(), New("run_1", Spec(connector.Replace, "things", columns), &Rows{Batch: Batch(t, columns, []any{0, 7})}).Load)
	require.NotEmpty(t, Coded(t, err, "ROWS_REFERENCED").Next)
	require.Equal(t, []string{"1"}, All(t, db.Link, "SELECT id FROM things", "", false))
}

func (s Suite) oddNames(t *testing.T) {
	db := s.Open(t)
	name := sqlload.Table{Name: "Table \"T\" ]\\ '`"}
	in := ""
	if s.OddSchema != nil {
		name.Schema = s.OddSchema(t, db)
		in = s.Quote(name.Schema) + "."
	}
	columns := Columns(t, "Select", "int64", "a \"b\"]`c`; DROP", "string", "äöü 'y'", "float64", "$1", "date", "what?", "binary")
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	rows := &Rows{Batch: Batch(t, columns, []any{0, 1, "x", 0.5, "2024-02-29", []byte("b")})}
	for i, mode := range []connector.Mode{connector.Append, connector.Replace} {
		New(fmt.Sprintf("run_%d", i), Spec(mode, name.String(), columns), rows).Run(t, db.Link)
		require.Equal(t, []string{"1|x|0.5|2024-02-29|Yg=="}, All(t, db.Link, "SELECT "+s.names(names...)+" FROM "+in+s.Quote(name.Name), "", false))
	}
	require.Equal(t, []string{"run_0", "run_1"}, All(t, db.Link, "SELECT run_id FROM "+in+sqlload.RunsTable+" ORDER BY run_id", "", false))
	require.Empty(t, All(t, db.Link, "SELECT stage FROM "+in+s.Quote(name.Name+"_rejects"), "", false))
	if s.OddSchema == nil {
		return
	}
	name.Schema = "No.Schema"
	failed := Failed(t, db.Link.CheckTarget(t.Context(), Spec(connector.Append, name.String(), columns)))
	require.Equal(t, "table", failed.Name)
	require.Equal(t, connector.KindNotFound, failed.Err.Kind)
	require.Contains(t, failed.Err.Message, "No.Schema")
}

// missingTable looks for tables of bookkeeping by queries that pass where a load has made them.
func (s Suite) missingTable(t *testing.T) {
	db := s.Open(t)
	db.Exec("CREATE TABLE others (id bigint)")
	spec := Spec(connector.Append, "things", Columns(t, "id", "int64"))
	rows := &Rows{Batch: Batch(t, spec.Columns)}
	made := func() (list []string) {
		for _, table := range []string{sqlload.RunsTable, "things_rejects"} {
			if _, err := db.Link.Describe(t.Context(), "SELECT run_id FROM "+table, false); err == nil {
				list = append(list, table)
			}
		}
		return list
	}
	spec.Create = false
	_, err := db.Link.Load(t.Context(), New("run_1", spec, rows).Load)
	require.NotEmpty(t, Coded(t, err, "TABLE_NOT_FOUND").Next)
	require.Empty(t, made())
	spec.Create = true
	New("run_1", spec, rows).Run(t, db.Link)
	require.Equal(t, []string{sqlload.RunsTable, "things_rejects"}, made())
}

func (s Suite) fits(t *testing.T) {
	db := s.Open(t)
	if s.Before != "" {
		db.Exec(s.Before)
	}
	for i, f := range s.Fits {
		for _, mode := range []connector.Mode{connector.Append, connector.Replace} {
			table := fmt.Sprintf("t%d%s", i, mode)
			db.Exec("CREATE TABLE " + table + " (v " + f[1] + ")")
			columns := Columns(t, "v", f[0])
			l := New("run_"+table, Spec(mode, table, columns), &Rows{Batch: Batch(t, columns, []any{0, f[2]}, []any{1, nil})})
			l.Run(t, db.Link)
			require.Empty(t, l.Refused, "%v", f)
			require.Equal(t, f[3], db.Text("SELECT v FROM "+table+" WHERE v IS NOT NULL"), "%v", f)
		}
	}
}

// mismatches are found before a row moves, and by the check too.
func (s Suite) mismatches(t *testing.T) {
	db := s.Open(t)
	for i, c := range s.Mismatches {
		table := fmt.Sprintf("t%d", i)
		db.Exec("CREATE TABLE " + table + " (v " + c[1] + ")")
		columns := Columns(t, "v", c[0])
		l := New("run_"+table, Spec(connector.Append, table, columns), &Rows{Batch: Batch(t, columns, []any{0, nil})})
		_, err := db.Link.Load(t.Context(), l.Load)
		require.Equal(t, "v", Coded(t, err, "TYPE_MISMATCH").Column, "%v", c)
		require.False(t, l.Balanced)
		failed := Failed(t, db.Link.CheckTarget(t.Context(), l.Target))
		require.Equal(t, "columns", failed.Name, "%v", c)
		require.Equal(t, "TYPE_MISMATCH", failed.Err.Reason)
	}
}
