package snowflake

import (
	"context"
	"errors"
	"time"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Settle implements connector.Target.
func (c *Connector) Settle(ctx context.Context, settlement connector.Settlement) (connector.Outcome, error) {
	s, err := c.connect(ctx, tag(settlement.RunID))
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close()
	plan, err := sqlload.NewPlan(dialect, s.schema, settlement.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	kinds, err := s.kinds(ctx, plan.Runs, fence(plan))
	if err != nil {
		return connector.Outcome{}, err
	}
	if err := s.createMissing(ctx, plan, kinds, nil); err != nil {
		var e *connector.Error
		if _, found := kinds[plan.Runs]; !found && errors.As(err, &e) && (e.Kind == connector.KindNotFound || e.Kind == connector.KindPermission) {
			// Without a table of markers, and without the means to create one, no load of this role can commit or has.
			return connector.Outcome{}, nil
		}
		return connector.Outcome{}, err
	}
	c.evict(ctx, s, settlement.RunID, settlement.Target.Name, settlement.Fence)
	out, dead, err := s.abort(ctx, plan, settlement)
	if dead != "" {
		c.unstage(ctx, s, dead)
	}
	return out, err
}

// abort commits an aborted marker, or returns what another has committed, and the path of staged files that no load needs any
// more.
func (s *session) abort(ctx context.Context, plan sqlload.Plan, settlement connector.Settlement) (out connector.Outcome, dead string, err error) {
	runID, target := settlement.RunID, settlement.Target.Name
	t, err := s.begin(ctx, plan, runID, target, settlement.Fence)
	if err != nil {
		return out, "", err
	}
	defer t.rollback(ctx)
	stood, err := s.readMarker(ctx, plan, runID, target)
	if err != nil {
		return out, "", err
	}
	if stood.State == sqlload.Committed {
		dead = stagePath(runID, target)
	}
	if out, decided, err := stood.Outcome(settlement.Fence); decided {
		out, err = sqlload.Settled(out, decided, err)
		return out, dead, err
	}
	// Under the fence nothing can come in between.
	if _, err := plan.Abort(settlement, t.execute(ctx)); err != nil {
		return out, "", err
	}
	if err := t.commit(ctx); err != nil {
		return out, "", coded(ctx, err)
	}
	out, decided, err := s.decision(ctx, plan, runID, target, settlement.Fence)
	switch {
	case errors.Is(err, connector.ErrAborted):
		return connector.Outcome{}, stageFolder(runID, target, stood.Fence), nil
	case err == nil && !decided:
		return connector.Outcome{}, "", ended()
	}
	return out, "", err
}

const (
	recoverTimeout = 2 * lockTimeout
	recoverPause   = 200 * time.Millisecond
)

// recover finds out whether a load whose COMMIT got no answer has committed. It goes on after ctx has ended: the answer
// decides what the run may say.
func (c *Connector) recover(ctx context.Context, l *loader, lost *commitLost) (connector.Outcome, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recoverTimeout)
	defer cancel()
	for {
		out, found, err := c.commitOutcome(ctx, l)
		var e *connector.Error
		switch {
		case err == nil && !found:
			return out, &connector.Error{Kind: connector.KindUnavailable, Reason: "COMMIT_LOST",
				Message: "the connection was lost before the commit; the load was rolled back", Next: "try again", Cause: lost}
		case err == nil || ctx.Err() == nil && (!errors.As(err, &e) || e.Kind != connector.KindUnavailable):
			return out, err
		}
		select {
		case <-ctx.Done():
			return connector.Outcome{}, &connector.Error{Kind: connector.KindUnavailable, Reason: "COMMIT_UNKNOWN",
				Message: "the connection was lost during the commit, and the target does not answer", Next: "the run is settled once the target answers", Cause: lost}
		case <-time.After(recoverPause):
		}
	}
}

// commitOutcome reads the marker in a session of its own, under the fence: the old transaction holds it for as long as it
// can still commit, and is aborted if it is there.
func (c *Connector) commitOutcome(ctx context.Context, l *loader) (out connector.Outcome, found bool, err error) {
	s, err := c.connect(ctx, tag(l.load.RunID))
	if err != nil {
		return out, false, err
	}
	defer s.close()
	runID, target := l.load.RunID, l.load.Target.Name
	c.evict(ctx, s, runID, target, l.load.Fence+1)
	t, err := s.begin(ctx, l.plan, runID, target, l.load.Fence)
	if err != nil {
		return out, false, err
	}
	defer t.rollback(ctx)
	m, err := s.readMarker(ctx, l.plan, runID, target)
	if err != nil {
		return out, false, err
	}
	out, found, err = m.Outcome(l.load.Fence)
	out.Existing = out.Committed && m.Fence != l.load.Fence
	return out, found, err
}
