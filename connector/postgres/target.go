package postgres

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	// lockTimeout is how long a load waits for another one that holds the table or the run's marker.
	lockTimeout = 30 * time.Second
	// idleTimeout is how long the server keeps a load's transaction without a word from its worker. It is longer than any
	// pause between two statements.
	idleTimeout = 5 * time.Minute
)

// loader is one load on one connection.
type loader struct {
	load     connector.Load
	plan     sqlload.Plan
	conn     *pgx.Conn
	table    *table
	columns  []column
	refusals *sqlload.Refusals
	// progress reports rows sent.
	progress func(sent int64)
}

// Load implements connector.Target.
func (c *Connector) Load(ctx context.Context, load connector.Load) (connector.Outcome, error) {
	conn, err := c.connect(ctx, sqlload.SessionName(load))
	if err != nil {
		return connector.Outcome{}, err
	}
	defer closeConn(ctx, conn)
	plan, err := planFor(ctx, conn, load.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	if out, decided, err := readMarker(ctx, conn, plan, load.RunID, load.Target.Name, load.Fence); err != nil || decided {
		return out, err
	}
	if err := createTables(ctx, conn, plan, load.Target.Create); err != nil {
		return connector.Outcome{}, err
	}
	l := &loader{load: load, plan: plan, conn: conn, refusals: sqlload.NewRefusals(load), progress: sqlload.Progress(load)}
	if err := l.describe(ctx); err != nil {
		return connector.Outcome{}, err
	}
	if err := evict(ctx, conn, load.RunID, load.Target.Name, load.Fence); err != nil {
		return connector.Outcome{}, err
	}
	out, err := l.run(ctx)
	return sqlload.Recover(ctx, out, err, recoverTimeout, func(ctx context.Context) (connector.Outcome, bool, error) { return c.commitOutcome(ctx, l) })
}

// planFor plans a load; tables without a schema are in the role's current one.
func planFor(ctx context.Context, conn *pgx.Conn, spec connector.TargetSpec) (sqlload.Plan, error) {
	var schema *string
	if err := conn.QueryRow(ctx, "SELECT current_schema()::text").Scan(&schema); err != nil {
		return sqlload.Plan{}, coded(ctx, err)
	}
	if schema == nil {
		schema = new(string)
		*schema = "public"
	}
	return sqlload.NewPlan(dialect, *schema, spec)
}

// describe looks the target up and binds the flow's columns to the table's, before a row moves.
func (l *loader) describe(ctx context.Context) error {
	t, err := lookup(ctx, l.conn, l.plan.Target)
	if err != nil {
		return err
	}
	l.table = t
	if l.columns, err = bindColumns(l.plan, t); err != nil {
		return err
	}
	if err := l.plan.CheckKey(t.unique); err != nil {
		return err
	}
	return checkRejects(ctx, l.conn, l.plan)
}

// run does the transaction of a load.
func (l *loader) run(ctx context.Context) (connector.Outcome, error) {
	tx, err := l.conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.ReadCommitted, AccessMode: pgx.ReadWrite})
	if err != nil {
		return connector.Outcome{}, coded(ctx, err)
	}
	defer rollback(ctx, tx)
	if err := script(ctx, l.conn, settings(ctx)); err != nil {
		return connector.Outcome{}, coded(ctx, err)
	}
	claimed, err := l.plan.Claim(l.load, execute(ctx, l.conn))
	if err != nil {
		return connector.Outcome{}, err
	}
	if !claimed {
		return sqlload.Unclaimed(readMarker(ctx, l.conn, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence))
	}
	written, err := l.rows(ctx)
	if err != nil {
		return connector.Outcome{}, err
	}
	if err := l.rejects(ctx); err != nil {
		return connector.Outcome{}, err
	}
	if _, err := tx.Exec(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return connector.Outcome{}, coded(ctx, err)
	}
	receipt, err := l.load.Balance(written, l.refusals.Count())
	if err != nil {
		return connector.Outcome{}, err
	}
	if err := l.plan.Finish(l.load, receipt, execute(ctx, l.conn)); err != nil {
		return connector.Outcome{}, err
	}
	if err := tx.Commit(ctx); err != nil {
		if sqlState(err) != "" && !l.conn.IsClosed() || errors.Is(err, pgx.ErrTxCommitRollback) {
			return connector.Outcome{}, coded(ctx, err)
		}
		return connector.Outcome{}, &sqlload.CommitLost{Cause: err}
	}
	return connector.Outcome{Committed: true, Receipt: receipt}, nil
}

func rollback(ctx context.Context, tx pgx.Tx) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_ = tx.Rollback(ctx)
}

// script runs statements without parameters in one round trip.
func script(ctx context.Context, conn *pgx.Conn, statements string) error {
	return conn.PgConn().Exec(ctx, statements).Close()
}

// settings bounds how long the transaction can be in others' way.
func settings(ctx context.Context) string {
	text := fmt.Sprintf("SET LOCAL lock_timeout = %d; SET LOCAL idle_in_transaction_session_timeout = %d",
		lockTimeout.Milliseconds(), idleTimeout.Milliseconds())
	if deadline, ok := ctx.Deadline(); ok {
		left := min(max(time.Until(deadline).Milliseconds(), 1), math.MaxInt32)
		text += fmt.Sprintf("; SET LOCAL statement_timeout = %d", left)
	}
	return text
}

// rows loads all rows and returns how many the target counted.
func (l *loader) rows(ctx context.Context) (int64, error) {
	for _, name := range l.table.deferrable {
		// Checked at the end of each statement, a broken constraint still tells which range broke it.
		if _, err := l.conn.Exec(ctx, "SET CONSTRAINTS "+dialect.Table(name)+" IMMEDIATE"); err != nil {
			return 0, coded(ctx, err)
		}
	}
	if l.plan.Mode == connector.Append {
		return sqlload.Bisect(ctx, sqlload.AllRows, l.copyTo(l.plan.Target, false), l.refusals)
	}
	if _, err := l.conn.Exec(ctx, createStage(l.columns)); err != nil {
		return 0, coded(ctx, err)
	}
	if _, err := sqlload.Bisect(ctx, sqlload.AllRows, l.copyTo(stage, true), l.refusals); err != nil {
		return 0, err
	}
	if l.plan.Mode == connector.Replace {
		if err := l.empty(ctx); err != nil {
			return 0, err
		}
	}
	return sqlload.Bisect(ctx, sqlload.AllRows, l.insertStaged(), l.refusals)
}

// empty deletes what replace replaces. The lock keeps a second replace from adding its rows to those of this one.
func (l *loader) empty(ctx context.Context) error {
	if _, err := l.conn.Exec(ctx, "LOCK TABLE "+dialect.Table(l.plan.Target)+" IN SHARE ROW EXCLUSIVE MODE"); err != nil {
		return coded(ctx, err)
	}
	_, err := l.conn.Exec(ctx, l.plan.DeleteAll())
	if sqlState(err) == "23503" {
		return &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_REFERENCED",
			Message: "rows of other tables reference rows that replace would delete",
			Next:    "use mode upsert, or make the foreign keys of the other tables deferrable", Cause: err}
	}
	return coded(ctx, err)
}

// copyTo sends ranges into a table, each under a savepoint.
func (l *loader) copyTo(into sqlload.Table, withRow bool) sqlload.Try {
	names := dialect.Names(l.plan.ColumnNames())
	if withRow {
		names = dialect.Quote(connector.RowColumn) + ", " + names
	}
	statement := fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)", dialect.Table(into), names)
	return l.saved(func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		return l.copyRows(ctx, statement, withRow, r)
	})
}

// saved runs a try under a savepoint and rolls back to it if the target refuses the range.
func (l *loader) saved(try sqlload.Try) sqlload.Try {
	return func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		if err := script(ctx, l.conn, "SAVEPOINT lume"); err != nil {
			return sqlload.Attempt{}, coded(ctx, err)
		}
		a, err := try(ctx, r)
		if err != nil {
			return a, err
		}
		end := "RELEASE SAVEPOINT lume"
		if a.Refusal != nil {
			end = "ROLLBACK TO SAVEPOINT lume; RELEASE SAVEPOINT lume"
		}
		return a, coded(ctx, script(ctx, l.conn, end))
	}
}
