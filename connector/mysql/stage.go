package mysql

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	driver "github.com/go-sql-driver/mysql"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// stageTable is the temporary table that rows go through where the server may refuse some. It is in the target's database,
// and only its session sees it.
func (l *loader) stageTable() sqlload.Table {
	return sqlload.Table{Schema: l.plan.Target.Schema, Name: "_lume_load"}
}

// createStage creates the temporary table with the types of the target's columns and none of its constraints. Its key keeps the
// rows in order.
func createStage(plan sqlload.Plan, into sqlload.Table, columns []column) string {
	row := plan.Dialect.Quote(connector.RowColumn)
	lines := []string{row + " bigint NOT NULL PRIMARY KEY"}
	for _, c := range columns {
		line := plan.Dialect.Quote(c.Name) + " " + c.native.format
		if c.native.charset != "" && c.native.collation != "" {
			line += " CHARACTER SET " + c.native.charset + " COLLATE " + c.native.collation
		}
		lines = append(lines, line+" NULL")
	}
	return "CREATE TEMPORARY TABLE " + plan.Dialect.Table(into) + " (" + strings.Join(lines, ", ") + ") ENGINE = InnoDB ROW_FORMAT = DYNAMIC"
}

// stage fills the temporary table. Rows that the columns' types cannot hold are refused here.
func (l *loader) stage(ctx context.Context) error {
	into := l.stageTable()
	if err := l.create(ctx, createStage(l.plan, into, l.columns)); err != nil {
		return coded(ctx, err)
	}
	_, err := sqlload.Bisect(ctx, sqlload.AllRows, l.saved(func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		return l.loadRows(ctx, into, true, r)
	}), l.refusals)
	return err
}

// refuseEqualKeys refuses staged rows that have the key of an earlier one, as the collations of the columns compare. The server would
// take them for updates of that row, and say nothing.
func (l *loader) refuseEqualKeys(ctx context.Context) error {
	var again int64
	if err := l.QueryRowContext(ctx, l.plan.CountEqualKeys(l.stageTable())).Scan(&again); err != nil || again == 0 {
		return coded(ctx, err)
	}
	var rows []int64
	var row int64
	err := l.each(ctx, l.plan.SelectEqualKeys(l.stageTable()), nil, []any{&row}, func() error {
		rows = append(rows, row)
		return nil
	})
	if err != nil {
		return err
	}
	if err := l.refusals.EqualKeys(ctx, l.plan, rows); err != nil {
		return err
	}
	for _, statement := range l.plan.DeleteStaged(l.stageTable(), rows) {
		if _, err := l.exec(ctx, statement); err != nil {
			return coded(ctx, err)
		}
	}
	return nil
}

// insertStaged moves ranges of the staged rows into the target, each under a savepoint.
func (l *loader) insertStaged() sqlload.Try {
	staged := l.stageTable()
	statement, row, from := l.plan.InsertFrom(staged), l.plan.Dialect.Quote(connector.RowColumn), l.plan.Dialect.Table(staged)
	var suspect int64
	insert := l.saved(func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		suspect = 0
		written, err := l.exec(ctx, statement, r.From, r.To)
		var refused *driver.MySQLError
		if errors.As(err, &refused) {
			if reason, is := refusedRow(refused); is {
				suspect = l.suspect(ctx, refused)
				passing := refused.Number == errNoParent1 || refused.Number == errNoParent2
				return sqlload.Attempt{Refusal: &sqlload.Refusal{Reason: l.named(reason), Suspect: -1, Passing: passing, Err: coded(ctx, err)}}, nil
			}
		}
		if err != nil || l.plan.Mode != connector.Upsert {
			return sqlload.Attempt{Written: written}, coded(ctx, err)
		}
		return l.merged(ctx, r)
	})
	return func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		a, err := insert(ctx, r)
		if err != nil || a.Refusal == nil {
			return a, err
		}
		err = l.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*), coalesce(min(%[1]s), 0), coalesce(max(%[1]s), 0) FROM %[2]s WHERE %[1]s >= ? AND %[1]s < ?",
			row, from), r.From, r.To).Scan(&a.Sent, &a.First, &a.Last)
		if err != nil || suspect == 0 {
			return a, coded(ctx, err)
		}
		err = l.QueryRowContext(ctx, fmt.Sprintf("SELECT %[1]s FROM %[2]s WHERE %[1]s >= ? AND %[1]s < ? ORDER BY %[1]s LIMIT 1 OFFSET ?", row, from),
			r.From, r.To, suspect-1).Scan(&a.Refusal.Suspect)
		if err == sql.ErrNoRows {
			err = nil
		}
		return a, coded(ctx, err)
	}
}

// suspect is the 1-based row of the last statement that its first error or warning is about, or 0. It is a hint, so nobody fails
// for it.
func (l *loader) suspect(ctx context.Context, refused *driver.MySQLError) int64 {
	if n := rowNumber(refused.Message); n > 0 || !l.mariadb {
		return n
	}
	// MariaDB 10.7 and later keeps it with the condition.
	var n sql.NullInt64
	if _, err := l.exec(ctx, "GET DIAGNOSTICS CONDITION 1 @lume_row = ROW_NUMBER"); err != nil {
		return 0
	}
	if err := l.QueryRowContext(ctx, "SELECT @lume_row").Scan(&n); err != nil {
		return 0
	}
	return n.Int64
}

// merged counts the rows of an upsert that are in the target under their key. ON DUPLICATE KEY UPDATE goes by any unique key:
// a row that met another one's unique value has changed that one instead, and is refused.
func (l *loader) merged(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
	d, staged := l.plan.Dialect, l.stageTable()
	row := d.Quote(connector.RowColumn)
	var match []string
	for _, name := range l.plan.Keys {
		match = append(match, fmt.Sprintf("t.%[1]s = s.%[1]s", d.Quote(name)))
	}
	for _, name := range l.plan.OtherUnique(l.table.unique) {
		match = append(match, fmt.Sprintf("t.%[1]s <=> s.%[1]s", d.Quote(name)))
	}
	var a sqlload.Attempt
	var sent int64
	err := l.QueryRowContext(ctx, fmt.Sprintf("SELECT count(*), count(t.%s) FROM %s s LEFT JOIN %s t ON %s WHERE s.%s >= ? AND s.%s < ?",
		d.Quote(l.plan.Keys[0]), d.Table(staged), d.Table(l.plan.Target), strings.Join(match, " AND "), row, row), r.From, r.To).Scan(&sent, &a.Written)
	if err != nil {
		return a, coded(ctx, err)
	}
	if a.Written != sent {
		return sqlload.Attempt{Refusal: &sqlload.Refusal{Suspect: -1, Reason: connector.RefusedRow{Message: "violates a unique key of the table other than the flow's"},
			Err: &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_CHANGED", Message: "the target did not keep rows under their key",
				Next: "remove triggers that change the key", Meta: map[string]string{"table": l.plan.Target.String()}}}}, nil
	}
	return a, nil
}
