package sqlite

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// readMarker reads a marker that stands.
func readMarker(ctx context.Context, s *session, plan sqlload.Plan, runID, target string) (connector.Outcome, error) {
	var state string
	var receipt sql.NullString
	err := s.QueryRowContext(ctx, plan.SelectMarker(), runID, target).Scan(&state, &receipt)
	if errors.Is(err, sql.ErrNoRows) {
		return connector.Outcome{}, err
	}
	if err != nil {
		return connector.Outcome{}, coded(ctx, err)
	}
	return sqlload.Found(state, receipt.String)
}

// Settle implements connector.Target.
func (c *Connector) Settle(ctx context.Context, runID, flowVersion string, spec connector.TargetSpec) (connector.Outcome, error) {
	plan, err := planFor(spec)
	if err != nil {
		return connector.Outcome{}, err
	}
	s, err := c.connect(ctx, readWrite)
	var e *connector.Error
	if errors.As(err, &e) && e.Reason == "DATABASE_NOT_FOUND" && spec.Create {
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
		inserted, err := s.affected(ctx, plan.InsertMarker(), sqlload.AbortArgs(runID, flowVersion, spec.Name)...)
		if err != nil || inserted == 1 {
			return err
		}
		out, err = readMarker(ctx, s, plan, runID, spec.Name)
		return err
	})
	if errors.Is(err, connector.ErrAborted) {
		return connector.Outcome{}, nil
	}
	return out, err
}
