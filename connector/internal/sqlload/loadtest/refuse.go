package loadtest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

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

// refusals loads each batch in each mode: the refused rows are rejects with their own reason, and the others are in the table.
func (s Suite) refusals(t *testing.T) {
	for _, c := range s.Refusals {
		for _, mode := range Modes {
			t.Run(c.Name+" "+string(mode), func(t *testing.T) {
				t.Parallel()
				db := s.Open(t)
				for _, statements := range []string{s.Before, "CREATE TABLE t (" + c.Table + ")", c.Then} {
					if statements != "" {
						db.Exec(statements)
					}
				}
				columns := Columns(t, c.Columns...)
				l := New("run_1", Spec(mode, "t", columns), &Rows{Batch: Batch(t, columns, c.Rows...), Size: 2})
				l.Run(t, db.Link)
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

// manyRefusals finds a refused row in about eighty among 20,000, and no other.
func (s Suite) manyRefusals(t *testing.T) {
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
			db := s.Open(t)
			db.Exec("CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, v int CHECK (v > 0))")
			l := New("run_1", Spec(mode, "t", columns), &Rows{Batch: batch})
			l.Run(t, db.Link)
			require.Equal(t, refused, l.RefusedRows())
			require.Equal(t, []string{fmt.Sprint(len(rows) - len(refused))}, All(t, db.Link, "SELECT count(*) AS n FROM t", "", false))
		})
	}
}

// laterRows lets rows refer to later rows of their batch: what is refused are those whose row is refused itself, or nowhere.
func (s Suite) laterRows(t *testing.T) {
	for _, mode := range Modes {
		db := s.Open(t)
		db.Exec("CREATE TABLE t (id bigint NOT NULL PRIMARY KEY, parent bigint, v int CHECK (v > 0), FOREIGN KEY (parent) REFERENCES t (id))")
		columns := Columns(t, "id!", "int64", "parent", "int64", "v", "int32")
		l := New("run_1", Spec(mode, "t", columns), &Rows{Batch: Batch(t, columns,
			[]any{0, 1, 4, 1}, []any{1, 2, 99, 1}, []any{2, 3, nil, -1}, []any{3, 4, 5, 1}, []any{4, 5, nil, 1}, []any{5, 6, 3, 1})})
		l.Run(t, db.Link)
		require.Equal(t, []int64{1, 2, 5}, l.RefusedRows(), mode)
		require.Equal(t, []string{"1", "4", "5"}, All(t, db.Link, "SELECT id FROM t ORDER BY id", "", false), mode)
	}
}

// spentBudget ends a load by the error of Refuse, whether the server refuses the row or it is not even sent: nothing is written.
func (s Suite) spentBudget(t *testing.T) {
	spent := errors.New("the budget is spent")
	for _, value := range []any{-1, nil} {
		db := s.Open(t)
		db.Exec("CREATE TABLE t (v int NOT NULL CHECK (v > 0))")
		columns := Columns(t, "v", "int32")
		l := New("run_1", Spec(connector.Append, "t", columns), &Rows{Batch: Batch(t, columns, []any{0, 1}, []any{1, value})})
		l.Refuse = func(context.Context, int64, connector.RefusedRow) error { return spent }
		_, err := db.Link.Load(t.Context(), l.Load)
		require.ErrorIs(t, err, spent)
		require.Empty(t, All(t, db.Link, "SELECT v FROM t", "", false))
	}
}

func texts(rows []int64) []string {
	var out []string
	for _, row := range rows {
		out = append(out, fmt.Sprint(row))
	}
	return out
}
