package databricks

import (
	"context"
	"errors"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Settle implements connector.Target. A run without a marker is aborted by one. A run that was being written is decided by
// what is there: after `settling` stands in the marker no statement of the run starts any more, a change of the table's
// properties makes those fail that have started and not yet committed, and then rows of the run are there or never will be.
func (c *Connector) Settle(ctx context.Context, settlement connector.Settlement) (connector.Outcome, error) {
	plan, err := c.planFor(settlement.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	s, err := c.connect(ctx)
	if err != nil {
		return connector.Outcome{}, err
	}
	defer s.close()
	if err := createTable(ctx, s, c.createRuns(plan)); err != nil {
		return connector.Outcome{}, err
	}
	m, err := c.readMarker(ctx, s, plan, settlement.RunID, settlement.Target.Name)
	if err == nil && (m == nil || m.state == sqlload.Aborted && m.fence < settlement.Fence) {
		m, err = c.abort(ctx, s, plan, settlement)
	}
	if err == nil && (m.state == writing || m.state == settling) && m.fence < settlement.Fence {
		m, err = c.settleWritten(ctx, s, plan, settlement)
	}
	if err != nil {
		return connector.Outcome{}, err
	}
	out, err := m.outcome(settlement.Fence)
	if errors.Is(err, connector.ErrAborted) {
		return connector.Outcome{}, nil
	}
	return out, err
}

// settleWritten decides a run that was being written by a load with a lower fence. Its marker keeps the fence of that load
// while it says `settling`: another settlement may come to the same decision first, and a load that resumes the run begin.
func (c *Connector) settleWritten(ctx context.Context, s *session, plan sqlload.Plan, settlement connector.Settlement) (*marker, error) {
	runID, target := settlement.RunID, settlement.Target.Name
	m, err := c.apply(ctx, s, plan, runID, target, change{
		from: []stand{{writing, "<", settlement.Fence}, {settling, "<", settlement.Fence}}, set: map[string]string{"state": settling},
	})
	if err != nil || m.state != settling || m.fence >= settlement.Fence {
		return m, err
	}
	if err := c.interrupt(ctx, s, plan, runID); err != nil {
		return nil, err
	}
	there, err := c.arrived(ctx, s, plan, m, runID, target)
	if err != nil {
		return nil, err
	}
	undecided := stand{settling, "=", m.fence}
	if there {
		return c.apply(ctx, s, plan, runID, target, change{from: []stand{undecided}, set: map[string]string{"state": sqlload.Committed}})
	}
	// If the marker has changed, another settlement was quicker.
	if err := c.deleteRejects(ctx, s, plan, runID, target, undecided); err != nil && !errors.Is(err, errFenced) {
		return nil, err
	}
	return c.abort(ctx, s, plan, settlement, undecided)
}

// interrupt makes statements fail that have read the target and not yet committed: Delta lets none of them in on top of a
// change of the table's metadata. Other runs that it meets try again.
func (c *Connector) interrupt(ctx context.Context, s *session, plan sqlload.Plan, runID string) error {
	err := again(ctx, func() error {
		return s.exec(ctx, "ALTER TABLE "+c.table(plan.Target)+" SET TBLPROPERTIES ('lume.settled' = "+literal(runID)+")", "")
	})
	if hasReason(err, tableNotFound) {
		return nil
	}
	return err
}

// arrived reports whether the rows of a run are in the target. A replace by no rows leaves none to look for: it is in if the
// table is empty, and if it was empty before, that is the same.
func (c *Connector) arrived(ctx context.Context, s *session, plan sqlload.Plan, m *marker, runID, target string) (bool, error) {
	var n int64
	var err error
	if m.written == 0 && plan.Mode == connector.Replace {
		n, err = s.count(ctx, "SELECT count(*) FROM "+c.table(plan.Target))
		return n == 0 && err == nil, err
	}
	n, err = s.count(ctx, "SELECT count(*) FROM (SELECT 1 FROM "+c.table(plan.Target)+" WHERE "+runColumn+" = ? AND "+targetColumn+" = ? LIMIT 1)", runID, target)
	if hasReason(err, tableNotFound) {
		return false, nil
	}
	return n > 0, err
}
