package mysql

import (
	"context"
	"strconv"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// loadLock is the name of the lock by which the session of a load with a fence is found.
func loadLock(plan sqlload.Plan, runID, target string, fence int64) string {
	return lockName("run", plan.Runs.Schema, runID, target) + "/" + strconv.FormatInt(fence, 10)
}

// loader is one load in one session.
type loader struct {
	*session
	load     connector.Load
	plan     sqlload.Plan
	table    *table
	columns  []column
	refusals *sqlload.Refusals
	// progress reports rows sent.
	progress func(sent int64)
}

// Load implements connector.Target.
func (c *Connector) Load(ctx context.Context, load connector.Load) (connector.Outcome, error) {
	plan, err := c.plan(load.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	s, err := c.connect(ctx, loadLock(plan, load.RunID, load.Target.Name, load.Fence))
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close(ctx)
	l := &loader{session: s, load: load, plan: s.speak(plan), refusals: sqlload.NewRefusals(load), progress: sqlload.Progress(load)}
	if out, decided, err := readMarker(ctx, s, l.plan, load.RunID, load.Target.Name, load.Fence); err != nil || decided {
		return out, err
	}
	if !s.localInfile {
		return connector.Outcome{}, localInfileDisabled()
	}
	if err := createTables(ctx, s, l.plan, load.Target.Create); err != nil {
		return connector.Outcome{}, err
	}
	if err := l.describe(ctx); err != nil {
		return connector.Outcome{}, err
	}
	if err := s.evictEarlier(ctx, l.plan, load.RunID, load.Target.Name, load.Fence); err != nil {
		return connector.Outcome{}, err
	}
	out, err := l.run(ctx)
	return sqlload.Recover(ctx, out, err, recoverTimeout, func(ctx context.Context) (connector.Outcome, bool, error) { return c.commitOutcome(ctx, l) })
}

func localInfileDisabled() error {
	return &connector.Error{Kind: noLocal.kind, Reason: noLocal.reason, Message: noLocal.message, Next: noLocal.next}
}

// describe looks the target up and binds the flow's columns to the table's, before a row moves.
func (l *loader) describe(ctx context.Context) error {
	t, err := lookup(ctx, l.session, l.plan.Target)
	if err != nil {
		return err
	}
	l.table = t
	if l.columns, err = bindColumns(l.session, l.plan, t); err != nil {
		return err
	}
	if err := l.plan.CheckKey(t.unique); err != nil {
		return err
	}
	if _, err := lookup(ctx, l.session, l.plan.Runs); err != nil {
		return err
	}
	return checkRejects(ctx, l.session, l.plan)
}

// run does the transaction of a load.
func (l *loader) run(ctx context.Context) (connector.Outcome, error) {
	for _, statement := range []string{"SET TRANSACTION ISOLATION LEVEL READ COMMITTED", "START TRANSACTION"} {
		if _, err := l.exec(ctx, statement); err != nil {
			return connector.Outcome{}, coded(ctx, err)
		}
	}
	defer l.rollback(ctx)
	claimed, err := l.plan.Claim(l.load, l.execute(ctx))
	if err != nil {
		return connector.Outcome{}, err
	}
	if !claimed {
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
	if err := l.plan.Finish(l.load, receipt, l.execute(ctx)); err != nil {
		return connector.Outcome{}, err
	}
	if _, err := l.exec(ctx, "COMMIT"); err != nil {
		if errorNumber(err) != 0 && l.alive() {
			return connector.Outcome{}, coded(ctx, err)
		}
		return connector.Outcome{}, &sqlload.CommitLost{Cause: err}
	}
	return connector.Outcome{Committed: true, Receipt: receipt}, nil
}

// rollback ends what is left of the transaction; a connection that is gone has ended it already.
func (l *loader) rollback(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	_, _ = l.exec(ctx, "ROLLBACK")
}

// rows loads all rows and returns how many the target counted.
func (l *loader) rows(ctx context.Context) (int64, error) {
	var direct *sqlload.Attempt
	if l.plan.Mode == connector.Append {
		// Straight into the target, as long as the server likes every row.
		a, err := l.saved(func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
			return l.loadRows(ctx, l.plan.Target, false, r)
		})(ctx, sqlload.AllRows)
		if err != nil || a.Refusal == nil {
			return a.Written, err
		}
		// It was the first try, if it tells where to cut.
		if a.Sent > 1 && a.Refusal.Suspect >= 0 {
			direct = &a
		}
	}
	if err := l.stage(ctx); err != nil {
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
	insert := l.insertStaged()
	return sqlload.Bisect(ctx, sqlload.AllRows, func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		if direct != nil {
			first := *direct
			direct = nil
			return first, nil
		}
		return insert(ctx, r)
	}, l.refusals)
}

// empty deletes what replace replaces. The lock keeps a second replace from adding its rows to those of this one.
func (l *loader) empty(ctx context.Context) error {
	if err := l.lock(ctx, lockName("replace", l.plan.Target.Schema, l.plan.Target.Name)); err != nil {
		return err
	}
	_, err := l.exec(ctx, l.plan.DeleteAll())
	switch errorNumber(err) {
	case errRowIsReferenced1, errRowIsReferenced2:
		return &connector.Error{Kind: connector.KindConflict, Reason: "ROWS_REFERENCED",
			Message: "rows of other tables reference rows that replace would delete",
			Next:    "use mode upsert, or drop the foreign keys of the other tables", Cause: err}
	}
	return coded(ctx, err)
}

// saved runs a try under a savepoint and rolls back to it if the target refuses the range.
func (l *loader) saved(try sqlload.Try) sqlload.Try {
	return func(ctx context.Context, r sqlload.Range) (sqlload.Attempt, error) {
		if _, err := l.exec(ctx, "SAVEPOINT lume"); err != nil {
			return sqlload.Attempt{}, coded(ctx, err)
		}
		a, err := try(ctx, r)
		if err != nil {
			return a, err
		}
		if a.Refusal != nil {
			if _, err := l.exec(ctx, "ROLLBACK TO SAVEPOINT lume"); err != nil {
				return a, coded(ctx, err)
			}
		}
		_, err = l.exec(ctx, "RELEASE SAVEPOINT lume")
		return a, coded(ctx, err)
	}
}
