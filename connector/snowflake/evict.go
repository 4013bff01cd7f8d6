package snowflake

import (
	"context"
	"fmt"
	"strconv"

	"github.com/lume-data/lume/connector/internal/sqlload"
)

// evict aborts the transactions of a run's loads into a target, and of their settlements, that have a lower fence. A worker that
// was stopped in the middle of one holds the schema's fence until its transaction ends. It must not be called in a transaction.
//
// The list has the transactions of the connector's user, who may abort them. What cannot be listed or aborted is waited for at
// the fence, as those of another user are: the load may need nobody's end.
func (c *Connector) evict(ctx context.Context, s *session, runID, target string, before int64) {
	running, err := s.records(ctx, "SHOW TRANSACTIONS")
	if err != nil {
		c.log.WarnContext(ctx, "the running transactions are not known, and those of earlier attempts are waited for", "run_id", runID, "error", err)
		return
	}
	prefix := transactionPrefix(runID, target)
	for _, t := range running {
		number, ok := sqlload.SessionFence(t["name"], prefix)
		if !ok || number >= before {
			continue
		}
		// The function takes a constant only.
		id, err := strconv.ParseInt(t["id"], 10, 64)
		if err == nil {
			_, err = s.records(ctx, fmt.Sprintf("SELECT SYSTEM$ABORT_TRANSACTION(%d)", id))
		}
		if err != nil {
			c.log.WarnContext(ctx, "a transaction of an earlier attempt is not aborted, and is waited for", "run_id", runID, "transaction", t["name"], "error", err)
		}
	}
}
