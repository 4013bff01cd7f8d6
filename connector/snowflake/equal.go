package snowflake

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// equalKeysQuery lists the staged rows that have the key of an earlier one. Text compares by the collation of the target's column, which
// nothing tells but an expression that has the column in it: of the target it takes no row. A key with a NULL equals none.
func (l *loader) equalKeysQuery() string {
	var keys, there []string
	for i, c := range l.plan.Columns {
		if !c.Key {
			continue
		}
		value := "s." + dialect.Quote(stagedColumn(i))
		there = append(there, value+" IS NOT NULL")
		if l.columns[i].typ == "TEXT" {
			value = "COALESCE(t." + dialect.Quote(c.Name) + ", " + value + ")"
		}
		keys = append(keys, value)
	}
	row := dialect.Quote(stagedRow)
	return fmt.Sprintf("SELECT %[1]s AS again FROM (SELECT s.%[1]s, ROW_NUMBER() OVER (PARTITION BY %[2]s ORDER BY s.%[1]s) AS place "+
		"FROM %[3]s AS s LEFT JOIN (SELECT %[4]s FROM %[5]s LIMIT 0) AS t ON TRUE WHERE %[6]s) AS placed WHERE place > 1 ORDER BY %[1]s LIMIT %[7]d",
		row, strings.Join(keys, ", "), dialect.Table(l.temporary), dialect.Names(l.plan.Keys), dialect.Table(l.plan.Target), strings.Join(there, " AND "),
		connector.MaxProbes+1)
}

// refuseEqualKeys refuses staged rows that have the key of an earlier one: MERGE would fail at them, or insert both.
func (l *loader) refuseEqualKeys(ctx context.Context) error {
	answer, err := l.records(ctx, l.equalKeysQuery())
	if err != nil {
		return err
	}
	rows := make([]int64, len(answer))
	for i, r := range answer {
		if rows[i], err = strconv.ParseInt(r["again"], 10, 64); err != nil {
			return unexpected("the server's number of a row is no number")
		}
	}
	if err := l.refusals.EqualKeys(ctx, l.plan, rows); err != nil {
		return err
	}
	for _, statement := range sqlload.DeleteRows(dialect.Table(l.temporary), dialect.Quote(stagedRow), rows) {
		if err := l.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}
