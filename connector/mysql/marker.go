package mysql

import (
	"context"
	"database/sql"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// exists reports whether there is a table or view of that name that the user may see.
func exists(ctx context.Context, s *session, t sqlload.Table) (bool, error) {
	var n int
	err := s.QueryRowContext(ctx, "SELECT count(*) FROM information_schema.tables WHERE table_schema = ? AND table_name = ?", t.Schema, t.Name).Scan(&n)
	return n > 0, coded(ctx, err)
}

// readMarker reads what the marker of a run decides for a load or settlement with a fence.
func readMarker(ctx context.Context, s *session, plan sqlload.Plan, runID, target string, fence int64) (out connector.Outcome, decided bool, err error) {
	if found, err := exists(ctx, s, plan.Runs); err != nil || !found {
		return out, false, err
	}
	var m sqlload.Marker
	var receipt sql.NullString
	err = s.QueryRowContext(ctx, plan.SelectMarker(), runID, target).Scan(&m.State, &receipt, &m.Fence)
	if err == sql.ErrNoRows {
		return out, false, nil
	}
	if err != nil {
		return out, false, coded(ctx, err)
	}
	m.Receipt = receipt.String
	return m.Outcome(fence)
}

// execute runs statements, as part of the session's transaction if it has one.
func (s *session) execute(ctx context.Context) sqlload.Exec {
	return func(statement string, args ...any) (int64, error) {
		n, err := s.exec(ctx, statement, args...)
		return n, coded(ctx, err)
	}
}

// evictEarlier ends the session of a load of the run into the target that has a lower fence and stands in the way: it has made
// the marker and not yet committed, which only a read of what is not committed can see. A load that has not got there yet
// holds nothing, and finds what has become of the run when it does.
func (s *session) evictEarlier(ctx context.Context, plan sqlload.Plan, runID, target string, fence int64) error {
	// It is that of the next statement alone.
	if _, err := s.exec(ctx, "SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED"); err != nil {
		return coded(ctx, err)
	}
	var m sqlload.Marker
	var receipt sql.NullString
	err := s.QueryRowContext(ctx, plan.SelectMarker(), runID, target).Scan(&m.State, &receipt, &m.Fence)
	if err == sql.ErrNoRows {
		return nil
	}
	if err != nil || m.State != sqlload.Loading || m.Fence >= fence {
		return coded(ctx, err)
	}
	return evict(ctx, s.Conn, loadLock(plan, runID, target, m.Fence))
}

// createTables creates the tables that are missing, before the transaction: CREATE TABLE commits. An empty table is nothing of
// the run. The target itself is created only on request.
func createTables(ctx context.Context, s *session, plan sqlload.Plan, target bool) error {
	if !target {
		// A run that cannot find its table leaves nothing behind.
		if found, err := exists(ctx, s, plan.Target); err != nil || !found {
			return err
		}
	}
	for _, wanted := range []struct {
		table  sqlload.Table
		create string
		asked  bool
	}{{plan.Target, plan.CreateTarget(), target}, {plan.Rejects, plan.CreateRejects(), true}, {plan.Runs, plan.CreateRuns(), true}} {
		found, err := exists(ctx, s, wanted.table)
		if err != nil {
			return err
		}
		if found || !wanted.asked {
			continue
		}
		if err := s.create(ctx, wanted.create); err != nil {
			return coded(ctx, err)
		}
	}
	return nil
}

// create runs a CREATE TABLE. InnoDB's strict mode refuses a table whose longest row would not fit, which is any with about 200
// text columns: without it, the rows that do not fit are refused. Errors are the driver's.
func (s *session) create(ctx context.Context, statement string) error {
	_, err := s.exec(ctx, statement)
	if errorNumber(err) != errRowTooBig {
		return err
	}
	if _, denied := s.exec(ctx, "SET SESSION innodb_strict_mode = OFF"); denied != nil {
		// MySQL lets only administrators do so.
		return err
	}
	_, err = s.exec(ctx, statement)
	return err
}
