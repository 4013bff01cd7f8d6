package sqlserver

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// readMarker reads the marker of a run, if it stands. It waits for a load that has not ended.
func readMarker(ctx context.Context, s *session, plan sqlload.Plan, runID, target string) (out connector.Outcome, found bool, err error) {
	if found, err := exists(ctx, s, plan.Runs); err != nil || !found {
		return out, false, err
	}
	var state string
	var receipt sql.NullString
	err = s.ask(ctx, plan.SelectMarker(), []any{runID, target}, &state, &receipt)
	if errors.Is(err, sql.ErrNoRows) {
		return out, false, nil
	}
	if err != nil {
		return out, false, coded(ctx, err)
	}
	out, err = sqlload.Found(state, receipt.String)
	return out, true, err
}

// inserted reports whether an insert of a marker that ended with n rows, or err, inserted it. The key of a marker that another
// session has inserted and not committed makes it wait.
func inserted(ctx context.Context, n int64, err error) (bool, error) {
	if hasNumber(err, keyTaken) {
		return false, nil
	}
	return n == 1, coded(ctx, err)
}

// keyTaken is the number of the error of a key that is there.
const keyTaken = 2627

// noMarker is the marker of another session that is gone again.
func noMarker() error {
	return &connector.Error{Kind: connector.KindUnavailable, Reason: "MARKER_BUSY", Message: "another session was at work on the run's marker"}
}

// createTables creates the tables that are missing, each in a transaction of its own: an empty table is nothing of the
// run. The target itself is created only on request.
func createTables(ctx context.Context, s *session, plan sqlload.Plan, target bool) error {
	if !target {
		// A run that cannot find its table leaves nothing behind.
		if found, err := exists(ctx, s, plan.Target); err != nil || !found {
			return err
		}
	}
	wanted := []struct {
		table  sqlload.Table
		create string
	}{{plan.Runs, plan.CreateRuns()}, {plan.Rejects, plan.CreateRejects()}, {plan.Target, createTarget(plan)}}
	for _, w := range wanted {
		found, err := exists(ctx, s, w.table)
		if err != nil {
			return err
		}
		if found {
			continue
		}
		if err := create(ctx, s, w.create); err != nil {
			return err
		}
	}
	return nil
}

// alreadyThere is the number of the error of a CREATE that another session was quicker with.
const alreadyThere = 2714

func create(ctx context.Context, s *session, statement string) error {
	err := s.exec(ctx, statement)
	if hasNumber(err, alreadyThere) {
		return nil
	}
	return coded(ctx, err)
}
