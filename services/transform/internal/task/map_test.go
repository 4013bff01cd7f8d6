package task

import (
	"testing"

	"github.com/stretchr/testify/require"
)

const invoices = `
name: invoices
source: {connector: files, csv: {}}
filter: kind <> 'test'
columns:
  - {name: id, type: string, from: trim(inv_no), required: true, key: true}
  - {name: amount, type: "decimal(12,2)", from: "replace(amt, '$', '')"}
  - {name: issued, type: date, format: "%d/%m/%Y"}
  - {name: status, type: string, from: upper(state), one_of: [OPEN, PAID, VOID], on_error: {default: OPEN}}
  - {name: half, type: float64, from: CAST(qty AS INTEGER) / CAST(div AS INTEGER)}
rules:
  - {name: positive, check: amount > 0, message: amount must be positive}
  - {name: big, check: amount < 1000, on_error: warn}
target: {connector: t, table: x, mode: append}
`

func TestPartIsMappedFilteredAndRejected(t *testing.T) {
	t.Parallel()
	b := setup(t)
	m := b.stage(csv("inv_no|kind|amt|issued|state|qty|div",
		" a1 |x|$12.50|01/02/2024|open|1|2",
		"a2|test|1|01/02/2024|open|1|2",
		"a3|NULL|1|01/02/2024|open|1|2",
		"a4|x|12.345|2024-01-01|nope|1|2",
		"a5|x|-5|01/02/2024|NULL|1|0",
		"NULL|x|1e5|31/02/2024|paid|x|2",
		"a1|x|2000|01/03/2024|paid|6|3",
		"a6|x|NULL|NULL|void|NULL|3",
	), 1)
	r, err := b.do(flow(t, invoices), m)
	require.NoError(t, err)
	require.Equal(t, []string{"0: a1|12.50|2024-02-01|OPEN|0.5", "7: a6|NULL|NULL|VOID|NULL"}, show(r.rows))
	require.Equal(t, []string{
		"3: type amount; type issued",
		"4: expression half; check amount positive",
		"5: required id; type amount; type issued; expression half",
		"6: unique id",
	}, reasons(t, r.rejects))
	require.Equal(t, int64(8), r.parts[0].GetCounts().GetRead())
	require.Equal(t, int64(2), r.parts[0].GetCounts().GetFiltered())
	require.Equal(t, int64(3), r.parts[0].GetCounts().GetRejected())
	require.Equal(t, int64(3), r.parts[0].GetCounts().GetMapped())
	require.Equal(t, map[string]int64{"big": 1}, r.parts[0].GetWarnings())
	require.Equal(t, int64(1), r.closing.GetRejected())
	require.Equal(t, int64(5), *r.rejects[0].Line)
	require.Equal(t, int64(300), *r.rejects[0].Byte)
	require.JSONEq(t, `{"inv_no":"a4","kind":"x","amt":"12.345","issued":"2024-01-01","state":"nope","qty":"1","div":"2"}`, r.rejects[0].Record)
}
