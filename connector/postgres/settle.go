package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/lume-data/lume/connector"
	"github.com/lume-data/lume/connector/internal/sqlload"
)

// Settle implements connector.Target.
func (c *Connector) Settle(ctx context.Context, settlement connector.Settlement) (connector.Outcome, error) {
	conn, err := c.connect(ctx, "lume/settle")
	if err != nil {
		return connector.Outcome{}, err
	}
	defer closeConn(ctx, conn)
	plan, err := planFor(ctx, conn, settlement.Target)
	if err != nil {
		return connector.Outcome{}, err
	}
	found, err := exists(ctx, conn, plan.Runs)
	if err != nil {
		return connector.Outcome{}, err
	}
	if !found {
		err := create(ctx, conn, []string{plan.CreateRuns()})
		if code := sqlState(err); code == "3F000" || code == "42501" {
			// Without a table of markers, and without the means to create one, no load of this role can commit.
			return connector.Outcome{}, nil
		}
		if err != nil {
			return connector.Outcome{}, err
		}
	}
	if err := evict(ctx, conn, settlement.RunID, settlement.Target.Name, settlement.Fence); err != nil {
		return connector.Outcome{}, err
	}
	// One statement is one transaction. It waits for a load that has not ended.
	if _, err := conn.Exec(ctx, "SET lock_timeout = '30s'"); err != nil {
		return connector.Outcome{}, coded(ctx, err)
	}
	aborted, err := plan.Abort(settlement, execute(ctx, conn))
	if err != nil || aborted {
		return connector.Outcome{}, err
	}
	return sqlload.Settled(readMarker(ctx, conn, plan, settlement.RunID, settlement.Target.Name, settlement.Fence))
}

// commitLost is a COMMIT without an answer.
type commitLost struct {
	pid   uint32
	cause error
}

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
		out, found, err := c.commitOutcome(ctx, l, lost.pid)
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

func (c *Connector) commitOutcome(ctx context.Context, l *loader, pid uint32) (out connector.Outcome, found bool, err error) {
	conn, err := c.connect(ctx, "lume/recover")
	if err != nil {
		return out, false, err
	}
	defer closeConn(ctx, conn)
	// The old session must be gone, or it could commit after the look.
	if err := evict(ctx, conn, l.load.RunID, l.load.Target.Name, l.load.Fence+1); err != nil {
		return out, false, err
	}
	var alive bool
	err = conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $1 AND application_name = $2)",
		int64(pid), sqlload.SessionName(l.load)).Scan(&alive)
	if err != nil {
		return out, false, coded(ctx, err)
	}
	if alive {
		return out, false, &connector.Error{Kind: connector.KindUnavailable, Reason: "COMMIT_UNKNOWN", Message: "the session that commits is still there"}
	}
	out, found, err = readMarker(ctx, conn, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence)
	out.Existing = false
	return out, found, err
}
