package databricks

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

const (
	// conflictTries bounds how often a statement is tried again that met another one on its table.
	conflictTries = 12
	// conflictPause is the mean of the first pause between two tries; each further one is longer by as much.
	conflictPause = 250 * time.Millisecond
)

// marker is the row of a run and target in _lume_runs.
type marker struct {
	state, receipt string
	// fence is that of the attempt that has set the receipt, or of the settlement that has aborted the run.
	fence int64
	// written is how many rows the receipt says.
	written int64
}

// again repeats a statement that can run any number of times until none is in its way.
func again(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if !hasReason(err, tableConflict) || try == conflictTries {
			return err
		}
		pause := time.Duration((float64(try) - rand.Float64()) * 2 * float64(conflictPause))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// readMarker returns the marker that stands, or nil. A missing table holds none.
func (c *Connector) readMarker(ctx context.Context, s *session, plan sqlload.Plan, runID, target string) (*marker, error) {
	list, err := s.values(ctx, "SELECT state, coalesce(receipt, ''), fence, written FROM "+c.table(plan.Runs)+" WHERE run_id = ? AND target = ?", runID, target)
	if hasReason(err, tableNotFound) {
		return nil, nil
	}
	if err != nil || len(list) == 0 {
		return nil, err
	}
	m := &marker{state: text(list[0], 0), receipt: text(list[0], 1)}
	if len(list) > 1 {
		m.state = "twice"
	}
	m.fence, _ = list[0][2].(int64)
	m.written, _ = list[0][3].(int64)
	return m, nil
}

// stops reports whether a load or settlement with a fence can do nothing about the marker: the run is committed, or was
// aborted by a later settlement, or is written by a later load.
func (m *marker) stops(fence int64) bool {
	switch m.state {
	case writing:
		return m.fence > fence
	case sqlload.Aborted:
		return m.fence >= fence
	}
	return true
}

// outcome is that of a load or settlement with a fence which the marker stops.
func (m *marker) outcome(fence int64) (connector.Outcome, error) {
	switch m.state {
	case settling:
		return connector.Outcome{}, &connector.Error{Kind: connector.KindUnavailable, Reason: "RUN_IS_BEING_SETTLED",
			Message: "the run is being settled", Next: "the run tries again by itself"}
	case writing:
		return connector.Outcome{}, &connector.Error{Kind: connector.KindUnavailable, Reason: "RUN_IS_BEING_LOADED",
			Message: "another attempt writes the run's rows", Next: "the run tries again by itself"}
	}
	return sqlload.Unclaimed(sqlload.Marker{State: m.state, Receipt: m.receipt, Fence: m.fence}.Outcome(fence))
}

// stand is a marker that a change can be made of: of one state, with a fence that compares so.
type stand struct {
	state, is string
	fence     int64
}

func (s stand) condition() string {
	return fmt.Sprintf("m.state = '%s' AND m.fence %s %d", s.state, s.is, s.fence)
}

// change is a change of a marker, made only of one that stands as one of from says; insert makes one where there is none.
type change struct {
	from   []stand
	insert bool
	set    map[string]string
}

// columns of a marker that a change can set, in order.
var markerColumns = []string{"state", "flow_version", "version_digest", "attempt", "fence", "receipt", "written"}

// changedRows is how many rows a change affects that was made: the marker, and the row that all runs share.
const changedRows = 2

// merge makes a change and returns how many rows it affected. It also changes the row that all runs share, so that of two
// changes at the same time Delta lets one in, whatever its isolation; the other is made again on top.
func (c *Connector) merge(ctx context.Context, s *session, plan sqlload.Plan, runID, target string, ch change) (affected int64, err error) {
	statement, args := c.mergeMarker(plan, runID, target, ch)
	err = again(ctx, func() error {
		list, err := s.values(ctx, statement, args...)
		if err == nil && len(list) > 0 && len(list[0]) > 0 {
			affected, _ = list[0][0].(int64)
		}
		return err
	})
	return affected, err
}

// apply makes a change and returns the marker that stands then.
func (c *Connector) apply(ctx context.Context, s *session, plan sqlload.Plan, runID, target string, ch change) (*marker, error) {
	if _, err := c.merge(ctx, s, plan, runID, target, ch); err != nil {
		return nil, err
	}
	return c.standing(ctx, s, plan, runID, target)
}

// standing returns the marker of a run that has one.
func (c *Connector) standing(ctx context.Context, s *session, plan sqlload.Plan, runID, target string) (*marker, error) {
	m, err := c.readMarker(ctx, s, plan, runID, target)
	if err == nil && m == nil {
		return nil, &connector.Error{Kind: connector.KindConflict, Reason: "MARKER_BROKEN", Message: "the run's marker in " + sqlload.RunsTable + " is gone",
			Next: "rows of " + sqlload.RunsTable + " must not be changed by hand"}
	}
	return m, err
}

// mergeMarker writes the MERGE of a change.
func (c *Connector) mergeMarker(plan sqlload.Plan, runID, target string, ch change) (string, []string) {
	values, fenced := []string{"CAST(? AS STRING) AS run_id", "CAST(? AS STRING) AS target"}, []string{"''", "''"}
	args := []string{runID, target}
	var set []string
	for _, name := range markerColumns {
		native, other := "STRING", "''"
		if name == "attempt" || name == "fence" || name == "written" {
			native, other = "BIGINT", "0"
		}
		if name == "state" {
			other = "'" + fenceState + "'"
		}
		value, given := ch.set[name]
		if !given && native == "BIGINT" {
			value = "0"
		}
		values, fenced = append(values, "CAST(? AS "+native+") AS "+name), append(fenced, other)
		args = append(args, value)
		if given {
			set = append(set, "m."+name+" = s."+name)
		}
	}
	end := "CAST(NULL AS TIMESTAMP)"
	if state := ch.set["state"]; state == sqlload.Committed || state == sqlload.Aborted {
		end = "current_timestamp()"
	}
	set = append(set, "m.end_time = "+end)
	columns := strings.Join(markerColumns, ", ")
	text := "MERGE INTO " + c.table(plan.Runs) + " AS m USING (SELECT " + strings.Join(values, ", ") + " UNION ALL SELECT " + strings.Join(fenced, ", ") + ") AS s" +
		" ON m.run_id = s.run_id AND m.target = s.target" +
		" WHEN MATCHED AND m.state = '" + fenceState + "' THEN UPDATE SET m.fence = m.fence + 1"
	if len(ch.from) > 0 {
		conditions := make([]string, len(ch.from))
		for i, s := range ch.from {
			conditions[i] = s.condition()
		}
		text += " WHEN MATCHED AND (" + strings.Join(conditions, " OR ") + ") THEN UPDATE SET " + strings.Join(set, ", ")
	}
	text += " WHEN NOT MATCHED"
	if !ch.insert {
		text += " AND s.state = '" + fenceState + "'"
	}
	return text + " THEN INSERT (run_id, target, " + columns + ", start_time, end_time) VALUES (s.run_id, s.target, s." +
		strings.Join(markerColumns, ", s.") + ", current_timestamp(), CASE WHEN s.state = '" + fenceState + "' THEN NULL ELSE " + end + " END)", args
}

// begin says that the load's rows are about to be written, with the receipt that will hold if they are: in the place of an
// earlier attempt, or of an earlier settlement that has aborted the run. It returns the marker that stands then, which is the
// load's own if it has the load's fence.
func (c *Connector) begin(ctx context.Context, s *session, plan sqlload.Plan, load connector.Load, written int64, receipt []byte) (*marker, error) {
	affected, err := c.merge(ctx, s, plan, load.RunID, load.Target.Name, change{
		from:   []stand{{writing, "<=", load.Fence}, {sqlload.Aborted, "<", load.Fence}},
		insert: true,
		set: map[string]string{
			"state": writing, "flow_version": load.FlowVersion, "version_digest": load.VersionDigest, "attempt": strconv.Itoa(int(load.Attempt)),
			"fence": strconv.FormatInt(load.Fence, 10), "receipt": string(receipt), "written": strconv.FormatInt(written, 10),
		},
	})
	if err == nil && affected == changedRows {
		return &marker{state: writing, receipt: string(receipt), fence: load.Fence, written: written}, nil
	}
	if err != nil {
		return nil, err
	}
	return c.standing(ctx, s, plan, load.RunID, load.Target.Name)
}

// commit says that the load's rows are in.
func (c *Connector) commit(ctx context.Context, s *session, plan sqlload.Plan, load connector.Load) (*marker, error) {
	return c.apply(ctx, s, plan, load.RunID, load.Target.Name, change{
		from: []stand{{writing, "=", load.Fence}, {settling, "=", load.Fence}}, set: map[string]string{"state": sqlload.Committed},
	})
}

// abort says that the run is aborted by a settlement with a fence, in the place of an earlier settlement's marker, or of from.
func (c *Connector) abort(ctx context.Context, s *session, plan sqlload.Plan, settlement connector.Settlement, from ...stand) (*marker, error) {
	return c.apply(ctx, s, plan, settlement.RunID, settlement.Target.Name, change{
		from: append(from, stand{sqlload.Aborted, "<", settlement.Fence}), insert: true,
		set: map[string]string{"state": sqlload.Aborted, "flow_version": settlement.FlowVersion, "fence": strconv.FormatInt(settlement.Fence, 10)},
	})
}

// createTable runs CREATE TABLE IF NOT EXISTS; two of them at once are in each other's way.
func createTable(ctx context.Context, s *session, statement string) error {
	return again(ctx, func() error {
		err := s.exec(ctx, statement, "")
		var e *connector.Error
		if errors.As(err, &e) && (strings.Contains(e.Meta["error_class"], "ALREADY_EXISTS") || e.Meta["sqlstate"] == "42P07") {
			return nil
		}
		return err
	})
}
