package mysql

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

// commitLost is a COMMIT without an answer.
type commitLost struct{ cause error }

func (e *commitLost) Error() string { return "the answer to COMMIT was lost" }

func (e *commitLost) Unwrap() error { return e.cause }

const (
	recoverTimeout = 30 * time.Second
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
	out, found, err = readMarker(ctx, s, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence)
	out.Existing = false
	return out, found, err
}
