package sqlite

import (
	"context"
	"slices"

	sqlite3 "modernc.org/sqlite/lib"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// brokenReference is why a row is refused whose foreign key finds no row. The row that it refers to may come later in the batch.
var brokenReference = connector.RefusedRow{Message: "violates a foreign key"}

func isBrokenReference(err error) bool {
	return resultCode(err) == sqlite3.SQLITE_CONSTRAINT_FOREIGNKEY
}

// maxPasses bounds how often rows that wait for others are tried.
const maxPasses = 1000

// retry tries the rows whose foreign keys found no row until none gets in any more, and refuses the others. SQLite looks at
// foreign keys at the end of a statement, so that rows of one statement may refer to each other in any order.
func (l *loader) retry(ctx context.Context, perStatement int) error {
	l.keys = nil // They have taken theirs.
	for pass := 1; len(l.waiting) > 0; pass++ {
		if pass > maxPasses {
			return connector.ErrTooManyProbes
		}
		waiting := l.waiting
		l.waiting = nil
		err := l.read(ctx, sqlload.Range{From: waiting[0], To: waiting[len(waiting)-1] + 1}, min(perStatement, len(waiting)), waiting)
		if err != nil {
			return err
		}
		if len(l.waiting) < len(waiting) {
			continue
		}
		for _, row := range waiting {
			if err := l.refusals.Row(ctx, row, brokenReference); err != nil {
				return err
			}
		}
		return nil
	}
	return nil
}

// among reports whether a row is in an ascending list; all are in nil.
func among(list []int64, row int64) bool {
	_, found := slices.BinarySearch(list, row)
	return list == nil || found
}
