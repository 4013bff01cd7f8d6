package connectortest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// equalKeysKeepTheFirst upserts batches in which rows have the key of an earlier one. A flow lets no equal keys through, so that
// these are keys which only the target takes for equal; they are written alike here, since that is what every target does.
func equalKeysKeepTheFirst(t *testing.T, h TargetHarness) {
	if h.NoUpsert || h.Slow && h.Guarded != nil {
		// The rows of ruleRefusesRows have equal keys, too.
		return
	}
	columns := []connector.Column{
		{Name: "region", Type: named(connector.TypeString), Required: true, Key: true},
		{Name: "id", Type: named(connector.TypeInt32), Required: true, Key: true},
		{Name: "v", Type: named(connector.TypeString)},
	}
	spec := h.place(t, connector.Upsert, columns...)
	_, err := newLoad(t, spec, newRun(), []Row{Values("eu", "2", "before"), Values("eu", "9", "before")}).run(t.Context(), h.Open(t))
	require.NoError(t, err)
	// One key is new, one is there; the second row of each follows at once, or after more rows than go by one statement.
	rows, again := []Row{
		Values("eu", "1", "first"), Values("eu", "1", "second"), Values("eu", "2", "first"), Values("us", "1", "first"), Values("us", "2", "first"),
	}, []int{1}
	for i := range 300 {
		rows = append(rows, Values("asia", fmt.Sprint(i), "first"))
	}
	rows = append(rows, Values("eu", "2", "second"), Values("asia", "299", "second"), Values("eu", "1", "third"), Values("us", "3", "first"))
	h.keepsFirst(t, spec, rows, append(again, 305, 306, 307), Values("eu", "9", "before"))
}

// Folding is a way in which a system takes keys for equal that are not the same.
type Folding struct {
	// Name says how.
	Name string
	// Make makes a table with a key `k` and a column `v`, both of text, and returns its place.
	Make func(t *testing.T) connector.TargetSpec
	// One and Other are the two keys. The system tells both from `b`.
	One, Other string
}

// foldedKeysKeepTheFirst loads keys that the target takes for equal though they are not the same.
func foldedKeysKeepTheFirst(t *testing.T, h TargetHarness) {
	for _, folding := range h.Folding {
		for _, mode := range h.everyMode() {
			t.Run(folding.Name+"/"+string(mode), func(t *testing.T) {
				t.Parallel()
				spec := folding.Make(t)
				spec.Name, spec.Mode, spec.Columns = "main", mode, []connector.Column{
					{Name: "k", Type: named(connector.TypeString), Required: true, Key: true}, {Name: "v", Type: named(connector.TypeString)},
				}
				h.keepsFirst(t, spec, []Row{
					Values("b", "first"), Values(folding.One, "first"), Values(folding.Other, "second"), Values("c", "first"), Values(folding.One, "third"),
				}, []int{2, 4})
				if mode != connector.Upsert {
					return
				}
				// In another batch it is the key of the row that is there.
				l := newLoad(t, spec, newRun(), []Row{Values(folding.Other, "later")})
				_, err := l.run(t.Context(), h.Open(t))
				require.NoError(t, err)
				h.refusedOnly(t, l, nil)
				var seen []string
				for _, row := range h.Rows(t, spec) {
					seen = append(seen, *row[1])
				}
				require.ElementsMatch(t, []string{"later", "first", "first"}, seen)
			})
		}
	}
}

// keepsFirst loads rows of which those at again have the key of an earlier one, beside others that stay.
func (h TargetHarness) keepsFirst(t *testing.T, spec connector.TargetSpec, rows []Row, again []int, others ...Row) {
	t.Helper()
	l := newLoad(t, spec, newRun(), rows)
	l.batch = 100
	_, err := l.run(t.Context(), h.Open(t))
	require.NoError(t, err)
	h.refusedOnly(t, l, again)
	want := others
	for i, row := range rows {
		if _, refused := l.refused[ordinal(i)]; !refused {
			want = append(want, row)
		}
	}
	h.sees(t, spec, want)
}

// refusedOnly requires that a load has refused these of its rows and no others: they are its rejects, and it balances.
func (h TargetHarness) refusedOnly(t *testing.T, l *load, refused []int) {
	t.Helper()
	require.Equal(t, [2]int64{int64(len(l.rows) - len(refused)), int64(len(refused))}, l.counted, "written and refused")
	require.Len(t, l.refused, len(refused))
	want, stored := map[int64]bool{}, map[int64]bool{}
	for _, i := range refused {
		reason, ok := l.refused[ordinal(i)]
		require.True(t, ok, "row %d", i)
		require.NotEmpty(t, reason.Message)
		for c, value := range l.rows[i] {
			if value != nil && len(*value) > 3 {
				require.NotContains(t, reason.Message, *value, "no values in a reason: column %s", l.spec.Columns[c].Name)
			}
		}
		want[ordinal(i)] = true
	}
	for _, r := range h.Rejects(t, l.spec, l.runID) {
		if r.Stage == "egress" {
			stored[r.Row] = true
			require.Contains(t, r.Errors, l.refused[r.Row].Message, "a reject keeps the target's reason")
		}
	}
	require.Equal(t, want, stored)
}
