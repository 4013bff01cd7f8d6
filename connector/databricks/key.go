package databricks

import (
	"context"
	"fmt"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// placeColumn numbers the staged rows of one key, from the first one.
const placeColumn = "_lume_place"

// countUpsert counts the staged rows that the table accepts, and how many of them have the key of another.
func countUpsert(plan sqlload.Plan, t *table, rows staged) string {
	return fmt.Sprintf("SELECT count(*), count_if(%s) - count(DISTINCT %s) FROM %s WHERE %s",
		whole(plan), names(plan.Keys), shaped(plan, t, rows), valid(t))
}

// whole is the condition that a key has no NULL, with which it equals no other.
func whole(plan sqlload.Plan) string {
	list := make([]string, len(plan.Keys))
	for i, key := range plan.Keys {
		list[i] = quote(key) + " IS NOT NULL"
	}
	return strings.Join(list, " AND ")
}

// placed reads the staged rows that the table accepts with the place of each among those of its key.
func placed(plan sqlload.Plan, t *table, rows staged) string {
	return fmt.Sprintf("(SELECT *, row_number() OVER (PARTITION BY %s ORDER BY %s) AS %s FROM %s WHERE %s)",
		names(plan.Keys), rowColumn, placeColumn, shaped(plan, t, rows), valid(t))
}

// equalKeys lists the staged rows that have the key of an earlier one.
func equalKeys(plan sqlload.Plan, t *table, rows staged) string {
	return fmt.Sprintf("SELECT %[1]s FROM %[2]s WHERE %[3]s > 1 AND %[4]s ORDER BY %[1]s LIMIT %[5]d",
		rowColumn, placed(plan, t, rows), placeColumn, whole(plan), connector.MaxProbes+1)
}

// upserted counts the rows that an upsert will write, and refuses those that have the key of an earlier one: MERGE would
// fail at them, or insert both.
func (l *loader) upserted(ctx context.Context, rows staged) (int64, error) {
	list, err := l.s.values(ctx, countUpsert(l.plan, l.table, rows))
	if err != nil {
		return 0, err
	}
	if len(list) != 1 || len(list[0]) != 2 {
		return 0, unexpectedResult()
	}
	accepted, isCount := list[0][0].(int64)
	again, isAgain := list[0][1].(int64)
	if !isCount || !isAgain {
		return 0, unexpectedResult()
	}
	if again == 0 {
		return accepted, nil
	}
	if list, err = l.s.values(ctx, equalKeys(l.plan, l.table, rows)); err != nil {
		return 0, err
	}
	ordinals := make([]int64, len(list))
	for i, row := range list {
		ordinals[i], _ = row[0].(int64)
	}
	l.again = true
	return accepted - int64(len(ordinals)), l.refusals.EqualKeys(ctx, l.plan, ordinals)
}
