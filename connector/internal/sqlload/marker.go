package sqlload

import (
	"fmt"

	"github.com/lume-data/lume/connector"
)

// States of a marker.
const (
	// Loading is never seen from outside of the load's transaction.
	Loading   = "loading"
	Committed = "committed"
	Aborted   = "aborted"
)

// InsertMarker inserts a marker unless one stands; it affects no row then. Parameters: run_id, target, state,
// flow_version, version_digest, attempt, fence.
func (p Plan) InsertMarker() string {
	d := p.Dialect
	names := d.Names([]string{"run_id", "target", "state", "flow_version", "version_digest", "attempt", "fence", "start_time"})
	values := d.Params(1, 7) + ", " + d.Now
	if d.InsertNew != nil {
		return d.InsertNew(d.Table(p.Runs), names, values, []string{"run_id", "target"})
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT DO NOTHING", d.Table(p.Runs), names, values)
}

// MarkerArgs are the parameters of InsertMarker for a load.
func MarkerArgs(load connector.Load) []any {
	return []any{load.RunID, load.Target.Name, Loading, load.FlowVersion, load.VersionDigest, int64(load.Attempt), load.Fence}
}

// AbortArgs are the parameters of InsertMarker for a settlement.
func AbortArgs(runID, flowVersion, target string) []any {
	return []any{runID, target, Aborted, flowVersion, "", int64(0), int64(0)}
}

// SelectMarker reads state and receipt of a marker. Parameters: run_id, target.
func (p Plan) SelectMarker() string {
	d := p.Dialect
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s = %s AND %s = %s", d.Names([]string{"state", "receipt"}), d.Table(p.Runs),
		d.Quote("run_id"), d.Param(1), d.Quote("target"), d.Param(2))
}

// CommitMarker fills in a load's receipt. Parameters: receipt, run_id, target, fence. It must affect one row.
func (p Plan) CommitMarker() string {
	d := p.Dialect
	return fmt.Sprintf("UPDATE %s SET %s = '%s', %s = %s, %s = %s WHERE %s = %s AND %s = %s AND %s = %s AND %s = '%s'",
		d.Table(p.Runs), d.Quote("state"), Committed, d.Quote("receipt"), d.Param(1), d.Quote("end_time"), d.Now,
		d.Quote("run_id"), d.Param(2), d.Quote("target"), d.Param(3), d.Quote("fence"), d.Param(4), d.Quote("state"), Loading)
}

// Found turns a marker that stands into the outcome of a load or a settlement.
func Found(state, receipt string) (connector.Outcome, error) {
	switch state {
	case Committed:
		return connector.Outcome{Committed: true, Existing: true, Receipt: []byte(receipt)}, nil
	case Aborted:
		return connector.Outcome{}, connector.ErrAborted
	}
	return connector.Outcome{}, &connector.Error{Kind: connector.KindConflict, Reason: "MARKER_BROKEN",
		Message: "the run's marker in " + RunsTable + " is in no known state", Meta: map[string]string{"state": state},
		Next: "rows of " + RunsTable + " must not be changed by hand: restore this one"}
}
