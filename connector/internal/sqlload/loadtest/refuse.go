package loadtest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Link is a connector to a database that is a source and a target.
type Link interface {
	connector.Target
	connector.RowSource
}

// Database is a fresh database with a link to it.
type Database struct {
	Link Link
	// Exec runs statements, separated by semicolons, in a session of its own.
	Exec func(statements string)
	// Sessions counts the link's sessions at the server. Kill ends them.
	Sessions func() int
	Kill     func()
}

// Opener makes a fresh database for a test.
type Opener func(t *testing.T) Database

// Modes are the modes of a load.
var Modes = []connector.Mode{connector.Append, connector.Upsert, connector.Replace}

// Spec is a target in the database's own schema. Bookkeeping, and a missing table, are created.
func Spec(mode connector.Mode, table string, columns []connector.Column) connector.TargetSpec {
	return connector.TargetSpec{Name: "main", Table: table, Mode: mode, Columns: columns, Create: true}
}

// All reads a query to its end and returns its rows, values separated by |.
func All(t *testing.T, link connector.RowSource, query, path string, bound bool) []string {
	t.Helper()
	stream, err := link.Query(t.Context(), query, path, bound)
	require.NoError(t, err, "%v", errors.Unwrap(err))
	defer func() { require.NoError(t, stream.Close()) }()
	var rows []string
	for {
		batch, err := stream.Next(t.Context())
		if errors.Is(err, io.EOF) {
			return rows
		}
		require.NoError(t, err, "%v", errors.Unwrap(err))
		for i := range int(batch.NumRows()) {
			rows = append(rows, strings.Join(Texts(batch, i), "|"))
		}
		batch.Release()
	}
}

// Texts are the values of a row as Arrow writes them.
func Texts(batch arrow.RecordBatch, row int) []string {
	out := make([]string, batch.NumCols())
	for i, col := range batch.Columns() {
		out[i] = col.ValueStr(row)
	}
	return out
}

// Refusal is a table that refuses some rows of a batch.
type Refusal struct {
	Name string
	// Table are the columns and constraints of table t. Then are statements after its creation.
	Table, Then string
	// Columns as [Columns] parses them, the key `id` first. Rows as [Batch] takes them.
	Columns []string
	Rows    [][]any
	// Reason says which rows are refused, and why.
	Reason map[int64]connector.RefusedRow
	// Unsaid is a mode in which the system does not tell the reasons that it tells in others; empty for none.
	Unsaid connector.Mode
}

// Refusals loads each batch in each mode: the refused rows are rejects with their own reason, and the others are in the table. before
// are statements that run in each database first.
func Refusals(t *testing.T, open Opener, before string, refusals []Refusal) {
	for _, c := range refusals {
		for _, mode := range Modes {
			t.Run(c.Name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				db := open(t)
				db.Exec(before + "; CREATE TABLE t (" + c.Table + ")")
				if c.Then != "" {
					db.Exec(c.Then)
				}
				columns := Columns(t, c.Columns...)
				l := New("run_1", Spec(mode, "t", columns), &Rows{Batch: Batch(t, columns, c.Rows...), Size: 2})
				load(t, db, l)
				if mode != c.Unsaid {
					require.Equal(t, c.Reason, l.Refused)
				}
				var accepted, refused, rejects []string
				for _, row := range c.Rows {
					ordinal := int64(row[0].(int))
					if _, is := c.Reason[ordinal]; !is {
						accepted = append(accepted, fmt.Sprint(row[1]))
						continue
					}
					refused = append(refused, fmt.Sprint(ordinal))
					rejects = append(rejects, fmt.Sprintf(`%d|{"row":%d}`, ordinal, ordinal))
				}
				require.Equal(t, refused, texts(l.RefusedRows()))
				require.EqualValues(t, len(accepted), l.Written)
				slices.Sort(accepted)
				require.Equal(t, accepted, All(t, db.Link, "SELECT id FROM t ORDER BY id", "", false))
				require.Equal(t, rejects, All(t, db.Link, "SELECT _row, record FROM t_rejects WHERE stage = 'egress' ORDER BY _row", "", false))
			})
		}
	}
}

// ManyRefusals finds a refused row in about eighty among 20,000, and no other.
func ManyRefusals(t *testing.T, open Opener) {
	columns := Columns(t, "id!", "int64", "v", "int32")
	random := rand.New(rand.NewPCG(1, 2))
	var rows [][]any
	refused := make([]int64, 0)
	for i := range 20_000 {
		v, row := 1, int64(i*3+random.IntN(3))
		if random.IntN(80) == 0 {
			v = -1
			refused = append(refused, row)
		}
		rows = append(rows, []any{row, i, v})
	}
	batch := Batch(t, columns, rows...)
	for _, mode := range []connector.Mode{connector.Append, connector.Upsert} {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			db := open(t)
			db.Exec("CREATE TABLE t (id bigint PRIMARY KEY, v int CHECK (v > 0))")
			l := New("run_1", Spec(mode, "t", columns), &Rows{Batch: batch})
			load(t, db, l)
			require.Equal(t, refused, l.RefusedRows())
			require.Equal(t, []string{fmt.Sprint(len(rows) - len(refused))}, All(t, db.Link, "SELECT count(*) AS n FROM t", "", false))
		})
	}
}

// LaterRows lets rows refer to later rows of their batch: what is refused are those whose row is refused itself, or nowhere.
func LaterRows(t *testing.T, open Opener) {
	for _, mode := range Modes {
		db := open(t)
		db.Exec("CREATE TABLE t (id bigint PRIMARY KEY, parent bigint, v int CHECK (v > 0), FOREIGN KEY (parent) REFERENCES t (id))")
		columns := Columns(t, "id!", "int64", "parent", "int64", "v", "int32")
		l := New("run_1", Spec(mode, "t", columns), &Rows{Batch: Batch(t, columns,
			[]any{0, 1, 4, 1}, []any{1, 2, 99, 1}, []any{2, 3, nil, -1}, []any{3, 4, 5, 1}, []any{4, 5, nil, 1}, []any{5, 6, 3, 1})})
		load(t, db, l)
		require.Equal(t, []int64{1, 2, 5}, l.RefusedRows(), mode)
		require.Equal(t, []string{"1", "4", "5"}, All(t, db.Link, "SELECT id FROM t ORDER BY id", "", false), mode)
	}
}

// SpentBudget ends a load by the error of Refuse, whether the server refuses the row or it is not even sent: nothing is written.
func SpentBudget(t *testing.T, open Opener) {
	spent := errors.New("the budget is spent")
	for _, value := range []any{-1, nil} {
		db := open(t)
		db.Exec("CREATE TABLE t (v int NOT NULL CHECK (v > 0))")
		columns := Columns(t, "v", "int32")
		l := New("run_1", Spec(connector.Append, "t", columns), &Rows{Batch: Batch(t, columns, []any{0, 1}, []any{1, value})})
		l.Refuse = func(context.Context, int64, connector.RefusedRow) error { return spent }
		_, err := db.Link.Load(t.Context(), l.Load)
		require.ErrorIs(t, err, spent)
		require.Empty(t, All(t, db.Link, "SELECT v FROM t", "", false))
	}
}

func load(t *testing.T, db Database, l *Load) {
	t.Helper()
	_, err := db.Link.Load(t.Context(), l.Load)
	require.NoError(t, err, "%v", errors.Unwrap(err))
}

func texts(rows []int64) []string {
	var out []string
	for _, row := range rows {
		out = append(out, fmt.Sprint(row))
	}
	return out
}
