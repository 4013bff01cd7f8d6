package sqlserver

import (
	"context"
	"fmt"
	"strings"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// stage is the temporary table that rows are moved from. It belongs to the session.
const stage = "[#lume_load]"

// createStage creates the temporary table with the types and collations of the target's columns and none of its constraints.
func createStage(columns []column) string {
	text := "CREATE TABLE " + stage + " (" + quote(connector.RowColumn) + " bigint NOT NULL PRIMARY KEY"
	for _, c := range columns {
		text += ", " + quote(c.Name) + " " + c.native.declaration()
		if c.native.collation != "" {
			text += " COLLATE " + c.native.collation
		}
		text += " NULL"
	}
	return text + ")"
}

// insertStaged moves the rows of the stage with @p1 <= _row < @p2 to the target. For upsert it takes only those whose keys
// are not there, and keeps others from adding them meanwhile.
func insertStaged(plan sqlload.Plan) string {
	names := dialect.Names(plan.ColumnNames())
	text := "INSERT INTO " + dialect.Table(plan.Target) + " (" + names + ") SELECT " + names + " FROM " + stage + " AS s WHERE " + inRange
	if plan.Mode == connector.Upsert {
		text += " AND NOT EXISTS (SELECT 1 FROM " + dialect.Table(plan.Target) + " AS t WITH (UPDLOCK, HOLDLOCK) WHERE " + equalKeys(plan, "t", "s") + ")"
	}
	return text
}

// updateStaged gives rows of the target with the keys of staged ones their values. A table of key columns only sets a key
// to what it is, so that every row counts.
func updateStaged(plan sqlload.Plan) string {
	var set []string
	for _, c := range plan.Columns {
		if !c.Key {
			set = append(set, quote(c.Name)+" = s."+quote(c.Name))
		}
	}
	if len(set) == 0 {
		set = append(set, quote(plan.Keys[0])+" = s."+quote(plan.Keys[0]))
	}
	return "UPDATE t SET " + strings.Join(set, ", ") + " FROM " + dialect.Table(plan.Target) + " AS t WITH (UPDLOCK, HOLDLOCK) INNER JOIN " +
		stage + " AS s ON " + equalKeys(plan, "t", "s") + " WHERE " + inRange
}

const inRange = "s.[_row] >= @p1 AND s.[_row] < @p2"

func equalKeys(plan sqlload.Plan, a, b string) string {
	list := make([]string, len(plan.Keys))
	for i, key := range plan.Keys {
		list[i] = a + "." + quote(key) + " = " + b + "." + quote(key)
	}
	return strings.Join(list, " AND ")
}

// refuseEqualKeys refuses staged rows whose key the database holds for that of an earlier one: its collations can make
// `a`, `A` and `a ` the same, and an update from two rows would take either.
func (l *loader) refuseEqualKeys(ctx context.Context) error {
	var rows []int64
	query := "SELECT s.[_row] FROM " + stage + " AS s WHERE EXISTS (SELECT 1 FROM " + stage + " AS t WHERE " + equalKeys(l.plan, "t", "s") +
		" AND t.[_row] < s.[_row]) ORDER BY s.[_row]"
	err := l.session.each(ctx, query, nil, func(scan func(...any) error) error {
		var row int64
		err := scan(&row)
		rows = append(rows, row)
		return err
	})
	if err != nil {
		return coded(ctx, err)
	}
	if len(rows) > connector.MaxProbes {
		return connector.ErrTooManyProbes
	}
	reason := connector.RefusedRow{Message: "has the key of an earlier row of the batch, as the collation of the key compares"}
	if len(l.plan.Keys) == 1 {
		reason.Column = l.plan.Keys[0]
	}
	for _, row := range rows {
		if err := l.refusals.Row(ctx, row, reason); err != nil {
			return err
		}
		if _, err := l.session.ExecContext(ctx, "DELETE FROM "+stage+" WHERE [_row] = @p1", row); err != nil {
			return coded(ctx, err)
		}
	}
	return nil
}

// save runs f under a savepoint. Errors of the row are refusals only if the server left the transaction usable, which XACT_STATE
// says. Others are returned as they are.
func (l *loader) save(ctx context.Context, f func() error) (*sqlload.Refusal, error) {
	const (
		save = "SAVE TRANSACTION lume_rows"
		undo = "ROLLBACK TRANSACTION lume_rows"
	)
	if err := l.session.exec(ctx, save); err != nil {
		return nil, coded(ctx, err)
	}
	cause := f()
	reason, passing, refused := refusedRow(cause)
	if !refused {
		return nil, cause
	}
	if err := l.usable(ctx, cause, reason); err != nil {
		return nil, err
	}
	if err := l.session.exec(ctx, undo); err != nil {
		return nil, coded(ctx, err)
	}
	return &sqlload.Refusal{Reason: reason, Suspect: -1, Passing: passing, Err: coded(ctx, cause)}, nil
}

// moveStaged moves a range.
func (l *loader) moveStaged(ctx context.Context, r sqlload.Range) (a sqlload.Attempt, err error) {
	s := l.session
	a.Refusal, err = l.save(ctx, func() (err error) {
		var updated int64
		if l.plan.Mode == connector.Upsert {
			if updated, err = s.affected(ctx, updateStaged(l.plan), r.From, r.To); err != nil {
				return coded(ctx, err)
			}
		}
		a.Written, err = s.affected(ctx, insertStaged(l.plan), r.From, r.To)
		a.Written += updated
		return coded(ctx, err)
	})
	if err != nil {
		return a, err
	}
	if a.Refusal != nil {
		a.Written = 0
	}
	err = s.ask(ctx, "SELECT COUNT_BIG(*), COALESCE(MIN(s.[_row]), 0), COALESCE(MAX(s.[_row]), 0) FROM "+stage+" AS s WHERE "+inRange,
		[]any{r.From, r.To}, &a.Sent, &a.First, &a.Last)
	if err != nil {
		return a, coded(ctx, err)
	}
	if a.Refusal == nil && a.Written != a.Sent {
		return a, &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_LOST",
			Message: fmt.Sprintf("the server counted %d rows where %d were sent", a.Written, a.Sent),
			Next:    "see whether an INSTEAD OF trigger of the table drops rows", Meta: map[string]string{"table": l.plan.Target.String()}}
	}
	return a, nil
}

// usable reports whether the transaction can go on after a refusal.
func (l *loader) usable(ctx context.Context, cause error, reason connector.RefusedRow) error {
	var state int
	if err := l.session.ask(ctx, "SELECT XACT_STATE()", nil, &state); err == nil && state == 1 {
		return nil
	} else if ctx.Err() != nil {
		return ctx.Err()
	}
	if hasNumber(cause, rowTooLong) {
		return coded(ctx, cause)
	}
	return &connector.Error{Kind: connector.KindConflict, Reason: "REFUSAL_ENDED_LOAD", Column: reason.Column,
		Message: "the server ended the transaction when it refused a row, as it does for an error in a trigger: " + reason.Message,
		Next:    "change the trigger, or let a rule of the flow reject such rows", Meta: map[string]string{"table": l.plan.Target.String()}, Cause: cause}
}
