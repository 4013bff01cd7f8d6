package connectortest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lume-data/lume/connector"
)

// textRefusesRows loads rows with text that is not UTF-8, which formats of text cannot hold: they are rejects beside the others.
func textRefusesRows(t *testing.T, h TargetHarness) {
	t.Parallel()
	for _, mode := range h.everyMode() {
		spec := h.place(t, mode)
		rows := persons(0, 20, "row")
		refused := []int{0, 6, 7, 19}
		for _, i := range refused {
			rows[i][1] = Text("Andr\xe9")
		}
		l := newLoad(t, spec, newRun(), rows)
		l.batch, l.rejects = 7, someRejects()
		_, err := l.run(t.Context(), h.Open(t))
		require.NoError(t, err)
		h.refusedOnly(t, l, refused)
		require.Len(t, h.Rejects(t, spec, l.runID), len(refused)+len(l.rejects))
		var want []Row
		for i, row := range rows {
			reason, out := l.refused[ordinal(i)]
			if !out {
				want = append(want, row)
				continue
			}
			require.Equal(t, connector.RefusedRow{Column: "name", Message: "the text is not UTF-8"}, reason)
		}
		h.sees(t, spec, want)
	}
}
