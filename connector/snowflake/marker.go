package snowflake

import (
	"context"
	"fmt"
	"maps"
	"strconv"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// createMissing creates the tables of markers and fence, and those others that are given, unless they are among kinds.
// Each statement commits by itself, as all DDL of Snowflake does: an empty table is nothing of a run.
func (s *session) createMissing(ctx context.Context, plan sqlload.Plan, kinds map[sqlload.Table]string, others map[sqlload.Table]string) error {
	create := map[sqlload.Table]string{
		plan.Runs:   plan.CreateRuns(),
		fence(plan): fmt.Sprintf("CREATE TABLE IF NOT EXISTS %s (%s NUMBER(19,0) NOT NULL)", dialect.Table(fence(plan)), dialect.Quote("taken")),
	}
	maps.Copy(create, others)
	for table, statement := range create {
		if _, found := kinds[table]; found {
			continue
		}
		if err := s.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// readMarker reads the marker of a run, if it stands. The table of markers must exist.
func (s *session) readMarker(ctx context.Context, plan sqlload.Plan, runID, target string) (sqlload.Marker, error) {
	rows, err := s.records(ctx, plan.SelectMarker(), runID, target)
	if err != nil || len(rows) == 0 {
		return sqlload.Marker{}, err
	}
	m := sqlload.Marker{State: rows[0]["state"], Receipt: rows[0]["receipt"]}
	if m.Fence, err = strconv.ParseInt(rows[0]["fence"], 10, 64); err != nil {
		return sqlload.Marker{}, unexpected("the fence of a marker is no number")
	}
	return m, nil
}

// decision reads what the marker of a run decides for a load or settlement with a fence.
func (s *session) decision(ctx context.Context, plan sqlload.Plan, runID, target string, fence int64) (out connector.Outcome, decided bool, err error) {
	m, err := s.readMarker(ctx, plan, runID, target)
	if err != nil {
		return out, false, err
	}
	return m.Outcome(fence)
}

// unstage removes the files below a path that no load will read any more. It is no error if they stay: nothing reads them.
func (c *Connector) unstage(ctx context.Context, s *session, path string) {
	if err := s.exec(ctx, "REMOVE "+path); err != nil {
		c.log.WarnContext(ctx, "staged files are left", "path", path, "error", err)
	}
}
