package mysql

import (
	"context"
	"time"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Settle implements connector.Target.
func (c *Connector) Settle(ctx context.Context, settlement connector.Settlement) (connector.Outcome, error) {
	plan, err := c.plan(settlement.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	s, err := c.connect(ctx, anonymous())
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close(ctx)
	plan = s.speak(plan)
	found, err := exists(ctx, s, plan.Runs)
	if err != nil {
		return connector.Outcome{}, err
	}
	if !found {
		err := s.create(ctx, plan.CreateRuns())
		switch errorNumber(err) {
		case errUnknownDatabase, errDatabaseDenied, errTableDenied:
			// Without a table of markers, and without the means to create one, no load of this user can commit.
			return connector.Outcome{}, nil
		}
		if err != nil {
			return connector.Outcome{}, coded(ctx, err)
		}
	}
	if err := s.evictEarlier(ctx, plan, settlement.RunID, settlement.Target.Name, settlement.Fence); err != nil {
		return connector.Outcome{}, err
	}
	// One statement is one transaction. It waits for a load that has not ended.
	aborted, err := plan.Abort(settlement, s.execute(ctx))
	if err != nil || aborted {
		return connector.Outcome{}, err
	}
	return sqlload.Settled(readMarker(ctx, s, plan, settlement.RunID, settlement.Target.Name, settlement.Fence))
}

// recoverTimeout is how long a lost commit is asked about.
const recoverTimeout = 30 * time.Second

// commitOutcome reads the marker of a load whose COMMIT got no answer.
func (c *Connector) commitOutcome(ctx context.Context, l *loader) (out connector.Outcome, found bool, err error) {
	// The old session must be gone, or it could commit after the look.
	if err := c.end(ctx, l.name); err != nil {
		return out, false, err
	}
	// Whoever holds its lock now knows that it is, and keeps another load of this attempt from starting meanwhile.
	s, err := c.connect(ctx, l.name)
	if err != nil {
		return out, false, err
	}
	defer s.close(ctx)
	return readMarker(ctx, s, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence)
}
