package task

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMappedRowsKeepTheirOrder maps parts of several row groups, which several threads read and write, through every shape
// of plan that the engine could answer with a join.
func TestMappedRowsKeepTheirOrder(t *testing.T) {
	t.Parallel()
	const rows = 5 * 122_880
	// The first rows of a row group are the slowest to map, so that its neighbours overtake it.
	const query = "SELECT i::VARCHAR AS id, CASE WHEN i %% 122880 < 61440 THEN repeat('a', 200) ELSE 'a' END AS text, (i %% 26)::VARCHAR AS code FROM range(%d, %d) t(i)"
	const codes = `["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16", "17", "18", "19", "20", "21", "22", "23", "24"]`
	const in = "code IN ('0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '10', '11', '12', '13', '14', '15', '16', '17', '18', '19', '20', '21', '22', '23', '24')"
	const id = "{name: id, type: int64}, {name: text, type: string, pattern: \"a+\", from: \"regexp_replace(text, 'b*', '')\"}"
	for name, settings := range map[string]string{
		"one_of":    "columns: [" + id + ", {name: code, type: string, one_of: " + codes + "}]",
		"filter":    "filter: " + in + "\ncolumns: [" + id + ", {name: code, type: string}]",
		"check":     "columns: [" + id + ", {name: code, type: string}]\nrules: [{name: r, check: \"" + in + "\"}]",
		"from":      "columns: [" + id + ", {name: code, type: string, from: \"CASE WHEN " + in + " THEN code END\", required: true}]",
		"default":   "columns: [" + id + ", {name: code, type: string, one_of: " + codes + ", on_error: {default: \"0\"}}]",
		"warning":   "columns: [" + id + ", {name: code, type: string}]\nrules: [{name: r, check: \"" + in + "\", on_error: warn}]",
		"reference": "references: [{name: n, connector: c, path: x, key: k, on: code, required: true}]\ncolumns: [" + id + ", {name: code, type: string, from: n.v}]",
		"fallible reference": "references: [{name: n, connector: c, path: x, key: k, on: CAST(CAST(code AS INTEGER) AS VARCHAR), required: true}]\n" +
			"columns: [" + id + ", {name: code, type: string, from: n.v}]\nfilter: n.v IS NOT NULL",
		"large reference": "references: [{name: large, connector: c, path: x, key: k, on: id}]\ncolumns: [" + id + ", {name: code, type: string, from: large.v}]",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := setup(t)
			m := b.stageQuery([]string{"id", "text", "code"}, query, rows, 1)
			var few, many []string
			for i := range 25 {
				few = append(few, fmt.Sprintf("%d|v%d", i, i))
			}
			for i := range 2000 {
				many = append(many, fmt.Sprintf("%d|v%d", i*7, i))
			}
			f := flow(t, head+settings)
			for _, r := range f.GetReferences() {
				lines := few
				if r.GetName() == "large" {
					lines = many
				}
				b.refer(m, r.GetName(), csv("k|v", lines...))
			}
			r, err := b.do(f, m) // It holds that rows are in order.
			require.NoError(t, err)
			require.Equal(t, int64(rows), r.parts[0].GetCounts().GetRead())
			require.NotEmpty(t, r.rows)
		})
	}
}
