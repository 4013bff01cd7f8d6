package sqlserver

import (
	"context"
	"errors"
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

const (
	recoverTimeout = 2 * lockTimeout
	recoverPause   = 100 * time.Millisecond
)

// recover finds out whether a load whose COMMIT got no answer has committed. It goes on after ctx has ended: the answer
// decides what the run may say.
func (c *Connector) recover(ctx context.Context, l *loader, lost *commitLost) (connector.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recoverTimeout)
	defer cancel()
	for {
		out, found, err := c.commitOutcome(ctx, l)
		switch {
		case err == nil && !found:
			return out, &connector.Error{Kind: connector.KindUnavailable, Reason: "COMMIT_LOST",
				Message: "the connection was lost before the commit; the load was rolled back", Cause: lost}
		case err == nil || !retryable(err):
			return out, err
		}
		select {
		case <-ctx.Done():
			return connector.Outcome{}, &connector.Error{Kind: connector.KindUnavailable, Reason: "COMMIT_UNKNOWN",
				Message: "the server did not answer the commit, and could not be asked again", Cause: lost}
		case <-time.After(recoverPause):
		}
	}
}

func retryable(err error) bool {
	var e *connector.Error
	return errors.As(err, &e) && e.Kind == connector.KindUnavailable
}

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
	out, found, err = readMarker(ctx, s, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence)
	out.Existing = false
	return out, found, err
}

// lockMarker waits until no other session holds the marker.
func lockMarker(ctx context.Context, s *session, plan sqlload.Plan, runID, target string) error {
	var n int64
	err := s.ask(ctx, "SELECT COUNT_BIG(*) FROM "+dialect.Table(plan.Runs)+" WITH (UPDLOCK) WHERE [run_id] = @p1 AND [target] = @p2",
		[]any{runID, target}, &n)
	return coded(ctx, err)
}
