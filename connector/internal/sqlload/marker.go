package sqlload

import (
	"errors"
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
// flow_version, version_digest, attempt, fence; and run_id and target once more for a dialect with KeysAgain.
func (p Plan) InsertMarker() string {
	d := p.Dialect
	names := d.Names([]string{"run_id", "target", "state", "flow_version", "version_digest", "attempt", "fence", "start_time"})
	values := d.Params(1, 7) + ", " + d.Now
	if d.InsertNew != nil {
		return d.InsertNew(d.Table(p.Runs), names, values, []string{"run_id", "target"})
	}
	return fmt.Sprintf("INSERT INTO %s (%s) VALUES (%s) ON CONFLICT DO NOTHING", d.Table(p.Runs), names, values)
}

// TakeMarker makes an aborted marker the load's own, if its fence is lower than the load's. In the load's transaction, it
// stands as it was if the load rolls back. Parameters: state, flow_version, version_digest, attempt, fence, run_id, target,
// fence.
func (p Plan) TakeMarker() string {
	d := p.Dialect
	return fmt.Sprintf("UPDATE %s SET %s = %s, %s = %s, %s = %s, %s = %s, %s = %s, %s = %s WHERE %s", d.Table(p.Runs), d.Quote("state"), d.Param(1),
		d.Quote("flow_version"), d.Param(2), d.Quote("version_digest"), d.Param(3), d.Quote("attempt"), d.Param(4), d.Quote("fence"), d.Param(5),
		d.Quote("start_time"), d.Now, p.abortedBelow(6))
}

// RaiseMarker raises the fence of an aborted marker. Parameters: fence, run_id, target, fence.
func (p Plan) RaiseMarker() string {
	d := p.Dialect
	return fmt.Sprintf("UPDATE %s SET %s = %s WHERE %s", d.Table(p.Runs), d.Quote("fence"), d.Param(1), p.abortedBelow(2))
}

// abortedBelow is the condition of an aborted marker with a lower fence. Parameters, from first: run_id, target, fence.
func (p Plan) abortedBelow(first int) string {
	d := p.Dialect
	return fmt.Sprintf("%s = %s AND %s = %s AND %s = '%s' AND %s < %s", d.Quote("run_id"), d.Param(first), d.Quote("target"), d.Param(first+1),
		d.Quote("state"), Aborted, d.Quote("fence"), d.Param(first+2))
}

// Exec runs a statement and returns how many rows it affected.
type Exec func(statement string, args ...any) (int64, error)

// Claim makes the load's marker in its transaction: a new one, or an aborted one whose place it takes. If it could do neither,
// it returns false, and what stands there says why. It waits for another session that holds the marker.
func (p Plan) Claim(load connector.Load, exec Exec) (bool, error) {
	target := load.Target.Name
	n, err := exec(p.InsertMarker(), p.insertArgs(load.RunID, target, Loading, load.FlowVersion, load.VersionDigest, int64(load.Attempt), load.Fence)...)
	if err != nil || n > 0 {
		return n > 0, err
	}
	n, err = exec(p.TakeMarker(), Loading, load.FlowVersion, load.VersionDigest, int64(load.Attempt), load.Fence, load.RunID, target, load.Fence)
	return n > 0, err
}

// Abort makes an aborted marker with the settlement's fence, or raises the fence of one that stands. If it could do neither, it
// returns false: a load has committed, or a later settlement was quicker. Both statements may be transactions of their own. It
// waits for another session that holds the marker.
func (p Plan) Abort(s connector.Settlement, exec Exec) (bool, error) {
	n, err := exec(p.InsertMarker(), p.insertArgs(s.RunID, s.Target.Name, Aborted, s.FlowVersion, "", int64(0), s.Fence)...)
	if err != nil || n > 0 {
		return n > 0, err
	}
	n, err = exec(p.RaiseMarker(), s.Fence, s.RunID, s.Target.Name, s.Fence)
	return n > 0, err
}

// insertArgs are the parameters of InsertMarker.
func (p Plan) insertArgs(args ...any) []any {
	if p.Dialect.KeysAgain {
		args = append(args, args[0], args[1])
	}
	return args
}

// SelectMarker reads state, receipt and fence of a marker. Parameters: run_id, target.
func (p Plan) SelectMarker() string {
	d := p.Dialect
	return fmt.Sprintf("SELECT %s FROM %s WHERE %s = %s AND %s = %s", d.Names([]string{"state", "receipt", "fence"}), d.Table(p.Runs),
		d.Quote("run_id"), d.Param(1), d.Quote("target"), d.Param(2))
}

// CommitMarker fills in a load's receipt. Parameters: receipt, run_id, target, fence. It must affect one row.
func (p Plan) CommitMarker() string {
	d := p.Dialect
	return fmt.Sprintf("UPDATE %s SET %s = '%s', %s = %s, %s = %s WHERE %s = %s AND %s = %s AND %s = %s AND %s = '%s'",
		d.Table(p.Runs), d.Quote("state"), Committed, d.Quote("receipt"), d.Param(1), d.Quote("end_time"), d.Now,
		d.Quote("run_id"), d.Param(2), d.Quote("target"), d.Param(3), d.Quote("fence"), d.Param(4), d.Quote("state"), Loading)
}

// Finish fills the receipt of a load into its marker, in the load's transaction, which commits after that.
func (p Plan) Finish(load connector.Load, receipt []byte, exec Exec) error {
	n, err := exec(p.CommitMarker(), string(receipt), load.RunID, load.Target.Name, load.Fence)
	if err == nil && n != 1 {
		err = &connector.Error{Kind: connector.KindConflict, Reason: "MARKER_BROKEN",
			Message: "the run's marker was changed while it was loaded", Next: "rows of " + RunsTable + " must not be changed by hand"}
	}
	return err
}

// Marker is a marker that stands; the zero value is none.
type Marker struct {
	State, Receipt string
	Fence          int64
}

// Outcome is what the marker means for a load or settlement with a fence. decided is false if there is none, or an aborted one of
// a lower fence, which does not stand in the way.
func (m Marker) Outcome(fence int64) (out connector.Outcome, decided bool, err error) {
	switch {
	case m.State == Committed:
		return connector.Outcome{Committed: true, Existing: true, Receipt: []byte(m.Receipt)}, true, nil
	case m == Marker{}, m.State == Aborted && m.Fence < fence:
		return connector.Outcome{}, false, nil
	case m.State == Aborted:
		return connector.Outcome{}, true, connector.ErrAborted
	}
	return connector.Outcome{}, true, &connector.Error{Kind: connector.KindConflict, Reason: "MARKER_BROKEN",
		Message: "the run's marker in " + RunsTable + " is in no known state", Meta: map[string]string{"state": m.State},
		Next: "rows of " + RunsTable + " must not be changed by hand: restore this one"}
}

// Unclaimed is the outcome of a load that could not make its marker and found another.
func Unclaimed(out connector.Outcome, decided bool, err error) (connector.Outcome, error) {
	if err == nil && !decided {
		// It was another session's, and is gone again or was aborted in this moment.
		err = &connector.Error{Kind: connector.KindUnavailable, Reason: "MARKER_BUSY", Message: "another session was at work on the run's marker",
			Next: "the run tries again by itself"}
	}
	return out, err
}

// Settled is the outcome of a settlement that could not make its marker and found another.
func Settled(out connector.Outcome, decided bool, err error) (connector.Outcome, error) {
	if errors.Is(err, connector.ErrAborted) {
		return connector.Outcome{}, nil
	}
	return Unclaimed(out, decided, err)
}
