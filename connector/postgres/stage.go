package postgres

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// stage is the temporary table that upsert and replace load first.
var stage = sqlload.Table{Schema: "pg_temp", Name: "_lume_load"}

// createStage creates the temporary table with the types and collations of the target's columns and none of its constraints.
func createStage(columns []column) string {
	text := "CREATE TEMPORARY TABLE " + dialect.Table(stage) + " (" + dialect.Quote(connector.RowColumn) + " bigint"
	for _, c := range columns {
		text += ", " + dialect.Quote(c.Name) + " " + c.native.format
		if c.native.collation != "" {
			text += " COLLATE " + c.native.collation
		}
	}
	return text + ") ON COMMIT DROP"
}

// insertStaged moves ranges of the staged rows into the target, each under a savepoint.
func (l *loader) insertStaged() sqlload.Try {
	statement, indexed := l.plan.InsertFrom(stage), false
	// apart is true once no two staged rows have equal keys.
	apart := l.plan.Mode != connector.Upsert
	insert := l.saved(func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		tag, err := l.conn.Exec(ctx, statement, r.From, r.To)
		var pg *pgconn.PgError
		if errors.As(err, &pg) {
			reason, refused := refusedRow(pg)
			if refused || pg.Code == equalKeys && !apart {
				return sqlload.Attempt{Refusal: &sqlload.Refusal{Reason: reason, Suspect: -1, Passing: pg.Code == "23503", Err: coded(ctx, err)}}, nil
			}
		}
		return sqlload.Attempt{Written: tag.RowsAffected()}, coded(ctx, err)
	})
	row := dialect.Quote(connector.RowColumn)
	return func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		a, err := insert(ctx, r)
		if err != nil || a.Refusal == nil {
			return a, err
		}
		if !apart {
			// In two ranges they would be an insert and its update, so this goes before the first cut.
			if err := l.refuseEqualKeys(ctx); err != nil {
				return a, err
			}
			apart = true
			if a, err = insert(ctx, r); err != nil || a.Refusal == nil {
				return a, err
			}
		}
		if !indexed {
			if _, err := l.conn.Exec(ctx, fmt.Sprintf("CREATE INDEX ON %s (%s)", dialect.Table(stage), row)); err != nil {
				return a, coded(ctx, err)
			}
			indexed = true
		}
		err = l.conn.QueryRow(ctx, fmt.Sprintf("SELECT count(*), coalesce(min(%[1]s), 0), coalesce(max(%[1]s), 0) FROM %[2]s WHERE %[1]s >= $1 AND %[1]s < $2",
			row, dialect.Table(stage)), r.From, r.To).Scan(&a.Sent, &a.First, &a.Last)
		return a, coded(ctx, err)
	}
}

// refuseEqualKeys refuses staged rows that have the key of an earlier one, as citext and collations compare.
func (l *loader) refuseEqualKeys(ctx context.Context) error {
	answer, err := l.conn.Query(ctx, l.plan.SelectEqualKeys(stage))
	if err != nil {
		return coded(ctx, err)
	}
	rows, err := pgx.CollectRows(answer, pgx.RowTo[int64])
	if err != nil {
		return coded(ctx, err)
	}
	if err := l.refusals.EqualKeys(ctx, l.plan, rows); err != nil {
		return err
	}
	for _, statement := range l.plan.DeleteStaged(stage, rows) {
		if _, err := l.conn.Exec(ctx, statement); err != nil {
			return coded(ctx, err)
		}
	}
	return nil
}
