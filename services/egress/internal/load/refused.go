package load

import (
	"cmp"
	"slices"

	"github.com/lume-data/lume/connector"
)

// account is which rows the target refuses, and why. Reasons are few and rows may be many.
type account struct {
	rows    []refusal
	reasons []connector.RefusedRow
	index   map[connector.RefusedRow]int32
}

type refusal struct {
	row    int64
	reason int32
}

func (a *account) add(row int64, reason connector.RefusedRow) {
	i, ok := a.index[reason]
	if !ok {
		if a.index == nil {
			a.index = make(map[connector.RefusedRow]int32)
		}
		i = int32(len(a.reasons))
		a.index[reason] = i
		a.reasons = append(a.reasons, reason)
	}
	a.rows = append(a.rows, refusal{row: row, reason: i})
}

// truncate forgets all but the first n rows.
func (a *account) truncate(n int) { a.rows = a.rows[:n] }

func (a *account) len() int { return len(a.rows) }

// sorted returns the rows upwards, each once.
func (a *account) sorted() []refusal {
	list := slices.Clone(a.rows)
	slices.SortStableFunc(list, func(x, y refusal) int { return cmp.Compare(x.row, y.row) })
	return slices.CompactFunc(list, func(x, y refusal) bool { return x.row == y.row })
}
