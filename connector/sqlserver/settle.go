package sqlserver

import (
	"context"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Settle implements connector.Target.
func (c *Connector) Settle(ctx context.Context, settlement connector.Settlement) (connector.Outcome, error) {
	plan, err := c.plan(settlement.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	s, err := c.connect(ctx, "lume/settle")
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close()
	found, err := exists(ctx, s, plan.Runs)
	if err != nil {
		return connector.Outcome{}, err
	}
	if !found {
		err := create(ctx, s, plan.CreateRuns())
		if hasNumber(err, 2760) || hasNumber(err, 262) {
			// Without a table of markers, and without the means to create one, no load of this login can commit.
			return connector.Outcome{}, nil
		}
		if err != nil {
			return connector.Outcome{}, err
		}
	}
	if err := evict(ctx, s, settlement.RunID, settlement.Target.Name, settlement.Fence); err != nil {
		return connector.Outcome{}, err
	}
	// One statement is one transaction. It waits for a load that has not ended.
	aborted, err := plan.Abort(settlement, func(statement string, args ...any) (int64, error) {
		n, err := s.affected(ctx, statement, args...)
		if hasNumber(err, keyTaken) {
			return 0, nil
		}
		return n, coded(ctx, err)
	})
	if err != nil || aborted {
		return connector.Outcome{}, err
	}
	return sqlload.Settled(readMarker(ctx, s, plan, settlement.RunID, settlement.Target.Name, settlement.Fence))
}

// recoverTimeout is how long a lost commit is asked about.
const recoverTimeout = 2 * lockTimeout

// commitOutcome reads the marker of a load. The lock that it takes waits until the session that commits, if it is still
// there, has ended its transaction, also where readers do not wait for writers.
func (c *Connector) commitOutcome(ctx context.Context, l *loader) (out connector.Outcome, found bool, err error) {
	s, err := c.connect(ctx, "lume/recover")
	if err != nil {
		return out, false, err
	}
	defer s.close()
	if err := evict(ctx, s, l.load.RunID, l.load.Target.Name, l.load.Fence+1); err != nil {
		return out, false, err
	}
	if err := lockMarker(ctx, s, l.plan, l.load.RunID, l.load.Target.Name); err != nil {
		return out, false, err
	}
	return readMarker(ctx, s, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence)
}

// lockMarker waits until no other session holds the marker.
func lockMarker(ctx context.Context, s *session, plan sqlload.Plan, runID, target string) error {
	var n int64
	err := s.ask(ctx, "SELECT COUNT_BIG(*) FROM "+dialect.Table(plan.Runs)+" WITH (UPDLOCK) WHERE [run_id] = @p1 AND [target] = @p2",
		[]any{runID, target}, &n)
	return coded(ctx, err)
}
