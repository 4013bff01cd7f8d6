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
func (c *Connector) Settle(ctx context.Context, runID, flowVersion string, spec connector.TargetSpec) (connector.Outcome, error) {
	plan, err := c.planFor(spec)
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
	m, err := c.readMarker(ctx, s, plan, runID, spec.Name)
	if err == nil && m == nil {
		m, err = c.apply(ctx, s, plan, runID, spec.Name, change{insert: true, set: map[string]string{"state": sqlload.Aborted, "flow_version": flowVersion}})
	}
	if err == nil && (m.state == writing || m.state == settling) {
		m, err = c.settleWritten(ctx, s, plan, runID, spec.Name)
	}
	if err != nil {
		return connector.Outcome{}, err
	}
	out, err := decided(m)
	if errors.Is(err, connector.ErrAborted) {
		return connector.Outcome{}, nil
	}
	return out, err
}

// settleWritten decides a run that was being written.
func (c *Connector) settleWritten(ctx context.Context, s *session, plan sqlload.Plan, runID, target string) (*marker, error) {
	m, err := c.apply(ctx, s, plan, runID, target, change{from: []string{writing, settling}, set: map[string]string{"state": settling}})
	if err != nil || m.state != settling {
		return m, err
	}
	if err := c.interrupt(ctx, s, plan, runID); err != nil {
		return nil, err
	}
	there, err := c.arrived(ctx, s, plan, m, runID, target)
	if err != nil {
		return nil, err
	}
	state := sqlload.Committed
	if !there {
		state = sqlload.Aborted
		if err := c.deleteRejects(ctx, s, plan, runID, target); err != nil {
			return nil, err
		}
	}
	return c.apply(ctx, s, plan, runID, target, change{from: []string{settling}, set: map[string]string{"state": state}})
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
