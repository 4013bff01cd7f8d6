package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// readMarker reads what the marker of a run decides for a load or settlement with a fence.
func readMarker(ctx context.Context, s *session, plan sqlload.Plan, runID, target string, fence int64) (out connector.Outcome, decided bool, err error) {
	var m sqlload.Marker
	var receipt sql.NullString
	err = s.QueryRowContext(ctx, plan.SelectMarker(), runID, target).Scan(&m.State, &receipt, &m.Fence)
	if errors.Is(err, sql.ErrNoRows) {
		return out, false, nil
	}
	if err != nil {
		return out, false, coded(ctx, err)
	}
	m.Receipt = receipt.String
	return m.Outcome(fence)
}

// execute runs statements of the session's transaction.
func (s *session) execute(ctx context.Context) sqlload.Exec {
	return func(statement string, args ...any) (int64, error) { return s.affected(ctx, statement, args...) }
}

// Settle implements connector.Target.
func (c *Connector) Settle(ctx context.Context, settlement connector.Settlement) (connector.Outcome, error) {
	plan, err := planFor(settlement.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	s, err := c.connect(ctx, readWrite)
	var e *connector.Error
	if errors.As(err, &e) && e.Reason == "DATABASE_NOT_FOUND" && settlement.Target.Create {
		s, err = c.connect(ctx, create)
	}
	if errors.As(err, &e) && (e.Reason == "DATABASE_NOT_FOUND" || e.Reason == "FOLDER_NOT_FOUND") {
		// Without a file, and without leave to create one, no load can commit.
		return connector.Outcome{}, nil
	}
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close()
	var out connector.Outcome
	err = s.transaction(ctx, func() error {
		if _, err := s.ExecContext(ctx, plan.CreateRuns()); err != nil {
			return err
		}
		aborted, err := plan.Abort(settlement, s.execute(ctx))
		if err != nil || aborted {
			return err
		}
		out, err = sqlload.Settled(readMarker(ctx, s, plan, settlement.RunID, settlement.Target.Name, settlement.Fence))
		return err
	})
	return out, err
}
