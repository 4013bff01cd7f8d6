package sqlserver

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// loader is one load on one session.
type loader struct {
	load    connector.Load
	plan    sqlload.Plan
	session *session
	table   *table
	columns []column
	// ranged is true if rows are copied into the temporary table by ranges.
	ranged   bool
	refusals *sqlload.Refusals
	// staged is true if rows go through the temporary table.
	staged bool
	// progress reports rows sent.
	progress func(sent int64)
}

// column is a column of a load: the flow's, the table's, and how one becomes the other.
type column struct {
	connector.Column
	native native
	bind   bind
	// noNull is set if a NULL can be refused without asking the server.
	noNull bool
}

// Load implements connector.Target.
func (c *Connector) Load(ctx context.Context, load connector.Load) (connector.Outcome, error) {
	plan, err := c.plan(load.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	s, err := c.connect(ctx, sqlload.SessionName(load))
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close()
	// First of all: where readers wait for writers, also a look at the marker waits.
	if err := evict(ctx, s, load.RunID, load.Target.Name, load.Fence); err != nil {
		return connector.Outcome{}, err
	}
	if out, decided, err := readMarker(ctx, s, plan, load.RunID, load.Target.Name, load.Fence); err != nil || decided {
		return out, err
	}
	if err := createTables(ctx, s, plan, load.Target.Create); err != nil {
		return connector.Outcome{}, err
	}
	l := &loader{load: load, plan: plan, session: s, progress: sqlload.Progress(load)}
	if err := l.describe(ctx); err != nil {
		return connector.Outcome{}, err
	}
	// Bulk copy does not run triggers, and how it leaves a transaction that it fails in is not documented. So rows are staged
	// where there are triggers, and where a row was refused the load begins again.
	l.staged = plan.Mode != connector.Append || l.table.triggered
	out, err := l.run(ctx)
	for errors.Is(err, errAgain) {
		load.Restart()
		out, err = l.run(ctx)
	}
	return sqlload.Recover(ctx, out, err, recoverTimeout, func(ctx context.Context) (connector.Outcome, bool, error) { return c.commitOutcome(ctx, l) })
}

// plan plans a load.
func (c *Connector) plan(spec connector.TargetSpec) (sqlload.Plan, error) {
	return sqlload.NewPlan(dialect, c.schema, spec)
}

// describe looks the target up and binds the flow's columns to the table's, before a row moves.
func (l *loader) describe(ctx context.Context) error {
	t, err := lookup(ctx, l.session, l.plan.Target)
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
	return checkRejects(ctx, l.session, l.plan)
}

// run does the transaction of a load.
func (l *loader) run(ctx context.Context) (connector.Outcome, error) {
	l.refusals = sqlload.NewRefusals(l.load)
	tx, err := l.session.begin(ctx, sql.LevelReadCommitted)
	if err != nil {
		return connector.Outcome{}, err
	}
	defer l.session.rollback(tx)
	execute := func(statement string, args ...any) (int64, error) { return l.session.affected(ctx, statement, args...) }
	claimed, err := l.plan.Claim(l.load, execute)
	if err != nil && !hasNumber(err, keyTaken) {
		return connector.Outcome{}, coded(ctx, err)
	}
	if !claimed {
		l.session.rollback(tx)
		return sqlload.Unclaimed(readMarker(ctx, l.session, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence))
	}
	written, err := l.rows(ctx)
	if err != nil {
		return connector.Outcome{}, err
	}
	if err := l.rejects(ctx); err != nil {
		return connector.Outcome{}, err
	}
	receipt, err := l.load.Balance(written, l.refusals.Count())
	if err != nil {
		return connector.Outcome{}, err
	}
	if err := l.plan.Finish(l.load, receipt, execute); err != nil {
		return connector.Outcome{}, coded(ctx, err)
	}
	if err := ctx.Err(); err != nil {
		return connector.Outcome{}, err
	}
	if err := l.session.commit(ctx, tx); err != nil {
		return connector.Outcome{}, err
	}
	return connector.Outcome{Committed: true, Receipt: receipt}, nil
}

// rows loads all rows and returns how many the target counted.
func (l *loader) rows(ctx context.Context) (int64, error) {
	if !l.staged {
		return l.copyDirect(ctx)
	}
	if err := l.session.exec(ctx, createStage(l.columns)); err != nil {
		return 0, coded(ctx, err)
	}
	if err := l.copyStage(ctx); err != nil {
		return 0, err
	}
	if l.plan.Mode == connector.Replace {
		if err := l.empty(ctx); err != nil {
			return 0, err
		}
	}
	if l.plan.Mode == connector.Upsert {
		if err := l.refuseEqualKeys(ctx); err != nil {
			return 0, err
		}
	}
	var written int64
	err := l.carefully(ctx, func() (err error) {
		written, err = sqlload.Bisect(ctx, sqlload.AllRows, l.moveStaged, l.refusals)
		return err
	})
	return written, err
}

// carefully runs f so that a refused row need not end the transaction.
func (l *loader) carefully(ctx context.Context, f func() error) error {
	if err := l.session.exec(ctx, "SET XACT_ABORT OFF"); err != nil {
		return coded(ctx, err)
	}
	if err := f(); err != nil {
		return err
	}
	return coded(ctx, l.session.exec(ctx, "SET XACT_ABORT ON"))
}

// empty deletes what replace replaces. The lock keeps a second replace from adding its rows to those of this one.
func (l *loader) empty(ctx context.Context) error {
	err := l.session.exec(ctx, l.plan.DeleteAll()+" WITH (TABLOCKX)")
	if hasNumber(err, 547) {
		return &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_REFERENCED",
			Message: "rows of other tables reference rows that replace would delete", Next: "use mode upsert", Cause: err}
	}
	return coded(ctx, err)
}
