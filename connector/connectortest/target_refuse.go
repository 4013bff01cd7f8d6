package connectortest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// Guard is a rule of a table that refuses rows, which Lume itself knows nothing of.
type Guard struct {
	// Place is the table, made with the columns of a number `id`, the key, and a text `name` that the rule lets be no more than ten
	// characters.
	Place connector.TargetSpec
	// Reason is why the system refuses a row by it.
	Reason connector.RefusedRow
}

// guarded is a place whose rule refuses some rows.
func (h TargetHarness) guarded(t *testing.T, mode connector.Mode) (connector.TargetSpec, connector.RefusedRow) {
	t.Helper()
	g := h.Guarded(t)
	g.Place.Name, g.Place.Mode, g.Place.Columns = "main", mode, people()
	return g.Place, g.Reason
}

// ruleRefusesRows loads rows that break a rule of the table, in every mode, and beside them rows with the key of an earlier one.
func ruleRefusesRows(t *testing.T, h TargetHarness) {
	if h.Guarded == nil {
		return
	}
	modes := h.everyMode()
	if h.Slow {
		modes = []connector.Mode{connector.Upsert}
	}
	for _, mode := range modes {
		t.Run(string(mode), func(t *testing.T) {
			t.Parallel()
			spec, reason := h.guarded(t, mode)
			there := persons(100, 102, "old")
			Fill(t, h.Open(t), spec, there)
			rows := persons(0, 30, "row")
			broken, refused := []int{0, 13, 14, 29}, []int{0, 13, 14, 29}
			for _, i := range broken {
				rows[i][1] = Text(fmt.Sprintf("much too long %d", i))
			}
			if mode == connector.Upsert || !h.NoKeys {
				// Found after a range was cut: the halves must not take the second row for an update of the first.
				rows[25][0], refused = Text("4"), append(refused, 25)
			}
			l := newLoad(t, spec, newRun(), rows)
			l.batch = 7
			_, err := l.run(t.Context(), h.Open(t))
			require.NoError(t, err)
			h.refusedOnly(t, l, refused)
			for _, i := range broken {
				require.Equal(t, reason, l.refused[ordinal(i)], "row %d", i)
			}
			var want []Row
			if mode != connector.Replace {
				want = there
			}
			for i, row := range rows {
				if _, refused := l.refused[ordinal(i)]; !refused {
					want = append(want, row)
				}
			}
			h.sees(t, spec, want)
		})
	}
}
