package sqlload

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
)

// A flow lets no two rows with the same key through, but a target can take keys for equal that are not the same: a collation does so
// with `a` and `A`. Of those in one batch the first row is kept and the others are refused, or an upsert would take one for the update
// of another, which nobody has asked for.

// SelectEqualKeys lists rows of a staged table that have the key of an earlier one, as the staged columns compare, from low to high. A
// key with a NULL equals none. It lists no more than one beyond what a load may refuse.
func (p Plan) SelectEqualKeys(staged Table) string {
	d := p.Dialect
	return fmt.Sprintf("SELECT %[1]s FROM (SELECT %[1]s, row_number() OVER (PARTITION BY %[2]s ORDER BY %[1]s) AS place FROM %[3]s WHERE %[4]s) AS placed"+
		" WHERE place > 1 ORDER BY %[1]s LIMIT %[5]d", d.Quote(connector.RowColumn), d.Names(p.Keys), d.Table(staged), p.wholeKey(), connector.MaxProbes+1)
}

// CountEqualKeys counts the rows of SelectEqualKeys, which takes a fraction of the time to list them.
func (p Plan) CountEqualKeys(staged Table) string {
	return fmt.Sprintf("SELECT count(*) - count(DISTINCT %s) FROM %s WHERE %s", p.Dialect.Names(p.Keys), p.Dialect.Table(staged), p.wholeKey())
}

// wholeKey is the condition that a key has no NULL.
func (p Plan) wholeKey() string {
	there := make([]string, len(p.Keys))
	for i, key := range p.Keys {
		there[i] = p.Dialect.Quote(key) + " IS NOT NULL"
	}
	return strings.Join(there, " AND ")
}

// DeleteStaged deletes rows from a staged table.
func (p Plan) DeleteStaged(staged Table, rows []int64) []string {
	return DeleteRows(p.Dialect.Table(staged), p.Dialect.Quote(connector.RowColumn), rows)
}

// maxDeleted is how many rows one statement of DeleteRows names.
const maxDeleted = 1000

// DeleteRows deletes rows of a table by the number that a column has. Both names are as SQL writes them.
func DeleteRows(table, column string, rows []int64) (statements []string) {
	for len(rows) > 0 {
		list := make([]string, min(len(rows), maxDeleted))
		for i := range list {
			list[i] = strconv.FormatInt(rows[i], 10)
		}
		statements = append(statements, fmt.Sprintf("DELETE FROM %s WHERE %s IN (%s)", table, column, strings.Join(list, ", ")))
		rows = rows[len(list):]
	}
	return statements
}

// EqualKey is why a row is refused that has the key of an earlier one.
func (p Plan) EqualKey() connector.RefusedRow {
	reason := connector.RefusedRow{Message: "has the key of an earlier row of the batch, as the target compares keys"}
	if len(p.Keys) == 1 {
		reason.Column = p.Keys[0]
	}
	return reason
}

// EqualKeys refuses rows that have the key of an earlier one. More than a load may refuse are connector.ErrTooManyProbes.
func (r *Refusals) EqualKeys(ctx context.Context, p Plan, rows []int64) error {
	if len(rows) > connector.MaxProbes {
		return connector.ErrTooManyProbes
	}
	for _, row := range rows {
		if err := r.Row(ctx, row, p.EqualKey()); err != nil {
			return err
		}
	}
	return nil
}
