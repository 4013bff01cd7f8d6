package postgres

import (
	"context"
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

// recoverTimeout is how long a lost commit is asked about.
const recoverTimeout = 30 * time.Second

// commitOutcome reads the marker of a load whose COMMIT got no answer.
func (c *Connector) commitOutcome(ctx context.Context, l *loader) (out connector.Outcome, found bool, err error) {
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
		int64(l.conn.PgConn().PID()), sqlload.SessionName(l.load)).Scan(&alive)
	if err != nil {
		return out, false, coded(ctx, err)
	}
	if alive {
		return out, false, &connector.Error{Kind: connector.KindUnavailable, Reason: "COMMIT_UNKNOWN", Message: "the session that commits is still there"}
	}
	return readMarker(ctx, conn, l.plan, l.load.RunID, l.load.Target.Name, l.load.Fence)
}
