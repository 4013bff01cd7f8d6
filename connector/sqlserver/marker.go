package sqlserver

import (
	"context"
	"database/sql"
	"errors"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// readMarker reads what the marker of a run decides for a load or settlement with a fence. It waits for a load that has not
// ended.
func readMarker(ctx context.Context, s *session, plan sqlload.Plan, runID, target string, fence int64) (out connector.Outcome, decided bool, err error) {
	if found, err := exists(ctx, s, plan.Runs); err != nil || !found {
		return out, false, err
	}
	var m sqlload.Marker
	var receipt sql.NullString
	err = s.ask(ctx, plan.SelectMarker(), []any{runID, target}, &m.State, &receipt, &m.Fence)
	if errors.Is(err, sql.ErrNoRows) {
		return out, false, nil
	}
	if err != nil {
		return out, false, coded(ctx, err)
	}
	m.Receipt = receipt.String
	return m.Outcome(fence)
}

// keyTaken is the number of the error of a key that is there: that of a marker which another session had inserted and has
// committed by now. The insert has waited for that, and the error has ended the transaction that it was part of.
const keyTaken = 2627

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
	err := steadily(ctx, func() error { return s.exec(ctx, statement) })
	if hasNumber(err, alreadyThere) {
		return nil
	}
	return coded(ctx, err)
}
